"""CPU utilization of an HPA: target and value are those of a single metric, whatever other metrics exist."""

from typing import Any

import pytest

from predictive_scaling.cluster.horizontal_pod_autoscaler_record import cpu_utilization

CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
CPU_STATUS = {
    "type": "Resource",
    "resource": {"name": "cpu", "current": {"averageUtilization": 42, "averageValue": "21m"}},
}
MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 90}},
}
MEMORY_STATUS = {"type": "Resource", "resource": {"name": "memory", "current": {"averageUtilization": 88}}}
QUEUE = {
    "type": "External",
    "external": {"metric": {"name": "jobs"}, "target": {"type": "AverageValue", "averageValue": "30"}},
}
QUEUE_STATUS = {"type": "External", "external": {"metric": {"name": "jobs"}, "current": {"averageValue": "12"}}}


def container(name: str, percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": name, "target": target}}


def container_status(name: str, percent: int) -> dict[str, Any]:
    current = {"averageUtilization": percent, "averageValue": "10m"}
    return {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": name, "current": current}}


def test_memory_listed_first_is_not_read_as_cpu() -> None:
    assert cpu_utilization([MEMORY, CPU], [MEMORY_STATUS, CPU_STATUS]) == (0.7, 0.42)


def test_a_status_in_another_order_is_matched_to_the_metric_of_the_spec() -> None:
    assert cpu_utilization([CPU, MEMORY, QUEUE], [QUEUE_STATUS, MEMORY_STATUS, CPU_STATUS]) == (0.7, 0.42)


def test_a_status_without_the_cpu_metric_leaves_its_value_unknown() -> None:
    # While a metric fails, the HPA controller leaves its entry out or empty.
    assert cpu_utilization([CPU, MEMORY], [{"type": ""}, MEMORY_STATUS]) == (0.7, None)


def test_an_hpa_on_memory_only_has_no_cpu_utilization() -> None:
    assert cpu_utilization([MEMORY], [MEMORY_STATUS, CPU_STATUS]) == (None, None)


def test_an_average_value_of_cpu_is_no_utilization() -> None:
    cores = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}}}
    assert cpu_utilization([cores, container("app", 60)], [CPU_STATUS, container_status("app", 30)]) == (0.6, 0.3)


def test_the_pod_metric_takes_precedence_over_container_metrics() -> None:
    assert cpu_utilization([container("app", 60), CPU], [container_status("app", 95), CPU_STATUS]) == (0.7, 0.42)


def test_the_container_closest_to_its_target_is_used() -> None:
    specified = [container("sidecar", 50), container("app", 80)]
    current = [container_status("app", 60), container_status("sidecar", 45)]
    assert cpu_utilization(specified, current) == (0.5, 0.45)


@pytest.mark.parametrize(
    "malformed",
    [None, {}, "cpu", 7, [None], [[]], [{}], [{"type": "Resource"}], [{"type": "Resource", "resource": "cpu"}]],
)
def test_malformed_lists_have_no_cpu_utilization(malformed: Any) -> None:
    assert cpu_utilization(malformed, malformed) == (None, None)
    assert cpu_utilization([CPU], malformed) == (0.7, None)


@pytest.mark.parametrize("percent", ["42", True, -1, float("nan"), float("inf"), {"value": 42}, None])
def test_a_value_that_is_not_a_percentage_is_ignored(percent: Any) -> None:
    current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}
    assert cpu_utilization([CPU], [current]) == (0.7, None)
