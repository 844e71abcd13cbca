"""The lead time of a target from the durations of its starts: a high percentile, split by whether a node was added."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

PERCENTILE: Final = 90
MIN_STARTS: Final = 3
"""Fewer starts say little about a high percentile: a single quick start must not shorten the lead time."""
MAX_STARTS: Final = 20
"""The newest starts, so that an estimate follows a slower release within a few raises."""


class Start(NamedTuple):
    """One raise whose replicas all became ready."""

    seconds: float
    """From the write of the floor to ready replicas."""
    with_new_node: bool | None = None
    """Whether a replica waited for a node; None if that was not observed."""
    release: str = ""
    """The release of the pods; empty where unknown."""


class StartDurations(NamedTuple):
    """A high percentile of the durations of starts, in seconds, and their number."""

    seconds: float
    starts: int


class LeadTimeEstimate(NamedTuple):
    """The lead time of a target. The parts are None without a start of their kind."""

    overall: StartDurations
    on_existing_nodes: StartDurations | None
    with_new_node: StartDurations | None

    @property
    def is_trustworthy(self) -> bool:
        """Whether there are enough starts."""
        return self.overall.starts >= MIN_STARTS


def estimate_lead_time(starts: Sequence[Start]) -> LeadTimeEstimate | None:
    """Return the estimate from the starts, oldest first; None without any.

    The overall percentile covers starts with a new node as soon as more than one in ten needs one. Once the newest
    release has enough starts, only these count, and earlier ones that waited for a node: an earlier release may have
    started faster or slower.
    """
    if not starts:
        return None
    release = starts[-1].release
    newest = [start for start in starts if start.release == release]
    # How long a node takes does not depend on the release: starts that waited for one are rare, and count further.
    counted = [start for start in starts if start.release == release or start.with_new_node]
    if len(newest) < MIN_STARTS:
        counted = list(starts)
    on_existing_nodes = [start for start in counted if start.with_new_node is False]
    with_new_node = [start for start in counted if start.with_new_node is True]
    return LeadTimeEstimate(
        _durations(counted),
        _durations(on_existing_nodes) if on_existing_nodes else None,
        _durations(with_new_node) if with_new_node else None,
    )


def _durations(starts: Collection[Start]) -> StartDurations:
    """The percentile, interpolated between adjacent starts; at least one."""
    ordered = sorted(start.seconds for start in starts)
    place = (len(ordered) - 1) * PERCENTILE / 100
    below, share = int(place), place % 1
    above = ordered[min(below + 1, len(ordered) - 1)]
    return StartDurations(ordered[below] + share * (above - ordered[below]), len(ordered))
