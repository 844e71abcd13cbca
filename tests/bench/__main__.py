"""`make bench`: python -m tests.bench [--traces FOLDER] [--quick] [--only-scaling] [--only-leading] [--write-docs]."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from forecasting.series import Series
from predictive_scaling.clock import monotonic
from tests.bench.accuracy import Accuracy, measure_accuracy
from tests.bench.events import near_events
from tests.bench.leading import leading_section, leading_services, measure_leading
from tests.bench.markdown import section, with_sections
from tests.bench.prophet_peer import is_installed
from tests.bench.results import Results, scaling_verdicts
from tests.bench.scaling import ScalingResult, simulate_scaling
from tests.bench.scaling_tables import scaling_sections
from tests.bench.shared import shared_accuracies
from tests.bench.speed import measure_batches, measure_decisions, measure_training
from tests.bench.tables import as_json, as_markdown
from tests.bench.traces import Measured, development, read_traces

ROOT = Path(__file__).parents[2]
JSON = ROOT / "build" / "bench.json"
SCALING_JSON = ROOT / "build" / "bench-scaling.json"
DOCS = ROOT / "docs" / "benchmarks.md"
MEASURED = {True: "Measured on recorded series", False: "Measured on generated series"}
"""The section of the document, by whether the series are recorded."""
LEADING = "Leading indicators, on generated services"
"""The section of the document about these."""
LEADING_JSON = ROOT / "build" / "bench-leading.json"
_REFITS, _LEADING_REFITS = 4, 2
_BATCHES = (1, 100, 1_000, 10_000)
_DECISIONS = (1, 10, 100, 1_000, 10_000)


def bench(
    traces: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder of recorded series (CSV, also .gz); default: generated series."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short series, one refit, small batches: a trial.")] = False,
    only_scaling: Annotated[
        bool, typer.Option("--only-scaling", help="Measure the effect on scaling only; other results are kept.")
    ] = False,
    only_leading: Annotated[
        bool, typer.Option("--only-leading", help="Measure what leading indicators bring only.")
    ] = False,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Write the tables into docs/benchmarks.md.")] = False,
) -> None:
    """Measure accuracy, scaling, speed and memory; tables to stdout, all results to build/bench.json."""
    started_at = monotonic()
    refits = 1 if quick else _REFITS
    if only_leading:
        _write_leading(quick=quick, write_docs=write_docs)
        return
    measured = read_traces(traces, quick=quick, say=_say)
    left_out = dict(measured.left_out)
    if not is_installed():
        left_out["Prophet"] = "is not installed; `make bench` installs requirements-bench.lock"
    if only_scaling:
        _write_scaling(_scaling(measured, refits), MEASURED[traces is not None], write_docs=write_docs)
        return
    # Speed first, while memory and cores are free.
    trained, model = measure_training(_say)
    counts = _BATCHES[:2] if quick else _BATCHES
    batch_runs, decisions = measure_batches(model, counts, _say), measure_decisions(_DECISIONS, _say)
    accuracy = _accuracy(measured.series, refits, quick=quick)
    scaling = _scaling(measured, refits)
    events = near_events(measured.series, measured.events, refits, _say)
    results = Results(
        mode=_mode(refits, quick=quick, recorded=traces is not None),
        seconds=monotonic() - started_at,
        accuracy=accuracy,
        scaling=scaling,
        events=events,
        training=trained,
        batches=batch_runs,
        deciding=decisions,
        left_out=left_out,
    )
    _write(results, MEASURED[traces is not None], write_docs=write_docs)
    if traces is None:
        _write_leading(quick=quick, write_docs=write_docs)


def _accuracy(series: dict[str, Series], refits: int, *, quick: bool) -> dict[str, dict[str, Accuracy]]:
    accuracy = {name: measure_accuracy(item, refits, quick=quick, say=_say) for name, item in series.items()}
    for name, shared in shared_accuracies(series, refits, _say).items():
        accuracy[name] |= shared
    return accuracy


def _scaling(measured: Measured, refits: int) -> dict[str, ScalingResult]:
    results = {name: simulate_scaling(trace, refits, _say) for name, trace in measured.traces.items()}
    return {name: result for name, result in results.items() if result is not None}


def _mode(refits: int, *, quick: bool, recorded: bool) -> str:
    kind = "recorded series" if recorded else "generated series"
    if quick:
        return f"`--quick`, {kind}, one refit: a trial that shows the order of magnitude"
    return f"{kind}, {refits} refits"


def _write(results: Results, heading: str, *, write_docs: bool) -> None:
    tables = as_markdown(results)
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(as_json(results))
    if write_docs:
        DOCS.write_text(with_sections(DOCS.read_text(), {heading: tables.strip()}, level=2))
    typer.echo(tables, nl=False)
    _say(f"all results are in {JSON.relative_to(ROOT)}")


def _write_scaling(scaling: dict[str, ScalingResult], heading: str, *, write_docs: bool) -> None:
    sections = scaling_sections(scaling)
    SCALING_JSON.parent.mkdir(exist_ok=True)
    SCALING_JSON.write_text(json.dumps({name: asdict(result) for name, result in scaling.items()}, indent=1) + "\n")
    if write_docs:
        text = DOCS.read_text()
        section_text = with_sections(section(text, heading, level=2), sections)
        DOCS.write_text(with_sections(text, {heading: section_text.strip()}, level=2))
    for heading, body in sections.items():
        typer.echo(f"### {heading}\n\n{body}\n")
    for verdict in scaling_verdicts(scaling, development(scaling)):
        typer.echo(f"{verdict.what}: {verdict.measured}, bar {verdict.bar}: {verdict.text}")
    _say(f"all results are in {SCALING_JSON.relative_to(ROOT)}")


def _write_leading(*, quick: bool, write_docs: bool) -> None:
    results = measure_leading(leading_services(quick=quick), 1 if quick else _LEADING_REFITS, _say)
    body = leading_section(results)
    LEADING_JSON.parent.mkdir(exist_ok=True)
    LEADING_JSON.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    if write_docs:
        DOCS.write_text(with_sections(DOCS.read_text(), {LEADING: body}, level=2))
    typer.echo(f"## {LEADING}\n\n{body}")
    _say(f"all results are in {LEADING_JSON.relative_to(ROOT)}")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(bench)
