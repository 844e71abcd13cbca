"""What the scaling activities of a group explain, and that reading them disturbs nothing else."""

from typing import Any

import pytest
from structlog.typing import EventDict

from predictive_scaling.errors import AWSAccessDeniedError
from predictive_scaling.resources.vocabulary import FailureCause
from predictive_scaling.targets.aws_clients import Account, AWSClients
from predictive_scaling.targets.group_activities import GroupActivities, explain_activities
from predictive_scaling.targets.port import Explanation
from tests.support.eventually import eventually
from tests.support.simulated_aws import SimulatedAWS, a_refusal, an_activity, use_simulated_aws

pytestmark = pytest.mark.usefixtures("logs")

IRELAND = Account("eu-west-1")
READ = "describe_scaling_activities"
NO_CAPACITY = (
    "We currently do not have sufficient c5.large capacity in the Availability Zone you requested. Our system "
    "will be working on provisioning additional capacity. Launching EC2 instance failed."
)
HEALTH_CHECK = "an instance was taken out of service in response to an ELB system health check failure."


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> SimulatedAWS:
    return use_simulated_aws(monkeypatch, pauses=True)


def a_replacement(**fields: Any) -> dict[str, Any]:
    description = {"Description": "Terminating EC2 instance: i-1", "Cause": f"At 2026-11-27T12:00:00Z {HEALTH_CHECK}"}
    return an_activity() | description | fields


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (NO_CAPACITY, FailureCause.INSUFFICIENT_CAPACITY),
        ("Could not launch On-Demand Instances. InsufficientInstanceCapacity - We", FailureCause.INSUFFICIENT_CAPACITY),
        ("Could not launch Spot Instances. UnfulfillableCapacity - Unable to", FailureCause.INSUFFICIENT_CAPACITY),
        ("There is no Spot capacity available that matches your request.", FailureCause.INSUFFICIENT_CAPACITY),
        ("Could not launch On-Demand Instances. VcpuLimitExceeded - You have", FailureCause.QUOTA),
        ("You have requested more vCPU capacity than your current vCPU limit of 32 allows", FailureCause.QUOTA),
        ("Max spot instance count exceeded. Launching EC2 instance failed.", FailureCause.QUOTA),
        ("The image id '[ami-0abc]' does not exist. Launching EC2", FailureCause.REPLICAS_NOT_MADE),
        ("The specified launch template, with template ID lt-1, does not exist.", FailureCause.REPLICAS_NOT_MADE),
        ("Request limit exceeded. Launching EC2 instance failed.", FailureCause.REPLICAS_NOT_MADE),
    ],
)
def test_a_failed_launch_has_the_cause_of_its_message(message: str, cause: FailureCause) -> None:
    explanation = explain_activities([an_activity(message)], lacks_instances=True)
    assert explanation.cause is cause
    assert message[:20] in explanation.details
    assert "Launching EC2 instance failed" not in explanation.details


def test_the_most_frequent_cause_of_failed_launches_is_reported() -> None:
    activities = [an_activity("The image id '[ami-1]' does not exist"), an_activity(NO_CAPACITY)] * 2
    explanation = explain_activities([*activities, an_activity(NO_CAPACITY)], lacks_instances=True)
    assert explanation.cause is FailureCause.INSUFFICIENT_CAPACITY
    assert "AWS failed 3 times" in explanation.details


def test_a_long_message_is_shortened() -> None:
    details = explain_activities([an_activity("x" * 5000)], lacks_instances=True).details
    assert len(details) < 400


def test_a_failed_launch_that_was_repeated_with_success_explains_nothing() -> None:
    activities = [an_activity(), an_activity(NO_CAPACITY)]
    assert explain_activities(activities, lacks_instances=False) == Explanation(None)
    assert explain_activities(activities[1:], lacks_instances=False).cause is FailureCause.INSUFFICIENT_CAPACITY


def test_replaced_instances_fail_their_health_check() -> None:
    explanation = explain_activities([a_replacement(), an_activity(), a_replacement()], lacks_instances=False)
    assert explanation.cause is FailureCause.PROBE_FAILING
    assert (
        "replaced 2 instances since: an instance was taken out of service in response to an ELB" in explanation.details
    )


