"""Manifests and event files of a backtest: what is read, and what is refused."""

from pathlib import Path

import pytest

from predictive_scaling.backtesting.events import events_for
from predictive_scaling.backtesting.manifests import default_policy, read_policy
from predictive_scaling.errors import InvalidManifestError

POLICY = """\
apiVersion: predictive-scaling.io/v1alpha1
kind: ScalingPolicy
metadata: {name: checkout, namespace: shop, labels: {tier: web}}
spec:
  target: {horizontalPodAutoscaler: {name: checkout}}
  demand: {metric: requests, perReplica: "50"}
  replicas: {max: 40}
"""
EVENT = """\
apiVersion: predictive-scaling.io/v1alpha1
kind: BusinessEvent
metadata: {name: sale, namespace: shop}
spec:
  start: "2026-11-27T08:00:00+01:00"
  end: "2026-11-27T12:00:00+01:00"
  policies: {matchLabels: {tier: web}}
  expect: {multiplier: "2.5"}
"""


def a_file(folder: Path, text: str, name: str = "policy.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def alias_bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_a_manifest_is_parsed_like_a_cluster_object(tmp_path: Path) -> None:
    policy = read_policy(a_file(tmp_path, f"---\n{POLICY}---\n"))
    assert (str(policy.key), policy.spec.demand.per_replica) == ("shop/checkout", 50)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one ScalingPolicy, found 0 documents"),
        (POLICY + "---\n" + POLICY, "found 2 documents; the second begins at line 9"),
        (POLICY.replace("ScalingPolicy", "Deployment"), "line 1: expected kind ScalingPolicy"),
        (POLICY.replace("max: 40", "max: !!python/object/apply:os.system ['true']"), "line 7: could not determine a"),
        (
            POLICY.replace("max: 40", "max: !secret x"),
            "line 7: could not determine a constructor for the tag '!secret'",
        ),
        (POLICY + alias_bomb(8, 12), "refused, its aliases expand to more than 100,000 values"),
        (POLICY + alias_bomb(20, 10), "refused, more than 100 aliases"),
        (POLICY + "loop: &loop [*loop]\n", "line 8: refused, an alias that contains itself"),
        ("[" * 500, "levels of nesting"),
        ("- a\n- b\n", "line 1: expected a manifest"),
        ("a: [b\nc: d\n", "line 2: "),
        ("a: \x01\n", "is not valid YAML"),
        (
            POLICY.replace("max: 40", "max: 40, mix: 2"),
            "shop/checkout: spec.replicas.mix is not a field; did you",
        ),
        (POLICY.replace('"50"', "50"), "spec.demand.perReplica"),
        (POLICY.replace("max: 40", "min: 50, max: 40"), "spec.replicas.min: must not exceed max"),
        (POLICY.replace("metadata:", "2026-02-31:"), "line 1: "),
    ],
)
def test_an_invalid_policy_file_is_refused_with_a_message(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidManifestError) as raised:
        read_policy(a_file(tmp_path, text))
    assert message in str(raised.value)
    assert raised.value.exit_code == 65


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidManifestError, match="cannot be read"):
        read_policy(path)


def test_manifest_events_apply_where_they_select_the_policy(tmp_path: Path) -> None:
    policy = read_policy(a_file(tmp_path, POLICY))
    path = a_file(tmp_path, EVENT + "---\n" + EVENT.replace("sale", "other").replace("tier: web", "tier: db"), "e.yaml")
    assert [event.metadata.name for event in events_for(path, policy)] == ["sale"]
    with pytest.raises(InvalidManifestError, match="none of its 2 events selects backtest/default"):
        events_for(path, default_policy("trace"))


def test_events_of_a_csv_file_apply_to_every_policy(tmp_path: Path) -> None:
    text = 'name,type,start,end\n"A v B",match,1998-06-10T15:30:00Z,1998-06-10T17:20:00Z\n'
    events = events_for(a_file(tmp_path, text, "events.csv"), default_policy("trace"))
    assert [(event.metadata.name, event.spec.type, event.spec.expect.multiplier) for event in events] == [
        ("a-v-b-1", "match", None)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,start\na,2026-01-01T00:00:00Z\n", "line 1: no column 'end'"),
        (
            "start,end\n2026-01-01T00:00:00,2026-01-01T01:00:00Z\n",
            "line 2: column start: '2026-01-01T00:00:00' is not a time",
        ),
        ("start,end\n2026-01-01T02:00:00Z,2026-01-01T01:00:00Z\n", "end: must be after start"),
        ("start,end,multiplier\n2026-01-01T00:00:00Z,2026-01-01T01:00:00Z,lots\n", "multiplier"),
    ],
)
def test_an_invalid_csv_file_of_events_is_refused_with_a_message(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidManifestError) as raised:
        events_for(a_file(tmp_path, text, "events.csv"), default_policy("trace"))
    assert message in str(raised.value)
