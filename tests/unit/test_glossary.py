"""docs/glossary.md: each term has a single row and a single definition in the code."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "predictive_scaling"
ROWS = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \| `([^`|]+)::(\w+)` \|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
)


@cache
def definitions() -> Counter[str]:
    """The number of modules that define each public name at the top level."""
    paths = [*PACKAGE.rglob("*.py"), *(ROOT / "forecasting").rglob("*.py")]
    return Counter(name for path in paths for name in defined_names(path))


@cache
def defined_names(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return names


@pytest.mark.parametrize(("term", "meaning", "file", "name"), ROWS, ids=[row[0] for row in ROWS])
def test_each_term_is_defined_once_in_the_named_file(term: str, meaning: str, file: str, name: str) -> None:
    assert meaning.endswith("."), f"the meaning of {term} is a sentence"
    path = (ROOT if file.startswith("forecasting/") else PACKAGE) / file
    assert name in defined_names(path), f"{file} does not define {name}"
    assert definitions()[name] == 1, f"{name} is defined in more than one module"


def test_each_term_and_each_definition_has_a_single_row() -> None:
    assert len(ROWS) > 60
    assert [term for term, count in Counter(row[0] for row in ROWS).items() if count > 1] == []
    assert [name for name, count in Counter(row[3] for row in ROWS).items() if count > 1] == []
