"""The task of a ScalingBacktest: its policy and events as they are now, its span, and the limits."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from predictive_scaling.backtesting.assumptions import LiveValues
from predictive_scaling.backtesting.task import BacktestTask
from predictive_scaling.cluster.client import Cluster, ObjectNotFoundError
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.cluster.reviewed_objects import reduced
from predictive_scaling.decision.context import positive
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.decision.review import Problem, review_policy, service_problem
from predictive_scaling.errors import ClusterUnavailableError, PredictiveScalingError, RequestFailedError
from predictive_scaling.resources.metadata import API_VERSION, GROUP, VERSION, PolicyKey
from predictive_scaling.resources.namespace_patterns import UNRESTRICTED, NamespacePatterns
from predictive_scaling.resources.quantities import format_decimal, format_duration
from predictive_scaling.resources.scaling_backtest import BacktestAssumptions, ReplayedSpan, ScalingBacktest
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.statuses import ScalingPolicyStatus, parse_policy_status
from predictive_scaling.resources.vocabulary import BacktestReason
from predictive_scaling.settings import Settings
from predictive_scaling.targets.registry import TargetFinder

log = structlog.get_logger(__name__)

INLINE_POLICY = "inline"
"""Name of a policy in a backtest: the same for all, so that equal policies have the same result."""


class BacktestRefusedError(PredictiveScalingError):
    """A backtest cannot run. backtest_reason: why, in one word."""

    def __init__(self, backtest_reason: BacktestReason, message: str) -> None:
        super().__init__(message)
        self.backtest_reason = backtest_reason


@dataclass(frozen=True, slots=True)
class BacktestLimits:
    """Limits of the installation. time_limit: in real time."""

    concurrency: int
    time_limit: timedelta
    max_span: timedelta
    memory_mib: int
    services: NamespacePatterns = UNRESTRICTED
    """The services whose demand each namespace may read."""

    @classmethod
    def of(cls, settings: Settings) -> "BacktestLimits":
        """Return the limits of these settings."""
        return cls(
            concurrency=settings.backtest_concurrency,
            time_limit=settings.backtest_time_limit,
            max_span=settings.backtest_max_span,
            memory_mib=settings.backtest_memory_mib,
            services=NamespacePatterns(settings.namespace_services),
        )


def span_of(
    backtest: ScalingBacktest, started: ReplayedSpan | None, now: datetime, limits: BacktestLimits
) -> tuple[datetime, datetime]:
    """Return start and end of the demand. Raises BacktestRefusedError if it is too long or in the future.

    started: the span of an interrupted run, which is repeated over the same demand.
    """
    bounds = (started.from_, started.to) if started is not None else backtest.spec.span.bounds(now)
    since, until = (moment.replace(second=0, microsecond=0) for moment in bounds)
    if since >= until:
        raise BacktestRefusedError(
            BacktestReason.NO_DATA, f"span.from ({since:%Y-%m-%dT%H:%MZ}) is in the future; there is no demand yet"
        )
    if until - since > limits.max_span:
        raise BacktestRefusedError(
            BacktestReason.SPAN_TOO_LONG,
            f"the span of {format_duration(until - since)} is longer than {format_duration(limits.max_span)}, the "
            "limit of this installation (PREDICTIVE_SCALING_BACKTEST_MAX_SPAN); choose a shorter one",
        )
    return since, until


async def task_of(
    backtest: ScalingBacktest,
    cluster: Cluster,
    find: TargetFinder,
    events: Iterable[EventRecord],
    span: tuple[datetime, datetime],
    limits: BacktestLimits,
    now: datetime,
) -> BacktestTask:
    """Return the task of a backtest.

    Raises BacktestRefusedError if its policy does not exist, is invalid or names a service that its namespace may not
    read, ClusterUnavailableError.
    """
    (policy, status), spec = await _policy(backtest, cluster), backtest.spec
    problem = service_problem(policy, limits.services)
    if problem is not None:
        raise BacktestRefusedError(BacktestReason.SERVICE_NOT_ALLOWED, problem.message)
    namespace, labels = policy.metadata.namespace, policy.metadata.labels
    lead_time = spec.assumptions.lead_time
    return BacktestTask(
        policy=_manifest(policy, spec.assumptions),
        events=tuple(
            {
                "metadata": {"name": record.name, "namespace": record.namespace},
                "spec": record.event.spec.to_manifest(),
            }
            for record in sorted(events, key=lambda record: (record.namespace, record.name))
            if record.event is not None and record.event.selects(namespace, labels)
        ),
        since=span[0],
        until=span[1],
        training_share=spec.training_share,
        quantiles=spec.quantiles,
        prices=tuple((prices.under_provisioned_minute, prices.replica_hour) for prices in spec.objectives),
        lead_time_seconds=None if lead_time is None else lead_time.total_seconds(),
        live=_live_values(policy, status, await _observed(policy, find), spec.assumptions),
        memory_bytes=limits.memory_mib * 2**20,
        parent=os.getpid(),
        now=now,
    )


async def _policy(backtest: ScalingBacktest, cluster: Cluster) -> tuple[ScalingPolicy, ScalingPolicyStatus]:
    """Return the policy and its status; an empty status if there is none, or only that of an earlier spec."""
    spec, namespace = backtest.spec, backtest.metadata.namespace
    if spec.policy is None:
        return _accepted(_inline_manifest(backtest), "policySpec"), ScalingPolicyStatus()
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/scalingpolicies/{spec.policy}"
    try:
        body = await cluster.get(path)
    except ObjectNotFoundError:
        raise BacktestRefusedError(
            BacktestReason.POLICY_NOT_FOUND,
            f"ScalingPolicy {PolicyKey(namespace, spec.policy)} does not exist; create it first, or state its spec in "
            "policySpec",
        ) from None
    policy, status = _accepted(reduced(body), "policy"), parse_policy_status(body.get("status") or {})
    return policy, status if status.observed_generation == policy.metadata.generation else ScalingPolicyStatus()


async def _observed(policy: ScalingPolicy, find: TargetFinder) -> Observed | None:
    """Return what the target states now; None if it cannot be read.

    Raises ClusterUnavailableError if the API server does not answer; a failure of AWS is no reason to wait.
    """
    try:
        return await find(policy.metadata.namespace, policy.spec.target).observe()
    except PredictiveScalingError as error:
        if isinstance(error, ClusterUnavailableError) and not isinstance(error, RequestFailedError):
            raise
        log.info("backtest_target_not_read", policy=str(policy.key), error=str(error))
        return None


def _live_values(
    policy: ScalingPolicy, status: ScalingPolicyStatus, observed: Observed | None, assumptions: BacktestAssumptions
) -> LiveValues:
    """Return what the operator uses where neither the policy nor the backtest states it.

    What is stated is left out: it must not change the hash of the input.
    """
    spec, lead_time = policy.spec, status.lead_time
    has_lead_time = spec.forecast.lead_time is not None or assumptions.lead_time is not None
    has_capacity = spec.demand.per_replica is not None or assumptions.per_replica is not None
    maximum, hpa_target = (observed.maximum, positive(observed.target_utilization)) if observed else (None, None)
    return LiveValues(
        lead_time_seconds=None if has_lead_time or lead_time is None else lead_time.total_seconds(),
        per_replica=None if has_capacity else positive(status.per_replica),
        hpa_target=None if assumptions.target_utilization else hpa_target,
        maximum=None if maximum is None or maximum >= spec.replicas.max else maximum,
    )


def _accepted(body: dict[str, Any], field: str) -> ScalingPolicy:
    verdict = review_policy(body)
    if isinstance(verdict, Problem):
        raise BacktestRefusedError(BacktestReason.INVALID_POLICY, f"spec.{field}: {verdict.message}")
    return verdict


def _inline_manifest(backtest: ScalingBacktest) -> dict[str, Any]:
    metadata = backtest.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": "ScalingPolicy",
        "metadata": {"name": INLINE_POLICY, "namespace": metadata.namespace, "labels": metadata.labels},
        "spec": backtest.spec.policy_spec.to_manifest() if backtest.spec.policy_spec else {},
    }


def _manifest(policy: ScalingPolicy, assumptions: BacktestAssumptions) -> dict[str, Any]:
    """Return the manifest of the policy with the assumptions of the backtest."""
    spec = policy.spec.to_manifest()
    if assumptions.target_utilization is not None:
        spec["demand"]["targetUtilization"] = assumptions.target_utilization
    if assumptions.per_replica is not None:
        spec["demand"]["perReplica"] = format_decimal(assumptions.per_replica)
    return {"metadata": {"name": policy.metadata.name, "namespace": policy.metadata.namespace}, "spec": spec}
