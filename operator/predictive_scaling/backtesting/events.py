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
"""start and end are required. An event without a multiplier raises no floor; forecasts still know it."""
_INVALID_IN_NAME = re.compile(r"[^a-z0-9]+")
_MAX_NAME = 50


def events_for(path: Path, policy: ScalingPolicy) -> tuple[BusinessEvent, ...]:
    """Return the events of a file that select a policy.

    Events of a manifest must select the policy in its namespace; events of a table select every policy. Raises
    InvalidManifestError with the file, the line and the problem.
    """
    if path.name.removesuffix(".gz").endswith((".yaml", ".yml")):
        events = read_events(path)
        namespace, labels = policy.metadata.namespace, policy.metadata.labels
        selected = tuple(event for event in events if event.selects(namespace, labels))
        if not selected:
            raise InvalidManifestError(
                f"{path}: none of its {len(events)} events selects {policy.key}; correct their namespace and policies, "
                "or use a CSV file, whose events select every policy"
            )
        return selected
    return tuple(_events_of_table(path, policy.metadata.namespace))


def _events_of_table(path: Path, namespace: str) -> Iterable[BusinessEvent]:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidManifestError(f"{path} cannot be read: {error}") from None
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    for required in ("start", "end"):
        if required not in columns:
            raise InvalidManifestError(
                f"{path}, line 1: no column {required!r}; found {', '.join(map(repr, columns)) or 'no columns'}, "
                f"supported are {', '.join(COLUMNS)}"
            )
    for number, row in enumerate(reader, start=1):
        try:
            yield parse_event(_manifest(row, number, namespace))
        except InvalidManifestError as error:
            raise InvalidManifestError(f"{path}, line {reader.line_num}: {error}") from None


def _manifest(row: dict[str, Any], number: int, namespace: str) -> dict[str, Any]:
    cells = {column: (row.get(column) or "").strip() for column in COLUMNS}
    spec: dict[str, Any] = {
        "start": _time_with_zone(cells["start"], "start"),
        "end": _time_with_zone(cells["end"], "end"),
        "policies": {"all": True},
    }
    if cells["type"]:
        spec["type"] = cells["type"]
    if cells["multiplier"]:
        spec["expect"] = {"multiplier": cells["multiplier"]}
    # The row number distinguishes events with the same name.
    name = _INVALID_IN_NAME.sub("-", cells["name"].lower()).strip("-")[:_MAX_NAME].strip("-") or "event"
    metadata = {"name": f"{name}-{number}", "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "BusinessEvent", "metadata": metadata, "spec": spec}


def _time_with_zone(text: str, column: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidManifestError(f"column {column}: {text!r} is not a time with a zone, such as 2026-11-27T08:00:00Z")
    return moment.isoformat()
