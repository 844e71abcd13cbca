"""Label selectors as Kubernetes reads them: `policy=checkout,service in (web, api),!internal`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_NAME = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_SET = rf"\(\s*(?P<values>{_VALUE}(?:\s*,\s*{_VALUE})*)\s*\)"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<absent_key>{_NAME})"
    rf"|(?P<key>{_NAME})(?:\s*(?P<operator>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|\s+(?P<set_operator>in|notin)\s*{_SET})?)\s*(?P<end>,|$)"
)
_LONGEST = 4096


class SelectorError(ValueError):
    """A selector that cannot be read; the message shows where."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One part of a selector. values: empty for `exists` and `absent`."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """As Kubernetes does it: a label that is not there differs from every value."""
        return _MATCHES[self.operator](labels.get(self.key), self.values)


_MATCHES: Mapping[str, Callable[[str | None, frozenset[str]], bool]] = {
    "exists": lambda value, _: value is not None,
    "absent": lambda value, _: value is None,
    "in": lambda value, values: value in values,
    "notin": lambda value, values: value not in values,
}


@dataclass(frozen=True, slots=True)
class Selector:
    """All of its requirements must match; without any, everything does."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether something with these labels is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)


def parse_selector(text: str) -> Selector:
    """Equality (`=`, `==`, `!=`), sets (`in`, `notin`) and existence (`key`, `!key`). Raises SelectorError.

    >>> parse_selector("policy=checkout,!canary").matches({"policy": "checkout"})
    True
    """
    if len(text) > _LONGEST:
        raise SelectorError(f"labelSelector: {len(text)} characters; at most {_LONGEST} are allowed")
    if not text.strip():
        return Selector()
    requirements: list[Requirement] = []
    position, more = 0, True
    while more:
        match = _REQUIREMENT.match(text, position)
        if match is None:
            raise SelectorError(
                f"labelSelector: cannot read {text[position : position + 60]!r}; write key=value, key!=value, "
                "key in (a,b), key notin (a,b), key or !key, separated by commas"
            )
        requirements.append(_requirement(match))
        position, more = match.end(), match["end"] == ","
    return Selector(tuple(requirements))


def _requirement(match: re.Match[str]) -> Requirement:
    if match["absent"]:
        return Requirement(match["absent_key"], "absent")
    if match["operator"]:
        return Requirement(match["key"], "notin" if match["operator"] == "!=" else "in", frozenset({match["value"]}))
    if match["set_operator"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], match["set_operator"], values)
    return Requirement(match["key"], "exists")
