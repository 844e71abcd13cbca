"""Cursors of paginated lists: the key of the last row, so that every page has the same cost."""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime

import msgspec

from predictive_scaling.errors import InvalidCursorError

_MAX_PART = 300


def encode_cursor(*key: str | datetime) -> str:
    """Encode a key as URL-safe text. Opaque to clients, but not secret."""
    parts = [part.isoformat() if isinstance(part, datetime) else part for part in key]
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def decode_cursor(cursor: str, *kinds: type[str] | type[datetime]) -> Sequence[str | datetime]:
    """Decode a cursor into a key of these types. Raises InvalidCursorError if it is malformed."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = msgspec.json.decode(raw, type=list[str])
        return [_part(part, kind) for part, kind in zip(parts, kinds, strict=True)]
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise InvalidCursorError("cursor: not returned by this list; omit it to start at the first page") from None


def _part(text: str, kind: type[str] | type[datetime]) -> str | datetime:
    if len(text) > _MAX_PART or not text.isprintable():
        raise ValueError("no name and no time")
    if kind is str:
        return text
    moment = datetime.fromisoformat(text)
    # PostgreSQL and Python support different time ranges; a valid cursor is in both.
    if moment.tzinfo is None or not 1900 <= moment.year <= 9000:
        raise ValueError("no time of a row")
    return moment
