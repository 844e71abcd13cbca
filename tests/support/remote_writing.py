"""Remote-write requests, as Prometheus sends them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import cramjam

from predictive_scaling.ingest.remote_write.message import WriteRequest

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
STALE = bytes.fromhex("02 00 00 00 00 00 f0 7f")
"""Prometheus' staleness marker, a NaN, as protobuf encodes it."""


def a_series(name: str, *points: tuple[datetime, float], **labels: str) -> tuple[Mapping[str, str], Sequence[object]]:
    """Return the labels of a series and its points."""
    return {"__name__": name, **labels}, points


def a_request(*series: tuple[Mapping[str, str], Sequence[object]]) -> bytes:
    """Return the compressed body of a request with these series."""
    request = WriteRequest()
    for labels, points in series:
        entry = request.timeseries.add()
        for label, text in sorted(labels.items()):
            entry.labels.add(name=label, value=text)
        for at, value in points:  # pyright: ignore[reportGeneralTypeIssues]
            entry.samples.add(value=value, timestamp=round(at.timestamp() * 1000))
    return compressed(request.SerializeToString())


def compressed(message: bytes) -> bytes:
    """Return a message in snappy's block format."""
    return bytes(cramjam.snappy.compress_raw(message))
