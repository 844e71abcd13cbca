"""Measure the effects of past events against the demand expected from the quiet bins of the same series."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.context import KnownEvent
from forecasting.events.amplitude import MeasuredEvent
from forecasting.events.baseline import log_excess, log_offset
from forecasting.events.course import Course
from forecasting.events.effects import Effects, TypeEffect, sorted_events, traits_of
from forecasting.series import FloatArray, Series

_MIN_QUIET_SHARE = 0.2
"""Minimum share of quiet bins: without them there is no demand to compare events with."""
_MAX_MEASURED = 80
_PASSES = 2
_SMOOTHNESS, _SHRINKAGE = 2.0, 1.0
_MIN_BINS = 3
_MAX_LOG = 3.0


@dataclass(slots=True)
class _Study:
    """A type of event whose effect is being measured."""

    events: list[KnownEvent]
    course: Course
    amplitudes: FloatArray
    """Log effect of each event; NaN if it could not be measured."""
    effect: FloatArray


def learn_effects(series: Series) -> Effects | None:
    """Return the effects of the events in the context of a series; None without events or without enough quiet bins.

    Only events with a type that ended within the series are measured.
    """
    grouped = _grouped(series)
    if not grouped or not log_offset(series):
        return None
    step = series.step.total_seconds()
    middles = (series.start.timestamp() + (np.arange(len(series.values)) + 0.5) * step).astype(np.float64)
    studies = {type_: _study(events, step, len(middles)) for type_, events in grouped.items()}
    quiet = ~_affected_bins(series, studies, middles)
    if quiet.sum() < _MIN_QUIET_SHARE * len(quiet) or not np.isfinite(series.values[quiet]).any():
        return None
    excess = np.clip(log_excess(series, quiet), -_MAX_LOG, _MAX_LOG)
    for _ in range(_PASSES):
        for study in studies.values():
            others = sum((other.effect for other in studies.values() if other is not study), np.zeros(len(middles)))
            _refine(study, excess - others, middles)
    effects = [_type_effect(type_, study, series) for type_, study in sorted(studies.items())]
    types = tuple(effect for effect in effects if effect.measured)
    return Effects(types) if types else None


def _grouped(series: Series) -> dict[str, list[KnownEvent]]:
    """Return the newest events within the series by type, at most _MAX_MEASURED of each type."""
    grouped: defaultdict[str, list[KnownEvent]] = defaultdict(list)
    for event in sorted_events(series.context.events):
        if event.type and series.start <= event.start < event.end <= series.end:
            grouped[event.type].append(event)
    return {type_: events[-_MAX_MEASURED:] for type_, events in grouped.items()}


def _study(events: list[KnownEvent], step: float, bins: int) -> _Study:
    typical = float(np.median([(event.end - event.start).total_seconds() for event in events]))
    return _Study(events, Course.default(max(typical, step), step), np.ones(len(events)), np.zeros(bins))


def _affected_bins(series: Series, studies: dict[str, _Study], middles: FloatArray) -> npt.NDArray[np.bool_]:
    """Return the bins in which any event may have an effect, including events that are not measured."""
    affected = np.zeros(len(middles), dtype=bool)
    for event in series.context.events:
        study = studies.get(event.type)
        if study is not None:
            begin, end = study.course.span(event)
            affected[slice(*np.searchsorted(middles, [begin, end]))] = True
    return affected


def _refine(study: _Study, excess: FloatArray, middles: FloatArray) -> None:
    """Measure each event with the current course, then fit the course to all events again."""
    owner, clock = _owners(study, middles)
    known = np.isfinite(excess) & (owner >= 0)
    core = known & study.course.is_core(clock)
    min_bins = min(_MIN_BINS, max(1, int(0.5 * study.course.typical / study.course.step)))
    amplitudes = np.full(len(study.events), np.nan)
    for index in range(len(study.events)):
        bins = core & (owner == index)
        if bins.sum() >= min_bins:
            amplitudes[index] = np.median(excess[bins])
    usable = known & np.isfinite(np.where(owner >= 0, amplitudes[owner], np.nan))
    study.amplitudes = amplitudes
    if usable.any():
        shape = _fit_shape(study.course, clock[usable], amplitudes[owner[usable]], excess[usable])
        study.course = Course(study.course.typical, study.course.step, shape)
    sizes = np.nan_to_num(amplitudes)
    study.effect = np.where(owner >= 0, sizes[owner] * study.course.share_at(clock), 0.0)


def _owners(study: _Study, middles: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the event with the strongest effect on each bin, -1 for none, and the time of the bin on its clock."""
    owner, clock = np.full(len(middles), -1, dtype=np.int64), np.zeros(len(middles))
    strongest = np.zeros(len(middles))
    usual = float(np.nanmedian(study.amplitudes)) if np.isfinite(study.amplitudes).any() else 1.0
    for index, event in enumerate(study.events):
        begin, end = study.course.span(event)
        part = slice(*np.searchsorted(middles, [begin, end]))
        event_clock = study.course.clock(event, middles[part])
        size = study.amplitudes[index] if np.isfinite(study.amplitudes[index]) else usual
        strength = np.abs(size * study.course.share_at(event_clock)) + 1e-9
        stronger = strength > strongest[part]
        strongest[part] = np.where(stronger, strength, strongest[part])
        owner[part] = np.where(stronger, index, owner[part])
        clock[part] = np.where(stronger, event_clock, clock[part])
    return owner, clock


def _fit_shape(course: Course, clock: FloatArray, sizes: FloatArray, excess: FloatArray) -> tuple[float, ...]:
    """Return the smooth shape with the least squared error, close to the default shape where nothing was observed."""
    default = np.array(Course.default(course.typical, course.step).shape)
    weights = course.weights(clock) * sizes[:, None]
    slopes = np.diff(np.eye(len(default)), axis=0)
    unit = float((sizes**2).mean()) + 1e-9
    normal = weights.T @ weights + unit * (_SMOOTHNESS * slopes.T @ slopes + _SHRINKAGE * np.eye(len(default)))
    target = weights.T @ excess + unit * _SHRINKAGE * default + unit * _SMOOTHNESS * slopes.T @ (slopes @ default)
    return tuple(np.clip(np.linalg.solve(normal, target), -2.0, 3.0).tolist())


def _type_effect(type_: str, study: _Study, series: Series) -> TypeEffect:
    zone = series.context.zone
    measured = tuple(
        MeasuredEvent(event.start.timestamp(), event.end.timestamp(), float(size), traits_of(event, zone))
        for event, size in zip(study.events, study.amplitudes, strict=True)
        if np.isfinite(size)
    )
    return TypeEffect(type_, study.course, measured)
