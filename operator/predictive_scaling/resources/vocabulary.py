"""Enumerations of the custom resources."""

from enum import StrEnum


class Mode(StrEnum):
    """What a policy does."""

    OFF = "Off"
    RECOMMEND = "Recommend"
    AUTO = "Auto"


class Aggregation(StrEnum):
    """How the series of a service are combined."""

    SUM = "Sum"
    MEAN = "Mean"
    MAX = "Max"


class FallbackBehavior(StrEnum):
    """Behavior of the floor without any forecast."""

    HOLD_FLOOR = "HoldFloor"
    STATIC = "Static"
    CURRENT_REPLICAS = "CurrentReplicas"
    CURRENT_REPLICAS_IF_HIGHER = "CurrentReplicasIfHigher"


class TargetKind(StrEnum):
    """Kind of target; the value is its field of spec.target."""

    HORIZONTAL_POD_AUTOSCALER = "horizontalPodAutoscaler"
    WORKLOAD = "workload"
    SCALED_OBJECT = "scaledObject"
    AUTO_SCALING_GROUP = "autoScalingGroup"


class GroupField(StrEnum):
    """Field of an Auto Scaling group to write."""

    MIN_SIZE = "MinSize"
    DESIRED_CAPACITY = "DesiredCapacity"


class HeadroomMethod(StrEnum):
    """How node headroom is reserved for the next raise."""

    AUTO = "Auto"
    CAPACITY_BUFFER = "CapacityBuffer"
    PLACEHOLDERS = "Placeholders"


class RegressorState(StrEnum):
    """What becomes of a leading indicator.

    IN_USE: it is part of the forecast. WAITING: it is not judged yet. REJECTED: it does not improve the forecasts of
    the last days. STALE: its samples are missing or too late; the forecast without it is in use.
    """

    IN_USE = "InUse"
    WAITING = "Waiting"
    REJECTED = "Rejected"
    STALE = "Stale"


class Source(StrEnum):
    """Source of the recommendation that set the floor."""

    FORECAST = "Forecast"
    EVENT = "Event"
    MINIMUM = "Minimum"
    FALLBACK = "Fallback"
    PIN = "Pin"
    REACTIVE = "Reactive"


class Direction(StrEnum):
    """The only direction that an annotation allows."""

    UP_ONLY = "UpOnly"
    DOWN_ONLY = "DownOnly"


class DecisionType(StrEnum):
    """Direction of a decision."""

    SCALE_UP = "ScaleUp"
    SCALE_DOWN = "ScaleDown"


class DecisionPhase(StrEnum):
    """Phase of a decision. RolledBack: a raise that did harm was reverted."""

    PENDING = "Pending"
    EXECUTING = "Executing"
    VERIFYING = "Verifying"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ROLLED_BACK = "RolledBack"
    RECOMMENDED = "Recommended"
    SUPERSEDED = "Superseded"
    CANCELLED = "Cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the phase is final."""
        return self not in (DecisionPhase.PENDING, DecisionPhase.EXECUTING, DecisionPhase.VERIFYING)

    @property
    def stored(self) -> str:
        """The value in the database and in the HTTP API, such as rolled_back."""
        return self.name.lower()

    @classmethod
    def from_stored(cls, value: str) -> "DecisionPhase":
        """Return the phase of a stored value.

        Raises ValueError if no phase is stored as this value.

        >>> DecisionPhase.from_stored("rolled_back").value
        'RolledBack'
        """
        for phase in cls:
            if phase.stored == value:
                return phase
        raise ValueError(f"{value!r} is no stored phase of a decision")


class FailureCause(StrEnum):
    """Why a decision ended Failed or RolledBack."""

    QUOTA = "Quota"
    REPLICAS_NOT_MADE = "ReplicasNotMade"
    UNSCHEDULABLE = "Unschedulable"
    NODE_GROUP_AT_MAXIMUM = "NodeGroupAtMaximum"
    INSUFFICIENT_CAPACITY = "InsufficientCapacity"
    IMAGE_PULL = "ImagePull"
    CONTAINER_NOT_CREATED = "ContainerNotCreated"
    CRASH_LOOP = "CrashLoop"
    PROBE_FAILING = "ProbeFailing"
    OVERWRITTEN = "Overwritten"
    REFUSED = "Refused"
    TIMEOUT = "Timeout"


