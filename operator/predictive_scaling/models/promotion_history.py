"""The promotion history of a series: one line of JSON for each change in models/<series>/history.jsonl."""

import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PROMOTION_HISTORY = "history.jsonl"
MAX_ENTRIES = 100
_MAX_BYTES = 1_000_000


class Outcome(StrEnum):
    """The outcome of a change.

    promoted: a newly trained LightGBM acts. rejected: the gate refused it, so a naive model acts. rolled_back: a person
    returned to an earlier version.
    """

    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class Entry(BaseModel):
    """A change. version: in use afterwards. previous: in use before. evidence: one sentence."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime
    outcome: Outcome
    version: Annotated[str, Field(max_length=64)]
    previous: Annotated[str, Field(max_length=64)] | None
    evidence: str


def entries(folder: Path) -> list[Entry]:
    """Return the recorded changes of a series, oldest first, without lines that cannot be read."""
    path = folder / PROMOTION_HISTORY
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_BYTES:
            return []
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    valid: list[Entry] = []
    for line in lines:
        try:
            valid.append(Entry.model_validate_json(line))
        except ValidationError:
            continue
    return valid


def record(folder: Path, entry: Entry) -> None:
    """Add an entry and keep the newest MAX_ENTRIES. A crash leaves either the old entries or the new entries."""
    kept = [*entries(folder), entry][-MAX_ENTRIES:]
    draft = folder / f".unfinished-{PROMOTION_HISTORY}-{os.getpid()}"
    draft.write_bytes(b"".join(line.model_dump_json().encode() + b"\n" for line in kept))
    draft.replace(folder / PROMOTION_HISTORY)


def rollback_entry(folder: Path, version: str) -> Entry | None:
    """Return the entry of the rollback to this version; None without one, or if another change followed."""
    newest = next(reversed(entries(folder)), None)
    if newest is None or newest.outcome is not Outcome.ROLLED_BACK or newest.version != version:
        return None
    return newest
