"""One family. A class is a cause; its message says what happened, to which object, and what to do.

Each door shows it its own way: `exit_code` for commands, `status` for problem details, `reason` for conditions.
"""

from typing import ClassVar


class PredictiveScalingError(Exception):
    """Something that a person has to know of."""

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
    """The database did not answer; what was asked may be asked again."""

    exit_code = 75
    status = 503
    reason = "DatabaseUnavailable"


class ClusterUnavailableError(PredictiveScalingError):
    """The Kubernetes API server did not answer; what was asked may be asked again."""

    exit_code = 75
    status = 503
    reason = "ClusterUnavailable"


class RequestTimedOutError(ClusterUnavailableError):
    """One request to the Kubernetes API server took too long: the server hangs, or only a webhook behind it does."""

    reason = "RequestTimedOut"


class RequestFailedError(ClusterUnavailableError):
    """The Kubernetes API server answered, but could not carry out this request; others may succeed meanwhile.

    retry_after_seconds: what the server asked to wait; None where it did not say.
    """

    reason = "RequestFailed"

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class LeadershipLostError(PredictiveScalingError):
    """This process led and lost its lease: what it remembers may be outdated, so it has to start again."""

    exit_code = 79
    reason = "LeadershipLost"


class TaskEndedError(PredictiveScalingError):
    """A background task that should run until shutdown ended; the process has to start again."""

    exit_code = 70
    reason = "TaskEnded"


class TargetNotFoundError(PredictiveScalingError):
    """What a policy scales is not there (yet)."""

    reason = "TargetNotFound"


class TargetUnsupportedError(PredictiveScalingError):
    """What a policy names can never be scaled as written."""

    reason = "TargetUnsupported"


class TargetConflictError(PredictiveScalingError):
    """Someone else holds the field that we would write."""

    reason = "Conflict"


class TargetRefusedError(PredictiveScalingError):
    """The target's API refused a write for good, and said why."""

    reason = "Refused"


class InvalidManifestError(PredictiveScalingError):
    """A manifest, or a part of one, cannot be read."""

    exit_code = 65
    status = 422
    reason = "Invalid"


class ModelRejectedError(PredictiveScalingError):
    """A model file may not be used."""

    exit_code = 65
    status = 422
    reason = "ModelRejected"


class NothingToLearnError(PredictiveScalingError):
    """A series has no demand to train a model from."""

    exit_code = 66
    reason = "NothingToLearn"


class NoEarlierModelError(PredictiveScalingError):
    """There is no version of a model to go back to."""

    exit_code = 66
    status = 404
    reason = "NoEarlierModel"


class DaskUnavailableError(PredictiveScalingError):
    """The Dask cluster did not answer, or lost what it was given; training may be tried again."""

    exit_code = 75
    status = 503
    reason = "DaskUnavailable"


class StackError(PredictiveScalingError):
    """A part of the local stack could not be found, built or started."""

    exit_code = 69
    reason = "StackUnavailable"


class InvalidCursorError(PredictiveScalingError):
    """A page was asked for with a cursor that no list gave."""

    status = 422
    reason = "InvalidCursor"


class DataRefusedError(PredictiveScalingError):
    """The database is well and refused a value; asking again will not help."""

    exit_code = 65
    reason = "DataRefused"


class IngestRunningError(PredictiveScalingError):
    """Offsets cannot be moved while someone reads."""

    exit_code = 75
    reason = "IngestRunning"


class KafkaUnavailableError(PredictiveScalingError):
    """Kafka did not answer; what was asked may be asked again."""

    exit_code = 75
    status = 503
    reason = "KafkaUnavailable"


class InvalidTraceError(PredictiveScalingError):
    """Recorded demand cannot be read, or there is too little of it."""

    exit_code = 65
    status = 422
    reason = "InvalidTrace"


class TraceSourceUnavailableError(PredictiveScalingError):
    """The server that recorded the demand did not answer, or refused the question."""

    exit_code = 75
    reason = "TraceSourceUnavailable"
