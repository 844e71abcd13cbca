"""ScalingPolicy: the target to scale, the demand to forecast, and the bounds of the floor."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field

from forecasting.forecaster import ModelChoice
from predictive_scaling.resources.demand_calendar import HolidayCalendar, Timezone
from predictive_scaling.resources.metadata import Metadata, PolicyKey
from predictive_scaling.resources.part import Part, read
from predictive_scaling.resources.quantities import HMS_PATTERN, DecimalBetween, DurationBetween
from predictive_scaling.resources.regressor import MAX_REGRESSORS, Regressor, SeriesName, is_empty
from predictive_scaling.resources.rules import Rule
from predictive_scaling.resources.step import Step
from predictive_scaling.resources.target import TargetSpec
from predictive_scaling.resources.vocabulary import Aggregation, FallbackBehavior, HeadroomMethod, Mode

MAX_REPLICAS = 100_000
DEFAULT_QUANTILE = 0.9
_MIN_QUANTILE, _MAX_QUANTILE = 0.5, 0.999

Percent = Annotated[int, Field(ge=1, le=100)]
Quantile = Annotated[float, DecimalBetween("0.5", "0.999")]
Price = Annotated[float, DecimalBetween("0.000001", "1000000000", positive=True)]


class Demand(Part):
    """The demand to forecast, and the capacity of one replica."""

    service: SeriesName | None = None
    """service_name of the samples. Defaults to the name of the policy."""

    metric: SeriesName
    """metric_name of the samples, such as requests_per_second. Its unit is the unit of perReplica."""

    aggregation: Aggregation = Aggregation.SUM
    """How the series of a service are combined in each minute: Sum, Mean or Max."""

    per_replica: Annotated[float | None, DecimalBetween("0.000001", "999999999999", auto=True, positive=True)] = None
    """Demand that one ready replica serves at 100 % load, in the unit of the metric, as a string such as "50". Auto,
    the default, learns it from observed demand and the ready replicas of an HPA; required for a workload."""

    target_utilization: Percent = 70
    """Target utilization of reactive scaling, in percent of a replica: the target of the HorizontalPodAutoscaler, or of
    the operator for a workload without one. It does not affect the floor; see forecast.utilization."""

    zero_is_valid: bool = False
    """Whether a demand of exactly zero is valid. If false, the default, zero counts as missing data, which never lowers
    the floor."""


class Objective(Part):
    """Prices of too few replicas and of a replica; they determine the quantile."""

    under_provisioned_minute: Price
    """Cost of one minute with too few ready replicas, regardless of how many are missing, as a string such as "1.0", in
    any currency."""

    replica_hour: Price
    """Cost of one replica for one hour, in the same currency, as a string such as "0.5"."""


class ForecastOptions(Part):
    """How demand is forecast and turned into a floor."""

    model: ModelChoice = ModelChoice.AUTO
    """Forecasting model. Auto, the default, uses LightGBM at the horizons at which it beat the naive models on holdout
    days, and the best naive model elsewhere. LightGBM uses the trained model even where a naive model is better,
    which the condition ForecastReady reports; until one is trained, the best naive model. HoltWinters and
    SeasonalNaive always use that model."""

    quantile: Annotated[float | None, DecimalBetween("0.5", "0.999", optional=True)] = None
    """Quantile of peak demand over the lead time that the floor covers, as a string between "0.5" and "0.999". Defaults
    to "0.9" if no objective is set."""

    objective: Objective | None = None
    """Prices from which the quantile is chosen. Excludes quantile."""

    utilization: Percent = 100
    """Percent of a replica's capacity that the forecast may use. Below 100 the floor keeps a reserve."""

    horizon: Annotated[timedelta, DurationBetween("1m", "24h")] = timedelta(hours=1)
    """How far ahead demand is forecast, from 1m to 24h. Must be longer than leadTime."""

    lead_time: Annotated[timedelta | None, DurationBetween("0s", "24h", auto=True)] = None
    """Time from raising the floor to ready replicas, as a duration such as 3m. Auto, the default, measures it."""

    timezone: Timezone | None = None
    """Time zone of the daily and weekly seasonality, from the IANA database, such as Europe/Paris. Defaults to UTC."""

    holidays: HolidayCalendar | None = None
    """Country whose public holidays affect demand: an ISO 3166 code such as FR, or a subdivision such as DE-BY.
    Defaults to none."""

    regressors: Annotated[tuple[Regressor, ...], Field(max_length=MAX_REGRESSORS, exclude_if=is_empty)] = ()
    """Leading indicators: up to five series that may run ahead of demand, such as the requests of an upstream service.
    Each is used only while it makes the forecasts of the last days better; status.forecast.regressors says whether."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.regressors) || self.regressors.all(regressor, "
            "self.regressors.exists_one(other, "
            "other.service == regressor.service && other.metric == regressor.metric))",
            holds=lambda forecast: (
                len({(regressor.service, regressor.metric) for regressor in forecast.regressors})
                == len(forecast.regressors)
            ),
            message="must not name the same service and metric twice",
            field="regressors",
        ),
        Rule(
            cel="!(has(self.quantile) && has(self.objective))",
            holds=lambda forecast: forecast.quantile is None or forecast.objective is None,
            message="choose quantile or objective, not both",
            field="quantile",
        ),
        Rule(
            # An invalid duration is reported once, by the rule of its own field.
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
        """Return the configured quantile, else the one that follows from the prices, else 0.9.

        The quantile from prices is used until the tuner has simulated the policy's own demand. It counts each missing
        replica as a separate shortage, as no history shows how many are missing at the same time.
        """
        if self.objective is None:
            return DEFAULT_QUANTILE if self.quantile is None else self.quantile
        short, replica = self.objective.under_provisioned_minute, self.objective.replica_hour / 60
        return min(max(short / (short + replica), _MIN_QUANTILE), _MAX_QUANTILE)


class ReplicaBounds(Part):
    """Lower and upper bound of the floor, in replicas."""

    min: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Lowest floor, in replicas."""

    max: Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
    """Highest floor, in replicas. The target's own maximum applies, too."""

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
    """Rate limit for raising the floor. An HPA below its minimum scales to it immediately, so this is the only limit
    upwards.
    """

    max_step: Step = Step(100, is_percent=True)
    """Maximum raise per period: a percentage of the floor such as 100%, the default, or a number of replicas."""

    period: Annotated[timedelta, DurationBetween("1s", "24h")] = timedelta(minutes=1)
    """Length of the period to which maxStep applies."""


