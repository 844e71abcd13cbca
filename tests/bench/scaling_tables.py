"""Tables of the scaling results, each compared with the HPA alone at the same replica-hours."""

import math
from collections.abc import Iterator, Mapping

from tests.bench.gains import gains
from tests.bench.markdown import table
from tests.bench.scaling import POLICY_WAYS, WAYS, ScalingResult
from tests.bench.traces import development, group_name

GAINS = "Scaling: minutes short, compared with the HPA alone at the same replica-hours"
EVERY_WAY = "Scaling: every way"
_HEAD = [
    "series",
    "way",
    "setting",
    "minutes short",
    "replica-hours",
    "HPA alone",
    "HPA at the same hours",
    "its target",
    "times fewer than at the same hours",
]


def scaling_sections(scaling: Mapping[str, ScalingResult]) -> dict[str, str]:
    """Return the bodies of the sections by heading."""
    all_ways = table(
        ["series", "acting", "way", "chosen", "under-provisioned", "replica-hours"], _rows_of_all_ways(scaling)
    )
    return {GAINS: table(_HEAD, [*_sums_and_medians(scaling), *_series_rows(scaling)]), EVERY_WAY: all_ways}


def _groups(scaling: Mapping[str, ScalingResult]) -> Iterator[tuple[str, list[ScalingResult]]]:
    own = development(scaling)
    others = [name for name in scaling if name not in own]
    if own:
        yield group_name(own), [scaling[name] for name in own]
    if others:
        yield f"{len(others)} other series", [scaling[name] for name in others]
    if own and others:
        yield f"all {len(scaling)} series", list(scaling.values())


def _sums_and_medians(scaling: Mapping[str, ScalingResult]) -> Iterator[list[str]]:
    for what, series in _groups(scaling):
        for way in POLICY_WAYS:
            total = gains(series, way)
            short, alone, same = total.minutes, total.hpa_alone_minutes, total.same_hours_minutes
            sums = [f"{short:,.0f}", f"{total.hours:.3f}", f"{alone:,.0f}", f"{same:,.0f}"]
            yield [f"sum of {what}", way, "", *sums, "", _times(total.in_sum)]
            yield [f"median of {what}", way, *[""] * 6, _times(total.median)]


def _series_rows(scaling: Mapping[str, ScalingResult]) -> Iterator[list[str]]:
    for name, result in scaling.items():
        for way in POLICY_WAYS:
            same = result.same_hours[way]
            yield [
                *(name, way, result.chosen[way], f"{result.minutes[way]:,.0f}", f"{result.hours[way]:.3f}"),
                *(f"{result.minutes['hpa_only']:,.0f}", f"{same.minutes:,.0f}", f"{100 * same.target:.3g}%"),
                _times(result.gain(way)),
            ]


def _rows_of_all_ways(scaling: Mapping[str, ScalingResult]) -> Iterator[list[str]]:
    for name, result in scaling.items():
        for way in WAYS:
            yield [
                name,
                result.model,
                way,
                result.chosen.get(way, ""),
                f"{result.short[way]:.2%}",
                f"{result.hours[way]:.3f}",
            ]


def _times(gain: float) -> str:
    return "never short" if math.isinf(gain) else f"{gain:.2f}"
