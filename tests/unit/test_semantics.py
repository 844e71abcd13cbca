"""docs/semantics.md names code and tests that exist, and every rule that the code cites."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ROOT / "operator" / "predictive_scaling"
TABLE = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
RULES = TABLE.findall((ROOT / "docs" / "semantics.md").read_text())


@pytest.mark.parametrize(("number", "promise", "code", "test"), RULES, ids=[rule[0] for rule in RULES])
def test_a_rule_names_code_and_a_test_that_exist(number: str, promise: str, code: str, test: str) -> None:
    files = re.findall(r"`([^`]+)`", code)
    assert promise
    assert files
    assert [name for name in files if not (CODE / name).is_file()] == []
    tests = re.findall(r"`([^`]+\.py)::(\w+)`", test)
    assert len(tests) == test.count("::") > 0
    for file, name in tests:
        assert re.search(rf"def {name}\(", (ROOT / "tests" / file).read_text()), f"rule {number}: {file} has no {name}"


def test_every_rule_that_the_code_cites_is_in_the_table() -> None:
    folders = [ROOT / folder for folder in ("operator", "forecasting", "tests")]
    text = "\n".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    cited = {
        number
        for numbers in re.findall(r"semantics ((?:\d+(?:, | and )?)+)", text)
        for number in re.findall(r"\d+", numbers)
    }
    assert cited
    assert cited <= {rule[0] for rule in RULES}
