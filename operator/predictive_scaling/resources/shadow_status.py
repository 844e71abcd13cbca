"""The account of what mode Auto would have done, in the status of a ScalingPolicy."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from predictive_scaling.resources.conditions import Timestamp
from predictive_scaling.resources.part import StatusPart
from predictive_scaling.resources.quantities import DecimalBetween

MAX_SHADOW_DIFFERENCES = 3
SHADOW_WINDOW = timedelta(days=7)
"""How far back an account reaches."""

Amount = Annotated[float, DecimalBetween("0", "999999999", clamps=True)]
SignedAmount = Annotated[float, DecimalBetween("-999999999", "999999999", clamps=True)]


class ShadowDifference(StatusPart):
    """An hour in which mode Auto would have differed from what happened."""

    time: Timestamp
    """Beginning of the hour."""

    minutes_short_avoided: SignedAmount
    """Minutes of the hour with too few ready replicas that Auto would have avoided."""

    replica_hours_added: SignedAmount
    """Replica-hours that Auto would have added in the hour."""


class ShadowStatus(StatusPart):
    """What mode Auto would have done over the last seven days, against what happened."""

    since: Timestamp
    """Beginning of the first hour of the account."""

    until: Timestamp
    """End of the last minute of the account."""

    covered_hours: Amount
    """Hours in which demand, replicas and capacity were known. All other times are left out."""

    decisions: Annotated[int, Field(ge=0)]
    """Number of recommended decisions."""

    minutes_short: Amount
    """Minutes in which the ready replicas could not serve the demand."""

    minutes_short_avoided: SignedAmount
    """Number of those minutes that Auto would have avoided. Negative where Auto would have been short more often."""

    replica_hours: Amount
    """Replica-hours of the target."""

    replica_hours_added: SignedAmount
    """Replica-hours that Auto would have added. Negative where Auto would have used fewer."""

    largest: Annotated[tuple[ShadowDifference, ...], Field(max_length=MAX_SHADOW_DIFFERENCES)] = ()
    """The three hours with the largest differences, largest first."""
