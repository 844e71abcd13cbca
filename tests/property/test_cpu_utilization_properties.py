"""CPU utilization of an HPA for metrics of any kind in any order."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.cluster.horizontal_pod_autoscaler_record import cpu_utilization

Pair = tuple[dict[str, Any], dict[str, Any] | None]
"""A metric of the spec, and its entry in the status; None where the controller omitted it."""

percents = st.integers(1, 400)
values = st.none() | st.integers(0, 400)


def a_metric(kind: str, source: dict[str, Any], target: dict[str, Any], current: dict[str, Any] | None) -> Pair:
    field = kind[0].lower() + kind[1:]
    specified = {"type": kind, field: {**source, "target": target}}
    return specified, None if current is None else {"type": kind, field: {**source, "current": current}}


def utilization_metric(kind: str, source: dict[str, Any], percent: int, value: int | None) -> Pair:
    current = None if value is None else {"averageUtilization": value, "averageValue": "5m"}
    return a_metric(kind, source, {"type": "Utilization", "averageUtilization": percent}, current)


def other_metrics() -> st.SearchStrategy[Pair]:
    """Metrics other than CPU utilization, some of them with a utilization of another resource."""
    memory = st.builds(utilization_metric, st.just("Resource"), st.just({"name": "memory"}), percents, values)
    of_container = st.just({"name": "memory", "container": "app"})
    container_memory = st.builds(utilization_metric, st.just("ContainerResource"), of_container, percents, values)
    cores = st.just(a_metric("Resource", {"name": "cpu"}, {"type": "AverageValue", "averageValue": "1"}, None))
    metric = {"metric": {"name": "requests"}}
    elsewhere = st.sampled_from(
        [
            a_metric("Pods", metric, {"type": "AverageValue", "averageValue": "50"}, {"averageValue": "30"}),
            a_metric(
                "Object",
                {**metric, "describedObject": {"kind": "Ingress", "name": "main"}},
                {"type": "Value", "value": "2k"},
                {"value": "1k"},
            ),
            a_metric("External", metric, {"type": "AverageValue", "averageValue": "30"}, {"averageValue": "12"}),
        ]
    )
    return memory | container_memory | cores | elsewhere


# Constructed once: Hypothesis validates a new strategy at its first draw, which takes longer than the draw.
container_names = st.lists(st.sampled_from(["app", "sidecar", "proxy"]), unique=True)
lists_of_other_metrics = st.lists(other_metrics(), max_size=5)
malformed_metrics = st.lists(
    st.sampled_from([None, {}, {"type": ""}, {"type": "Resource"}, {"type": "Pods", "pods": 3}])
)


@st.composite
def hpas(draw: st.DrawFn, *, with_pod_metric: bool) -> tuple[list[Any], list[Any], list[Pair]]:
    """Metrics of a spec and a status, both shuffled and with malformed entries; and the CPU metrics."""
    names = draw(container_names)
    cpu = [
        utilization_metric("ContainerResource", {"name": "cpu", "container": name}, draw(percents), draw(values))
        for name in names
    ]
    if with_pod_metric:
        cpu.append(utilization_metric("Resource", {"name": "cpu"}, draw(percents), draw(values)))
    pairs = cpu + draw(lists_of_other_metrics)
    specified = draw(st.permutations([specified for specified, _ in pairs] + draw(malformed_metrics)))
    current = draw(st.permutations([now for _, now in pairs if now is not None] + draw(malformed_metrics)))
    return specified, current, cpu


@given(hpas(with_pod_metric=True))
def test_the_cpu_metric_of_the_pod_is_selected_among_all_metrics(hpa: tuple[list[Any], list[Any], list[Pair]]) -> None:
    specified, current, cpu = hpa
    metric, now = cpu[-1]
    value = None if now is None else now["resource"]["current"]["averageUtilization"] / 100
    assert cpu_utilization(specified, current) == (metric["resource"]["target"]["averageUtilization"] / 100, value)


@given(hpas(with_pod_metric=False))
def test_without_a_pod_metric_one_container_metric_is_used(
    hpa: tuple[list[Any], list[Any], list[Pair]],
) -> None:
    specified, current, cpu = hpa
    possible = [
        (
            metric["containerResource"]["target"]["averageUtilization"] / 100,
            None if now is None else now["containerResource"]["current"]["averageUtilization"] / 100,
        )
        for metric, now in cpu
    ]
    result = cpu_utilization(specified, current)
    assert result in (possible or [(None, None)])
    relative = [value / target for target, value in possible if value is not None]
    if relative:
        assert result.target is not None
        assert result.value is not None
        assert result.value / result.target == max(relative)


@given(st.data())
def test_the_order_of_the_lists_does_not_matter(data: st.DataObject) -> None:
    specified, current, _ = data.draw(hpas(with_pod_metric=data.draw(st.booleans())))
    shuffled = data.draw(st.permutations(specified)), data.draw(st.permutations(current))
    assert cpu_utilization(*shuffled) == cpu_utilization(specified, current)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda parts: (
            st.lists(parts)
            | st.dictionaries(
                st.sampled_from(["type", "resource", "name", "target", "current", "averageUtilization", "container"]),
                parts,
            )
        ),
    )
)
def test_malformed_metrics_never_raise(malformed: Any) -> None:
    cpu_utilization(malformed, malformed)
    cpu_utilization([malformed], [malformed])
