"""Read a trace from a CSV file with the columns timestamp and value, also gzipped; ten million rows in seconds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

from forecasting.cleaning.regularize import Seconds
from forecasting.series import FloatArray
from predictive_scaling.backtesting.traces.csv_file import CsvFile, open_csv
from predictive_scaling.backtesting.traces.local_times import to_utc
from predictive_scaling.backtesting.traces.recorded import Trace, regular_trace
from predictive_scaling.errors import InvalidTraceError

pd: Any = pandas
"""pandas' types are too wide to be useful; the functions of this module are annotated."""

Booleans = npt.NDArray[np.bool_]

TIME_COLUMNS = ("timestamp", "time", "ts", "datetime", "date")
VALUE_COLUMNS = ("value", "values", "count", "demand")
_NO_VALUE = ("", "nan", "null", "none", "na", "n/a", "-")
_MILLISECONDS_FROM = 1e11
"""Epoch seconds reach this value in the year 5138; milliseconds reached it in 1973."""
_MICROSECONDS_FROM = 1e14
_NANOSECONDS_FROM = 1e17
_LATEST = 4_102_444_800.0  # the year 2100
_EARLIEST = -2_208_988_800.0  # the year 1900
_ZONE = r"[T ][0-9:.,]+ ?(?:[zZ]|[+-][0-9]{2}(?::?[0-9]{2})?)$"
_DECIMAL_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
# A date without dashes would be read as seconds in 1970, or as milliseconds in 1976.
_COMPACT_DATES = ((19_000_101, 21_001_231), (190_001_010_000, 210_012_312_359))


@dataclass(slots=True)
class _Samples:
    """The samples read so far. rows: row numbers. local: whether a time has no zone. scale: epoch units per second."""

    rows: list[npt.NDArray[np.int64]] = field(default_factory=list[npt.NDArray[np.int64]])
    times: list[Seconds] = field(default_factory=list[Seconds])
    values: list[FloatArray] = field(default_factory=list[FloatArray])
    local: list[Booleans] = field(default_factory=list[Booleans])
    without_value: int = 0
    scale: float | None = None
    decimal_commas: int = 0


def read_csv(path: Path, timezone: str | None = None) -> Trace:
    """Read a trace from a CSV file.

    Times are RFC 3339, or epoch seconds, milliseconds, microseconds or nanoseconds (detected by magnitude, the same
    unit in all rows). timezone: of times without a zone; UTC by default. Unordered rows are sorted, the last row of a
    repeated time counts, and intervals without a row are gaps; the trace's repairs list this. Raises InvalidTraceError
    with the line and the column for other content.
    """
    file = open_csv(path, TIME_COLUMNS, VALUE_COLUMNS)
    samples = _Samples()
    for part in file.parts():
        _read(part, file, samples)
    if not samples.times:
        raise InvalidTraceError(f"{path} has a header but no rows")
    times, notes = _in_utc(file, samples, timezone)
    if samples.without_value:
        notes.append(f"{samples.without_value:,} rows have no value and count as gaps")
    if samples.decimal_commas:
        notes.append(f"{samples.decimal_commas:,} values are written with a decimal comma")
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    return regular_trace(name, times, np.concatenate(samples.values), tuple(notes))


def _read(part: Any, file: CsvFile, samples: _Samples) -> None:
    """Add the rows of a part to the samples; rows without time and value are blank lines."""
    part = part.fillna("")
    blank = (part[file.time] < "!").to_numpy(dtype=np.bool_, copy=True)  # empty, or begins with a space
    if blank.any():
        cells = part[blank]
        blank[blank] = ((cells[file.time].str.strip() == "") & (cells[file.value].str.strip() == "")).to_numpy()
        part = part[~blank]
    if not len(part):
        return
    times, local = _times(part[file.time], file, samples)
    values, missing = _values(part[file.value], file, samples)
    kept = ~missing
    samples.rows.append(part.index.to_numpy(dtype=np.int64)[kept])
    samples.times.append(times[kept])
    samples.local.append(local[kept])
    samples.values.append(values[kept])
    samples.without_value += int(missing.sum())