class ScaleDown(Part):
    """Rate limit for lowering the floor."""

    max_step: Step = Step(20, is_percent=True)
    """Maximum decrease per period: a percentage of the floor such as 20%, the default, rounded up to at least one
    replica, or a number of replicas."""

    period: Annotated[timedelta, DurationBetween("1s", "24h")] = timedelta(minutes=1)
    """Length of the period to which maxStep applies."""

    stabilization_window: Annotated[timedelta, DurationBetween("0s", "24h")] = timedelta(minutes=10)
    """The floor is not lowered below the highest recommendation of this time."""


class DeadBand(Part):
    """Changes below both thresholds are not written."""

    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Threshold in replicas."""

    percent: Annotated[int, Field(ge=0, le=100)] = 5
    """Threshold in percent of the floor."""


class Fallback(Part):
    """Behavior without a fresh forecast, an earlier forecast or demand of last week."""

    behavior: FallbackBehavior = FallbackBehavior.HOLD_FLOOR
    """HoldFloor, the default, keeps the floor indefinitely. Static sets it to replicas, CurrentReplicas to the current
    number of replicas, and CurrentReplicasIfHigher to the higher of that number and the floor."""

    after: Annotated[timedelta, DurationBetween("1m", "168h")] = timedelta(minutes=30)
    """Time without any forecast after which the behavior applies."""

    replicas: Annotated[int | None, Field(ge=0, le=MAX_REPLICAS)] = None
    """Floor for the behavior Static, in replicas. Required with Static, forbidden otherwise."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # The default {} of fallback is validated before behavior has its default.
            cel="has(self.replicas) == (has(self.behavior) && self.behavior == 'Static')",
            holds=lambda fallback: (fallback.replicas is not None) == (fallback.behavior is FallbackBehavior.STATIC),
            message="must be set with behavior Static, and only then",
            message_cel="'must be set with behavior Static, and only then; behavior is ' + self.behavior",
            field="replicas",
        ),
    )


