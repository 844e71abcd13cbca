"""What became of the models of a series, and why: one line of JSON each in models/<series>/history.jsonl."""

import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PROMOTION_HISTORY = "history.jsonl"
KEPT = 100
_MAX_BYTES = 1_000_000


class Outcome(StrEnum):
    """promoted: a newly trained LightGBM acts. rejected: the gate did not let it, so a naive model does. rolled_back: a
    person went back to an earlier version.
    """

    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class Entry(BaseModel):
    """One change. version: the one in use from then on. previous: the one before it. evidence: one sentence."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime
    outcome: Outcome
    version: Annotated[str, Field(max_length=64)]
    previous: Annotated[str, Field(max_length=64)] | None
    evidence: str


def entries(folder: Path) -> list[Entry]:
    """What is recorded of a series, oldest first; a line that cannot be read is left out."""
    path = folder / PROMOTION_HISTORY
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_BYTES:
            return []
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    found: list[Entry] = []
    for line in lines:
        try:
            found.append(Entry.model_validate_json(line))
        except ValidationError:
            continue
    return found


def record(folder: Path, entry: Entry) -> None:
    """Add an entry; the newest KEPT stay. A crash leaves the old entries or the new ones."""
    kept = [*entries(folder), entry][-KEPT:]
    draft = folder / f".unfinished-{PROMOTION_HISTORY}-{os.getpid()}"
    draft.write_bytes(b"".join(one.model_dump_json().encode() + b"\n" for one in kept))
    draft.replace(folder / PROMOTION_HISTORY)


def was_rolled_back(folder: Path, version: str) -> Entry | None:
    """How a person went back to this version; None where nobody did, or something came after it."""
    newest = next(reversed(entries(folder)), None)
    if newest is None or newest.outcome is not Outcome.ROLLED_BACK or newest.version != version:
        return None
    return newest
