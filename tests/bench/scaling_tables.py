"""What policies did to scaling, always beside what the HPA alone does with the same replica-hours."""

import math
from collections.abc import Iterator, Mapping

from tests.bench.gains import gains
from tests.bench.markdown import table
from tests.bench.scaling import POLICY_WAYS, WAYS, Scaled
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


def scaling_sections(scaling: Mapping[str, Scaled]) -> dict[str, str]:
    """Bodies by heading."""
    every = table(["series", "acting", "way", "chosen", "under-provisioned", "replica-hours"], _every_way(scaling))
    return {GAINS: table(_HEAD, [*_together(scaling), *_each(scaling)]), EVERY_WAY: every}


def _groups(scaling: Mapping[str, Scaled]) -> Iterator[tuple[str, list[Scaled]]]:
    own = development(scaling)
    others = [name for name in scaling if name not in own]
    if own:
        yield group_name(own), [scaling[name] for name in own]
    if others:
        yield f"{len(others)} other series", [scaling[name] for name in others]
    if own and others:
        yield f"all {len(scaling)} series", list(scaling.values())


def _together(scaling: Mapping[str, Scaled]) -> Iterator[list[str]]:
    for what, series in _groups(scaling):
        for way in POLICY_WAYS:
            found = gains(series, way)
            short, alone, same = found.minutes, found.hpa_alone_minutes, found.same_hours_minutes
            sums = [f"{short:,.0f}", f"{found.hours:.3f}", f"{alone:,.0f}", f"{same:,.0f}"]
            yield [f"sum of {what}", way, "", *sums, "", _times(found.in_sum)]
            yield [f"median of {what}", way, *[""] * 6, _times(found.median)]


def _each(scaling: Mapping[str, Scaled]) -> Iterator[list[str]]:
    for name, one in scaling.items():
        for way in POLICY_WAYS:
            same = one.same_hours[way]
            yield [
                *(name, way, one.chosen[way], f"{one.minutes[way]:,.0f}", f"{one.hours[way]:.3f}"),
                *(f"{one.minutes['hpa_only']:,.0f}", f"{same.minutes:,.0f}", f"{100 * same.target:.3g}%"),
                _times(one.gain(way)),
            ]


def _every_way(scaling: Mapping[str, Scaled]) -> Iterator[list[str]]:
    for name, one in scaling.items():
        for way in WAYS:
            yield [name, one.model, way, one.chosen.get(way, ""), f"{one.short[way]:.2%}", f"{one.hours[way]:.3f}"]


def _times(gain: float) -> str:
    return "never short" if math.isinf(gain) else f"{gain:.2f}"