class NodeHeadroom(Part):
    """Spare capacity on nodes for the replicas of the next raise, before their pods exist."""

    method: HeadroomMethod = HeadroomMethod.AUTO
    """CapacityBuffer declares the headroom to the cluster's node autoscaler. Placeholders reserves it with pods of low
    priority, which the scheduler evicts as soon as the replicas need their capacity. Auto, the default, uses a
    CapacityBuffer where the cluster has that API, and placeholders elsewhere."""

    lead_time: Annotated[timedelta, DurationBetween("1s", "6h")] = timedelta(minutes=5)
    """Time that a new node takes until pods can be scheduled on it, such as 5m. The headroom exists this much earlier
    than the replicas that need it."""

    max_replicas: Annotated[int | None, Field(ge=1, le=MAX_REPLICAS)] = None
    """Maximum headroom, in replicas. Defaults to no limit other than replicas.max, which the replicas and their
    headroom together never exceed."""


class ScalingPolicySpec(Part):
    """Desired behavior of the policy."""

    mode: Mode = Mode.RECOMMEND
    """Off does nothing. Recommend, the default, records decisions without writing to the target. Auto writes the floor.
    Leaving Auto restores the target's original minimum; a workload keeps as many replicas as its demand needs."""

    target: TargetSpec
    """Target to scale. Exactly one of its fields must be set."""

    demand: Demand
    """The demand to forecast, and the capacity of one replica."""

    forecast: ForecastOptions = Field(default_factory=ForecastOptions)
    """How demand is forecast: model, quantile, horizon and lead time."""

    replicas: ReplicaBounds
    """Lower and upper bound of the floor, in replicas."""

    scale_up: ScaleUp = Field(default_factory=ScaleUp)
    """Rate limit for raising the floor."""

    scale_down: ScaleDown = Field(default_factory=ScaleDown)
    """Rate limit for lowering the floor."""

    dead_band: DeadBand = Field(default_factory=DeadBand)
    """Thresholds below which a change is not written."""

    fallback: Fallback = Field(default_factory=Fallback)
    """Behavior when no forecast is available."""

    node_headroom: NodeHeadroom | None = None
    """Spare capacity on nodes for the next raise, so that its replicas need not wait for nodes. None by default. Takes
    effect in mode Auto; not available for Auto Scaling groups, whose instances are the nodes."""

    suspend: bool = False
    """Freezes the floor. Takes precedence over annotations."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.fallback.replicas) "
            "|| (self.fallback.replicas >= self.replicas.min && self.fallback.replicas <= self.replicas.max)",
            holds=lambda spec: (
                spec.fallback.replicas is None or spec.replicas.min <= spec.fallback.replicas <= spec.replicas.max
            ),
            message="must be between replicas.min and replicas.max",
            message_cel="'must be between replicas.min (%d) and replicas.max (%d)'"
            ".format([self.replicas.min, self.replicas.max])",
            field="fallback.replicas",
        ),
        Rule(
            cel="!has(self.demand.service) || !has(self.forecast.regressors) "
            "|| self.forecast.regressors.all(regressor, "
            "regressor.service != self.demand.service || regressor.metric != self.demand.metric)",
            holds=lambda spec: all(
                (regressor.service, regressor.metric) != (spec.demand.service, spec.demand.metric)
                for regressor in spec.forecast.regressors
            ),
            message="must not name the demand itself",
            field="forecast.regressors",
        ),
        Rule(
            cel="!has(self.nodeHeadroom) || !has(self.target.autoScalingGroup)",
            holds=lambda spec: spec.node_headroom is None or spec.target.auto_scaling_group is None,
            message="must not be set for an Auto Scaling group, whose instances are not pods",
            field="nodeHeadroom",
        ),
    )


class ScalingPolicy(Part):
    """Raises and lowers the minimum of a target ahead of demand. The forecast sets the floor; above it the target's own
    autoscaler stays in charge.
    """

    model_config = Part.model_config | {"extra": "ignore"}

    metadata: Metadata
    spec: ScalingPolicySpec

    @property
    def key(self) -> PolicyKey:
        """The namespace and name of the policy."""
        return PolicyKey(self.metadata.namespace, self.metadata.name)

    @property
    def service(self) -> str:
        """The service_name of its samples."""
        return self.spec.demand.service or self.metadata.name


def parse_policy(body: Mapping[str, Any]) -> ScalingPolicy:
    """Return the typed ScalingPolicy of a manifest.

    Raises InvalidManifestError with each invalid field, its value and what is allowed.
    """
    return read(ScalingPolicy, body)
