"""JSON responses: fast encoding, caching by data version, compression and conditional requests."""

import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
from fastapi import Request, Response

_MIN_COMPRESSED_BYTES = 1024
_COMPRESSION_LEVEL = 1
_GZIP_WINDOW = 31
_MAX_ENTRIES = 256
_MAX_BYTES = 32 << 20


def encode(document: Any) -> bytes:
    """Return the JSON of a document: times in RFC 3339 with Z, NaN and infinities as null."""
    return msgspec.json.encode(document)


def json_response(request: Request, body: bytes) -> Response:
    """Return 200 with the JSON, compressed if the client accepts gzip; 304 if the client's ETag matches."""
    return conditional_response(request, body, "application/json")


def conditional_response(request: Request, body: bytes, media_type: str) -> Response:
    """Return 200 with the body, compressed if the client accepts gzip; 304 if the client's ETag matches."""
    tag = f'W/"{blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    if matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    if len(body) >= _MIN_COMPRESSED_BYTES and accepts_gzip(request.headers.get("accept-encoding", "")):
        compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        body = compressor.compress(body) + compressor.flush()
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=media_type)


class VersionedResponses:
    """Caches the response of each query until the version of its data changes. Limited in entries and bytes."""

    def __init__(self) -> None:
        self._responses: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._bytes = 0

    async def get(self, query: str, version: str, render: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the cached response of this version; otherwise call `render` and cache its result."""
        cached = self._responses.get(query)
        if cached is not None and cached[0] == version:
            self._responses.move_to_end(query)
            return cached[1]
        body = await render()
        self._drop(query)
        self._responses[query] = (version, body)
        self._bytes += len(body)
        while self._responses and (len(self._responses) > _MAX_ENTRIES or self._bytes > _MAX_BYTES):
            self._drop(next(iter(self._responses)))
        return body

    def __len__(self) -> int:
        return len(self._responses)

    @property
    def cached_bytes(self) -> int:
        """The total size of the cached responses in bytes."""
        return self._bytes

    def _drop(self, query: str) -> None:
        _, body = self._responses.pop(query, ("", b""))
        self._bytes -= len(body)


def matches(tags: str, tag: str) -> bool:
    """Whether an If-None-Match header names a tag."""
    return any(candidate.strip() in ("*", tag, tag.removeprefix("W/")) for candidate in tags.split(","))


@lru_cache(maxsize=256)
def accepts_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    for encoding in accepted.lower().split(","):
        coding, _, quality = encoding.partition(";")
        if coding.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
