"""A trace from a CSV file with the columns timestamp and value, also compressed; ten million rows in seconds."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

from forecasting.regularize import Seconds
from forecasting.series import FloatArray
from predictive_scaling.backtesting.recorded import Trace, regular
from predictive_scaling.errors import InvalidTraceError

pd: Any = pandas
"""Its types are too wide to be of use; what leaves this module is annotated."""

TIME_COLUMNS = ("timestamp", "time", "ts", "datetime", "date")
VALUE_COLUMNS = ("value", "values", "count", "demand")
_ROWS_AT_ONCE = 500_000
_HEADER_LINES = 1
_LONGEST_HEADER = 10_000
_MILLISECONDS_FROM = 1e11
"""Epoch seconds reach this in the year 5138; milliseconds had it in 1973."""
_MICROSECONDS_FROM = 1e14
_LATEST = 4_102_444_800.0  # the year 2100
_EARLIEST = -2_208_988_800.0  # the year 1900


def read_csv(path: Path) -> Trace:
    """Times are RFC 3339 or epoch seconds, milliseconds or microseconds (told by magnitude, all rows alike).

    Rows out of order are sorted, of repeated times the last row counts, intervals without a row are gaps; all of it is
    told in the trace's repairs. Raises InvalidTraceError naming the line and the column for anything else.
    """
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    times: list[Seconds] = []
    values: list[FloatArray] = []
    scale: float | None = None
    empty = 0
    line = _HEADER_LINES + 1
    for frame in _frames(path):
        stamps, scale = _seconds(frame.iloc[:, 0], path, line, scale)
        numbers, missing = _numbers(frame.iloc[:, 1], path, line)
        times.append(stamps[~missing])
        values.append(numbers[~missing])
        empty += int(missing.sum())
        line += len(frame)
    if not times:
        raise InvalidTraceError(f"{path} has a header and no rows")
    notes = (f"{empty:,} rows have no value and count as gaps",) if empty else ()
    return regular(name, np.concatenate(times), np.concatenate(values), notes)


def _frames(path: Path) -> Iterator[Any]:
    """Two columns of text, time and value, in parts."""
    columns = _columns(path)
    try:
        with pd.read_csv(
            path,
            usecols=list(columns),
            dtype=str,
            index_col=False,
            chunksize=_ROWS_AT_ONCE,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
            compression="gzip" if path.suffix == ".gz" else None,
        ) as frames:
            for frame in frames:
                if len(frame):
                    yield frame[list(columns)]
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        told = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise InvalidTraceError(f"{path} is no CSV file with one sample a line: {told}") from None
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
        raise InvalidTraceError(f"{path} cannot be read: {error}") from None


def _columns(path: Path) -> tuple[str, str]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            header = file.readline(_LONGEST_HEADER).decode("utf-8-sig")
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
        raise InvalidTraceError(f"{path} cannot be read: {error}") from None
    names = [name.strip().strip('"') for name in header.strip().split(",")]
    if not header.strip():
        raise InvalidTraceError(f"{path} is empty; expected a CSV file with the columns timestamp and value")
    return _column(path, names, TIME_COLUMNS), _column(path, names, VALUE_COLUMNS)


def _column(path: Path, names: list[str], known: tuple[str, ...]) -> str:
    found = next((name for wanted in known for name in names if name.lower() == wanted), None)
    if found is None:
        raise InvalidTraceError(
            f"{path}, line 1: no column {known[0]!r}; found {', '.join(repr(name) for name in names[:10])}"
        )
    return found


def _seconds(column: Any, path: Path, line: int, scale: float | None) -> tuple[Seconds, float | None]:
    """Epoch seconds, and what numbers are divided by; the first part decides for all."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if np.isfinite(numbers).all():
        scale = scale or _scale(float(np.median(numbers)))
        seconds = numbers / scale
    elif np.isfinite(numbers).any():
        odd = int(np.flatnonzero(np.isfinite(numbers) != np.isfinite(numbers[0]))[0])
        raise InvalidTraceError(
            f"{path}, line {line + odd}, column timestamp: {column.iloc[odd]!r} is written in another way than those "
            "above; write all times as RFC 3339, or all as epoch seconds"
        )
    else:
        parsed = pd.to_datetime(column, errors="coerce", utc=True, format="ISO8601")
        seconds = parsed.to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6
        _refuse(parsed.isna().to_numpy(), column, path, line, "is no time; write it as 2026-11-27T08:00:00Z")
    wrong = (seconds < _EARLIEST) | (seconds > _LATEST)
    _refuse(wrong, column, path, line, "is a time outside 1900 to 2100, or in another unit than the first rows")
    return seconds, scale


def _scale(typical: float) -> float:
    if typical >= _MICROSECONDS_FROM:
        return 1e6
    return 1e3 if typical >= _MILLISECONDS_FROM else 1.0


def _numbers(column: Any, path: Path, line: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(numbers)
    missing = np.zeros(len(numbers), dtype=np.bool_)
    if bad.any():
        missing[bad] = column[bad].str.strip().str.lower().isin(["", "nan", "null", "none"]).to_numpy()
        _refuse(bad & ~missing, column, path, line, "is no finite number")
    _refuse(numbers < 0, column, path, line, "is negative; demand is not")
    return numbers, missing


def _refuse(wrong: npt.NDArray[np.bool_], column: Any, path: Path, line: int, problem: str) -> None:
    if wrong.any():
        first, count = int(np.flatnonzero(wrong)[0]), int(wrong.sum())
        more = f" ({count:,} such rows among the {len(wrong):,} read together)" if count > 1 else ""
        raise InvalidTraceError(
            f"{path}, line {line + first}, column {column.name}: {column.iloc[first]!r} {problem}{more}"
        )
