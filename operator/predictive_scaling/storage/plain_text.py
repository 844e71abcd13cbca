"""Text that PostgreSQL can store: all connections use these adapters, so that all tables are covered."""

import json
import re
from typing import Any, Final, cast

from psycopg import adapters as default_adapters
from psycopg.adapt import AdaptersMap
from psycopg.types.json import set_json_dumps
from psycopg.types.string import StrBinaryDumper, StrDumper, StrDumperUnknown

# PostgreSQL rejects NUL; other control characters only cause harm on display. A lone surrogate is not a character
# and cannot be encoded.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    r"""Remove control characters except tabs and line breaks; replace lone surrogates by U+FFFD.

    >>> plain("1\x00 and\tmore")
    '1 and\tmore'
    """
    if text.isprintable():
        return text
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))


def plain_json(value: Any) -> Any:
    """Apply `plain` to all texts and names of a JSON document."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain_json(name): plain_json(inner) for name, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain_json(inner) for inner in cast("list[Any]", value)]
    return value


class _Plain(StrDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(plain(obj))


class _PlainBinary(StrBinaryDumper):
    def dump(self, obj: str) -> Any:
        return super().dump(plain(obj))


class _PlainUnknown(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        return super().dump(plain(obj))


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(default_adapters)
    # In psycopg's own order: the last one is the default.
    for dumper in (_PlainBinary, _Plain, _PlainUnknown):
        adapters.register_dumper(str, dumper)
    set_json_dumps(lambda value: json.dumps(plain_json(value)), adapters)
    return adapters


ADAPTERS: Final = _adapters()
"""The adapters, for psycopg's `context`."""
