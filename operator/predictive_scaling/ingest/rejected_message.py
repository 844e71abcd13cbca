"""Rejected messages and their reasons; separate, because parsers and the consumer share it."""

from enum import StrEnum


class Reason(StrEnum):
    """The reason as recorded in the dead-letter topic, the table and the metric."""

    UNDECODABLE = "undecodable"
    UNKNOWN_FORMAT = "unknown_format"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_LABELS = "too_many_labels"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_A_NUMBER = "not_a_number"
    NOT_FINITE = "not_finite"
    NEGATIVE = "negative"
    INVALID_TIMESTAMP = "invalid_timestamp"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    INVALID_NAME = "invalid_name"
    SERVICE_LIMIT = "service_limit"
    METRIC_LIMIT = "metric_limit"
    SERIES_LIMIT = "series_limit"
    REFUSED_BY_DATABASE = "refused_by_database"


class RejectedMessage(Exception):  # noqa: N818 (about a message, not a program error)
    """A message is invalid. detail: one sentence with the value and the allowed values."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
