"""The series that kube-state-metrics makes of an object by a CustomResourceStateMetrics configuration.

They are computed here without a cluster; tests/chart/test_kube_state_metrics.py compares them with the real program.
Any other field or value of a configuration raises ConfigurationError.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

Json = dict[str, Any]
Paths = Mapping[str, list[str]]

_RESOURCE = {"groupVersionKind", "metricNamePrefix", "labelsFromPath", "errorLogV", "metrics"}
_METRIC = {"name", "help", "each"}
_EACH = {
    "Gauge": ("gauge", {"path", "valueFrom", "labelsFromPath"}),
    "Info": ("info", {"path", "labelsFromPath"}),
    "StateSet": ("stateSet", {"path", "valueFrom", "labelsFromPath", "labelName", "list"}),
}


class ConfigurationError(AssertionError):
    """A configuration that kube-state-metrics would not accept, or that is not covered here."""


@dataclass(frozen=True)
class Family:
    """A metric of a kind. parameters: the content of `gauge`, `info` or `stateSet`."""

    kind: str
    name: str
    help: str
    type: str
    parameters: Json
    base_labels: Paths

    @property
    def path(self) -> list[str]:
        """The path below which values and labels are read."""
        return self.parameters.get("path", [])

    def series(self, body: Json) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series of an object."""
        base = _labels(body, self.base_labels)
        return [(base | labels, value) for labels, value in self._values(_read(body, self.path))]

    def _values(self, found: Any) -> Iterator[tuple[dict[str, str], float]]:
        is_list = isinstance(found, list)
        for item in cast("list[Any]", found) if is_list else [found]:
            labels = _labels(item, self.parameters.get("labelsFromPath", {}))
            if self.type == "Info":
                # kube-state-metrics also tries each field of an object, which must give nothing.
                nested = cast("Json", item).values() if isinstance(item, dict) and not is_list else ()
                if any(_labels(value, self.parameters["labelsFromPath"]) for value in nested):
                    raise ConfigurationError(f"{self.name}: a label also matches below a field")
                yield from [(labels, 1.0)] if labels else []
                continue
            value = _read(item, self.parameters.get("valueFrom", []))
            if value is None:
                continue
            if self.type == "Gauge":
                yield labels, _number(value)
            else:
                for entry in self.parameters["list"]:
                    yield labels | {self.parameters["labelName"]: entry}, float(value == entry)


def families(configuration: Json) -> list[Family]:
    """Return the metrics of a configuration. Raises ConfigurationError."""
    _require(configuration.keys() == {"kind", "spec"} and configuration["kind"] == "CustomResourceStateMetrics", "kind")
    return [
        _family(resource, metric) for resource in configuration["spec"]["resources"] for metric in resource["metrics"]
    ]


def _family(resource: Json, metric: Json) -> Family:
    _require(resource.keys() <= _RESOURCE, f"fields {resource.keys() - _RESOURCE}")
    _require(metric.keys() == _METRIC, f"fields of {metric}")
    each = metric["each"]
    field, allowed = _EACH[each["type"]]
    _require(each.keys() == {"type", field} and each[field].keys() <= allowed, f"fields of {metric['name']}")
    name = f"{resource['metricNamePrefix']}_{metric['name']}"
    kind = resource["groupVersionKind"]["kind"]
    return Family(kind, name, metric["help"], each["type"], each[field], resource["labelsFromPath"])


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ConfigurationError(f"not understood: {what}")


def _read(value: Any, path: list[str]) -> Any:
    for part in path:
        value = cast("Json", value).get(part) if isinstance(value, dict) else None
    return value


def _labels(value: Any, paths: Paths) -> dict[str, str]:
    values = {label: _read(value, path) for label, path in paths.items()}
    return {label: str(value) for label, value in values.items() if value is not None}


def _number(value: Any) -> float:
    """A boolean, number, decimal or RFC 3339 time as kube-state-metrics reads it."""
    if not isinstance(value, str):
        return float(value)
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        number = float(value)
        _require(math.isfinite(number), f"the number {value}")
        return number
