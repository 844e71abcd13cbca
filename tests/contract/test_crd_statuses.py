"""The statuses of the custom resources on a real API server: stored fields and limits, and what `kubectl get` shows."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from predictive_scaling.resources.conditions import Condition, merge
from predictive_scaling.resources.scaling_backtest import MAX_ROWS, BacktestRow, ScalingBacktestStatus
from predictive_scaling.resources.scaling_decision import (
    Contribution,
    DecisionForecast,
    ScalingDecisionSpec,
    ScalingDecisionStatus,
    effect_of,
)
from predictive_scaling.resources.shadow_status import ShadowDifference, ShadowStatus
from predictive_scaling.resources.statuses import (
    MAX_POINTS,
    AccuracyStatus,
    Advice,
    BusinessEventStatus,
    ForecastPoint,
    ForecastStatus,
    LastDecision,
    ScalingPolicyStatus,
    Takeover,
)
from predictive_scaling.resources.vocabulary import (
    BacktestPhase,
    BacktestVariant,
    ConditionStatus,
    DecisionType,
    Mode,
    Reason,
    Source,
)
from tests.support.custom_resources import a_manifest, a_minimal_policy, a_scaling_decision, write_status
from tests.support.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.e2e


def rows(table: str) -> list[dict[str, str]]:
    """Return the rows of a kubectl table by column; columns are separated by two or more spaces."""
    head, *lines = table.splitlines()
    starts = [heading.start() for heading in re.finditer(r"(?:^|(?<=\s\s))\S", head)]
    spans = list(zip(starts, [*starts[1:], None], strict=True))
    return [{head[a:b].strip(): line[a:b].strip() for a, b in spans} for line in lines]


POLICY_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "mode": "Recommend",
    "target": "hpa/checkout",
    "currentReplicas": 12,
    "readyReplicas": 11,
    "floor": 9,
    "uncappedFloor": 52,
    "source": "Forecast",
    "forecast": {
        "model": "LightGBM",
        "version": "20261124-1",
        "generatedAt": "2026-11-24T17:45:00Z",
        "validUntil": "2026-11-24T18:45:00Z",
        "summary": "812 (p90)",
        "points": [{"time": "2026-11-24T18:00:00Z", "p50": "700", "p90": "812.5"}],
    },
    "accuracy": {"wape": "0.08", "mape": "0.12", "coverage": "0.91", "window": "168h"},
    "leadTime": "3m",
    "perReplica": "50",
    "lastDecision": {"name": "checkout-4f1c", "at": "2026-11-24T17:45:00Z", "summary": "4->9 Recommended"},
    "advice": {"quantile": "0.85", "targetUtilization": 80, "replicaHoursSaved": "31.5", "message": "0.85 suffices"},
    "shadow": {
        "since": "2026-11-17T18:00:00Z",
        "until": "2026-11-24T17:58:00Z",
        "coveredHours": "161.5",
        "decisions": 84,
        "minutesShort": "45",
        "minutesShortAvoided": "38",
        "replicaHours": "812.5",
        "replicaHoursAdded": "-0.5",
        "largest": [
            {"time": "2026-11-24T17:00:00Z", "minutesShortAvoided": "12", "replicaHoursAdded": "5.2"},
            {"time": "2026-11-22T03:00:00Z", "minutesShortAvoided": "-1", "replicaHoursAdded": "-8.25"},
        ],
    },
    "takeover": {"targetUid": "0b54", "originalMinimum": 3, "since": "2026-11-24T17:00:00Z", "written": True},
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "TickSucceeded",
            "message": "the last reconciliation succeeded",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-11-24T17:00:00Z",
        }
    ],
}


async def test_every_field_of_a_status_is_stored(kubectl: Kubectl) -> None:
    await kubectl.apply(a_minimal_policy())
    status = ScalingPolicyStatus.model_validate(POLICY_STATUS).to_manifest()
    await write_status(kubectl, "sp", "checkout", status)

    assert status == POLICY_STATUS
    assert (await kubectl.get("sp", "checkout"))["status"] == POLICY_STATUS


async def test_policies_have_printer_columns(kubectl: Kubectl) -> None:
    await kubectl.apply(a_minimal_policy())
    await write_status(kubectl, "sp", "checkout", POLICY_STATUS)

    (standard,) = rows(await kubectl("get", "sp"))
    (wide,) = rows(await kubectl("get", "sp", "-o", "wide"))

    assert re.fullmatch(r"\d+s|\d+m\d*s?", standard.pop("AGE"))
    assert standard == {
        "NAME": "checkout",
        "TARGET": "hpa/checkout",
        "MODE": "Recommend",
        "MIN": "1",
        "MAX": "40",
        "FLOOR": "9",
        "REPLICAS": "12",
        "FORECAST": "812 (p90)",
        "READY": "True",
        "LAST DECISION": "4->9 Recommended",
    }
    wide_columns = {
        "SOURCE": "Forecast",
        "MODEL": "LightGBM",
        "MAPE": "0.12",
        "LEAD": "3m",
        "SHORT AVOIDED": "38",
        "HOURS ADDED": "-0.5",
    }
    assert {column: wide[column] for column in wide if column not in standard and column != "AGE"} == wide_columns


async def test_decisions_and_events_have_printer_columns(kubectl: Kubectl) -> None:
    await kubectl.apply(a_scaling_decision("checkout-4f1c", "checkout"))
    recurrence = {"rrule": "FREQ=WEEKLY;BYDAY=FR", "timezone": "Europe/Paris", "start": "18:00", "duration": "2h"}
    await kubectl.apply(
        a_manifest("BusinessEvent", "friday", type="evening", recurrence=recurrence, policies={"all": True})
    )
    decision_status = ScalingDecisionStatus.model_validate(
        {"phase": "Verifying", "startedAt": "2026-11-24T17:45:00Z", "attempts": 1}
    )
    event_status = {
        "phase": "Scheduled",
        "nextStart": "2026-11-27T17:00:00Z",
        "matchedPolicies": 3,
        "observedGeneration": 1,
    }
    await write_status(kubectl, "sd", "checkout-4f1c", decision_status.to_manifest())
    await write_status(kubectl, "be", "friday", BusinessEventStatus.model_validate(event_status).to_manifest())

    (decision,) = rows(await kubectl("get", "sd"))
    (event,) = rows(await kubectl("get", "be"))

    assert list(decision) == ["NAME", "SERVICE", "TYPE", "FROM", "TO", "STATUS", "SOURCE", "REASON", "AGE"]
    assert list(decision.values())[1:-1] == ["checkout", "ScaleUp", "4", "9", "Verifying", "Forecast", "ForecastRose"]
    assert list(event) == ["NAME", "TYPE", "PHASE", "NEXT START", "POLICIES", "READY", "AGE"]
    assert list(event.values())[1:5] == ["evening", "Scheduled", "2026-11-27T17:00:00Z", "3"]


async def test_a_backtest_is_immutable_and_can_be_waited_for(kubectl: Kubectl) -> None:
    await kubectl.apply(a_manifest("ScalingBacktest", "release", policy="checkout"))
    assert (await kubectl.get("sb", "release"))["spec"] == {"policy": "checkout", "trainingShare": "0.7"}

    with pytest.raises(KubectlError, match=r"spec: .*cannot be changed after the creation"):
        await kubectl("patch", "sb", "release", "--type=merge", "-p", '{"spec": {"policy": "cart"}}')
    row = BacktestRow(
        variant=BacktestVariant.POLICY,
        name="the policy as written",
        quantile=0.9,
        hpa_target=0.7,
        under_provisioned_minutes=12.25,
        replica_hours=1e12,
        hours_ratio=1.04,
    )
    # kubectl waits for a condition of the current generation.
    complete = Condition(type="Complete", status=ConditionStatus.TRUE, reason="Completed", observed_generation=1)
    status = ScalingBacktestStatus(
        phase=BacktestPhase.SUCCEEDED,
        summary="12 min short (HPA 340) at 1.04 of its hours",
        rows=(row,) * MAX_ROWS,
        conditions=(complete,),
    ).to_manifest()
    await write_status(kubectl, "sb", "release", status)

    assert "condition met" in await kubectl("wait", "--for=condition=Complete", "sb/release")
    assert (await kubectl.get("sb", "release"))["status"] == status
    (shown,) = rows(await kubectl("get", "sb"))
    assert list(shown) == ["NAME", "POLICY", "PHASE", "RESULT", "AGE"]
    assert list(shown.values())[1:-1] == ["checkout", "Succeeded", "12 min short (HPA 340) at 1.04 of its hours"]


async def test_the_kinds_have_short_names_and_a_category(kubectl: Kubectl) -> None:
    kinds = rows(await kubectl("api-resources", "--categories=scaling", "--api-group=predictive-scaling.io"))

    assert {row["SHORTNAMES"]: row["KIND"] for row in kinds} == {
        "sp": "ScalingPolicy",
        "be": "BusinessEvent",
        "sd": "ScalingDecision",
        "sb": "ScalingBacktest",
    }


async def test_a_status_has_one_condition_per_type(kubectl: Kubectl) -> None:
    await kubectl.apply(a_minimal_policy())
    duplicates = [Condition.model_validate({"type": "Ready", "status": "True", "reason": "Seen"}).to_manifest()] * 2

    with pytest.raises(KubectlError, match=r"status\.conditions\[1\]: Duplicate value"):
        await write_status(kubectl, "sp", "checkout", {"conditions": duplicates})


async def test_a_status_has_a_limited_number_of_points(kubectl: Kubectl) -> None:
    await kubectl.apply(a_minimal_policy())
    point = {"time": "2026-11-24T18:00:00Z", "p50": "700", "p90": "812.5"}
    forecast = POLICY_STATUS["forecast"] | {"points": [point] * 25}

    with pytest.raises(KubectlError, match=r"status\.forecast\.points: Too many: 25: must have at most 24 items"):
        await write_status(kubectl, "sp", "checkout", {"forecast": forecast})


@pytest.mark.parametrize("number", [5e-324, 2.0**63 - 1, 1e30, float("inf")])
async def test_records_with_extreme_values_are_accepted(kubectl: Kubectl, number: float) -> None:
    now = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    text = "\x00é\ud800" * 100_000
    status = ScalingPolicyStatus(
        observed_generation=2**63 - 1,
        target=text,
        current_replicas=2**40,
        uncapped_floor=2**40,
        lead_time=timedelta(days=99_999),
        per_replica=number,
        forecast=ForecastStatus(
            model=text,
            generated_at=now,
            valid_until=now,
            summary=text,
            points=(ForecastPoint(time=now, p50=number, p90=number),) * MAX_POINTS,
        ),
        accuracy=AccuracyStatus(wape=number, mape=number, coverage=number),
        last_decision=LastDecision(name=text, at=now, summary=text),
        advice=Advice(quantile=number, replica_hours_saved=number, message=text),
        shadow=ShadowStatus(
            since=now,
            until=now,
            covered_hours=number,
            decisions=2**31,
            minutes_short=number,
            minutes_short_avoided=number,
            replica_hours=number,
            replica_hours_added=-number,
            largest=(ShadowDifference(time=now, minutes_short_avoided=-number, replica_hours_added=number),) * 3,
        ),
        takeover=Takeover(target_uid=text, original_minimum=2**40, since=now, resume=text),
        conditions=merge([], [Condition(type="Ready", status=ConditionStatus.FALSE, reason=text, message=text)], now),
    )
    spec = ScalingDecisionSpec(
        policy="checkout",
        service="ä" * 253,
        target=text,
        type=DecisionType.SCALE_UP,
        from_=2**40,
        to=2**40,
        uncapped=2**40,
        mode=Mode.AUTO,
        source=Source.FORECAST,
        reason=Reason.FORECAST_ROSE,
        message=text,
        forecast=DecisionForecast(
            at=now,
            quantile=number,
            value=number,
            model=text,
            version=text,
            contributions=(Contribution(feature=text, effect=effect_of(number)),),
        ),
    )
    await kubectl.apply(a_minimal_policy())

    await write_status(kubectl, "sp", "checkout", status.to_manifest())
    await kubectl.apply(a_manifest("ScalingDecision", "checkout-1", **spec.to_manifest()))
