"""How long replicas take to become ready, learned from our own raises on our own clock (semantics 21)."""

from collections import deque
from collections.abc import Collection, Mapping
from datetime import timedelta

_STARTS = 10
_PERCENTILE = 90


class LeadTimes:
    """The last starts of each target, by its uid."""

    def __init__(self, default: timedelta) -> None:
        self._default = default
        self._starts: dict[str, deque[timedelta]] = {}

    def learn(self, target_uid: str, took: timedelta) -> None:
        """A raise of this target was ready after `took`."""
        if took >= timedelta():  # less where the clock was stepped back meanwhile
            self._starts.setdefault(target_uid, deque(maxlen=_STARTS)).append(took)

    def seed(self, target_uid: str, lead_time: timedelta) -> None:
        """Use the lead time of the status from before a restart as the only start until others are measured."""
        self._starts.setdefault(target_uid, deque([lead_time], maxlen=_STARTS))

    def of(self, target_uid: str, configured: timedelta | None) -> timedelta:
        """Return the configured lead time, a high percentile of the last starts, or the default."""
        if configured is not None:
            return configured
        starts = self._starts.get(target_uid)
        if not starts:
            return self._default
        return _high(starts)

    def keep_only(self, target_uids: Collection[str]) -> None:
        """Forget targets that no policy scales any more."""
        for gone in self._starts.keys() - set(target_uids):
            del self._starts[gone]

    def measured(self) -> Mapping[str, int]:
        """How many starts each target's lead time was learned from."""
        return {uid: len(starts) for uid, starts in self._starts.items()}


def _high(starts: Collection[timedelta]) -> timedelta:
    """The percentile, interpolated between adjacent starts, in full seconds."""
    ordered = sorted(start.total_seconds() for start in starts)
    place = (len(ordered) - 1) * _PERCENTILE / 100
    below, share = int(place), place % 1
    above = ordered[min(below + 1, len(ordered) - 1)]
    return timedelta(seconds=round(ordered[below] + share * (above - ordered[below])))
