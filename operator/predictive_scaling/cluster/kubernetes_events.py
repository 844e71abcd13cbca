"""Kubernetes Events about changes, sent in the background; they are dropped rather than delaying a tick."""

import asyncio
import uuid
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import structlog

from predictive_scaling.clock import WallClock
from predictive_scaling.cluster.client import Cluster
from predictive_scaling.cluster.informer_cache import EventRecord, PolicyRecord
from predictive_scaling.errors import PredictiveScalingError
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.resources.part import writable

log = structlog.get_logger(__name__)

CONTROLLER: Final = "predictive-scaling.io/operator"
_MAX_NOTE_LENGTH = 1000
_MAX_QUEUED = 1000


class EventReason(StrEnum):
    """Reasons of our Events. Each reports a transition, never a state."""

    FLOOR_RAISED = "FloorRaised"
    FLOOR_LOWERED = "FloorLowered"
    FORECAST_STALE = "ForecastStale"
    FALLBACK_ACTIVATED = "FallbackActivated"
    FALLBACK_DEACTIVATED = "FallbackDeactivated"
    EVENT_WINDOW_STARTED = "EventWindowStarted"
    EVENT_WINDOW_ENDED = "EventWindowEnded"
    CAPPED_AT_MAX = "CappedAtMax"
    VERIFICATION_SUCCEEDED = "VerificationSucceeded"
    VERIFICATION_FAILED = "VerificationFailed"
    ROLLED_BACK = "RolledBack"
    CONFLICT_DETECTED = "ConflictDetected"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    RESTORED = "Restored"
    NOT_RESTORED = "NotRestored"
    WRITE_REFUSED = "WriteRefused"
    MODEL_PROMOTED = "ModelPromoted"
    MODEL_REJECTED = "ModelRejected"
    QUANTILE_TUNED = "QuantileTuned"
    DATABASE_UNAVAILABLE = "DatabaseUnavailable"
    DATABASE_AVAILABLE = "DatabaseAvailable"
    VISIT_FAILED = "VisitFailed"
    LEAD_TIME_CHANGED = "LeadTimeChanged"
    CAPACITY_CHANGED = "CapacityChanged"
    MULTIPLIER_TOO_LOW = "MultiplierTooLow"
    MULTIPLIER_TOO_HIGH = "MultiplierTooHigh"


_WARNINGS = frozenset(
    {
        EventReason.FORECAST_STALE,
        EventReason.FALLBACK_ACTIVATED,
        EventReason.CAPPED_AT_MAX,
        EventReason.VERIFICATION_FAILED,
        EventReason.ROLLED_BACK,
        EventReason.CONFLICT_DETECTED,
        EventReason.NOT_RESTORED,
        EventReason.WRITE_REFUSED,
        EventReason.MODEL_REJECTED,
        EventReason.DATABASE_UNAVAILABLE,
        EventReason.VISIT_FAILED,
        EventReason.MULTIPLIER_TOO_LOW,
    }
)


@dataclass(slots=True)
class FairQueue:
    """Events to be sent, one of each namespace in turn, so that many of one namespace delay and drop no others."""

    maximum: int
    _events: dict[str, deque[dict[str, Any]]] = field(default_factory=dict[str, deque[dict[str, Any]]])
    """By namespace, the next one first."""

    def __len__(self) -> int:
        return sum(map(len, self._events.values()))

    def put(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Queue an event. Return the event that is dropped from a full queue: the newest of the fullest namespace."""
        self._events.setdefault(event["metadata"]["namespace"], deque()).append(event)
        if len(self) <= self.maximum:
            return None
        fullest = max(self._events, key=lambda namespace: len(self._events[namespace]))
        dropped = self._events[fullest].pop()
        if not self._events[fullest]:
            del self._events[fullest]
        return dropped

    def get(self) -> dict[str, Any]:
        """Return and remove the next event of a queue that is not empty."""
        namespace = next(iter(self._events))
        own = self._events.pop(namespace)
        event = own.popleft()
        if own:
            self._events[namespace] = own
        return event


@dataclass(slots=True)
class KubernetesEvents:
    """A queue of Events and its sender."""

    cluster: Cluster
    instance: str
    queued: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an Event is queued."""
    _queue: FairQueue = field(default_factory=lambda: FairQueue(_MAX_QUEUED))

    def emit(self, record: PolicyRecord | EventRecord, reason: EventReason, note: str) -> None:
        """Queue an Event about a policy or a BusinessEvent."""
        if isinstance(record, PolicyRecord):
            kind, namespace, name, uid = "ScalingPolicy", record.key.namespace, record.key.name, record.uid
        else:
            kind, namespace, name, uid = "BusinessEvent", record.namespace, record.name, record.uid
        regarding = {"apiVersion": API_VERSION, "kind": kind, "namespace": namespace, "name": name, "uid": uid}
        dropped = self._queue.put(self._event(regarding, reason, note))
        if dropped is not None:
            about = dropped["regarding"]
            log.warning("event_dropped", policy=f"{about['namespace']}/{about['name']}", reason=dropped["reason"])
        self.queued.set()

    async def send(self) -> None:
        """Send all queued Events; an Event that cannot be sent is dropped."""
        while self._queue:
            event = self._queue.get()
            path = f"/apis/events.k8s.io/v1/namespaces/{event['metadata']['namespace']}/events"
            try:
                await self.cluster.create(path, event)
            except PredictiveScalingError as error:
                log.warning("event_dropped", reason=event["reason"], error=str(error))

    def _event(self, regarding: dict[str, str], reason: EventReason, note: str) -> dict[str, Any]:
        # The time of an Event is real time: kubectl shows its age by the machine's clock.
        moment = WallClock().now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        name = f"{regarding['name'][:40]}.{uuid.uuid4().hex[:16]}"
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": regarding["namespace"]},
            "eventTime": moment,
            "reportingController": CONTROLLER,
            "reportingInstance": self.instance[:128],
            "action": "Scale",
            "reason": reason.value,
            "type": "Warning" if reason in _WARNINGS else "Normal",
            "regarding": regarding,
            "note": writable(note[:_MAX_NOTE_LENGTH]),
        }
