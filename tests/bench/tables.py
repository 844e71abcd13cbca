"""Results as Markdown and JSON."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from tests.bench.accuracy import OURS
from tests.bench.markdown import table
from tests.bench.results import Results, verdicts
from tests.bench.scaling import PRESENT_TARGET
from tests.bench.scaling_tables import scaling_sections
from tests.bench.traces import group_name
from tests.bench.verdicts import COVERED, HORIZON_MINUTES

_MINUTES = [f"{minutes} min" for minutes in HORIZON_MINUTES]


def as_json(results: Results) -> str:
    """Return the results with their verdicts as JSON; NaN as null."""
    document = asdict(results)
    document["mean_wape"] = {
        method: results.mean_wape(method, results.development)
        for method in dict.fromkeys(method for methods in results.accuracy.values() for method in methods)
    }
    document["mean_scaling"], document["mean_frontier"] = results.mean_scaling(), results.mean_frontier()
    document["present_target"] = PRESENT_TARGET
    document["verdicts"] = [{**asdict(verdict), "verdict": verdict.text} for verdict in verdicts(results)]
    return json.dumps(_clean(document), indent=1) + "\n"


def as_markdown(results: Results) -> str:
    """Return all tables, with headings of the third level."""
    parts = [
        f"Mode: {results.mode}; {len(results.accuracy)} series; {results.seconds:.0f} s in all.",
        *(f"Left out: `{name}` – {why}." for name, why in results.left_out.items()),
        "### Against the bars",
        table(
            ["what", "measured", "bar", "verdict", "goal"],
            (
                [verdict.what, verdict.measured, verdict.bar, verdict.text, verdict.towards]
                for verdict in verdicts(results)
            ),
        ),
        "### Accuracy: WAPE",
        table(["series", "method", *_MINUTES, "fits", "seconds"], _accuracy(results)),
        "### Calibration: share of actuals at or below the quantile, calibrated (and as the model has it)",
        table(["series", *(f"{quantile:g}" for quantile in COVERED)], _coverage(results)),
        *_near_events(results),
        *(part for heading, body in scaling_sections(results.scaling).items() for part in (f"### {heading}", body)),
        "### Speed and memory",
        table(["what", "seconds", "each", "of a Holt-Winters fit", "peak", "added by the batch"], _speed(results)),
    ]
    return "\n\n".join(parts) + "\n"


def _near_events(results: Results) -> Iterator[str]:
    """Matches, given in advance and withheld."""
    if results.events:
        rows = (
            [way, what, *map(_number, numbers)]
            for way, scores in results.events.items()
            for what, numbers in (
                ("WAPE near events", scores.wape),
                ("below the 0.9 quantile near events", scores.coverage),
                ("WAPE over all", scores.wape_all),
            )
        )
        yield "### Near known events: matches, half an hour before kick-off to 40 minutes after the end"
        yield table(["events", "what", *_MINUTES], rows)


def _accuracy(results: Results) -> Iterator[list[str]]:
    methods = list(
        dict.fromkeys(method for accuracy_by_method in results.accuracy.values() for method in accuracy_by_method)
    )
    names = results.development
    for method in methods:
        means = [_number(mean) for mean in results.mean_wape(method, names)]
        yield [f"mean of {group_name(names)}", method, *means, "", ""]
    for name, accuracy_by_method in results.accuracy.items():
        for method, accuracy in accuracy_by_method.items():
            yield [name, method, *map(_number, accuracy.wape), str(accuracy.refits), f"{accuracy.seconds:.1f}"]


def _coverage(results: Results) -> Iterator[list[str]]:
    for name, accuracy_by_method in results.accuracy.items():
        accuracy = accuracy_by_method[OURS]
        pairs = zip(accuracy.coverage, accuracy.raw_coverage, strict=True)
        yield [name, *([f"{live:.1%} ({raw:.1%})" for live, raw in pairs] or ["–"] * len(COVERED))]


def _speed(results: Results) -> Iterator[list[str]]:
    unit = results.training.holt_winters_seconds

    def row(what: str, seconds: float, count: int, memory: tuple[str, str] = ("", "")) -> list[str]:
        return [what, f"{seconds:.4f}", f"{seconds / count * 1e6:,.0f} µs", f"{seconds / unit:.4f}", *memory]

    yield row("fit Holt-Winters, 60 days", unit, 1)
    yield row("train LightGBM, 60 days", results.training.seconds, 1)
    for run in results.batches:
        memory = f"{run.peak_mb:.0f} MB", f"{run.added_mb:.0f} MB"
        yield row(f"forecast {run.count:,} series", run.seconds, run.count, memory)
    for decisions in results.deciding:
        yield row(f"decide for {decisions.count:,} policies", decisions.seconds, decisions.count)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
