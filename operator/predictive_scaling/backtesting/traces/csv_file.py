"""Read two columns of a CSV file in parts, as text, with the line number of each row."""

import codecs
import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import pandas

from predictive_scaling.errors import InvalidTraceError

pd: Any = pandas
"""pandas' types are too wide to be useful; the functions of this module are annotated."""

_CHUNK_ROWS = 500_000
_MAX_HEADER = 1 << 20
_MAX_BLANK_LINES = 1000
_DELIMITERS = (",", ";", "\t", "|")
_GZIP = b"\x1f\x8b"
_ENCODINGS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_OPEN_QUOTE = re.compile(r"starting at row ([0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file with its parsed header. time, value: names of the two columns as the header spells them."""

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    time: str
    value: str
    header_line: int

    def parts(self) -> Iterator[Any]:
        """Yield frames with the two columns as text (missing: None), in order; the index counts rows from 0.

        Raises InvalidTraceError for a row with more fields than the header, an unclosed quote, and bytes that are not
        text.
        """
        names = [*range(len(self.columns)), "more"]
        with _opened(self.path) as text, warnings.catch_warnings():
            # pandas drops surplus fields of the first row with a warning; in later rows they are an error.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            self._skip_header(text)
            try:
                with pd.read_csv(
                    cast("Any", text),
                    header=None,
                    names=names,
                    sep=self.delimiter,
                    dtype=str,
                    index_col=False,
                    chunksize=_CHUNK_ROWS,
                    keep_default_na=False,
                    skip_blank_lines=False,
                ) as frames:
                    for frame in frames:
                        self._refuse_more_fields(frame)
                        part = frame[[self.columns.index(self.time), self.columns.index(self.value)]]
                        yield part.set_axis([self.time, self.value], axis=1)
            except pd.errors.EmptyDataError:
                return
            except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
                self._refuse_structure(str(error))

    def line(self, row: int) -> int:
        """Return the line number of a row. Reads the file again, because quoted fields may contain line breaks."""
        line = self._find_line(lambda number, _: number == row)
        # csv refuses fields above its size limit; then assume one line per row.
        return self.header_line + row + 1 if line is None else line

    def _find_line(self, matches: Callable[[int, Sequence[str]], bool]) -> int | None:
        """Return the line number of the first row for which `matches(number, fields)` is true."""
        try:
            with _opened(self.path) as text:
                self._skip_header(text)
                reader, lines_before = csv.reader(text, delimiter=self.delimiter), 0
                for number, fields in enumerate(reader):
                    if matches(number, fields):
                        return self.header_line + lines_before + 1
                    lines_before = reader.line_num
        except (csv.Error, InvalidTraceError):
            pass
        return None

    def _skip_header(self, text: "_Text") -> None:
        for _ in range(self.header_line):
            text.readline(_MAX_HEADER)

    def _refuse_more_fields(self, frame: Any) -> None:
        more = frame["more"].notna()
        if more.any():
            more = frame["more"].fillna("").str.strip() != ""
        if more.any():
            self._refuse_long_row(self.line(int(frame.index[more.to_numpy()][0])))

    def _refuse_structure(self, error: str) -> NoReturn:
        if row := _OPEN_QUOTE.search(error):
            raise InvalidTraceError(
                f"{self.path}, line {self.header_line + int(row[1]) + 1}: not a CSV file with one sample per line: a "
                "quote is not closed"
            ) from None
        self._refuse_long_row(self._find_line(lambda _, fields: len(fields) > len(self.columns) + 1))

    def _refuse_long_row(self, line: int | None) -> NoReturn:
        location = self.path if line is None else f"{self.path}, line {line}"
        raise InvalidTraceError(
            f"{location}: more fields than the {len(self.columns)} of the header; quote fields that contain "
            f"{self.delimiter!r}, and write decimals with a point"
        ) from None


def open_csv(path: Path, times: Sequence[str], values: Sequence[str]) -> CsvFile:
    """Find the header, the delimiter and the two columns, whose names may be any of `times` and `values`.

    Supports a byte order mark, UTF-16, gzip (detected by content), blank lines before the header, and quoted and padded
    names. Raises InvalidTraceError with the missing part.
    """
    line, header = _header(path)
    if not header:
        raise InvalidTraceError(f"{path} is empty; expected a CSV file with the columns {times[0]} and {values[0]}")
    if len(header) == _MAX_HEADER:
        raise InvalidTraceError(f"{path}, line {line}: the header is longer than {_MAX_HEADER} characters")
    splits = {delimiter: _names(header, delimiter) for delimiter in _DELIMITERS}
    delimiter = next(
        (delimiter for delimiter, names in splits.items() if _first_of(times, names) and _first_of(values, names)),
        max(splits, key=lambda delimiter: len(splits[delimiter])),
    )
    columns = splits[delimiter]
    return CsvFile(
        path=path,
        delimiter=delimiter,
        columns=columns,
        time=_column(path, line, columns, times),
        value=_column(path, line, columns, values),
        header_line=line,
    )


def _header(path: Path) -> tuple[int, str]:
    """Return the number and text of the first line that is not blank; an empty text without such a line."""
    with _opened(path) as text:
        for number in range(1, _MAX_BLANK_LINES + 1):
            header = text.readline(_MAX_HEADER)
            if header.strip() or not header:
                return number, header
    raise InvalidTraceError(f"{path} begins with {_MAX_BLANK_LINES} blank lines")


def _names(header: str, delimiter: str) -> tuple[str, ...]:
    try:
        fields = next(csv.reader([header.strip("\r\n")], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        fields = header.split(delimiter)
    return tuple(field.strip() for field in fields)


def _first_of(accepted: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the column name that matches the first possible of the accepted names, regardless of case."""
    return next((name for candidate in accepted for name in names if name.lower() == candidate), None)


def _column(path: Path, line: int, columns: Sequence[str], accepted: Sequence[str]) -> str:
    name = _first_of(accepted, columns)
    if name is None:
        names = ", ".join(repr(column[:60]) for column in columns[:10])
        raise InvalidTraceError(f"{path}, line {line}: no column {accepted[0]!r}; found {names}")
    if sum(column.lower() == name.lower() for column in columns) > 1:
        raise InvalidTraceError(f"{path}, line {line}: column {name!r} exists more than once; rename the others")
    return name


class _Text(io.TextIOWrapper):
    """A text stream whose errors contain the line number."""

    def __init__(self, stream: Any, path: Path, encoding: str) -> None:
        super().__init__(stream, encoding=encoding)
        self._path = path
        self._lines = 0

    def read(self, size: int | None = -1, /) -> str:
        return self._checked(lambda: super(_Text, self).read(size))

    def readline(self, size: int = -1, /) -> str:
        return self._checked(lambda: super(_Text, self).readline(size))

    def __next__(self) -> str:
        if line := self.readline():
            return line
        raise StopIteration

    def _checked(self, read: Any) -> str:
        try:
            text: str = read()
        except UnicodeError:
            raise InvalidTraceError(
                f"{self._path} cannot be read: after line {self._lines} are bytes that are not {self.encoding}; save "
                "it as UTF-8"
            ) from None
        except (gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
            raise InvalidTraceError(f"{self._path} cannot be read after line {self._lines}: {error}") from None
        if "\x00" in text:
            line = self._lines + text.count("\n", 0, text.index("\x00")) + 1
            raise InvalidTraceError(f"{self._path}, line {line}: contains a NUL character; save it as UTF-8 text")
        self._lines += text.count("\n")
        return text


def _opened(path: Path) -> _Text:
    try:
        with path.open("rb") as file:
            compressed = file.read(len(_GZIP)) == _GZIP
        stream: Any = gzip.open(path, "rb") if compressed else path.open("rb")  # noqa: SIM115 (the text closes it)
        start = stream.peek(4)[:4]
    except (gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
        raise InvalidTraceError(f"{path} cannot be read: {error}") from None
    encoding = next((name for mark, name in _ENCODINGS if start.startswith(mark)), "utf-8")
    return _Text(stream, path, encoding)