def _times(column: Any, file: CsvFile, samples: _Samples) -> tuple[Seconds, Booleans]:
    """Return epoch seconds, and whether each time has no zone. The first part determines the unit of numbers."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    are_numbers = np.isfinite(numbers)
    if are_numbers.all():
        samples.scale = samples.scale or _scale(float(np.median(numbers)))
        for low, high in _COMPACT_DATES:
            compact = (numbers >= low) & (numbers <= high)
            _refuse(compact, column, file, "is a date without dashes; write times as 2026-11-27T08:00:00Z")
        seconds, local = numbers / samples.scale, np.zeros(len(numbers), dtype=np.bool_)
    elif are_numbers.any() or samples.scale is not None:
        differs = are_numbers != (are_numbers[0] if samples.scale is None else True)
        _refuse(
            differs,
            column,
            file,
            "has another format than the rows above; write all times as RFC 3339, or all as epoch seconds",
        )
        raise AssertionError("a row differs from the first one")
    else:
        text, parsed = column, pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
        if parsed.isna().any():
            text = column.str.strip()
            parsed = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
        _refuse(parsed.isna().to_numpy(), column, file, "is not a time; write it as 2026-11-27T08:00:00Z")
        seconds = parsed.to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6
        local = np.array(~text.str.endswith("Z"), dtype=np.bool_)
        if local.any():
            local[local] = ~text[local].str.contains(_ZONE, regex=True).to_numpy(dtype=np.bool_)
    outside = (seconds < _EARLIEST) | (seconds > _LATEST)
    _refuse(outside, column, file, "is a time outside 1900 to 2100, or in another unit than the first rows")
    return seconds, local


def _scale(median: float) -> float:
    for low, scale in ((_NANOSECONDS_FROM, 1e9), (_MICROSECONDS_FROM, 1e6), (_MILLISECONDS_FROM, 1e3)):
        if median >= low:
            return scale
    return 1.0


def _in_utc(file: CsvFile, samples: _Samples, timezone: str | None) -> tuple[Seconds, list[str]]:
    """Return all times in UTC, and notes on their zone."""
    times, local = np.concatenate(samples.times), np.concatenate(samples.local)
    count = int(local.sum())
    if not count:
        return times, [] if timezone is None else ["all times have a zone; --timezone has no effect"]
    counted = "times" if count == len(local) else f"{count:,} times"
    if timezone is None:
        return times, [f"{counted} have no zone and count as UTC; set another with --timezone, such as Europe/Berlin"]
    times[local], skipped = to_utc(times[local], timezone)
    if len(skipped):
        row = int(np.concatenate(samples.rows)[local][skipped[0]])
        raise InvalidTraceError(
            f"{file.path}, line {file.line(row)}, column {file.time}: the time is in an hour that the clocks of "
            f"{timezone} skip ({len(skipped):,} rows); use the zone of the recording with --timezone"
        )
    return times, [f"{counted} have no zone and count as times in {timezone}"]


def _values(column: Any, file: CsvFile, samples: _Samples) -> tuple[FloatArray, Booleans]:
    """Return the numbers, and which rows have no value."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    invalid = ~np.isfinite(numbers)
    missing = np.zeros(len(numbers), dtype=np.bool_)
    if invalid.any() and file.delimiter != ",":
        commas = column[invalid].str.strip().str.match(_DECIMAL_COMMA).to_numpy(dtype=np.bool_)
        rows = np.flatnonzero(invalid)[commas]
        numbers[rows] = column.iloc[rows].str.replace(",", ".").astype(np.float64).to_numpy()
        samples.decimal_commas += len(rows)
        invalid = ~np.isfinite(numbers)
    if invalid.any():
        missing[invalid] = column[invalid].str.strip().str.lower().isin(_NO_VALUE).to_numpy()
        _refuse(invalid & ~missing, column, file, "is not a finite number")
    _refuse(numbers < 0, column, file, "is negative; demand must not be negative")
    return numbers, missing


def _refuse(refused: Booleans, column: Any, file: CsvFile, problem: str) -> None:
    """Raise InvalidTraceError for the first refused row, if there is one."""
    if refused.any():
        first, count = int(np.flatnonzero(refused)[0]), int(refused.sum())
        more = f" ({count:,} of the {len(refused):,} rows of this part)" if count > 1 else ""
        line = file.line(int(column.index[first]))
        cell = str(column.iloc[first])[:60]
        raise InvalidTraceError(f"{file.path}, line {line}, column {column.name}: {cell!r} {problem}{more}")
