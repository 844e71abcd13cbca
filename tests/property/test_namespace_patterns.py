"""Allow-lists of names by namespace."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.errors import SettingsError
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.settings import read_settings

namespaces = st.sampled_from(["shop", "bank", "other"])
names = st.text("ab*.%_\\", min_size=1, max_size=6)
lists = st.dictionaries(st.sampled_from(["shop", "bank", "*"]), st.lists(names, max_size=3), max_size=3)


@given(lists, namespaces, names)
def test_a_namespace_has_exactly_the_names_of_its_own_list_and_of_the_common_one(
    patterns: dict[str, list[str]], namespace: str, name: str
) -> None:
    listed = [*patterns.get(namespace, ()), *patterns.get("*", ())]
    expected = not patterns or any(matches(pattern, name) for pattern in listed)
    assert NamespacePatterns(patterns).allows(namespace, name) == expected


def test_a_pattern_with_many_stars_is_matched_in_linear_time() -> None:
    """A match that tries every position of every part would take years."""
    assert not NamespacePatterns({"shop": ["a*" * 60 + "b"]}).allows("shop", "a" * 500)


@given(lists, namespaces, names)
def test_the_patterns_for_the_database_select_the_same_names(
    patterns: dict[str, list[str]], namespace: str, name: str
) -> None:
    allowed = NamespacePatterns(patterns)
    if allowed.is_restricted:
        rows = [pattern for reader, pattern in allowed.like() if reader in (namespace, "*")]
        assert any(is_like(name, pattern) for pattern in rows) == allowed.allows(namespace, name)


def matches(pattern: str, name: str) -> bool:
    """Match by hand: `*` stands for any number of characters."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(matches(pattern[1:], name[start:]) for start in range(len(name) + 1))
    return name[:1] == pattern[0] and matches(pattern[1:], name[1:])


def is_like(name: str, pattern: str) -> bool:
    """Return what SQL's LIKE returns, with `\\` as its escape."""
    parts = re.findall(r"\\.|.", pattern)
    wild = {"%": ".*", "_": "."}
    return re.fullmatch("".join(wild.get(part) or re.escape(part[-1]) for part in parts), name) is not None


@pytest.mark.parametrize("setting", ["NAMESPACE_SERVICES", "AWS_GROUPS"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"Shop": ["a"]}', "'Shop' is neither the name of a namespace nor \\*"),
        ('{"shop": [""]}', "at least 1 character"),
        ('{"shop": "a"}', "valid tuple"),
        ("shop", "is not JSON"),
    ],
)
def test_a_wrong_list_is_refused_with_the_name_of_the_setting(
    setting: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PREDICTIVE_SCALING_{setting}", value)
    with pytest.raises(SettingsError, match=f"PREDICTIVE_SCALING_{setting}: .*{message}"):
        read_settings()


def test_a_list_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    value: dict[str, Any] = {"shop": ("checkout", "eu-west-1:web-*"), "*": ("shared",)}
    monkeypatch.setenv("PREDICTIVE_SCALING_AWS_GROUPS", '{"shop": ["checkout", "eu-west-1:web-*"], "*": ["shared"]}')
    assert read_settings().aws_groups == value
