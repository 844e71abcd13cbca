"""Annotations by which people override a policy: pause, pin, direction, resume."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.resources.conditions import in_utc
from predictive_scaling.resources.metadata import GROUP
from predictive_scaling.resources.part import writable
from predictive_scaling.resources.scaling_decision import MAX_TEXT_LENGTH
from predictive_scaling.resources.scaling_policy import MAX_REPLICAS
from predictive_scaling.resources.vocabulary import Direction

PAUSED = f"{GROUP}/paused"
PIN = f"{GROUP}/pin"
DIRECTION = f"{GROUP}/direction"
UNTIL = f"{GROUP}/until"
RESUME = f"{GROUP}/resume"


@dataclass(frozen=True, slots=True)
class Override:
    """The overrides of the annotations. An invalid annotation counts as absent and is reported in `errors`.

    An invalid `until` therefore ends nothing: a pause that lasts too long is safer than one that ends too early.
    """

    paused: bool = False
    pin: int | None = None
    direction: Direction | None = None
    until: datetime | None = None
    """End of the three above; None: as long as they are set."""
    resume: str | None = None
    """A person changes this value to end a conflict."""
    errors: tuple[str, ...] = ()

    def at(self, now: datetime) -> "Override":
        """Return the overrides in effect at `now`: after `until` only `resume` and the errors."""
        if self.until is None or now < self.until:
            return self
        return Override(resume=self.resume, errors=self.errors)


_NO_OVERRIDE = Override()


def read_annotations(annotations: Mapping[str, str]) -> Override:
    """Parse the annotations of a policy; never raises.

    >>> read_annotations({"predictive-scaling.io/pin": "12"}).pin
    12
    >>> read_annotations({"predictive-scaling.io/pin": "many"}).errors
    ('annotation predictive-scaling.io/pin is "many"; write a number of replicas such as "12"',)
    """
    if not annotations:
        return _NO_OVERRIDE
    errors: list[str] = []
    return Override(
        paused=_flag(annotations.get(PAUSED), errors),
        pin=_count(annotations.get(PIN), errors),
        direction=_direction(annotations.get(DIRECTION), errors),
        until=_moment(annotations.get(UNTIL), errors),
        resume=resume_of(annotations),
        errors=tuple(errors),
    )


def resume_of(annotations: Mapping[str, str]) -> str | None:
    """Return the annotation `resume`, or its hash if it does not fit into a status; None if it is absent.

    Values are only compared with earlier values.
    """
    value = annotations.get(RESUME)
    if value is None or (len(value) <= MAX_TEXT_LENGTH and writable(value) == value):
        return value
    return f"sha256:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()}"


def _report(errors: list[str], annotation: str, value: str, allowed: str) -> None:
    errors.append(f'annotation {annotation} is "{writable(value[:100])}"; write {allowed}')


def _flag(text: str | None, errors: list[str]) -> bool:
    if text not in (None, "true", "false"):
        _report(errors, PAUSED, text, '"true", or remove it')
    return text == "true"


def _count(text: str | None, errors: list[str]) -> int | None:
    if text is None:
        return None
    # isdecimal() alone accepts digits of all scripts, and int() parses them.
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_REPLICAS)) and int(text) <= MAX_REPLICAS:
        return int(text)
    _report(errors, PIN, text, 'a number of replicas such as "12"')
    return None


def _direction(text: str | None, errors: list[str]) -> Direction | None:
    if text is None:
        return None
    try:
        return Direction(text)
    except ValueError:
        _report(errors, DIRECTION, text, " or ".join(Direction))
        return None


def _moment(text: str | None, errors: list[str]) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        _report(errors, UNTIL, text, "an RFC 3339 time with its offset, such as 2026-11-27T08:00:00+01:00")
        return None
    return in_utc(moment)
