"""What is read from the description of an Auto Scaling group, in capacity units."""

from typing import Any

from predictive_scaling.targets.auto_scaling_group_record import AutoScalingGroupRecord

ARN = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:{id}:autoScalingGroupName/web"


def a_description(*instances: dict[str, Any], identity: str = "1-2", **fields: Any) -> dict[str, Any]:
    return {
        "AutoScalingGroupName": "web",
        "AutoScalingGroupARN": ARN.format(id=identity),
        "MinSize": 2,
        "MaxSize": 40,
        "DesiredCapacity": 8,
        "Instances": list(instances),
        "SuspendedProcesses": [],
    } | fields


def an_instance(state: str = "InService", *, weight: str | None = None, health: str = "Healthy") -> dict[str, Any]:
    return {"LifecycleState": state, "HealthStatus": health} | ({"WeightedCapacity": weight} if weight else {})


def parse(*instances: dict[str, Any], **fields: Any) -> AutoScalingGroupRecord:
    return AutoScalingGroupRecord.parse(a_description(*instances, **fields))


def test_instances_count_as_their_weight() -> None:
    record = parse(an_instance(weight="4"), an_instance(weight="2"), an_instance("Pending", weight="2"))
    assert (record.ready, record.existing, record.desired) == (6, 8, 8)


def test_instances_without_weights_count_as_one() -> None:
    assert parse(an_instance(), an_instance()).ready == 2


def test_instances_of_a_warm_pool_are_no_capacity() -> None:
    record = parse(
        an_instance(), an_instance("Warmed:Stopped"), an_instance("Warmed:Running"), an_instance("Warmed:Pending")
    )
    assert (record.ready, record.existing) == (1, 1)


def test_unhealthy_starting_and_ending_instances_are_not_ready() -> None:
    record = parse(
        an_instance(health="Unhealthy"),
        an_instance("Pending:Wait"),
        an_instance("Terminating"),
        an_instance("Standby"),
        an_instance(),
    )
    assert (record.ready, record.existing) == (1, 3)


def test_a_suspended_launch_matters_only_while_capacity_is_missing() -> None:
    suspended = [{"ProcessName": "Launch", "SuspensionReason": "User suspended at 10:00"}]
    short = parse(an_instance(), SuspendedProcesses=suspended)
    enough = parse(an_instance(), SuspendedProcesses=suspended, DesiredCapacity=1)
    assert short.explanation is not None
    assert "User suspended at 10:00" in short.explanation.details
    assert enough.explanation is None


def test_other_suspended_processes_are_no_reason() -> None:
    assert parse(an_instance(), SuspendedProcesses=[{"ProcessName": "AZRebalance"}]).explanation is None


def test_protected_instances_above_the_desired_capacity_remain() -> None:
    protected = an_instance(weight="2") | {"ProtectedFromScaleIn": True}
    kept = parse(protected, protected, an_instance(weight="2"), DesiredCapacity=3)
    assert "4 units remain" in (kept.excess or "")
    assert "protected from scale-in" in (kept.excess or "")
    # AWS can reach this desired capacity without the protected instances.
    assert parse(protected, protected, an_instance(weight="2"), DesiredCapacity=4).excess is None
    assert parse(protected, protected, DesiredCapacity=4).excess is None


def test_a_suspended_terminate_keeps_instances_above_the_desired_capacity() -> None:
    suspended = [{"ProcessName": "Terminate", "SuspensionReason": "User suspended at 10:00"}]
    kept = parse(an_instance(), an_instance(), SuspendedProcesses=suspended, DesiredCapacity=1)
    assert "process Terminate of the group is suspended (User suspended at 10:00)" in (kept.excess or "")


def test_a_recreated_group_has_another_identity() -> None:
    assert parse(identity="1-2").identity != parse(identity="3-4").identity
