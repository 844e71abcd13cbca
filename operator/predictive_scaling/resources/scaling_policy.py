"""ScalingPolicy: which target is scaled ahead of which demand, and within what bounds."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field

from predictive_scaling.resources.matching import Matching
from predictive_scaling.resources.metadata import Metadata, PolicyKey
from predictive_scaling.resources.part import Part, read
from predictive_scaling.resources.place import HolidayCalendar, Timezone
from predictive_scaling.resources.quantities import HMS_PATTERN, DecimalBetween, DurationBetween
from predictive_scaling.resources.rules import Rule
from predictive_scaling.resources.step import Step
from predictive_scaling.resources.target import TargetSpec
from predictive_scaling.resources.vocabulary import Aggregation, FallbackBehavior, Mode, ModelChoice

MAX_REPLICAS = 100_000
DEFAULT_QUANTILE = 0.9
_LOWEST_QUANTILE, _MAX_QUANTILE = 0.5, 0.999

Percent = Annotated[int, Field(ge=1, le=100)]
SeriesName = Annotated[str, Matching(r"^[^\x00-\x1f\x7f]+$", "must not hold control characters", longest=253)]
Price = Annotated[float, DecimalBetween("0.000001", "1000000000", positive=True)]


class Demand(Part):
    """The demand that is forecast, and what one replica carries of it."""

    service: SeriesName | None = None
    """service_name of the samples. Default: the policy's name."""

    metric: SeriesName
    """metric_name of the samples, such as requests_per_second. Its unit is the unit of perReplica."""

    aggregation: Aggregation = Aggregation.SUM
    """How the series of the service become one demand: Sum, Mean or Max of their values in each minute."""

    per_replica: Annotated[float | None, DecimalBetween("0.000001", "999999999999", auto=True, positive=True)] = None
    """What one ready replica serves when it is full, in the metric's unit, as a string such as "50". Auto: learned
    from the demand and the ready replicas so far."""

    target_utilization: Percent = 70
    """Percent of a replica that reactive scaling aims at: what the HorizontalPodAutoscaler is set to, or what the
    operator uses for a workload without one. It does not divide the floor: see forecast.utilization."""

    zero_is_valid: bool = False
    """Whether a demand of exactly zero is real. Otherwise it is taken for missing data, which never lowers a floor."""


class Objective(Part):
    """What being short costs against what a replica costs; the quantile follows from the two."""

    under_provisioned_minute: Price
    """Cost of a minute in which the ready replicas cannot carry the demand, however many are missing, as a string such
    as "1.0", in any currency."""

    replica_hour: Price
    """Cost of one replica for an hour, in the same currency, as a string such as "0.5"."""


class ForecastOptions(Part):
    """How the floor is forecast."""

    model: ModelChoice = ModelChoice.AUTO
    """Which model forecasts. Auto: LightGBM at the horizons where it did better than the naive models on days that it
    had not seen, the best of those elsewhere. LightGBM: the trained model, even where a naive one did better, which
    ForecastReady then says; while there is none that can forecast, the best naive one. HoltWinters and SeasonalNaive:
    always that one."""

    quantile: Annotated[float | None, DecimalBetween("0.5", "0.999", optional=True)] = None
    """Share of times in which the floor shall suffice for the highest demand until replicas asked for now are ready, as
    a string between "0.5" and "0.999". Default "0.9", where no objective is given."""

    objective: Objective | None = None
    """Prices to choose the quantile by, in place of quantile."""

    utilization: Percent = 100
    """Percent of a replica that the forecast may fill: below 100 the floor keeps a reserve."""

    horizon: Annotated[timedelta, DurationBetween("1m", "24h")] = timedelta(hours=1)
    """How far ahead is forecast, from 1m to 24h. It has to be longer than leadTime."""

    lead_time: Annotated[timedelta | None, DurationBetween("0s", "24h", auto=True)] = None
    """From raising the floor to ready replicas, as a duration such as 3m. Auto: measured."""

    timezone: Timezone | None = None
    """IANA time zone such as Europe/Paris by whose clocks demand has its days and weeks, across changes to summer
    time. Default: UTC."""

    holidays: HolidayCalendar | None = None
    """Whose public holidays demand keeps: an ISO 3166 country such as FR, or a part of one such as DE-BY. Default:
    none."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(has(self.quantile) && has(self.objective))",
            holds=lambda forecast: forecast.quantile is None or forecast.objective is None,
            message="choose quantile or objective, not both",
            field="quantile",
        ),
        Rule(
            # What is no duration is told once, by the field's own rule.
            cel="!has(self.leadTime) || !has(self.horizon) "
            f"|| !self.leadTime.matches(r'{HMS_PATTERN}') || !self.horizon.matches(r'{HMS_PATTERN}') "
            "|| duration(self.leadTime) < duration(self.horizon)",
            holds=lambda forecast: forecast.lead_time is None or forecast.lead_time < forecast.horizon,
            message="must be shorter than horizon",
            message_cel="'leadTime (' + self.leadTime + ') must be shorter than horizon (' + self.horizon + ')'",
            field="leadTime",
        ),
    )

    @property
    def effective_quantile(self) -> float:
        """The quantile as given, or one that follows from the prices alone, or 0.9.

        The prices' one serves until a tuner has looked back on the policy's own demand. It takes each missing replica
        for a shortage of its own, since without a past nothing is known of how many are missing at once.
        """
        if self.objective is None:
            return DEFAULT_QUANTILE if self.quantile is None else self.quantile
        short, replica = self.objective.under_provisioned_minute, self.objective.replica_hour / 60
        return min(max(short / (short + replica), _LOWEST_QUANTILE), _MAX_QUANTILE)


class ReplicaBounds(Part):
    """Between which numbers the floor stays."""

    min: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """The floor never sinks below this."""

    max: Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
    """The floor never rises above this, nor above the target's own maximum."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.min <= self.max",
            holds=lambda replicas: replicas.min <= replicas.max,
            message="must not exceed max",
            message_cel="'min (%d) must not exceed max (%d)'.format([self.min, self.max])",
            field="min",
        ),
    )


