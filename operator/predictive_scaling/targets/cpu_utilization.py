"""CPU utilization of an HPA: its target and its newest value, paired by metric whatever the order of the lists."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_CPU = "cpu"


class CpuUtilization(NamedTuple):
    """Target and newest value as fractions of what the pods request; None for what the HPA does not state."""

    target: float | None = None
    value: float | None = None


class _Metric(NamedTuple):
    """What makes a metric of the spec and an entry of the status the same one."""

    type: str
    container: str = ""


_POD = _Metric("Resource")


def cpu_utilization(specified: Any, current: Any) -> CpuUtilization:
    """The CPU metric that decides: of the pod where the spec has one, else of the container closest to its target.

    Only CPU with a utilization target counts: memory, Pods, Object and External metrics and average values say nothing
    about the share of a replica that is used. Of several containers the one with the highest value relative to its
    target decides, as it does for the HPA; without values the first by name. Never raises: an entry that cannot be
    read is left out.
    """
    targets: dict[_Metric, float] = {}
    for metric, utilization in _utilizations(specified, "target"):
        # The API server accepts the same metric twice; the lower target is the one that the HPA acts on.
        if utilization > 0 and utilization <= targets.get(metric, math.inf):
            targets[metric] = utilization
    values = dict(_utilizations(current, "current"))
    pairs = {metric: CpuUtilization(target, values.get(metric)) for metric, target in targets.items()}
    if _POD in pairs:
        return pairs[_POD]
    return max((pairs[metric] for metric in sorted(pairs)), key=_relative, default=CpuUtilization())


def _relative(pair: CpuUtilization) -> float:
    return -1.0 if pair.value is None or pair.target is None else pair.value / pair.target


def _utilizations(metrics: Any, key: str) -> Iterable[tuple[_Metric, float]]:
    """CPU metrics of a list of the spec (key `target`) or the status (key `current`), with their utilization."""
    for entry in metrics if isinstance(metrics, list | tuple) else ():
        metric, source = _identity(entry)
        if metric is None:
            continue
        measured = source.get(key)
        if not isinstance(measured, Mapping) or measured.get("type", "Utilization") != "Utilization":
            continue
        utilization = _fraction(measured.get("averageUtilization"))
        if utilization is not None:
            yield metric, utilization


def _identity(entry: Any) -> tuple[_Metric | None, Mapping[str, Any]]:
    if not isinstance(entry, Mapping):
        return None, {}
    match entry.get("type"):
        case "Resource":
            source = entry.get("resource")
        case "ContainerResource":
            source = entry.get("containerResource")
        case _:
            return None, {}
    if not isinstance(source, Mapping) or source.get("name") != _CPU:
        return None, {}
    if entry["type"] == "Resource":
        return _POD, source
    container = source.get("container")
    return (_Metric("ContainerResource", container), source) if isinstance(container, str) else (None, {})


def _fraction(percent: Any) -> float | None:
    """A percentage as a fraction; None for anything but a number that a utilization can be."""
    if isinstance(percent, bool) or not isinstance(percent, int | float):
        return None
    return percent / 100 if 0 <= percent < math.inf else None
