"""Recorded leading indicators: from a CSV file of many series, or from the operator's database."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

from forecasting.binning import rebinned
from forecasting.cleaning.outliers import without_outliers
from forecasting.series import Series
from predictive_scaling.backtesting.traces.csv_trace import TIME_COLUMNS, VALUE_COLUMNS
from predictive_scaling.backtesting.traces.recorded import Trace, regular_trace
from predictive_scaling.backtesting.traces.stored import stored_trace
from predictive_scaling.clock import Clock
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.regressor import MAX_REGRESSORS, Regressor
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.schema import check_schema

pd: Any = pandas
"""pandas' types are too wide to be useful; the functions of this module are annotated."""

_MIN_SAMPLES = 2
_NUMBER = r"^[0-9]+(?:\.[0-9]+)?$"
_MILLISECONDS_FROM = 1e11
"""Epoch seconds reach this value in the year 5138; milliseconds reached it in 1973."""


@dataclass(frozen=True, slots=True)
class RecordedRegressor:
    """A leading indicator, and its samples at their recorded interval."""

    regressor: Regressor
    series: Series

    def rebinned(self, step: timedelta) -> "RecordedRegressor":
        """Return it in the bins of the demand. Raises InvalidTraceError if it is recorded less often."""
        if self.series.step > step or step % self.series.step:
            raise InvalidTraceError(
                f"{self.series.name} has one value every {_minutes(self.series.step)}, which does not divide the bins "
                f"of the demand of {_minutes(step)}; choose a multiple of it with --resolution"
            )
        return RecordedRegressor(self.regressor, rebinned(without_outliers(self.series, judge_first=True), step))


def read_regressors(path: Path, named: Sequence[Regressor]) -> tuple[RecordedRegressor, ...]:
    """Read leading indicators from a CSV file with the columns time, service, metric and value, also gzipped.

    named: those of the policy; without any, all series of the file, with the default maxLag. Raises InvalidTraceError
    with the line for other content, and for a named series that the file does not have.
    """
    frame = _frame(path)
    groups: dict[tuple[str, str], Any] = {
        (str(service), str(metric)): rows for (service, metric), rows in frame.groupby(["service", "metric"])
    }
    if not named and len(groups) > MAX_REGRESSORS:
        raise InvalidTraceError(
            f"{path} has {len(groups)} series; name up to {MAX_REGRESSORS} of them in the policy's forecast.regressors"
        )
    wanted = named or [Regressor(service=service, metric=metric) for service, metric in sorted(groups)]
    return tuple(RecordedRegressor(regressor, _series(path, regressor, groups)) for regressor in wanted)


async def read_stored(
    url: str, key: SeriesKey, clock: Clock, span: timedelta, named: Iterable[Regressor], *, zero_is_valid: bool
) -> tuple[Trace, tuple[RecordedRegressor, ...]]:
    """Read the demand of a series over the last `span`, minute by minute, and leading indicators of the same time.

    Raises InvalidTraceError if there is no demand, DatabaseUnavailableError, SchemaError.
    """
    async with Database(url, purpose="backtest", max_size=1) as database:
        await check_schema(database)
        now = clock.now()
        trace = await stored_trace(database, key, now - span, now, zero_is_valid=zero_is_valid)
        regressors = await stored_regressors(database, named, now - span, now)
    if trace is None:
        raise InvalidTraceError(
            f"{key} has no demand in the {span.days} days before {now:%Y-%m-%dT%H:%MZ}; check --service, --metric and "
            "--aggregation"
        )
    return trace, regressors


async def stored_regressors(
    database: Database, named: Iterable[Regressor], since: datetime, until: datetime
) -> tuple[RecordedRegressor, ...]:
    """Return the named leading indicators that have samples in [since, until). Raises DatabaseUnavailableError."""
    traces = [
        (regressor, await stored_trace(database, regressor.key, since, until, zero_is_valid=True))
        for regressor in named
    ]
    return tuple(RecordedRegressor(regressor, trace.series) for regressor, trace in traces if trace is not None)


def _series(path: Path, regressor: Regressor, groups: Mapping[tuple[str, str], Any]) -> Series:
    rows = groups.get((regressor.service, regressor.metric))
    if rows is None:
        names = [f"{metric} of {service}" for service, metric in groups]
        near = difflib.get_close_matches(f"{regressor.metric} of {regressor.service}", names, 1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(names)[:10])}"
        raise InvalidTraceError(f"{path} has no series {regressor.metric} of {regressor.service}; {hint}")
    name = f"{regressor.metric} of {regressor.service}"
    if len(rows) < _MIN_SAMPLES:
        raise InvalidTraceError(f"{path} has one value of {name}; a leading indicator needs at least {_MIN_SAMPLES}")
    trace: Trace = regular_trace(name, rows["time"].to_numpy(dtype=np.float64), rows["value"].to_numpy(np.float64))
    return trace.series


def _frame(path: Path) -> Any:
    """Return a frame with time (epoch seconds), service, metric and value."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError, OSError, EOFError) as error:
        raise InvalidTraceError(f"{path} cannot be read as CSV: {error}") from None
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    columns = {"time": TIME_COLUMNS, "service": ("service",), "metric": ("metric",), "value": VALUE_COLUMNS}
    names = {wanted: _column(path, list(frame.columns), wanted, accepted) for wanted, accepted in columns.items()}
    frame = frame[list(names.values())].set_axis(list(names), axis=1)
    values = pd.to_numeric(frame["value"], errors="coerce").to_numpy(dtype=np.float64)
    _refuse(path, "value", frame["value"], ~np.isfinite(values) | (values < 0), "is not a number of at least 0")
    times = _seconds(frame["time"])
    _refuse(path, "time", frame["time"], ~np.isfinite(times), "is not a time such as 2026-11-27T08:00:00Z")
    return frame.assign(time=times, value=values)


def _column(path: Path, names: Sequence[str], wanted: str, accepted: Sequence[str]) -> str:
    found = next((name for name in accepted if name in names), None)
    if found is None:
        raise InvalidTraceError(
            f"{path} has no column {wanted!r}; expected time, service, metric and value, found {', '.join(names)}"
        )
    return found


def _seconds(column: Any) -> npt.NDArray[np.float64]:
    """Return epoch seconds from RFC 3339 (UTC where it has no zone), epoch seconds or milliseconds; NaN for others."""
    if column.str.match(_NUMBER).all():
        numbers = column.astype(np.float64).to_numpy()
        return np.where(numbers >= _MILLISECONDS_FROM, numbers / 1000, numbers)
    parsed = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
    seconds = parsed.astype("int64").to_numpy(dtype=np.float64) / _units_per_second(parsed)
    return np.where(parsed.isna().to_numpy(), np.nan, seconds)


def _units_per_second(times: Any) -> float:
    return {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[times.dt.unit]


def _refuse(path: Path, name: str, column: Any, refused: npt.NDArray[np.bool_], problem: str) -> None:
    if refused.any():
        row = int(np.flatnonzero(refused)[0])
        raise InvalidTraceError(
            f"{path}, row {row + 1} below the header, column {name}: {column.iloc[row]!r} {problem}"
        )


def _minutes(duration: timedelta) -> str:
    return f"{duration / timedelta(minutes=1):g} min"
