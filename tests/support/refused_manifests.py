"""Manifests that are refused for one reason each: tests/data/refused/*.yaml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "data" / "refused"


@dataclass(frozen=True)
class RefusedManifest:
    """An invalid manifest, the path of the invalid field, a fragment of the message, and the corrected manifest."""

    name: str
    field: str
    message: str
    invalid: dict[str, Any]
    corrected: dict[str, Any]


def refused_manifests() -> list[RefusedManifest]:
    """Return all refused manifests, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.yaml"))]


def _read(path: Path) -> RefusedManifest:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    invalid = content["manifest"]
    return RefusedManifest(
        path.stem, content["field"], content["message"], invalid, merged(invalid, content["corrected"])
    )


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
