"""Manifests that are refused for one reason each: tests/data/refused/*.yaml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "data" / "refused"


@dataclass(frozen=True)
class Refusal:
    """A wrong manifest, the field to blame, what is said of it, and the same manifest without the mistake."""

    name: str
    field: str
    says: str
    wrong: dict[str, Any]
    mended: dict[str, Any]


def refusals() -> list[Refusal]:
    """All of them, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.yaml"))]


def _read(path: Path) -> Refusal:
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    wrong = written["manifest"]
    return Refusal(path.stem, written["field"], written["says"], wrong, merged(wrong, written["mended"]))


def merged(value: Any, patch: Any) -> Any:
    """JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), change)
    return result
