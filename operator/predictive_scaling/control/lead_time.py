"""How long replicas take to become ready, learned from our own raises on our own clock (semantics 21)."""

from collections import deque
from collections.abc import Collection
from datetime import timedelta

from forecasting.scaling.start_durations import MAX_STARTS, MIN_STARTS, Start, StartDurations, estimate_lead_time
from predictive_scaling.resources.learned_status import LearnedLeadTime, LearnedStarts


class LeadTimes:
    """The last starts of each target, by its uid."""

    def __init__(self, default: timedelta) -> None:
        self._default = default
        self._starts: dict[str, deque[Start]] = {}

    def learn(
        self, target_uid: str, took: timedelta, *, with_new_node: bool | None = None, release: str = ""
    ) -> LearnedLeadTime | None:
        """Add a raise that was ready after `took`; return the new estimate, None if the raise cannot be used.

        with_new_node: whether a replica waited for a node; None if unknown. release: the pod template.
        """
        if took < timedelta():  # the clock was stepped back meanwhile
            return None
        starts = self._starts.setdefault(target_uid, deque(maxlen=MAX_STARTS))
        starts.append(Start(took.total_seconds(), with_new_node, release))
        return self.learned(target_uid)

    def restore(
        self, target_uid: str, learned: LearnedLeadTime | None, lead_time: timedelta | None, *, release: str = ""
    ) -> None:
        """Continue after a restart with what the status shows, unless a start was measured meanwhile.

        lead_time: the lead time in use, for a status of an earlier version without the number of starts. release: the
        pod template now, which the restored starts count for: otherwise the next few starts would replace all of them.
        """
        if target_uid in self._starts or (learned is None and lead_time is None):
            return
        starts = [Start(lead_time.total_seconds())] if learned is None and lead_time is not None else _starts(learned)
        self._starts[target_uid] = deque((start._replace(release=release) for start in starts), maxlen=MAX_STARTS)

    def of(self, target_uid: str, configured: timedelta | None, *, has_headroom: bool = False) -> timedelta:
        """Return the lead time to use: configured, learned, or the default.

        Too few starts only lengthen the default. has_headroom: nodes have spare capacity before each
        raise, so starts that waited for a node do not count once enough others are known.
        """
        if configured is not None:
            return configured
        learned = self.learned(target_uid)
        if learned is None:
            return self._default
        if not learned.trusted:
            return max(learned.value, self._default)
        existing = learned.on_existing_nodes
        return existing.value if has_headroom and existing is not None and _is_enough(existing) else learned.value

    def learned(self, target_uid: str) -> LearnedLeadTime | None:
        """Return what was learned about a target; None without a start."""
        estimate = estimate_lead_time(tuple(self._starts.get(target_uid, ())))
        if estimate is None:
            return None
        return LearnedLeadTime(
            value=_duration(estimate.overall),
            starts=estimate.overall.starts,
            trusted=estimate.is_trustworthy,
            on_existing_nodes=_part(estimate.on_existing_nodes),
            with_new_node=_part(estimate.with_new_node),
        )

    def keep_only(self, target_uids: Collection[str]) -> None:
        """Forget targets that no policy scales any more."""
        for gone in self._starts.keys() - set(target_uids):
            del self._starts[gone]


def _starts(learned: LearnedLeadTime | None) -> list[Start]:
    """As many starts as the status counts, each as long as the percentile of its kind."""
    if learned is None:
        return []
    parts = [(learned.on_existing_nodes, False), (learned.with_new_node, True)]
    starts = [
        Start(part.value.total_seconds(), with_new_node)
        for part, with_new_node in parts
        if part is not None
        for _ in range(min(part.starts, MAX_STARTS))
    ]
    unknown = min(learned.starts, MAX_STARTS) - len(starts)
    return [*[Start(learned.value.total_seconds())] * max(unknown, 0), *starts]


def _is_enough(durations: LearnedStarts) -> bool:
    return durations.starts >= MIN_STARTS


def _part(durations: StartDurations | None) -> LearnedStarts | None:
    return None if durations is None else LearnedStarts(value=_duration(durations), starts=durations.starts)


def _duration(durations: StartDurations) -> timedelta:
    """In full seconds."""
    return timedelta(seconds=round(durations.seconds))
