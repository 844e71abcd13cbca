import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from predictive_scaling.backtesting.csv_trace import read_csv
from predictive_scaling.backtesting.recorded import checked
from predictive_scaling.errors import InvalidTraceError

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTES = [NOON + timedelta(minutes=minute) for minute in range(6)]


def a_file(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(*lines: str) -> str:
    return "timestamp,value\n" + "\n".join(lines) + "\n"


def test_a_file_in_order_is_read_as_it_is(tmp_path: Path) -> None:
    trace = read_csv(a_file(tmp_path, rows(*(f"{at:%Y-%m-%dT%H:%M:%SZ},{i}" for i, at in enumerate(MINUTES)))))
    assert (trace.name, trace.series.start, trace.series.step) == ("trace", NOON, timedelta(minutes=1))
    assert trace.series.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert trace.repairs == ()


@pytest.mark.parametrize("scale", [1, 1000, 1_000_000], ids=["seconds", "milliseconds", "microseconds"])
def test_epoch_times_are_told_by_their_magnitude(tmp_path: Path, scale: int) -> None:
    path = a_file(tmp_path, rows(*(f"{int(at.timestamp()) * scale},1" for at in MINUTES)))
    assert read_csv(path).series.start == NOON


def test_a_compressed_file_and_a_zone_other_than_utc_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(rows("2026-11-24T13:00:00+01:00,1", "2026-11-24T13:01:00+01:00,2").encode()))
    assert read_csv(path).series.start == NOON
    assert read_csv(path).name == "trace"


def test_rows_out_of_order_are_sorted_and_told(tmp_path: Path) -> None:
    stamps = [f"{at:%Y-%m-%dT%H:%M:%SZ},{i}" for i, at in enumerate(MINUTES)]
    trace = read_csv(a_file(tmp_path, rows(*reversed(stamps))))
    assert trace.series.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert trace.repairs == ("rows were not in the order of time and have been sorted",)


def test_of_rows_with_one_time_the_last_one_counts_and_it_is_told(tmp_path: Path) -> None:
    stamps = [f"{at:%Y-%m-%dT%H:%M:%SZ},1" for at in MINUTES]
    trace = read_csv(a_file(tmp_path, rows(*stamps, f"{NOON:%Y-%m-%dT%H:%M:%SZ},9")))
    assert trace.series.values[0] == 9
    assert trace.repairs[-1] == "1 rows repeat a time; the last one counts"


def test_an_interval_without_a_row_and_a_row_without_a_value_are_gaps(tmp_path: Path) -> None:
    stamps = [f"{at:%Y-%m-%dT%H:%M:%SZ},{'' if i == 4 else i}" for i, at in enumerate(MINUTES) if i != 2]
    trace = read_csv(a_file(tmp_path, rows(*stamps)))
    assert np.isnan(trace.series.values).tolist() == [False, False, True, False, True, False]
    assert trace.repairs == (
        "1 rows have no value and count as gaps",
        "2 of 6 intervals have no value; they are gaps, never zero",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty; expected a CSV file with the columns timestamp and value"),
        ("timestamp,value\n", "has a header and no rows"),
        ("when,value\n1,2\n", "line 1: no column 'timestamp'; found 'when', 'value'"),
        ("timestamp,load\n1,2\n", "line 1: no column 'value'; found 'timestamp', 'load'"),
        (
            rows("2026-11-24T12:00:00Z,1", "2026-11-24T12:01:00Z,many"),
            "line 3, column value: 'many' is no finite number",
        ),
        (rows("2026-11-24T12:00:00Z,1", "2026-11-24T12:01:00Z,inf"), "line 3, column value: 'inf' is no finite number"),
        (rows("2026-11-24T12:00:00Z,-1", "2026-11-24T12:01:00Z,1"), "line 2, column value: '-1' is negative"),
        (rows("2026-11-24T12:00:00Z,1", "noon,1"), "line 3, column timestamp: 'noon' is no time"),
        (rows("2026-11-24T12:00:00Z,1", "1764000000,1"), "column timestamp: '1764000000' is written in another way"),
        (
            rows("1764000000,1", "1764000060,1", "1764000120000,1"),
            "line 4, column timestamp: '1764000120000' is a time",
        ),
        (rows("2026-11-24T12:00:00Z,1", '"2026-11-24T12:01:00Z,1'), "is no CSV file with one sample a line"),
        (rows("2026-11-24T12:00:00Z,1"), "has one value; a backtest needs at least 100 bins"),
        (rows("2026-11-24T12:00:00Z,1", "2026-11-26T12:00:00Z,1"), "scaling needs at least one each hour"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line_and_the_column(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidTraceError) as refused:
        read_csv(a_file(tmp_path, text))
    assert told in str(refused.value)
    assert refused.value.exit_code == 65


def test_bytes_that_are_no_text_and_a_broken_archive_are_refused(tmp_path: Path) -> None:
    binary, archive = tmp_path / "a.csv", tmp_path / "b.csv.gz"
    binary.write_bytes(b"timestamp,value\n\xff\xfe\x00,1\n")
    archive.write_bytes(gzip.compress(rows(*(f"{i},1" for i in range(9999))).encode())[:200])
    for path in (binary, archive):
        with pytest.raises(InvalidTraceError, match="cannot be read"):
            read_csv(path)


def test_a_trace_of_zeros_and_one_that_is_too_short_are_refused(tmp_path: Path) -> None:
    zeros = read_csv(a_file(tmp_path, rows(*(f"{1764000000 + 60 * i},0" for i in range(2000)))))
    with pytest.raises(InvalidTraceError, match="zero from beginning to end"):
        checked(zeros, timedelta(minutes=5), zero_is_valid=True)
    short = read_csv(a_file(tmp_path, rows(*(f"{1764000000 + 60 * i},1" for i in range(400)))))
    with pytest.raises(
        InvalidTraceError, match="has 80 values at a resolution of 5 min; a backtest needs at least 100"
    ):
        checked(short, timedelta(minutes=5), zero_is_valid=True)


def test_minutes_become_means_of_whole_bins_and_zeros_are_missing_where_the_policy_says_so(tmp_path: Path) -> None:
    lines = [f"{1764000000 + 60 * i},{0 if i < 5 else i % 5}" for i in range(1003)]
    trace = read_csv(a_file(tmp_path, rows(*lines)))
    series, noted = checked(trace, timedelta(minutes=5), zero_is_valid=False)
    assert len(series.values) == 200
    assert np.isnan(series.values[0])
    assert series.values[1] == 2.0
    assert "1 exact zeros are taken for missing data (demand.zeroIsValid is false)" in noted.repairs


def test_a_trace_coarser_than_the_resolution_keeps_its_own(tmp_path: Path) -> None:
    trace = read_csv(a_file(tmp_path, rows(*(f"{1764000000 + 1800 * i},{i}" for i in range(200)))))
    series, noted = checked(trace, timedelta(minutes=5), zero_is_valid=True)
    assert series.step == timedelta(minutes=30)
    assert noted.repairs == ("one value each 30 min: that is the resolution, not 5 min",)


def test_shuffled_rows_give_the_same_trace(tmp_path: Path) -> None:
    lines = [f"{1764000000 + 60 * i},{i * i % 97}" for i in range(500)]
    shuffled = [lines[at] for at in np.random.default_rng(3).permutation(len(lines))]
    first, second = (read_csv(a_file(tmp_path, rows(*each))) for each in (lines, shuffled))
    assert first.series.values.tolist() == second.series.values.tolist()
