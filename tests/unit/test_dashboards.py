"""config/grafana/dashboards: every query names metrics, labels, alerts and thresholds that exist elsewhere."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "config" / "grafana" / "dashboards").glob("*.json")
}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, dashboard in sorted(DASHBOARDS.items())
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
OF_EVERY_PROCESS = {"process_cpu_seconds_total": {"job"}, "process_resident_memory_bytes": {"job"}}
OF_PROMETHEUS = {"up": {"job"}, "ALERTS": {"alertname", "severity", "alertstate"}}
SCRAPE_LABELS = {"job", "instance"}


def documented() -> dict[str, set[str]]:
    """Return the labels of each metric of docs/metrics.md."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*)\|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    metrics = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    for name in list(metrics):
        if name.startswith("kube_"):
            kind = name.split("_")[1]
            metrics[name] |= {"namespace", kind}
    return metrics | OF_EVERY_PROCESS | OF_PROMETHEUS


METRICS = documented()


def queries(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def metrics_of(query: str) -> set[str]:
    """Return the metrics that a query names, histograms without their suffix."""
    bare = re.sub(r'"[^"]*"', '""', query)
    bare = re.sub(r"\b(by|without) \([^)]*\)", "", bare)
    words = re.findall(r"\b([a-zA-Z_]\w*)\b(?=\s*(?:[{\[)]|$| ==| [-/+]))", re.sub(r"\{[^}]*\}", "{}", bare))
    return {word.removesuffix("_bucket") for word in words if not word.startswith("__")}


def thresholds(title_part: str) -> set[tuple[float, ...]]:
    """Return the sorted limits of the panels that are about this."""
    found: set[tuple[float, ...]] = set()
    for (panel,) in (parameter.values for parameter in PANELS):
        assert isinstance(panel, dict)
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        if title_part in panel["title"] and len(steps) > 1:
            found.add(tuple(sorted(step["value"] for step in steps if step["value"] is not None)))
    return found


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_queries_documented_metrics_by_their_labels(panel: dict[str, Any]) -> None:
    assert panel["description"]
    for query in queries(panel):
        names = metrics_of(query)
        assert names, f"no metric in {query}"
        assert names <= set(METRICS), f"{names - set(METRICS)} of {query} is not in docs/metrics.md"
        labels = set().union(*(METRICS[name] for name in names)) | SCRAPE_LABELS | {"le"}
        grouped = {label for part in re.findall(r"by \(([^)]*)\)", query) for label in part.split(", ")}
        matched = {label for part in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)(?:=|!)", part)}
        assert grouped | matched <= labels, f"{query}: no label {(grouped | matched) - labels}"


@pytest.mark.parametrize("panel", PANELS)
def test_a_legend_uses_labels_that_the_query_keeps(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            kept = re.findall(r"by \(([^)]*)\)", target["expr"])
            assert not kept or any(label in part.split(", ") for part in kept), f"{label} of {target['expr']}"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_their_own_ids_and_places_and_the_chosen_data_source(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), f"{one} overlaps {other}"
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        if panel["type"] != "row":
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_the_alerts_of_the_operations_dashboard_are_those_of_the_rules() -> None:
    groups = yaml.safe_load((ROOT / "config" / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    (panel,) = (panel for panel in DASHBOARDS["operations"]["panels"] if panel["title"] == "Active alerts")
    (listed,) = re.findall(r'alertname=~"([^"]+)"', panel["targets"][0]["expr"])
    assert set(listed.split("|")) == alerts


@pytest.mark.parametrize(
    ("metric", "panels"),
    [
        ("MAPE of the forecasts", "MAPE"),
        ("99th percentile of the API's response time", "p99"),
        ("scaling decisions that succeed", "succeeded"),
        ("consumer lag in messages", "ag"),
        ("connections of a pool in use", "onnection"),
    ],
)
def test_thresholds_are_those_of_the_runbook(metric: str, panels: str) -> None:
    (row,) = re.findall(rf"^\| {re.escape(metric)} \| (.*?) \| (.*?) \|", (ROOT / "docs/runbook.md").read_text(), re.M)
    limits = set[float]()
    for text in row:
        (number, unit) = re.findall(r"([\d,.]+)(?: (%|ms))?", text)[0]
        limits.add(float(number.replace(",", "")) / {"%": 100, "ms": 1000}.get(unit, 1))
    assert thresholds(panels) == {tuple(sorted(limits))}


def test_the_values_of_labels_are_values_of_the_product() -> None:
    """A regular expression over phases or conditions that no object has would show an empty panel forever."""
    definitions = "".join(path.read_text() for path in (ROOT / "crds").glob("*.yaml"))
    checked = 0
    for (panel,) in (parameter.values for parameter in PANELS):
        assert isinstance(panel, dict)
        for query in queries(panel):
            for label, values in re.findall(r'\b(phase|condition)=~?"([^"]+)"', query):
                for value in values.split("|"):
                    assert re.search(rf"\b{value}\b", definitions), f"{label} {value} of {query}"
                    checked += 1
    assert checked > 5
