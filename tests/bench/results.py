"""The results of one run, and their comparison with the bars."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench.accuracy import NAIVE, OURS, Accuracy
from tests.bench.events import NearEvents
from tests.bench.gains import gains
from tests.bench.scaling import ScalingResult
from tests.bench.speed import BatchRun, DecisionTimes, Training
from tests.bench.traces import DEVELOPMENT, STREAM, WORLD_CUP, development, group_name
from tests.bench.verdicts import (
    BATCH_SECONDS,
    COVERED,
    FEWER_AT_SAME_HOURS,
    FEWER_BAD_MINUTES,
    FEWER_BAD_MINUTES_GOALS,
    HORIZON_MINUTES,
    NEAR_EVENTS_COVERAGE,
    NEAR_EVENTS_COVERAGE_GOAL,
    NEAR_EVENTS_WAPE,
    NEAR_EVENTS_WAPE_GOAL,
    OVER_NAIVE,
    POINTS_OVERALL,
    POINTS_OVERALL_GOAL,
    POINTS_PER_SERIES,
    POINTS_PER_SERIES_GOAL,
    REPLICA_HOURS,
    REPLICA_HOURS_GOALS,
    TRAIN_SECONDS,
    WAPE_GOALS,
    Verdict,
    at_least,
    at_most,
    wape_bars,
    within_points,
)


@dataclass(frozen=True, slots=True)
class Results:
    """accuracy: by series, then method. left_out: the reason by what was not measured.

    events: accuracy with given and with withheld events; empty without events.
    """

    mode: str
    seconds: float
    accuracy: dict[str, dict[str, Accuracy]]
    scaling: dict[str, ScalingResult]
    events: dict[str, NearEvents]
    training: Training
    batches: list[BatchRun]
    deciding: list[DecisionTimes]
    left_out: dict[str, str]

    @property
    def development(self) -> list[str]:
        """Names of the series that means are about."""
        return development(self.accuracy)

    def mean_wape(self, method: str, names: Iterable[str]) -> list[float]:
        """Return the mean WAPE by HORIZON_MINUTES; NaN if a series has none."""
        rows = [self.accuracy[name][method].wape for name in names if method in self.accuracy[name]]
        return np.mean(rows, axis=0).tolist() if rows else [float("nan")] * len(HORIZON_MINUTES)

    def mean_scaling(self) -> dict[str, dict[str, float]]:
        """Return shortage and hours by way, means over the development series."""
        results = [self.scaling[name] for name in self.development if name in self.scaling]
        return {
            way: {
                "short": float(np.mean([result.short[way] for result in results])),
                "hours": float(np.mean([result.hours[way] for result in results])),
            }
            for way in (results[0].short if results else ())
        }

    def mean_frontier(self) -> list[dict[str, object]]:
        """Return a line per HPA target over quantiles: means over the development series, hours relative to the HPA."""
        points: dict[float, dict[float, list[tuple[float, float]]]] = {}
        for name in self.development:
            for point in self.scaling[name].frontier if name in self.scaling else ():
                points_by_quantile = points.setdefault(point["hpa_target"], {}).setdefault(point["quantile"], [])
                hours = point["replica_hours"] / self.scaling[name].alone_hours
                points_by_quantile.append((point["under_provisioned_share"], hours))
        return [
            {
                "hpa_target": target,
                "quantiles": sorted(points_by_quantile),
                "short": [
                    float(np.mean([short for short, _ in points_by_quantile[quantile]]))
                    for quantile in sorted(points_by_quantile)
                ],
                "hours": [
                    float(np.mean([hours for _, hours in points_by_quantile[quantile]]))
                    for quantile in sorted(points_by_quantile)
                ],
            }
            for target, points_by_quantile in sorted(points.items())
        ]


def verdicts(results: Results) -> list[Verdict]:
    """Return all verdicts."""
    return [
        *_wape(results),
        *_coverage(results),
        *_against_naive(results),
        *_near_events(results),
        *scaling_verdicts(results.scaling, results.development),
        *_speed(results),
    ]


def _wape(results: Results) -> Iterator[Verdict]:
    names = results.development
    bars = wape_bars(set(names), STREAM, DEVELOPMENT)
    if bars is None:
        return
    means = results.mean_wape(OURS, names)
    goals = WAPE_GOALS if STREAM in names else (None,) * len(HORIZON_MINUTES)
    for minutes, mean, bar, goal in zip(HORIZON_MINUTES, means, bars, goals, strict=True):
        yield at_most(f"mean WAPE of {group_name(names)}, {minutes} min", mean, bar, goal=goal)


def _coverage(results: Results) -> Iterator[Verdict]:
    rows = {
        name: accuracy_by_method[OURS].coverage
        for name, accuracy_by_method in results.accuracy.items()
        if accuracy_by_method[OURS].coverage
    }
    for index, quantile in enumerate(COVERED):
        if rows:
            mean = float(np.mean([row[index] for row in rows.values()]))
            what = f"coverage of {quantile:g}, mean of {len(rows)} series"
            yield within_points(what, mean, quantile, POINTS_OVERALL, POINTS_OVERALL_GOAL)
    for name, row in rows.items():
        for quantile, share in zip(COVERED, row, strict=True):
            what = f"coverage of {quantile:g}, {name}"
            yield within_points(what, share, quantile, POINTS_PER_SERIES, POINTS_PER_SERIES_GOAL)


def _against_naive(results: Results) -> Iterator[Verdict]:
    """Compare the means over horizons, which the quality gate weights equally."""
    for name, accuracy_by_method in results.accuracy.items():
        best = min(float(np.nanmean(accuracy_by_method[method].wape)) for method in NAIVE)
        wape = accuracy_by_method[OURS].wape
        if np.isfinite(wape).any():
            yield at_most(
                f"WAPE relative to the best naive forecast, {name}", float(np.nanmean(wape)) / best, OVER_NAIVE, 2
            )


def _near_events(results: Results) -> Iterator[Verdict]:
    with_events = results.events.get("given")
    if with_events is not None and WORLD_CUP in results.accuracy:
        error, share = with_events.wape[-1], with_events.coverage[-1]
        yield at_most("WAPE near known events, 60 min", error, NEAR_EVENTS_WAPE, goal=NEAR_EVENTS_WAPE_GOAL)
        what = "coverage of 0.9 near known events, 60 min"
        yield at_least(what, share, NEAR_EVENTS_COVERAGE, goal=NEAR_EVENTS_COVERAGE_GOAL)


def scaling_verdicts(scaling: Mapping[str, ScalingResult], development: Sequence[str]) -> Iterator[Verdict]:
    """Return the verdicts over all development series; the bars are not defined for other sets."""
    results = [scaling[name] for name in development if name in scaling]
    if not results or wape_bars(set(development), STREAM, DEVELOPMENT) is None:
        return
    alone = float(np.mean([result.short["hpa_only"] for result in results]))
    for way, bar in FEWER_BAD_MINUTES.items():
        short = float(np.mean([result.short[way] for result in results]))
        fewer = alone / short if short else float("inf") if alone else float("nan")
        what = f"{way}: times fewer under-provisioned minutes than the HPA alone, {len(results)} series"
        yield at_least(what, fewer, bar, 1, FEWER_BAD_MINUTES_GOALS.get(way))
        gains_of_way = gains(results, way)
        for how, gain in (("sum", gains_of_way.in_sum), ("median", gains_of_way.median)):
            what = f"{way}: times fewer than the HPA at the same replica-hours, {how}"
            yield at_least(what, gain, FEWER_AT_SAME_HOURS, 2)
        hours = float(np.mean([result.hours[way] for result in results]))
        what = f"{way}: replica-hours relative to the HPA alone"
        yield at_most(what, hours, REPLICA_HOURS[way], 2, REPLICA_HOURS_GOALS.get(way))


def _speed(results: Results) -> Iterator[Verdict]:
    yield at_most("seconds to train one series of 60 days", results.training.seconds, TRAIN_SECONDS, 1)
    for run in results.batches:
        if run.count in BATCH_SECONDS:
            what = f"seconds to forecast {run.count:,} series in one batch"
            yield at_most(what, run.seconds, BATCH_SECONDS[run.count], 3)
