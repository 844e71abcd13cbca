"""docs/ covers everything that users see: settings, metrics, alerts, conditions, reasons, phases, annotations."""

import ast
import importlib
import pkgutil
import re
from enum import StrEnum
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from typer.testing import CliRunner

import predictive_scaling
from predictive_scaling.cluster.kubernetes_events import EventReason
from predictive_scaling.commands import settings
from predictive_scaling.decision import conditions
from predictive_scaling.decision.inputs import ForecastSource, PauseReason
from predictive_scaling.ingest.rejected_message import Reason as DeadLetterReason
from predictive_scaling.resources import annotations, vocabulary
from predictive_scaling.resources.conditions import UNJUDGED
from predictive_scaling.settings import Settings
from tests.support.documents import DOCS, anchors, words

ROOT = DOCS.parent
PACKAGE = ROOT / "operator" / "predictive_scaling"
VOCABULARY: list[type[StrEnum]] = [
    var for var in vars(vocabulary).values() if isinstance(var, type) and var.__base__ is StrEnum
]
DOCUMENTED_ENUMS: list[type[StrEnum]] = [
    *VOCABULARY,
    EventReason,
    PauseReason,
    ForecastSource,
    conditions.VerificationState,
    DeadLetterReason,
]
CONDITION_MODULES = [
    "decision/conditions.py",
    "decision/review.py",
    "control/reconciler.py",
    "control/jobs/business_events.py",
    "control/jobs/backtest_statuses.py",
]


def read(name: str) -> str:
    return (DOCS / name).read_text()


def documented_metrics() -> dict[str, str]:
    return dict(re.findall(r"^\| `(\w+)` \| (gauge|counter|histogram) \|", read("metrics.md"), re.MULTILINE))


def rules() -> dict[str, dict[str, str]]:
    groups = yaml.safe_load((ROOT / "config" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["annotations"] for group in groups for rule in group["rules"]}


def test_the_documented_settings_are_those_that_the_command_prints() -> None:
    output = CliRunner().invoke(settings.app, ["--output", "markdown"]).output
    assert output.strip() in read("settings.md"), "update docs/settings.md: predictive-scaling settings"
    assert len(output.splitlines()) == 2 + len(Settings.model_fields), "a setting is one row of the table"


def test_exactly_the_registered_metrics_are_documented_with_their_type() -> None:
    for module in pkgutil.walk_packages(predictive_scaling.__path__, "predictive_scaling."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    registered = {
        f"{family.name}_total" if family.type == "counter" else family.name: family.type
        for family in REGISTRY.collect()
        if not family.name.startswith(("python_", "process_"))
    }
    assert documented_metrics() == registered


def test_every_alert_is_documented_and_links_to_its_section_of_the_runbook() -> None:
    sections = anchors(read("runbook.md"))
    for alert, alert_annotations in rules().items():
        assert alert in words(read("metrics.md")), alert
        assert alert_annotations["runbook"] == f"docs/runbook.md#{alert.lower()}"
        assert alert.lower() in sections


@pytest.mark.parametrize("values", DOCUMENTED_ENUMS, ids=lambda enum: enum.__name__)
def test_every_value_of_a_status_is_documented(values: type[StrEnum]) -> None:
    assert {member.value for member in values} - words(read("conditions.md")) == set()


@pytest.mark.parametrize("module", CONDITION_MODULES)
def test_every_reason_of_a_condition_is_documented(module: str) -> None:
    tree = ast.parse((PACKAGE / module).read_text())
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    reasons = {text for text in constants if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Za-z]+", text)}
    assert reasons - words(read("conditions.md")) == set()


def test_every_annotation_and_the_reason_of_an_unset_condition_are_documented() -> None:
    names = {value for name, value in vars(annotations).items() if name.isupper() and "/" in str(value)}
    assert len(names) == 5
    assert {*names, UNJUDGED} <= words(read("conditions.md"))


@pytest.mark.parametrize("document", sorted([*DOCS.glob("*.md"), ROOT / "README.md"]), ids=lambda path: path.name)
def test_every_link_to_a_document_has_a_target(document: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", document.read_text()):
        linked = (document.parent / target).resolve() if target else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text()), f"{target}#{anchor}"
