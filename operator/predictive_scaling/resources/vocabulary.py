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


class ConditionStatus(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
