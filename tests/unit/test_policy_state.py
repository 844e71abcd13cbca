"""Only one module assigns the state of a policy, so that each transition has a name and a single definition."""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from predictive_scaling.control.policy_state import PolicyState

PACKAGE = Path(__file__).parents[2] / "operator" / "predictive_scaling"


def assigned_attributes(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each attribute that is assigned on something called `state`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
            continue
        if ast.unparse(node.value).split(".")[-1] in ("state", "_state"):
            yield node.lineno, node.attr


def test_the_search_finds_an_assignment() -> None:
    source = "expected.state.floor, state.target = 1, 2\nstate.failures += 1\nother.target = 3"
    assert sorted(assigned_attributes(source)) == [(1, "floor"), (1, "target"), (2, "failures")]


def test_no_other_module_assigns_a_field_of_a_policy_state() -> None:
    names = {field.name for field in fields(PolicyState)}
    assignments = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name in assigned_attributes(path.read_text())
        if name in names
    ]
    assert assignments == []
