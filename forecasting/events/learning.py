"""Measure what events did: each against what the quiet bins of the same series lead to expect."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.context import KnownEvent
from forecasting.events.amplitude import MeasuredEvent
from forecasting.events.baseline import log_excess, log_offset
from forecasting.events.course import Course
from forecasting.events.effects import Effects, TypeEffect, sorted_events, starts_on_weekend
from forecasting.series import FloatArray, Series

_MIN_QUIET = 0.2
"""Of the bins: where events are nearly always on, there is nothing to compare them with."""
_MAX_MEASURED = 80
_PASSES = 2
_BEND, _BLANK = 2.0, 1.0
_MIN_BINS = 3
_MAX_LOG = 3.0


@dataclass(slots=True)
class _Study:
    """One type under way."""

    events: list[KnownEvent]
    course: Course
    amplitudes: FloatArray
    """NaN where an event could not be measured."""
    effect: FloatArray


def learn_effects(series: Series) -> Effects | None:
    """What the events of a series' context did within it; None where there were none, or no quiet time to compare.

    Events without a type teach nothing. Only those that are over by the end of the series are measured.
    """
    grouped = _grouped(series)
    if not grouped or not log_offset(series):
        return None
    step = series.step.total_seconds()
    middles = (series.start.timestamp() + (np.arange(len(series.values)) + 0.5) * step).astype(np.float64)
    studies = {type_: _study(events, step, len(middles)) for type_, events in grouped.items()}
    quiet = ~_touched(series, studies, middles)
    if quiet.sum() < _MIN_QUIET * len(quiet) or not np.isfinite(series.values[quiet]).any():
        return None
    above = np.clip(log_excess(series, quiet), -_MAX_LOG, _MAX_LOG)
    for _ in range(_PASSES):
        for study in studies.values():
            others = sum((other.effect for other in studies.values() if other is not study), np.zeros(len(middles)))
            _improve(study, above - others, middles)
    found = [_told(type_, study, series) for type_, study in sorted(studies.items())]
    types = tuple(one for one in found if one.measured)
    return Effects(types) if types else None


def _grouped(series: Series) -> dict[str, list[KnownEvent]]:
    """By type; those that began within the series or not long before."""
    grouped: defaultdict[str, list[KnownEvent]] = defaultdict(list)
    for event in sorted_events(series.context.events):
        if event.type and series.start <= event.start < event.end <= series.end:
            grouped[event.type].append(event)
    return {type_: events[-_MAX_MEASURED:] for type_, events in grouped.items()}


def _study(events: list[KnownEvent], step: float, bins: int) -> _Study:
    typical = float(np.median([(event.end - event.start).total_seconds() for event in events]))
    return _Study(events, Course.default(max(typical, step), step), np.ones(len(events)), np.zeros(bins))


def _touched(series: Series, studies: dict[str, _Study], middles: FloatArray) -> npt.NDArray[np.bool_]:
    """Bins that any event may be felt in, those included that are not over or were not kept to be measured."""
    found = np.zeros(len(middles), dtype=bool)
    for event in series.context.events:
        study = studies.get(event.type)
        if study is not None:
            begin, end = study.course.span(event)
            found[slice(*np.searchsorted(middles, [begin, end]))] = True
    return found


def _improve(study: _Study, above: FloatArray, middles: FloatArray) -> None:
    """Measure each event with the present course, then draw the course anew through all of them."""
    owner, clock = _owners(study, middles)
    known = np.isfinite(above) & (owner >= 0)
    core = known & study.course.is_core(clock)
    least = min(_MIN_BINS, max(1, int(0.5 * study.course.typical / study.course.step)))
    amplitudes = np.full(len(study.events), np.nan)
    for at in range(len(study.events)):
        bins = core & (owner == at)
        if bins.sum() >= least:
            amplitudes[at] = np.median(above[bins])
    usable = known & np.isfinite(np.where(owner >= 0, amplitudes[owner], np.nan))
    study.amplitudes = amplitudes
    if usable.any():
        shape = _drawn(study.course, clock[usable], amplitudes[owner[usable]], above[usable])
        study.course = Course(study.course.typical, study.course.step, shape)
    size = np.nan_to_num(amplitudes)
    study.effect = np.where(owner >= 0, size[owner] * study.course.share_at(clock), 0.0)


def _owners(study: _Study, middles: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Which event each bin belongs to, the one that is felt most, and the time on its clock."""
    owner, clock = np.full(len(middles), -1, dtype=np.int64), np.zeros(len(middles))
    strongest = np.zeros(len(middles))
    usual = float(np.nanmedian(study.amplitudes)) if np.isfinite(study.amplitudes).any() else 1.0
    for at, event in enumerate(study.events):
        begin, end = study.course.span(event)
        part = slice(*np.searchsorted(middles, [begin, end]))
        there = study.course.clock(event, middles[part])
        size = study.amplitudes[at] if np.isfinite(study.amplitudes[at]) else usual
        felt = np.abs(size * study.course.share_at(there)) + 1e-9
        stronger = felt > strongest[part]
        strongest[part] = np.where(stronger, felt, strongest[part])
        owner[part] = np.where(stronger, at, owner[part])
        clock[part] = np.where(stronger, there, clock[part])
    return owner, clock


def _drawn(course: Course, clock: FloatArray, sizes: FloatArray, above: FloatArray) -> tuple[float, ...]:
    """The shape that explains best what was seen, smooth, and as the blank one where nothing was."""
    blank = np.array(Course.default(course.typical, course.step).shape)
    weights = course.weights(clock) * sizes[:, None]
    bends = np.diff(np.eye(len(blank)), axis=0)
    unit = float((sizes**2).mean()) + 1e-9
    normal = weights.T @ weights + unit * (_BEND * bends.T @ bends + _BLANK * np.eye(len(blank)))
    pulled = weights.T @ above + unit * _BLANK * blank + unit * _BEND * bends.T @ (bends @ blank)
    return tuple(np.clip(np.linalg.solve(normal, pulled), -2.0, 3.0).tolist())


def _told(type_: str, study: _Study, series: Series) -> TypeEffect:
    zone = series.context.zone
    measured = tuple(
        MeasuredEvent(
            event.start.timestamp(), event.end.timestamp(), float(size), starts_on_weekend(event, zone), event.magnitude
        )
        for event, size in zip(study.events, study.amplitudes, strict=True)
        if np.isfinite(size)
    )
    return TypeEffect(type_, study.course, measured)
