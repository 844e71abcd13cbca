"""CSV traces: formats, time zones, repairs, and messages that name the line and the column."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from predictive_scaling.backtesting.traces.csv_trace import read_csv
from predictive_scaling.backtesting.traces.recorded import Trace, checked
from predictive_scaling.errors import InvalidTraceError

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTES = [NOON + timedelta(minutes=minute) for minute in range(6)]


def a_file(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(*lines: str) -> str:
    return "timestamp,value\n" + "\n".join(lines) + "\n"


def test_an_ordered_file_needs_no_repair(tmp_path: Path) -> None:
    trace = read_csv(a_file(tmp_path, rows(*(f"{at:%Y-%m-%dT%H:%M:%SZ},{i}" for i, at in enumerate(MINUTES)))))
    assert (trace.name, trace.series.start, trace.series.step) == ("trace", NOON, timedelta(minutes=1))
    assert trace.series.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert trace.repairs == ()


@pytest.mark.parametrize("scale", [1, 1000, 1_000_000, 1_000_000_000], ids=["s", "ms", "us", "ns"])
def test_the_unit_of_epoch_times_is_inferred_from_their_magnitude(tmp_path: Path, scale: int) -> None:
    path = a_file(tmp_path, rows(*(f"{int(at.timestamp()) * scale},1" for at in MINUTES)))
    assert read_csv(path).series.start == NOON


def test_a_gzip_file_with_time_offsets_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(rows("2026-11-24T13:00:00+01:00,1", "2026-11-24T13:01:00+01:00,2").encode()))
    assert read_csv(path).series.start == NOON
    assert read_csv(path).name == "trace"


def test_unordered_rows_are_sorted_and_reported(tmp_path: Path) -> None:
    stamps = [f"{at:%Y-%m-%dT%H:%M:%SZ},{i}" for i, at in enumerate(MINUTES)]
    trace = read_csv(a_file(tmp_path, rows(*reversed(stamps))))
    assert trace.series.values.tolist() == [0, 1, 2, 3, 4, 5]
    (repair,) = trace.repairs
    assert "sorted" in repair


def test_the_last_row_of_a_repeated_time_counts_and_is_reported(tmp_path: Path) -> None:
    stamps = [f"{at:%Y-%m-%dT%H:%M:%SZ},1" for at in MINUTES]
    trace = read_csv(a_file(tmp_path, rows(*stamps, f"{NOON:%Y-%m-%dT%H:%M:%SZ},9")))
    assert trace.series.values[0] == 9
    assert trace.repairs[-1].startswith("1 rows repeat a time")


def test_a_missing_row_and_a_missing_value_are_gaps(tmp_path: Path) -> None:
    stamps = [f"{at:%Y-%m-%dT%H:%M:%SZ},{'' if i == 4 else i}" for i, at in enumerate(MINUTES) if i != 2]
    trace = read_csv(a_file(tmp_path, rows(*stamps)))
    assert np.isnan(trace.series.values).tolist() == [False, False, True, False, True, False]
    missing_values, gaps = trace.repairs
    assert missing_values.startswith("1 rows have no value")
    assert gaps.startswith("2 of 6 intervals have no value")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected a CSV file with the columns timestamp and value"),
        ("timestamp,value\n", "has a header but no rows"),
        ("when,value\n1,2\n", "line 1: no column 'timestamp'; found 'when', 'value'"),
        ("timestamp,load\n1,2\n", "line 1: no column 'value'; found 'timestamp', 'load'"),
        (
            rows("2026-11-24T12:00:00Z,1", "2026-11-24T12:01:00Z,many"),
            "line 3, column value: 'many' is not a finite number",
        ),
        (
            rows("2026-11-24T12:00:00Z,1", "2026-11-24T12:01:00Z,inf"),
            "value: 'inf' is not a finite number",
        ),
        (rows("2026-11-24T12:00:00Z,-1", "2026-11-24T12:01:00Z,1"), "line 2, column value: '-1' is negative"),
        (rows("2026-11-24T12:00:00Z,1", "noon,1"), "line 3, column timestamp: 'noon' is not a time"),
        (rows("2026-11-24T12:00:00Z,1", "1764000000,1"), "column timestamp: '1764000000' has another format"),
        (
            rows("1764000000,1", "1764000060,1", "1764000120000,1"),
            "line 4, column timestamp: '1764000120000' is a time",
        ),
        (rows("2026-11-24T12:00:00Z,1", '"2026-11-24T12:01:00Z,1'), "not a CSV file with one sample per line"),
        (rows("2026-11-24T12:00:00Z,1"), "has one value; a backtest needs at least 100 bins"),
        (rows("2026-11-24T12:00:00Z,1", "2026-11-26T12:00:00Z,1"), "scaling needs at least one every hour"),
    ],
)
def test_an_invalid_file_is_refused_with_the_line_and_the_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidTraceError) as raised:
        read_csv(a_file(tmp_path, text))
    assert message in str(raised.value)
    assert raised.value.exit_code == 65


def test_binary_content_and_a_truncated_archive_are_refused(tmp_path: Path) -> None:
    binary, archive = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    binary.write_bytes(b"timestamp,value\n\xff\xfe\x00,1\n")
    archive.write_bytes(gzip.compress(rows(*(f"{i},1" for i in range(9999))).encode())[:200])
    for path in (binary, archive):
        with pytest.raises(InvalidTraceError, match="cannot be read"):
            read_csv(path)


def test_a_trace_of_zeros_and_a_short_trace_are_refused(tmp_path: Path) -> None:
    zeros = read_csv(a_file(tmp_path, rows(*(f"{1764000000 + 60 * i},0" for i in range(2000)))))
    with pytest.raises(InvalidTraceError, match="zero from beginning to end"):
        checked(zeros, timedelta(minutes=5), zero_is_valid=True)
    short = read_csv(a_file(tmp_path, rows(*(f"{1764000000 + 60 * i},1" for i in range(400)))))
    with pytest.raises(
        InvalidTraceError, match="has 80 values at a resolution of 5 min; a backtest needs at least 100"
    ):
        checked(short, timedelta(minutes=5), zero_is_valid=True)


def test_minutes_are_averaged_into_full_bins_and_zeros_are_missing_unless_valid(tmp_path: Path) -> None:
    lines = [f"{1764000000 + 60 * i},{0 if i < 5 else i % 5}" for i in range(1003)]
    trace = read_csv(a_file(tmp_path, rows(*lines)))
    series, repaired = checked(trace, timedelta(minutes=5), zero_is_valid=False)
    assert len(series.values) == 200
    assert np.isnan(series.values[0])
    assert series.values[1] == 2.0
    assert "1 exact zeros count as missing data (demand.zeroIsValid is false)" in repaired.repairs


def test_a_trace_coarser_than_the_resolution_keeps_its_step(tmp_path: Path) -> None:
    trace = read_csv(a_file(tmp_path, rows(*(f"{1764000000 + 1800 * i},{100 + i}" for i in range(200)))))
    series, repaired = checked(trace, timedelta(minutes=5), zero_is_valid=True)
    assert series.step == timedelta(minutes=30)
    (repair,) = repaired.repairs
    assert all(step in repair for step in ("30 min", "5 min"))


def test_shuffled_rows_give_the_same_trace(tmp_path: Path) -> None:
    lines = [f"{1764000000 + 60 * i},{100 + i * i % 97}" for i in range(500)]
    shuffled = [lines[at] for at in np.random.default_rng(3).permutation(len(lines))]
    first, second = (read_csv(a_file(tmp_path, rows(*order))) for order in (lines, shuffled))
    assert first.series.values.tolist() == second.series.values.tolist()


EXPECTED = [0.0, 1.5, 2.0, 3.0, 4.0, 5.0]
LINES = [f"{at:%Y-%m-%dT%H:%M:%SZ},{'1.5' if i == 1 else i}" for i, at in enumerate(MINUTES)]


@pytest.mark.parametrize(
    "text",
    [
        "timestamp, value\n" + "\n".join(LINES),
        " Timestamp ,VALUE \n" + "\n".join(LINES),
        '"timestamp","value"\n' + "\n".join(LINES),
        '"timestamp", "value"\n' + "\n".join(LINES),
        "\n\n  \ntimestamp,value\n" + "\n".join(LINES),
        "timestamp,value\r\n" + "\r\n".join(LINES) + "\r\n",
        "timestamp,value\r" + "\r".join(LINES) + "\r",
        "timestamp,value\n" + "\n\n".join(LINES) + "\n\n\n  \n",
        "timestamp,value\n" + "\n".join(f" {line.replace(',', ' , ')}  " for line in LINES),
        "timestamp,value\n" + "\n".join(f"{line}," for line in LINES),
        "timestamp,value,\n" + "\n".join(f"{line}," for line in LINES),
        "timestamp;value\n" + "\n".join(line.replace(",", ";") for line in LINES),
        "timestamp\tvalue\n" + "\n".join(line.replace(",", "\t") for line in LINES),
        "timestamp|value\n" + "\n".join(line.replace(",", "|") for line in LINES),
        "timestamp;value\n" + "\n".join(line.replace(",", ";").replace("1.5", "1,5") for line in LINES),
        "note,value,timestamp\n" + "\n".join(f'"a, b",{line.split(",")[1]},{line.split(",")[0]}' for line in LINES),
        "timestamp,value,note\n" + "\n".join(LINES),
        "timestamp,value\n" + "\n".join(f'"{line.split(",")[0]}","{line.split(",")[1]}"' for line in LINES),
        "timestamp,value\n" + "\n".join(line.replace("T", " ").replace("Z", "+00:00") for line in LINES),
        "timestamp,value\n" + "\n".join(line.replace("Z", ".000Z") for line in LINES),
        "timestamp,value\n" + "\n".join(line.replace("Z", "+0000") for line in LINES),
        "timestamp,value,other,other\n" + "\n".join(f"{line},x,y" for line in LINES),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark"])
def test_files_of_spreadsheets_and_exporters_are_read(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xfe\xff" + text.encode("utf-16-be") if "with mark" in encoding else text.encode(encoding))
    trace = read_csv(path)
    assert (trace.series.start, trace.series.values.tolist()) == (NOON, EXPECTED)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_csv(path).series.values.tolist() == EXPECTED


def test_a_decimal_comma_is_reported(tmp_path: Path) -> None:
    text = "timestamp;value\n" + "\n".join(line.replace(",", ";").replace("1.5", "1,5") for line in LINES)
    assert "1 values are written with a decimal comma" in read_csv(a_file(tmp_path, text)).repairs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\n", "is empty; expected a CSV file"),
        (b"timestamp,value,value\n", "line 1: column 'value' exists more than once"),
        (b"\n\ntimestamp,load\n", "line 3: no column 'value'; found 'timestamp', 'load'"),
        (b"timestamp,value\n2026-11-24T12:00:00Z,3,5\n", "line 2: more fields than the 2 of the header"),
        (b"timestamp,value\n2026-11-24T12:00:00Z,1,,,,\n", "line 2: more fields than the 2 of the header"),
        (b"timestamp,value\n2026-11-24T12:00:00Z,1\n2026-11-24T12:01:00Z,1\x002\n", "line 3: contains a NUL character"),
        (b"timestamp,value\n2026-11-24T12:00:00Z,1\n2026-11-24T12:01:00Z,\xe9\n", "bytes that are not utf-8"),
        ("timestamp,value\n".encode("utf-16-le"), "line 1: contains a NUL character; save it as UTF-8"),
        (b"timestamp,value\n20261124,1\n20261125,1\n", "line 2, column timestamp: '20261124' is a date without dashes"),
        (b"timestamp,value\n2026-11-24T12:00:00Z,1.000,5\n", "line 2: more fields"),
        (b'timestamp,value\n2026-11-24T12:00:00Z,"1,5"\n2026-11-24T12:01:00Z,1\n', "'1,5' is not a finite number"),
        (b'timestamp,value,n\n2026-11-24T12:00:00Z,1,"a\nb"\n2026-11-24T12:01:00Z,x,y\n', "line 4, column value: 'x'"),
        (b"timestamp,value\n\n\n2026-11-24T12:00:00Z,x\n", "line 4, column value: 'x'"),
        (b"timestamp,value\n,1\n", "line 2, column timestamp: '' is not a time"),
        (b"timestamp,value\n2026-11-24T12:00:00Z,1\n1764000000,1\n", "has another format"),
        (b"timestamp,value\n1764000000,1\n2026-11-24T12:00:00Z,1\n", "line 3, column timestamp"),
        (b"timestamp,value\n2026-11-24T12:00:00Z,1e999\n", "'1e999' is not a finite number"),
        (b"timestamp,value\n99999999999999999999,1\n", "outside 1900 to 2100"),
        (b"x" * (2 << 20), "the header is longer than"),
        (b"timestamp,value\n" + b"x" * (2 << 20), "is not a time"),
        (b'timestamp,value\n"2026', "line 2: not a CSV file with one sample per line"),
        (b"\x1f\x8b\x08nonsense", "cannot be read"),
    ],
)
def test_an_error_names_its_line_and_column(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidTraceError) as raised:
        read_csv(path)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 500 + len(str(path))


def local_rows(*times: str) -> str:
    return rows(*(f"{time},{number}" for number, time in enumerate(times)))


def observed_times(trace: Trace) -> list[datetime]:
    first, step = trace.series.start, trace.series.step
    return [first + number * step for number, value in enumerate(trace.series.values) if np.isfinite(value)]


def test_times_without_a_zone_are_read_as_utc_and_reported(tmp_path: Path) -> None:
    trace = read_csv(a_file(tmp_path, local_rows("2026-11-24T12:00:00", "2026-11-24T12:01:00")))
    assert trace.series.start == NOON
    (repair,) = trace.repairs
    assert all(word in repair for word in ("no zone", "UTC", "--timezone"))


def test_times_without_a_zone_are_read_in_the_given_time_zone(tmp_path: Path) -> None:
    path = a_file(tmp_path, local_rows("2026-11-24 13:00", "2026-11-24 13:01"))
    trace = read_csv(path, "Europe/Berlin")
    assert trace.series.start == NOON
    (repair,) = trace.repairs
    assert repair.startswith("times have no zone")
    assert "Europe/Berlin" in repair


def test_a_zone_in_the_file_takes_precedence_over_the_given_time_zone(tmp_path: Path) -> None:
    trace = read_csv(a_file(tmp_path, local_rows("2026-11-24T12:00:00Z", "2026-11-24T13:01:00")), "Europe/Berlin")
    assert observed_times(trace) == MINUTES[:2]
    (repair,) = trace.repairs
    assert repair.startswith("1 times have no zone")
    assert "Europe/Berlin" in repair
    named = read_csv(a_file(tmp_path, local_rows("2026-11-24T12:00:00Z", "2026-11-24T12:01:00Z")), "Europe/Berlin")
    (repair,) = named.repairs
    assert "--timezone has no effect" in repair


AUTUMN = [datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(minutes=30 * step) for step in range(12)]
"""From midnight in Berlin, across the hour that its clocks repeat, 02:00 to 03:00."""


@pytest.mark.parametrize("order", ["oldest first", "newest first", "sorted by the clock"])
def test_the_repeated_hour_of_a_clock_change_is_two_hours(tmp_path: Path, order: str) -> None:
    local = [(at.astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None), at) for at in AUTUMN]
    if order == "newest first":
        local.reverse()
    elif order == "sorted by the clock":
        local.sort()
    text = rows(*(f"{wall:%Y-%m-%dT%H:%M:%S},{at.timestamp() - AUTUMN[0].timestamp():g}" for wall, at in local))
    trace = read_csv(a_file(tmp_path, text), "Europe/Berlin")
    assert (trace.series.start, trace.series.step) == (AUTUMN[0], timedelta(minutes=30))
    assert trace.series.values.tolist() == [1800.0 * step for step in range(12)]


def test_the_skipped_hour_of_a_clock_change_is_no_gap_and_rows_in_it_are_refused(tmp_path: Path) -> None:
    spring = [datetime(2026, 3, 28, 23, tzinfo=UTC) + timedelta(minutes=30 * step) for step in range(12)]
    walls = [f"{at.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%d %H:%M}" for at in spring]
    trace = read_csv(a_file(tmp_path, local_rows(*walls)), "Europe/Berlin")
    assert observed_times(trace) == spring
    with pytest.raises(InvalidTraceError, match=r"line 4, column timestamp: .* clocks of Europe/Berlin skip"):
        read_csv(
            a_file(tmp_path, local_rows("2026-03-29 01:00", "2026-03-29 01:30", "2026-03-29 02:30")), "Europe/Berlin"
        )
