"""What was learned about a target, in the status of a ScalingPolicy."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from predictive_scaling.resources.part import StatusPart
from predictive_scaling.resources.quantities import DecimalBetween, DurationBetween
from predictive_scaling.resources.scaling_decision import MAX_DEMAND_LENGTH, Text

Length = Annotated[timedelta, DurationBetween("0s", "9999h", clamps=True)]
Capacity = Annotated[float, DecimalBetween("0", MAX_DEMAND_LENGTH, clamps=True)]
Count = Annotated[int, Field(ge=0)]


class LearnedStarts(StatusPart):
    """A high percentile of the durations of starts."""

    value: Length
    """0.9 quantile of the time from raising the floor to ready replicas."""

    starts: Count
    """Number of starts that it was learned from."""


class LearnedLeadTime(LearnedStarts):
    """Lead time of the target."""

    trusted: bool
    """Whether there are enough starts to use it. Until then the longer one of it and the installation's default is
    used."""

    on_existing_nodes: LearnedStarts | None = None
    """Starts in which no replica waited for a node."""

    with_new_node: LearnedStarts | None = None
    """Starts in which a replica waited for a node."""


class LearnedCapacity(StatusPart):
    """Demand that one ready replica serves at 100 % utilization."""

    value: Capacity
    """The estimate in use."""

    low: Capacity
    """Lower end of its 95 % interval."""

    high: Capacity
    """Upper end of its 95 % interval."""

    samples: Count
    """Number of observations that it was learned from, without outliers and replicas that had just started."""


class LearnedStatus(StatusPart):
    """What was learned about the target. Configured values take precedence."""

    target_uid: Text | None = None
    """uid of the target that the values are about; after a restart they are used for this target only."""

    series: Text | None = None
    """Demand that perReplica is about, as service/metric/aggregation; after a restart it is used for this demand
    only."""

    lead_time: LearnedLeadTime | None = None
    """Time from raising the floor to ready replicas; unset before the first raise whose replicas became ready."""

    per_replica: LearnedCapacity | None = None
    """Demand that one ready replica serves at 100 % utilization; unset until it can be trusted."""
