"""The words of the custom resources: every enumeration that a manifest or a status may hold."""

from enum import StrEnum


class Mode(StrEnum):
    """How far a policy goes."""

    OFF = "Off"
    RECOMMEND = "Recommend"
    AUTO = "Auto"


class Aggregation(StrEnum):
    """How the series of a service become one demand."""

    SUM = "Sum"
    MEAN = "Mean"
    MAX = "Max"


class ModelChoice(StrEnum):
    """Which model forecasts."""

    AUTO = "Auto"
    LIGHTGBM = "LightGBM"
    HOLT_WINTERS = "HoltWinters"
    SEASONAL_NAIVE = "SeasonalNaive"


class FallbackBehavior(StrEnum):
    """What the floor does when there is nothing left to forecast from."""

    HOLD_FLOOR = "HoldFloor"
    STATIC = "Static"
    CURRENT_REPLICAS = "CurrentReplicas"
    CURRENT_REPLICAS_IF_HIGHER = "CurrentReplicasIfHigher"


class TargetKind(StrEnum):
    """What a policy scales; the value is the field of spec.target that names it."""

    HORIZONTAL_POD_AUTOSCALER = "horizontalPodAutoscaler"
    WORKLOAD = "workload"
    SCALED_OBJECT = "scaledObject"
    AUTO_SCALING_GROUP = "autoScalingGroup"


class GroupField(StrEnum):
    """Which number of an Auto Scaling group is written."""

    MIN_SIZE = "MinSize"
    DESIRED_CAPACITY = "DesiredCapacity"


class Source(StrEnum):
    """Which wish won the floor."""

    FORECAST = "Forecast"
    EVENT = "Event"
    MINIMUM = "Minimum"
    FALLBACK = "Fallback"
    PIN = "Pin"


class Direction(StrEnum):
    """The only direction that an annotation leaves open."""

    UP_ONLY = "UpOnly"
    DOWN_ONLY = "DownOnly"


class DecisionType(StrEnum):
    """Which way a decision moves the floor."""

    SCALE_UP = "ScaleUp"
    SCALE_DOWN = "ScaleDown"


class DecisionPhase(StrEnum):
    """How far a decision has come. RolledBack is reserved: nothing is rolled back yet."""

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
        """Nothing more happens to a decision in this phase."""
        return self not in (DecisionPhase.PENDING, DecisionPhase.EXECUTING, DecisionPhase.VERIFYING)


class Reason(StrEnum):
    """Why a floor was moved, in one word."""

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


class Limit(StrEnum):
    """A rule that cut or held what the strongest wish asked for."""

    PAUSED = "Paused"
    PINNED = "Pinned"
    DIRECTION = "Direction"
    STALE_FORECAST = "StaleForecast"
    OUTAGE = "Outage"
    STABILIZATION_WINDOW = "StabilizationWindow"
    CURRENT_LOAD = "CurrentLoad"
    STEP_UP = "StepUp"
    STEP_DOWN = "StepDown"
    DEAD_BAND = "DeadBand"
    MINIMUM = "Minimum"
    MAXIMUM = "Maximum"


class EventPhase(StrEnum):
    """Where a BusinessEvent stands."""

    SCHEDULED = "Scheduled"
    RAMPING_UP = "RampingUp"
    ACTIVE = "Active"
    RAMPING_DOWN = "RampingDown"
    FINISHED = "Finished"


class ConditionType(StrEnum):
    """The conditions of a ScalingPolicy, in the order in which they are listed."""

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
    """What a condition says."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
