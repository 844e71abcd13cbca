"""The series that are measured on: the development series, and those of a folder."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forecasting.series import Series
from predictive_scaling.backtesting.traces.csv_trace import read_csv
from predictive_scaling.backtesting.traces.recorded import MIN_BINS, Trace, checked
from predictive_scaling.errors import InvalidTraceError

HERE = Path(__file__).parents[2] / "examples" / "traces"
STREAM = "twitter-stream-posts-per-minute"
"""May not be published with this repository; `--traces` adds it."""
WORLD_CUP = "worldcup98-requests-per-minute"
DEVELOPMENT = {
    WORLD_CUP,
    "aws-elb-requests-per-5min",
    "aws-ec2-cpu-5min",
    "twitter-mentions-aapl-per-5min",
    "twitter-mentions-amzn-per-5min",
    "twitter-mentions-fb-per-5min",
}
QUICK = "aws-elb-requests-per-5min"
STEP = timedelta(minutes=5)
_WORLD_CUP_SPAN = datetime(1998, 5, 20, tzinfo=UTC), datetime(1998, 7, 21, tzinfo=UTC)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Series by name, and what cannot be measured with the reason."""

    series: dict[str, Series]
    traces: dict[str, Trace]
    """As they were recorded, over the same span."""
    left_out: dict[str, str]


def development(names: Iterable[str]) -> list[str]:
    """Those of the names that means and their bars are about."""
    return [name for name in names if name in DEVELOPMENT or name == STREAM]


def read_traces(folder: Path | None, *, quick: bool, say: Say) -> Measured:
    """The development series, then what `folder` adds; one name counts once."""
    found: dict[str, Series] = {}
    traces: dict[str, Trace] = {}
    left_out: dict[str, str] = {}
    for path in _files(folder, quick=quick):
        name = _name(path)
        if name in found:
            continue
        say(f"reading {path.name}")
        try:
            found[name], traces[name] = _read(read_csv(path))
        except InvalidTraceError as error:
            left_out[path.name] = str(error).replace(f"{path.parent}/", "")
    if STREAM not in found and not quick:
        left_out[STREAM] = "is not in this repository; `--traces FOLDER` adds it"
    return Measured(found, traces, left_out)


def _files(folder: Path | None, *, quick: bool) -> Iterator[Path]:
    wanted = {QUICK} if quick else DEVELOPMENT
    yield from (path for path in sorted(HERE.iterdir()) if _name(path) in wanted)
    if folder is not None:
        yield from (path for path in sorted(folder.iterdir()) if path.name.endswith((".csv", ".csv.gz")))


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _read(trace: Trace) -> tuple[Series, Trace]:
    """Means of five minutes, or as it is where it was recorded more seldom; and the trace of the same span."""
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