class Reason(StrEnum):
    """Reason for a change of the floor."""

    FORECAST_ROSE = "ForecastRose"
    FORECAST_FELL = "ForecastFell"
    EVENT_RAISES = "EventRaises"
    EVENT_ENDED = "EventEnded"
    EVENT_SUPPRESSES = "EventSuppresses"
    BOUNDS_CHANGED = "BoundsChanged"
    FALLBACK_ACTIVATED = "FallbackActivated"
    FALLBACK_ENDED = "FallbackEnded"
    PINNED = "Pinned"
    FIELD_GIVEN_UP = "FieldGivenUp"
    DEMAND_ROSE = "DemandRose"
    DEMAND_FELL = "DemandFell"
    ROLLED_BACK = "RolledBack"


class Limit(StrEnum):
    """A rule that limited the highest recommendation."""

    PAUSED = "Paused"
    PINNED = "Pinned"
    DIRECTION = "Direction"
    STALE_FORECAST = "StaleForecast"
    OUTAGE = "Outage"
    STABILIZATION_WINDOW = "StabilizationWindow"
    CURRENT_LOAD = "CurrentLoad"
    STEP_UP = "StepUp"
    STEP_DOWN = "StepDown"
    ROLLED_BACK = "RolledBack"
    DEAD_BAND = "DeadBand"
    MINIMUM = "Minimum"
    MAXIMUM = "Maximum"


class EventPhase(StrEnum):
    """Phase of a BusinessEvent."""

    SCHEDULED = "Scheduled"
    RAMPING_UP = "RampingUp"
    ACTIVE = "Active"
    RAMPING_DOWN = "RampingDown"
    FINISHED = "Finished"


class ConditionType(StrEnum):
    """Conditions of a ScalingPolicy, in their order in the status."""

    READY = "Ready"
    METRICS_FRESH = "MetricsFresh"
    FORECAST_READY = "ForecastReady"
    SCALING_ACTIVE = "ScalingActive"
    SCALING_LIMITED = "ScalingLimited"
    FALLBACK = "Fallback"
    PAUSED = "Paused"
    VERIFIED = "Verified"
    CONFLICT = "Conflict"
    STALLED = "Stalled"


class EventConditionType(StrEnum):
    """Conditions of a BusinessEvent, in their order in the status."""

    READY = "Ready"
    STALLED = "Stalled"
    MULTIPLIER_ACCURATE = "MultiplierAccurate"


class MultiplierVerdict(StrEnum):
    """How a declared multiplier compares with the demand of the event."""

    AS_DECLARED = "AsDeclared"
    TOO_LOW = "MultiplierTooLow"
    TOO_HIGH = "MultiplierTooHigh"


class ConditionStatus(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class BacktestPhase(StrEnum):
    """Phase of a ScalingBacktest."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_final(self) -> bool:
        """Whether the phase no longer changes."""
        return self in (BacktestPhase.SUCCEEDED, BacktestPhase.FAILED)


class BacktestCondition(StrEnum):
    """Type of a condition of a ScalingBacktest: those of a Job, and those by which kstatus computes a status."""

    COMPLETE = "Complete"
    FAILED = "Failed"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class BacktestReason(StrEnum):
    """Reason of the conditions of a ScalingBacktest."""

    QUEUED = "Queued"
    WAITING_FOR_POLICY = "WaitingForPolicy"
    WAITING_FOR_DATABASE = "WaitingForDatabase"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    REUSED = "Reused"
    INVALID_BACKTEST = "InvalidBacktest"
    POLICY_NOT_FOUND = "PolicyNotFound"
    INVALID_POLICY = "InvalidPolicy"
    SERVICE_NOT_ALLOWED = "ServiceNotAllowed"
    SPAN_TOO_LONG = "SpanTooLong"
    NO_DATA = "NoData"
    INVALID_TRACE = "InvalidTrace"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    OUT_OF_MEMORY = "OutOfMemory"
    PROCESS_FAILED = "ProcessFailed"
    INTERRUPTED = "Interrupted"
    INTERNAL_ERROR = "InternalError"


class BacktestVariant(StrEnum):
    """Scaling strategy of a row of a backtest's result."""

    HPA_ALONE = "HpaAlone"
    HPA_TUNED = "HpaTuned"
    SEASONAL_NAIVE = "SeasonalNaive"
    POLICY = "Policy"
    HPA_AT_SAME_HOURS = "HpaAtSameHours"
    POLICY_TUNED = "PolicyTuned"
    POLICY_AND_HPA_TUNED = "PolicyAndHpaTuned"
    QUANTILE = "Quantile"
    PRICES = "Prices"
    ORACLE = "Oracle"
