"""Exit codes of `train`, apart from the command because the operator that starts it reads them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgspec
from rich.console import Console
from rich.table import Table

from predictive_scaling.models.manifest import GateRecord
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.training.trainer import Trained


class Exit(IntEnum):
    """REFUSED: all was trained, but a version did worse than the one in use, which stays."""

    GOOD = 0
    SOME_FAILED = 1
    REFUSED = 3
    NOTHING_TO_TRAIN = 66


_WIDE = 240


@dataclass(frozen=True, slots=True)
class Failed:
    """A series that could not be trained."""

    key: SeriesKey
    problem: str


def exit_code(done: Sequence[Trained], failed: Sequence[Failed]) -> Exit:
    """What a training came to."""
    if failed:
        return Exit.SOME_FAILED
    return Exit.GOOD if all(one.published for one in done) else Exit.REFUSED


def as_json(done: Sequence[Trained], failed: Sequence[Failed]) -> str:
    """One line of JSON."""
    trained = [
        {
            **named(one.key),
            "version": one.version,
            "published": one.published,
            "in_use": one.in_use,
            "passed": one.gate.passed,
            "acting": one.gate.acting,
            "evidence": one.gate.evidence,
            "scores": [score.model_dump() for score in one.gate.scores],
            "bins": one.bins,
            "seconds": round(one.seconds, 3),
        }
        for one in done
    ]
    document = {"trained": trained, "failed": [{**named(f.key), "problem": f.problem} for f in failed]}
    # Python's own encoder would write NaN, which is no JSON; this one writes null.
    return msgspec.json.encode(document).decode() + "\n"


def named(key: SeriesKey) -> dict[str, str]:
    """A series, as JSON tells it."""
    return {"service": key.service, "metric": key.metric, "aggregation": key.aggregation}


def as_table(done: Sequence[Trained], failed: Sequence[Failed]) -> str:
    """A row each."""
    table = Table(
        "SERIES", "VERSION", "ACTS", "WAPE", "NAIVE", "COVERAGE", "BINS", "SECONDS", "WHY", box=None, pad_edge=False
    )
    for one in done:
        wape, naive, coverage = _numbers(one.gate)
        table.add_row(
            str(one.key),
            one.version if one.published else f"refused, {one.in_use} stays",
            one.gate.acting if one.published else "-",
            wape,
            naive,
            coverage,
            str(one.bins),
            f"{one.seconds:.1f}",
            one.gate.evidence,
        )
    for one in failed:
        table.add_row(str(one.key), "-", "-", "-", "-", "-", "-", "-", one.problem)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _numbers(gate: GateRecord) -> tuple[str, str, str]:
    """WAPE of the model that acts and of the best other one, and the coverage of its 0.9 quantile."""
    own = next((score for score in gate.scores if score.model == gate.acting), None)
    others = [score.wape for score in gate.scores if score is not own and score.wape is not None]
    wape = "-" if own is None or own.wape is None else f"{own.wape:.3f}"
    coverage = "-" if own is None or own.coverage is None else f"{own.coverage:.1%}"
    return wape, f"{min(others):.3f}" if others else "-", coverage