class ScaleUp(Part):
    """How fast the floor rises. Below its minimum an HPA jumps there at once, so this is the only brake upwards."""

    max_step: Step = Step(100, is_percent=True)
    """The most that the floor rises in each period: a percentage of it, such as 100%, or a count of replicas."""

    period: Annotated[timedelta, DurationBetween("1s", "24h")] = timedelta(minutes=1)
    """The time that maxStep is for."""


class ScaleDown(Part):
    """How fast the floor sinks."""

    max_step: Step = Step(20, is_percent=True)
    """The most that the floor sinks in each period: a percentage of it, such as 20%, rounded up to at least one
    replica, or a count of replicas."""

    period: Annotated[timedelta, DurationBetween("1s", "24h")] = timedelta(minutes=1)
    """The time that maxStep is for."""

    stabilization_window: Annotated[timedelta, DurationBetween("0s", "24h")] = timedelta(minutes=10)
    """The highest floor that was wanted within this time holds."""


class DeadBand(Part):
    """Changes too small to make. One that is smaller than both is not written."""

    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """A count of replicas."""

    percent: Annotated[int, Field(ge=0, le=100)] = 5
    """A percentage of the floor."""


class Fallback(Part):
    """What happens when there is neither a fresh forecast nor an older one nor last week to go by."""

    behavior: FallbackBehavior = FallbackBehavior.HOLD_FLOOR
    """HoldFloor keeps the floor for as long as it takes, Static uses replicas, CurrentReplicas what runs now, and
    CurrentReplicasIfHigher that or the floor, whichever is higher."""

    after: Annotated[timedelta, DurationBetween("1m", "168h")] = timedelta(minutes=30)
    """How long there has to be nothing to go by."""

    replicas: Annotated[int | None, Field(ge=0, le=MAX_REPLICAS)] = None
    """The floor of the behavior Static; required there and refused elsewhere."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # The default {} of fallback is judged before behavior is filled in.
            cel="has(self.replicas) == (has(self.behavior) && self.behavior == 'Static')",
            holds=lambda it: (it.replicas is not None) == (it.behavior is FallbackBehavior.STATIC),
            message="must be set with behavior Static, and only then",
            message_cel="'must be set with behavior Static, and only then; behavior is ' + self.behavior",
            field="replicas",
        ),
    )


class ScalingPolicySpec(Part):
    """What the policy asks for."""

    mode: Mode = Mode.RECOMMEND
    """Off does nothing, Recommend decides and writes nothing, Auto scales. Leaving Auto restores the target."""

    target: TargetSpec
    """What is scaled: exactly one kind."""

    demand: Demand
    """The demand that is forecast, and what one replica carries of it."""

    forecast: ForecastOptions = Field(default_factory=ForecastOptions)
    """How demand is forecast: the model, the quantile that the floor covers, how far ahead, and how long replicas
    take to become ready."""

    replicas: ReplicaBounds
    """Between which numbers the floor stays."""

    scale_up: ScaleUp = Field(default_factory=ScaleUp)
    """How fast the floor rises."""

    scale_down: ScaleDown = Field(default_factory=ScaleDown)
    """How fast the floor sinks."""

    dead_band: DeadBand = Field(default_factory=DeadBand)
    """Changes too small to make."""

    fallback: Fallback = Field(default_factory=Fallback)
    """What happens when there is nothing to forecast from."""

    suspend: bool = False
    """Freezes the floor where it is; comes before every annotation."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.fallback.replicas) "
            "|| (self.fallback.replicas >= self.replicas.min && self.fallback.replicas <= self.replicas.max)",
            holds=lambda spec: (
                spec.fallback.replicas is None or spec.replicas.min <= spec.fallback.replicas <= spec.replicas.max
            ),
            message="must lie between replicas.min and replicas.max",
            message_cel="'must lie between replicas.min (%d) and replicas.max (%d)'"
            ".format([self.replicas.min, self.replicas.max])",
            field="fallback.replicas",
        ),
    )


class ScalingPolicy(Part):
    """Raises and lowers the minimum of a target ahead of demand. The forecast is the floor; above it the target's own
    autoscaler stays in charge.
    """

    model_config = Part.model_config | {"extra": "ignore"}

    metadata: Metadata
    spec: ScalingPolicySpec
    status: dict[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> PolicyKey:
        """Its namespace and name."""
        return PolicyKey(self.metadata.namespace, self.metadata.name)

    @property
    def service(self) -> str:
        """service_name of its samples."""
        return self.spec.demand.service or self.metadata.name


def parse_policy(body: Mapping[str, Any]) -> ScalingPolicy:
    """A ScalingPolicy as it comes from the cluster or a file.

    Raises InvalidManifestError naming each wrong field, what was given and what is allowed.
    """
    return read(ScalingPolicy, body)
