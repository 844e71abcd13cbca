"""The errors of the product. The class is the cause; the message says what happened, to which object, and what to do.

Each entry point maps it: `exit_code` for commands, `status` for problem details, `reason` for conditions.
"""

from typing import ClassVar


class PredictiveScalingError(Exception):
    """Base class of all errors that are reported to users."""

    exit_code: ClassVar[int] = 1
    status: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"


class SettingsError(PredictiveScalingError):
    """A setting is missing, misspelt or out of range."""

    exit_code = 78
    reason = "InvalidSettings"


class SchemaError(PredictiveScalingError):
    """The database's schema is older or newer than this code."""

    exit_code = 78
    status = 503
    reason = "SchemaMismatch"


class DatabaseUnavailableError(PredictiveScalingError):
    """The database did not respond; the operation can be retried."""

    exit_code = 75
    status = 503
    reason = "DatabaseUnavailable"


class ClusterUnavailableError(PredictiveScalingError):
    """The Kubernetes API server did not respond; the operation can be retried."""

    exit_code = 75
    status = 503
    reason = "ClusterUnavailable"


class AccessUnavailableError(PredictiveScalingError):
    """Whether a caller of the HTTP API has a right cannot be checked now; the request can be retried."""

    status = 503
    reason = "AccessCheckUnavailable"


class OperatorFailedError(PredictiveScalingError):
    """The operator failed to execute a command, or returned a result of another release."""

    status = 502
    reason = "OperatorFailed"


class RequestTimedOutError(ClusterUnavailableError):
    """A request to the Kubernetes API server timed out: the server or a webhook behind it hangs."""

    reason = "RequestTimedOut"


class RequestFailedError(ClusterUnavailableError):
    """The target's API responded but could not execute this request; requests for other objects may succeed.

    retry_after_seconds: the Retry-After of the response; None without one.
    """

    reason = "RequestFailed"

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ExtensionUnavailableError(RequestFailedError):
    """An aggregated API, or a custom resource's conversion webhook, did not respond: the API server itself may work."""


class AWSUnavailableError(RequestFailedError):
    """AWS did not respond, or failed to execute a request; the operation can be retried."""

    reason = "AWSUnavailable"


class AWSThrottledError(RequestFailedError):
    """AWS throttled the requests of an account in a region; they are retried with back-off."""

    reason = "AWSThrottled"


class AWSAccessDeniedError(RequestFailedError):
    """AWS refused the credentials, or they do not allow the request; a change of the account's permissions heals it."""

    reason = "AWSAccessDenied"


class AWSBusyError(RequestFailedError):
    """An Auto Scaling group is busy: a scaling activity or its cooldown blocks the request for now."""

    reason = "ScalingActivityInProgress"


class LeadershipLostError(PredictiveScalingError):
    """This process lost its lease while it was the leader: its state may be outdated, so it must restart."""

    exit_code = 79
    reason = "LeadershipLost"


class RestorationIncompleteError(PredictiveScalingError):
    """Some targets did not get their minimum back; the message says which and why."""


class TaskEndedError(PredictiveScalingError):
    """A background task ended before shutdown; the process must restart."""

    exit_code = 70
    reason = "TaskEnded"


class TargetNotFoundError(PredictiveScalingError):
    """The target of a policy does not exist (yet)."""

    reason = "TargetNotFound"


class KedaNotInstalledError(TargetNotFoundError):
    """The target is a ScaledObject, and the cluster does not have KEDA's custom resources (yet)."""

    reason = "KedaNotInstalled"


class TargetUnsupportedError(PredictiveScalingError):
    """The target of a policy cannot be scaled as configured."""

    reason = "TargetUnsupported"


class TargetConflictError(PredictiveScalingError):
    """Another field manager owns the field to write."""

    reason = "Conflict"


class TargetRefusedError(PredictiveScalingError):
    """The target's API permanently rejected a write; the message holds its reason."""

    reason = "Refused"


class InvalidManifestError(PredictiveScalingError):
    """A manifest, or a part of it, is invalid."""

    exit_code = 65
    status = 422
    reason = "Invalid"


class ModelRejectedError(PredictiveScalingError):
    """A model file failed validation and is not used."""

    exit_code = 65
    status = 422
    reason = "ModelRejected"


class NothingToLearnError(PredictiveScalingError):
    """A series has no demand to train a model on."""

    exit_code = 66
    reason = "NothingToLearn"


class NoEarlierModelError(PredictiveScalingError):
    """A model has no earlier version to roll back to."""

    exit_code = 66
    status = 404
    reason = "NoEarlierModel"


class DaskUnavailableError(PredictiveScalingError):
    """The Dask cluster did not respond or lost a task; the training can be retried."""

    exit_code = 75
    status = 503
    reason = "DaskUnavailable"


class StackError(PredictiveScalingError):
    """A component of the local stack could not be found, built or started."""

    exit_code = 69
    reason = "StackUnavailable"


class InvalidCursorError(PredictiveScalingError):
    """A list request has a cursor that no list returned."""

    status = 422
    reason = "InvalidCursor"


class DataRefusedError(PredictiveScalingError):
    """The database rejected a value; a retry will not help."""

    exit_code = 65
    reason = "DataRefused"


class IngestRunningError(PredictiveScalingError):
    """Offsets cannot be changed while the consumer group has members."""

    exit_code = 75
    reason = "IngestRunning"


class KafkaUnavailableError(PredictiveScalingError):
    """Kafka did not respond; the operation can be retried."""

    exit_code = 75
    status = 503
    reason = "KafkaUnavailable"


class InvalidTraceError(PredictiveScalingError):
    """Recorded demand cannot be read, or is too short."""

    exit_code = 65
    status = 422
    reason = "InvalidTrace"


class TraceSourceUnavailableError(PredictiveScalingError):
    """The server of the recorded demand did not respond, or rejected the query."""

    exit_code = 75
    reason = "TraceSourceUnavailable"


class SourceUnavailableError(PredictiveScalingError):
    """The server of a pull source did not respond or is overloaded; the request can be retried.

    retry_after_seconds: the Retry-After of the response; None without one.
    """

    exit_code = 75
    reason = "SourceUnavailable"

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SourceRefusedError(PredictiveScalingError):
    """The server of a pull source rejected a query or the credentials, or returned something else than rows."""

    reason = "SourceRefused"


class SourceTooLargeError(SourceRefusedError):
    """The result of a query is too large for one request; that of a shorter span may not be."""
