"""The series of a run: generated, or the recorded series of a folder."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forecasting.context import KnownEvent
from forecasting.series import Series
from predictive_scaling.backtesting.traces.csv_trace import read_csv
from predictive_scaling.backtesting.traces.recorded import MIN_BINS, Trace, checked
from predictive_scaling.errors import InvalidTraceError
from tests.bench.events import read_matches
from tests.bench.generated import MEAN_NAMES, generated_series

STREAM = "twitter-stream-posts-per-minute"
"""The seventh recorded development series, which has bars of its own: its licence is not stated."""
WORLD_CUP = "worldcup98-requests-per-minute"
DEVELOPMENT = {
    WORLD_CUP,
    "aws-elb-requests-per-5min",
    "aws-ec2-cpu-5min",
    "twitter-mentions-aapl-per-5min",
    "twitter-mentions-amzn-per-5min",
    "twitter-mentions-fb-per-5min",
}
"""Recorded series that the bars of means are about."""
QUICK = "aws-elb-requests-per-5min"
MATCHES = "worldcup98-matches"
STEP = timedelta(minutes=5)
_WORLD_CUP_SPAN = datetime(1998, 5, 20, tzinfo=UTC), datetime(1998, 7, 21, tzinfo=UTC)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Series by name, and what cannot be measured with the reason."""

    series: dict[str, Series]
    traces: dict[str, Trace]
    """At the resolution of the source, over the same span."""
    left_out: dict[str, str]
    events: dict[str, tuple[KnownEvent, ...]] = field(default_factory=dict[str, tuple[KnownEvent, ...]])
    """Known events by series, only of series that have any."""


def development(names: Iterable[str]) -> list[str]:
    """The names of the series that means are about: the generated series, or the recorded development series."""
    return [name for name in names if name in DEVELOPMENT or name == STREAM or name in MEAN_NAMES]


def group_name(names: Sequence[str]) -> str:
    """The name of the series that means are about, such as "7 generated series"."""
    return f"{len(names)} {'generated' if all(name in MEAN_NAMES for name in names) else 'development'} series"


def read_traces(folder: Path | None, *, quick: bool, say: Say) -> Measured:
    """The series of the CSV files of `folder`, the development series first; generated series if it is None."""
    return _generated(quick=quick, say=say) if folder is None else _recorded(folder, quick=quick, say=say)


def _generated(*, quick: bool, say: Say) -> Measured:
    measured = Measured({}, {}, {})
    for generated in generated_series(quick=quick):
        name = generated.trace.name
        say(f"generating {name}")
        measured.series[name], measured.traces[name] = checked(generated.trace, STEP, zero_is_valid=True)
        if generated.events:
            measured.events[name] = generated.events
    return measured


def _recorded(folder: Path, *, quick: bool, say: Say) -> Measured:
    measured = Measured({}, {}, {})
    files = {_name(path): path for path in sorted(folder.iterdir()) if path.name.endswith((".csv", ".csv.gz"))}
    matches = files.pop(MATCHES, None)
    names = sorted(files, key=lambda name: (name not in DEVELOPMENT, name))
    for name in [name for name in names if name == QUICK] or names[:1] if quick else names:
        path = files[name]
        say(f"reading {path.name}")
        try:
            measured.series[name], measured.traces[name] = _read(read_csv(path))
        except InvalidTraceError as error:
            measured.left_out[path.name] = str(error).replace(f"{path.parent}/", "")
    if WORLD_CUP in measured.series and matches is not None:
        measured.events[WORLD_CUP] = read_matches(matches)
    missing = (DEVELOPMENT | {STREAM}) - set(files)
    if not quick and development(files):
        for name in sorted(missing):
            measured.left_out[name] = f"is not in {folder.name}; bars of means need all development series"
    return measured


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _read(trace: Trace) -> tuple[Series, Trace]:
    """Means of five minutes, or the trace's own resolution where it is coarser; and the trace of the same span."""
    if trace.name == WORLD_CUP:
        trace = replace(trace, series=_cut(trace.series, *_WORLD_CUP_SPAN))
    return checked(trace, STEP, zero_is_valid=True)


def _cut(series: Series, since: datetime, until: datetime) -> Series:
    """The bins that begin in [since, until)."""
    first, last = (max(0, (moment - series.start) // series.step) for moment in (since, until))
    values = series.values[first:last]
    if len(values) < MIN_BINS:
        raise InvalidTraceError(f"{series.name} holds nothing of {since:%F} to {until:%F}")
    return replace(series, start=series.start + first * series.step, values=values)
