"""What people tell a policy by annotations: pause, pin, one direction only, resume."""

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
    """What the annotations ask for. What cannot be read counts as not said and is named in `errors`.

    So an `until` that cannot be read ends nothing: a pause is rather kept too long than given up too early.
    """

    paused: bool = False
    pin: int | None = None
    direction: Direction | None = None
    until: datetime | None = None
    """The three above count before this moment; None: for as long as they are there."""
    resume: str | None = None
    """Changes when a person says that a conflict is over."""
    errors: tuple[str, ...] = ()

    def at(self, now: datetime) -> "Override":
        """What counts now: after `until` only `resume` and the errors are left."""
        if self.until is None or now < self.until:
            return self
        return Override(resume=self.resume, errors=self.errors)


def read_annotations(annotations: Mapping[str, str]) -> Override:
    """The override that a policy's annotations ask for; never raises.

    >>> read_annotations({"predictive-scaling.io/pin": "12"}).pin
    12
    >>> read_annotations({"predictive-scaling.io/pin": "many"}).errors
    ('annotation predictive-scaling.io/pin is "many"; write a count of replicas such as "12"',)
    """
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
    """The value of the annotation `resume`, or a hash of one that a status cannot hold; None where there is none.

    Values are only ever compared with earlier ones.
    """
    value = annotations.get(RESUME)
    if value is None or (len(value) <= MAX_TEXT_LENGTH and writable(value) == value):
        return value
    return f"sha256:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()}"


def _complain(errors: list[str], annotation: str, given: str, allowed: str) -> None:
    errors.append(f'annotation {annotation} is "{writable(given[:100])}"; write {allowed}')


def _flag(text: str | None, errors: list[str]) -> bool:
    if text not in (None, "true", "false"):
        _complain(errors, PAUSED, text, '"true", or take it away')
    return text == "true"


def _count(text: str | None, errors: list[str]) -> int | None:
    if text is None:
        return None
    # isdecimal alone takes digits of all scripts, and int() reads them.
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_REPLICAS)) and int(text) <= MAX_REPLICAS:
        return int(text)
    _complain(errors, PIN, text, 'a count of replicas such as "12"')
    return None


def _direction(text: str | None, errors: list[str]) -> Direction | None:
    if text is None:
        return None
    try:
        return Direction(text)
    except ValueError:
        _complain(errors, DIRECTION, text, " or ".join(Direction))
        return None


def _moment(text: str | None, errors: list[str]) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        _complain(errors, UNTIL, text, "an RFC 3339 time with its offset, such as 2026-11-27T08:00:00+01:00")
        return None
    return in_utc(moment)
