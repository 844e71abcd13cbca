"""Results of `train` as exit code, JSON and table; the operator that starts `train` reads its exit code."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import msgspec
from rich.console import Console
from rich.table import Table

from predictive_scaling.models.manifest import GateRecord
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.training.trainer import Trained


class Exit(IntEnum):
    """Exit code of `train`. REFUSED: all series were trained, but a new version is worse than the one in use."""

    GOOD = 0
    SOME_FAILED = 1
    REFUSED = 3
    NOTHING_TO_TRAIN = 66


_TABLE_WIDTH = 240


@dataclass(frozen=True, slots=True)
class Failed:
    """A series that could not be trained."""

    key: SeriesKey
    problem: str


def exit_code(trained: Sequence[Trained], failed: Sequence[Failed]) -> Exit:
    """Return the exit code of a training."""
    if failed:
        return Exit.SOME_FAILED
    return Exit.GOOD if all(training.published for training in trained) else Exit.REFUSED


def as_json(trained: Sequence[Trained], failed: Sequence[Failed]) -> str:
    """Return the results as one line of JSON."""
    document = {
        "trained": [
            {
                **key_fields(training.key),
                "version": training.version,
                "published": training.published,
                "in_use": training.in_use,
                "passed": training.gate.passed,
                "acting": training.gate.acting,
                "evidence": training.gate.evidence,
                "scores": [score.model_dump() for score in training.gate.scores],
                "bins": training.bins,
                "seconds": round(training.seconds, 3),
            }
            for training in trained
        ],
        "failed": [{**key_fields(failure.key), "problem": failure.problem} for failure in failed],
    }
    # Python's json module would write NaN, which is not valid JSON; msgspec writes null.
    return msgspec.json.encode(document).decode() + "\n"


def key_fields(key: SeriesKey) -> dict[str, str]:
    """Return the fields that identify a series in JSON."""
    return {"service": key.service, "metric": key.metric, "aggregation": key.aggregation}


def as_table(trained: Sequence[Trained], failed: Sequence[Failed]) -> str:
    """Return the results as a table with one row per series."""
    table = Table(
        "SERIES", "VERSION", "ACTS", "WAPE", "NAIVE", "COVERAGE", "BINS", "SECONDS", "WHY", box=None, pad_edge=False
    )
    for training in trained:
        wape, naive, coverage = _score_cells(training.gate)
        table.add_row(
            str(training.key),
            training.version if training.published else f"refused, {training.in_use} stays",
            training.gate.acting if training.published else "-",
            wape,
            naive,
            coverage,
            str(training.bins),
            f"{training.seconds:.1f}",
            training.gate.evidence,
        )
    for failure in failed:
        table.add_row(str(failure.key), "-", "-", "-", "-", "-", "-", "-", failure.problem)
    console = Console(width=None if sys.stdout.isatty() else _TABLE_WIDTH)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _score_cells(gate: GateRecord) -> tuple[str, str, str]:
    """Return the WAPE of the acting model, the best WAPE of the others, and the acting model's p90 coverage."""
    own = next((score for score in gate.scores if score.model == gate.acting), None)
    others = [score.wape for score in gate.scores if score is not own and score.wape is not None]
    wape = "-" if own is None or own.wape is None else f"{own.wape:.3f}"
    coverage = "-" if own is None or own.coverage is None else f"{own.coverage:.1%}"
    return wape, f"{min(others):.3f}" if others else "-", coverage