def test_a_scale_in_and_a_cancelled_launch_explain_nothing() -> None:
    scale_in = a_replacement(Cause="At 2026-11-27T12:00:00Z an instance was taken out of service in response to a user")
    cancelled = an_activity(StatusCode="Cancelled")
    assert explain_activities([scale_in, cancelled], lacks_instances=True) == Explanation(None)


async def explanation_of(activities: GroupActivities, waited_seconds: float = 60.0, name: str = "web") -> Explanation:
    async def is_read() -> bool:
        return not activities.explain(IRELAND, name, waited_seconds, lacks_instances=True).is_pending

    await eventually(is_read)
    return activities.explain(IRELAND, name, waited_seconds, lacks_instances=True)


async def test_activities_before_the_raise_do_not_count(aws: SimulatedAWS) -> None:
    aws.activities = [an_activity(NO_CAPACITY, ago_seconds=300)]
    activities = GroupActivities(AWSClients())
    assert (await explanation_of(activities, 60.0)).cause is None
    assert (await explanation_of(activities, 600.0)).cause is FailureCause.INSUFFICIENT_CAPACITY
    assert aws.activity_reads == ["web"]


async def test_a_slow_read_holds_up_nobody_and_is_made_once(aws: SimulatedAWS) -> None:
    aws.activities = [an_activity(NO_CAPACITY)]
    aws.hold(READ)
    clients = AWSClients()
    activities = GroupActivities(clients)
    for _ in range(3):
        assert activities.explain(IRELAND, "web", 60.0, lacks_instances=True).is_pending
        # Other reads of many late groups wait for this one, not for a slot that writes need.
        assert activities.explain(IRELAND, "api", 60.0, lacks_instances=True).is_pending
        await clients.call(IRELAND, "describe_auto_scaling_groups", "web", AutoScalingGroupNames=["web"])
    assert aws.activity_reads == ["web"]
    aws.release(READ)
    assert (await explanation_of(activities)).cause is FailureCause.INSUFFICIENT_CAPACITY
    await explanation_of(activities, name="api")
    assert aws.activity_reads == ["web", "api"]


async def test_a_denied_read_is_logged_once_and_pauses_nothing(aws: SimulatedAWS, logs: list[EventDict]) -> None:
    aws.errors[READ] = a_refusal("AccessDenied", "DescribeScalingActivities", 403)
    clients = AWSClients()
    activities = GroupActivities(clients)
    for name in ("web", "api"):
        explanation = await explanation_of(activities, name=name)
        assert explanation.cause is None
        assert "allow autoscaling:DescribeScalingActivities" in explanation.details
    await clients.call(IRELAND, "describe_auto_scaling_groups", "web", AutoScalingGroupNames=["web"])
    assert [entry["log_level"] for entry in logs] == ["warning"]


@pytest.mark.parametrize("code", ["Throttling", "ServiceUnavailable"])
async def test_a_failed_read_is_pending_and_pauses_nothing(aws: SimulatedAWS, code: str) -> None:
    aws.errors[READ] = a_refusal(code, "DescribeScalingActivities", 503)
    clients = AWSClients()
    activities = GroupActivities(clients)

    async def has_failed() -> bool:
        return "could not be read" in activities.explain(IRELAND, "web", 60.0, lacks_instances=True).details

    await eventually(has_failed)
    assert activities.explain(IRELAND, "web", 60.0, lacks_instances=True).is_pending
    await clients.call(IRELAND, "describe_auto_scaling_groups", "web", AutoScalingGroupNames=["web"])


async def test_denied_groups_still_pause_the_account(aws: SimulatedAWS) -> None:
    aws.error = a_refusal("AccessDenied", "DescribeAutoScalingGroups", 403)
    clients = AWSClients()
    for _ in range(2):
        with pytest.raises(AWSAccessDeniedError):
            await clients.call(IRELAND, "describe_auto_scaling_groups", "web", AutoScalingGroupNames=["web"])
        aws.error = None
