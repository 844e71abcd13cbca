"""Any CSV file is a trace or an error that names the file."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from predictive_scaling.backtesting.traces.csv_trace import read_csv
from predictive_scaling.backtesting.traces.recorded import Trace
from predictive_scaling.errors import InvalidTraceError

HEADERS = [
    "timestamp,value",
    "time;demand",
    "ts\tcount",
    " date , value ",
    '"timestamp","value"',
    "value,timestamp",
    "x,y",
]
CELLS = [
    "2026-11-27T08:00:00Z",
    "2026-11-27 08:00",
    "2026-11-27",
    "1764000000",
    "1764000000000",
    "0",
    "1.5",
    "-1",
    "1,5",
    "",
    " ",
    "nan",
    "inf",
    "1e999",
    '"',
    '""',
    '"a\nb"',
    "\x00",
    "é",
    "9999-12-31T23:59:59Z",
    "0001-01-01",
    "1" * 400,
    "2026-10-25 02:30",
    "2026-03-29 02:30",
    "2026-11-27T08:00:00+99:99",
    "True",
    "0x10",
    "1_000",
    "NaT",
    "now",
]

cells = st.sampled_from(CELLS) | st.text(max_size=6)
lines = st.lists(cells, max_size=4)


def a_table(header: str, rows: list[list[str]], delimiter: str, ending: str) -> str:
    return ending.join([header, *(delimiter.join(row) for row in rows)])


def in_bytes(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogatepass")


tables = st.builds(
    a_table,
    st.sampled_from(HEADERS) | st.text(max_size=30),
    st.lists(lines, max_size=12),
    st.sampled_from([",", ";", "\t", "|", ", "]),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
encoded = st.builds(in_bytes, tables, encodings)


@given(
    encoded | st.binary(max_size=200),
    st.sampled_from(["plain", "compressed", "cut"]),
    st.sampled_from([None, "Europe/Berlin"]),
)
@example(b"", "cut", None)
@example(b"timestamp,value\n" + b'"' * 99, "plain", None)
@example(b"timestamp,value\n2026-10-25 02:30,1\n2026-10-25 02:30,2\n", "plain", "Europe/Berlin")
def test_any_bytes_are_a_trace_or_an_error_that_names_the_file(content: bytes, form: str, timezone: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        path.write_bytes(content if form == "plain" else gzip.compress(content)[: None if form == "compressed" else -9])
        trace, refusal = read(path, timezone)
    if trace is None:
        assert "trace" in refusal
        assert len(refusal) < 600
    else:
        values = trace.series.values[~np.isnan(trace.series.values)]
        assert np.isfinite(values).all()
        assert (values >= 0).all()


def read(path: Path, timezone: str | None) -> tuple[Trace | None, str]:
    try:
        return read_csv(path, timezone), ""
    except InvalidTraceError as error:
        return None, str(error)
