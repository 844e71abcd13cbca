"""Known events from a file: BusinessEvents as YAML, or a table with the columns start and end."""

import csv
import gzip
import io
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from predictive_scaling.backtesting.manifests import read_events
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent, parse_event
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.resources.scaling_policy import ScalingPolicy

COLUMNS = ("name", "type", "start", "end", "multiplier")
"""start and end are needed; without a multiplier nothing is expected of an event but that it is known."""
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")


def events_for(path: Path, policy: ScalingPolicy) -> tuple[BusinessEvent, ...]:
    """The events of a file that concern a policy.

    A manifest's events count where they select the policy in its namespace; a table's are for whatever is replayed.
    Raises InvalidManifestError naming the file, the line and what is wrong.
    """
    if path.name.removesuffix(".gz").endswith((".yaml", ".yml")):
        events = read_events(path)
        namespace, labels = policy.metadata.namespace, policy.metadata.labels
        selected = tuple(event for event in events if event.selects(namespace, labels))
        if not selected:
            raise InvalidManifestError(
                f"{path}: none of its {len(events)} events selects {policy.key}; set their namespace and policies so "
                "that one does, or use a CSV file, whose events are for every policy"
            )
        return selected
    return tuple(_from_table(path, policy.metadata.namespace))


def _from_table(path: Path, namespace: str) -> Iterable[BusinessEvent]:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidManifestError(f"{path} cannot be read: {error}") from None
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    named = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = named
    for wanted in ("start", "end"):
        if wanted not in named:
            raise InvalidManifestError(
                f"{path}, line 1: no column {wanted!r}; found {', '.join(map(repr, named)) or 'nothing'}, known are "
                f"{', '.join(COLUMNS)}"
            )
    for number, row in enumerate(reader, start=1):
        try:
            yield parse_event(_manifest(row, number, namespace))
        except InvalidManifestError as error:
            raise InvalidManifestError(f"{path}, line {reader.line_num}: {error}") from None


def _manifest(row: dict[str, Any], number: int, namespace: str) -> dict[str, Any]:
    cells = {column: (row.get(column) or "").strip() for column in COLUMNS}
    spec: dict[str, Any] = {
        "start": _zoned(cells["start"], "start"),
        "end": _zoned(cells["end"], "end"),
        "policies": {"all": True},
    }
    if cells["type"]:
        spec["type"] = cells["type"]
    if cells["multiplier"]:
        spec["expect"] = {"multiplier": cells["multiplier"]}
    # Two events of one name (a match played twice) stay apart by their numbers.
    name = _NOT_A_NAME.sub("-", cells["name"].lower()).strip("-")[:50].strip("-") or "event"
    metadata = {"name": f"{name}-{number}", "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "BusinessEvent", "metadata": metadata, "spec": spec}


def _zoned(text: str, column: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidManifestError(f"column {column}: {text!r} is no time with a zone, such as 2026-11-27T08:00:00Z")
    return moment.isoformat()
