"""CPU utilization of an HPA: target and value are those of one metric, whatever else stands in the lists."""

from typing import Any

import pytest

from predictive_scaling.cluster.horizontal_pod_autoscaler_record import cpu_utilization

CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
CPU_NOW = {
    "type": "Resource",
    "resource": {"name": "cpu", "current": {"averageUtilization": 42, "averageValue": "21m"}},
}
MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 90}},
}
MEMORY_NOW = {"type": "Resource", "resource": {"name": "memory", "current": {"averageUtilization": 88}}}
QUEUE = {
    "type": "External",
    "external": {"metric": {"name": "jobs"}, "target": {"type": "AverageValue", "averageValue": "30"}},
}
QUEUE_NOW = {"type": "External", "external": {"metric": {"name": "jobs"}, "current": {"averageValue": "12"}}}


def container(name: str, percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": name, "target": target}}


def container_now(name: str, percent: int) -> dict[str, Any]:
    current = {"averageUtilization": percent, "averageValue": "10m"}
    return {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": name, "current": current}}


def test_memory_listed_first_is_not_taken_for_cpu() -> None:
    assert cpu_utilization([MEMORY, CPU], [MEMORY_NOW, CPU_NOW]) == (0.7, 0.42)


def test_a_status_in_another_order_pairs_with_the_metric_of_the_spec() -> None:
    assert cpu_utilization([CPU, MEMORY, QUEUE], [QUEUE_NOW, MEMORY_NOW, CPU_NOW]) == (0.7, 0.42)


def test_a_status_without_the_cpu_metric_leaves_its_value_unknown() -> None:
    # While a metric fails, the HPA controller leaves its entry out or empty.
    assert cpu_utilization([CPU, MEMORY], [{"type": ""}, MEMORY_NOW]) == (0.7, None)


def test_an_hpa_on_memory_alone_states_no_cpu() -> None:
    assert cpu_utilization([MEMORY], [MEMORY_NOW, CPU_NOW]) == (None, None)


def test_an_average_value_of_cpu_is_no_utilization() -> None:
    cores = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}}}
    assert cpu_utilization([cores, container("app", 60)], [CPU_NOW, container_now("app", 30)]) == (0.6, 0.3)


def test_the_whole_pod_counts_before_its_containers() -> None:
    assert cpu_utilization([container("app", 60), CPU], [container_now("app", 95), CPU_NOW]) == (0.7, 0.42)


def test_of_several_containers_the_one_closest_to_its_target_decides() -> None:
    specified = [container("sidecar", 50), container("app", 80)]
    current = [container_now("app", 60), container_now("sidecar", 45)]
    assert cpu_utilization(specified, current) == (0.5, 0.45)


@pytest.mark.parametrize(
    "garbled",
    [None, {}, "cpu", 7, [None], [[]], [{}], [{"type": "Resource"}], [{"type": "Resource", "resource": "cpu"}]],
)
def test_lists_that_cannot_be_read_say_nothing(garbled: Any) -> None:
    assert cpu_utilization(garbled, garbled) == (None, None)
    assert cpu_utilization([CPU], garbled) == (0.7, None)


@pytest.mark.parametrize("percent", ["42", True, -1, float("nan"), float("inf"), {"value": 42}, None])
def test_a_value_that_is_no_percentage_is_left_out(percent: Any) -> None:
    current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}}
    assert cpu_utilization([CPU], [current]) == (0.7, None)
