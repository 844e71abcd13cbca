"""Scores and errors of the shared model for each series on which it was judged."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from forecasting.forecast import QUANTILES
from forecasting.learning import LearnedModels
from forecasting.quality.gate import Verdict
from forecasting.series import FloatArray
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.manifest import GateRecord, Part
from predictive_scaling.resources.series_key import SeriesKey

RECORDS = "members.json"
ERRORS = "members.npy"
FILES = (RECORDS, ERRORS)

Errors = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Member:
    """A judged series, as stored.

    residuals: log errors on days that the judged model had not seen, shape (n, horizons, quantiles).
    """

    key: SeriesKey
    gate: GateRecord
    residuals: Errors


class _Record(Part):
    service: str
    metric: str
    aggregation: str
    gate: GateRecord


_RECORDS = TypeAdapter(tuple[_Record, ...])


def as_files(members: Sequence[Member]) -> dict[str, bytes]:
    """Return the content of each file, by file name."""
    records = [
        {**{name: getattr(member.key, name) for name in ("service", "metric", "aggregation")}, "gate": member.gate}
        for member in members
    ]
    text = _RECORDS.dump_json(_RECORDS.validate_python(records), indent=1)
    buffer = io.BytesIO()
    np.save(buffer, np.stack([member.residuals for member in members]) if members else np.zeros(0, np.float16))
    return {RECORDS: text, ERRORS: buffer.getvalue()}


def from_files(contents: Mapping[str, bytes], horizons: int) -> dict[SeriesKey, Member]:
    """Return the members that `as_files` wrote, by series. Raises ModelRejectedError for any other content."""
    try:
        records = _RECORDS.validate_json(contents[RECORDS])
        errors = np.load(io.BytesIO(contents[ERRORS]), allow_pickle=False)
    except (ValidationError, json.JSONDecodeError, ValueError) as error:
        raise ModelRejectedError(f"{RECORDS} or {ERRORS}: {error}; train the model again") from None
    if len(errors) != len(records) or (len(records) and errors.shape[2:] != (horizons, len(QUANTILES))):
        expected = f"({len(records)}, …, {horizons}, {len(QUANTILES)})"
        raise ModelRejectedError(f"{ERRORS} has shape {errors.shape}, expected {expected}; train the model again")
    keys = [SeriesKey(record.service, record.metric, record.aggregation) for record in records]
    return {
        key: Member(key, record.gate, rows.astype(np.float16))
        for key, record, rows in zip(keys, records, errors, strict=True)
    }


@dataclass(frozen=True, slots=True)
class JudgedSeries:
    """A series on which the shared model was judged. residuals: shape (SEEDS, horizons, quantiles)."""

    key: SeriesKey
    verdict: Verdict
    residuals: FloatArray


@dataclass(frozen=True, slots=True)
class LearnedShared:
    """A trained shared model. learned.residuals: errors with the distribution of all series together."""

    learned: LearnedModels
    judged: tuple[JudgedSeries, ...]
