"""Fields of an object whose parts may have any type: a CRD may accept what its controller does not expect."""

from collections.abc import Mapping
from typing import Any

FieldPath = tuple[str, ...]


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping; otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def mappings_in(value: Any) -> list[Mapping[str, Any]]:
    """Return the entries of a list that are mappings; none if the value is not a list."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list | tuple) else []


def value_at(body: Mapping[str, Any], path: FieldPath) -> Any:
    """Return the value of a field; None if it is not set. Never raises."""
    value: Any = body
    for name in path:
        value = as_mapping(value).get(name)
    return value
