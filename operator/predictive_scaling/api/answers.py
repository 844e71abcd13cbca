"""Answers as bytes: encoded fast, kept until the data change, compressed, and not sent to a client that has them."""

import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any

import msgspec
from fastapi import Request, Response

from predictive_scaling.clock import monotonic

_MIN_COMPRESSED = 1024
_FASTEST = 1
_GZIP_WINDOW = 31
_MAX_ENTRIES = 256
_MAX_BYTES = 32 << 20
_COSTLY_SECONDS = 0.05
KEPT_SECONDS = 5.0
"""For how long a number is shown again that took long to count."""


def encoded(document: Any) -> bytes:
    """JSON: times in RFC 3339 with Z, NaN and infinities as null."""
    return msgspec.json.encode(document)


def answer(request: Request, body: bytes) -> Response:
    """200 with the body, compressed where the client takes gzip; 304 where the client has it already."""
    tag = f'W/"{blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    if len(body) >= _MIN_COMPRESSED and _takes_gzip(request.headers.get("accept-encoding", "")):
        compressor = zlib.compressobj(_FASTEST, zlib.DEFLATED, _GZIP_WINDOW)
        body = compressor.compress(body) + compressor.flush()
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json")


class VersionedAnswers:
    """What was encoded last for each question, as long as the version of its data is the same. Bounded by size."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._bytes = 0

    async def get(self, question: str, version: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The kept answer of this version, or what `make` gives, which is kept."""
        kept = self._answers.get(question)
        if kept is not None and kept[0] == version:
            self._answers.move_to_end(question)
            return kept[1]
        body = await make()
        self._drop(question)
        self._answers[question] = (version, body)
        self._bytes += len(body)
        while self._answers and (len(self._answers) > _MAX_ENTRIES or self._bytes > _MAX_BYTES):
            self._drop(next(iter(self._answers)))
        return body

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def kept_bytes(self) -> int:
        """How much memory the answers take."""
        return self._bytes

    def _drop(self, question: str) -> None:
        _, body = self._answers.pop(question, ("", b""))
        self._bytes -= len(body)


class CostlyValue:
    """A number that may take long to count. One that did is kept for a while, so that requests do not queue for it."""

    def __init__(self) -> None:
        self._value: float | None = None
        self._kept_until = 0.0

    async def get(self, count: Callable[[], Awaitable[float | None]]) -> float | None:
        """What `count` gives; the last one, where that took longer than _COSTLY_SECONDS less than KEPT_SECONDS ago."""
        began = monotonic()
        if began < self._kept_until:
            return self._value
        self._value = await count()
        if monotonic() - began > _COSTLY_SECONDS:
            self._kept_until = monotonic() + KEPT_SECONDS
        return self._value


def _has(tags: str, tag: str) -> bool:
    return any(each.strip() in ("*", tag, tag.removeprefix("W/")) for each in tags.split(","))


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(","):
        coding, _, quality = each.partition(";")
        if coding.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
