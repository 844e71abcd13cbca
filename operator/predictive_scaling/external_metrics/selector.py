"""Label selectors as Kubernetes reads them: `policy=checkout,service in (web, api),!internal`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

MAX_CHARACTERS = 4096
MAX_REQUIREMENTS = 64
"""Every requirement is compared with every policy of a namespace, in the operator's event loop."""

# Each alternative is one run of characters that no other alternative can start with: matching never backtracks.
_TOKEN = re.compile(r"\s*(?:(?P<word>[-A-Za-z0-9_./]+)|(?P<symbol>==|!=|[=!(),]))")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_MAX_PREFIX = 253
_MAX_NAME = 63
_EQUALITY = {"=": "in", "==": "in", "!=": "notin"}
_SETS = ("in", "notin")


class SelectorError(ValueError):
    """A selector is invalid; the message shows the position."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement of a selector. values: empty for `exists` and `absent`."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it. As in Kubernetes, an absent label differs from every value."""
        return _MATCHES[self.operator](labels.get(self.key), self.values)


_MATCHES: Mapping[str, Callable[[str | None, frozenset[str]], bool]] = {
    "exists": lambda value, _: value is not None,
    "absent": lambda value, _: value is None,
    "in": lambda value, values: value in values,
    "notin": lambda value, values: value not in values,
}


@dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of requirements; without requirements it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet all requirements."""
        return all(requirement.matches(labels) for requirement in self.requirements)


def parse_selector(text: str) -> Selector:
    """Parse equality (`=`, `==`, `!=`), sets (`in`, `notin`) and existence (`key`, `!key`) in linear time.

    Raises SelectorError, also for more than 4096 characters or 64 requirements.

    >>> parse_selector("policy=checkout,!canary").matches({"policy": "checkout"})
    True
    """
    if len(text) > MAX_CHARACTERS:
        raise SelectorError(f"labelSelector: {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
    parser = _Parser(text.rstrip())
    if parser.is_at_end:
        return Selector()
    requirements = [parser.requirement()]
    while not parser.is_at_end:
        parser.expect(",")
        if len(requirements) == MAX_REQUIREMENTS:
            raise SelectorError(f"labelSelector: more than {MAX_REQUIREMENTS} requirements")
        requirements.append(parser.requirement())
    return Selector(tuple(requirements))


class _Parser:
    """Reads each token once, with a lookahead of one token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._next = _TOKEN.match(text)

    @property
    def is_at_end(self) -> bool:
        return self._position == len(self._text)

    def requirement(self) -> Requirement:
        if self._symbol() == "!":
            self._take()
            return Requirement(self._key(), "absent")
        key = self._key()
        if operator := _EQUALITY.get(self._symbol()):
            self._take()
            return Requirement(key, operator, frozenset({self._value()}))
        if self._word() not in _SETS:
            return Requirement(key, "exists")
        operator = self._word()
        self._take()
        return Requirement(key, operator, self._values())

    def expect(self, symbol: str) -> None:
        if self._symbol() != symbol:
            self._refuse()
        self._take()

    def _values(self) -> frozenset[str]:
        self.expect("(")
        values = {self._value()}
        while self._symbol() == ",":
            self._take()
            values.add(self._value())
        self.expect(")")
        return frozenset(values)

    def _key(self) -> str:
        key = self._word()
        prefix, slash, name = key.rpartition("/")
        if not _is_valid(_NAME, name, _MAX_NAME) or (slash and not _is_valid(_PREFIX, prefix, _MAX_PREFIX)):
            self._refuse()
        self._take()
        return key

    def _value(self) -> str:
        """Return the next value; empty before a symbol or the end, as in `key=` and `key in (a,)`."""
        value = self._word()
        if not value:
            return ""
        if not _is_valid(_NAME, value, _MAX_NAME):
            self._refuse()
        self._take()
        return value

    def _word(self) -> str:
        return (self._next["word"] or "") if self._next else ""

    def _symbol(self) -> str:
        return (self._next["symbol"] or "") if self._next else ""

    def _take(self) -> None:
        if self._next is not None:
            self._position = self._next.end()
            self._next = _TOKEN.match(self._text, self._position)

    def _refuse(self) -> NoReturn:
        raise SelectorError(
            f"labelSelector: cannot read {self._text[self._position : self._position + 60]!r}; write key=value, "
            "key!=value, key in (a,b), key notin (a,b), key or !key, separated by commas"
        )


def _is_valid(pattern: re.Pattern[str], text: str, max_length: int) -> bool:
    return len(text) <= max_length and pattern.fullmatch(text) is not None
