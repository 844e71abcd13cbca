"""`predictive-scaling backtest` as people and programs call it."""

import asyncio
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from predictive_scaling.__main__ import main
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.samples import Sample, Samples, series_of
from tests.support.backtests import a_demand
from tests.support.prometheus import Answer, prometheus_running, refusal, series_answer

pytestmark = pytest.mark.integration

POLICY = """\
apiVersion: predictive-scaling.io/v1alpha1
kind: ScalingPolicy
metadata: {name: shop, namespace: default}
spec:
  mode: Recommend
  target: {horizontalPodAutoscaler: {name: shop}}
  demand: {metric: requests, targetUtilization: 60}
  forecast: {objective: {underProvisionedMinute: "1.0", replicaHour: "0.2"}, leadTime: 2m}
  replicas: {min: 2, max: 60}
"""
QUICK = ("--model", "SeasonalNaive", "--refits", "1")


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def ran(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["predictive-scaling", "backtest", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)

    return ran


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    series = a_demand(days=4)
    path = tmp_path / "shop.csv"
    rows = [
        f"{series.start + at * series.step:%Y-%m-%dT%H:%M:%SZ},{value:.3f}" for at, value in enumerate(series.values)
    ]
    path.write_text("timestamp,value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, int | float) else []


def test_the_document_has_every_part_that_programs_rely_on(run: Run, trace: Path) -> None:
    ran = run("--trace", trace, "--output", "json", *QUICK)
    assert (ran.code, ran.err) == (0, "")
    found = ran.document
    assert (found["series"]["name"], found["series"]["points"], found["series"]["resolution"]) == ("shop", 1152, 300)
    assert [season["period"] for season in found["series"]["seasons"]] == [86_400]
    assert list(found["accuracy"]) == ["5", "15", "30", "60"]
    for one in found["accuracy"].values():
        assert {"wape", "mape", "mase", "coverage", "pinball"} <= one.keys()
        assert list(one["coverage"]) == list(one["pinball"]) == ["0.5", "0.8", "0.9", "0.95"]
    assert found["baselines"]["seasonal_naive"]["60"]["wape"] == found["accuracy"]["60"]["wape"]
    assert found["baselines"]["last_value"]["5"]["wape"] > 0
    ways = found["simulation"]
    for way in ("hpa_only", "hpa_equal_cost", "predictive", "tuned", "tuned_with_target", "clairvoyant"):
        assert {"under_provisioned_share", "lost_demand_share", "replica_hours"} <= ways[way].keys()
    assert {"quantile", "hpa_target"} <= ways["tuned_with_target"].keys()
    assert ways["clairvoyant"]["under_provisioned_share"] == 0
    for way in ("predictive", "tuned", "tuned_with_target"):
        same = ways[way]["hpa_at_same_hours"]
        assert same["replica_hours"] == pytest.approx(ways[way]["replica_hours"], rel=0.05)
        assert {"under_provisioned_minutes", "hpa_target"} <= same.keys()
    assert 0.2 <= ways["hpa_tuned"]["hpa_target"] <= 1.5
    assert ways["hpa_equal_cost"] == ways["predictive"]["hpa_at_same_hours"]
    assert ways["hpa_equal_cost"]["replica_hours"] == pytest.approx(ways["predictive"]["replica_hours"], rel=0.05)
    point = {"quantile", "hpa_target", "under_provisioned_share", "lost_demand_share", "replica_hours"}
    assert all(one.keys() == point for one in found["frontier"])
    assert (ways["tuned"]["quantile"], 0.7) in {(one["quantile"], one["hpa_target"]) for one in found["frontier"]}
    assert found["model"]["chosen"] == "SeasonalNaive"
    assert found["model"]["why"]
    assert {"train", "predict"} <= found["seconds"].keys()
    assert all(math.isfinite(number) for number in numbers(found))


def test_a_policy_decides_by_its_own_target_prices_and_lead_time(run: Run, trace: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    found = run("--trace", trace, "--policy", policy, "--output", "json", *QUICK).document
    assert found["simulation"]["hpa_only"]["hpa_target"] == 0.6
    assert found["policy"]["lead_time"] == 120
    assert found["prices"]["tuned"] == {"under_provisioned_minute": 1.0, "replica_hour": 0.2}
    # As live: what the prices chose from the days before the split.
    assert found["simulation"]["predictive"]["quantile"] == found["simulation"]["tuned"]["quantile"] != 0.9
    assert (
        run("--trace", trace, "--policy", policy, "--lead-time", "6m", "--output", "json", *QUICK).document["policy"][
            "lead_time"
        ]
        == 360
    )


def test_known_events_take_part(run: Run, trace: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text("name,start,end,multiplier\nsale,2026-11-05T08:00:00Z,2026-11-05T10:00:00Z,3\n", encoding="utf-8")
    plain = run("--trace", trace, "--output", "json", *QUICK).document
    found = run("--trace", trace, "--events", events, "--output", "json", *QUICK).document
    assert found["policy"]["events"] == 1
    hours = [one["simulation"]["predictive"]["replica_hours"] for one in (plain, found)]
    assert hours[1] > hours[0]


RECURRING = """\
apiVersion: predictive-scaling.io/v1alpha1
kind: BusinessEvent
metadata: {{name: sale, namespace: backtest}}
spec:
  type: sale
  policies: {{all: true}}
  expect: {{multiplier: "2"}}
  recurrence: {{rrule: "{rule}", timezone: {zone}, from: "{day}", start: "18:00", duration: 1h}}
"""


@pytest.mark.parametrize(
    ("rule", "day", "zone", "told"),
    [
        ("FREQ=DAILY;INTERVAL=0", "2026-01-02", "UTC", "INTERVAL must be between 1 and 999"),
        ("FREQ=MONTHLY;INTERVAL=0", "2026-01-02", "UTC", "INTERVAL must be between 1 and 999"),
        ("FREQ=MONTHLY;BYDAY=5FR;BYMONTHDAY=1", "2026-01-02", "UTC", "never occurs"),
        ("FREQ=DAILY", "9999-12-31", "UTC", "must be between the years 1970 and 2199"),
        ("FREQ=DAILY", "2026-01-02", "Factory", "must be a time zone"),
        ("FREQ=DAILY;BYMONTH=11;COUNT=10000", "1970-01-01", "UTC", "set a later recurrence.from"),
    ],
)
def test_an_event_that_cannot_be_expanded_is_refused_with_what_to_do(
    run: Run, trace: Path, tmp_path: Path, rule: str, day: str, zone: str, told: str
) -> None:
    events = tmp_path / "events.yaml"
    events.write_text(RECURRING.format(rule=rule, day=day, zone=zone), encoding="utf-8")
    ran = run("--trace", trace, "--events", events, *QUICK)
    assert ran.code == InvalidManifestError.exit_code
    assert told in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_people_get_a_table_and_a_page_that_needs_no_other_file(run: Run, trace: Path, tmp_path: Path) -> None:
    report = tmp_path / "out" / "report.html"
    ran = run("--trace", trace, "--report", report, *QUICK)
    assert ran.code == 0
    ways = ("HPA alone", "HPA alone at the same hours", "the policy as written", "oracle that knows the future")
    for told in (*ways, "REPLICA-HOURS", "gain: ", "advice: "):
        assert told in ran.out
    page = report.read_text(encoding="utf-8")
    assert page.count("<svg") >= 2
    assert not re.search(r"(src|href)=|@import|https?://|\$[a-z]|\bnan\b", page)
    for part in ("The cost of safety", "recommended: p", "The worst hours", "Forecast accuracy"):
        assert part in page


def test_lightgbm_learns_where_there_is_enough(run: Run, trace: Path) -> None:
    found = run("--trace", trace, "--model", "LightGBM", "--refits", "1", "--output", "json").document
    assert found["model"] | {"refits": 0} == {"chosen": "LightGBM", "why": "requested", "refits": 0}
    assert found["accuracy"]["5"]["wape"] < found["baselines"]["seasonal_naive"]["5"]["wape"]
    assert found["seconds"]["train"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "exactly one of --trace, --prometheus, --service; set: none"),
        (("--trace", "TRACE", "--service", "shop"), "set: --trace, --service"),
        (("--prometheus", "http://127.0.0.1:1"), "--prometheus and --query must be set together"),
        (("--prometheus", "file:///etc/passwd", "--query", "up"), "write an address such as http://localhost:9090"),
        (("--trace", "TRACE", "--metric", "rps"), "--metric needs --service"),
        (("--service", "shop"), "--service needs --metric"),
        (("--trace", "TRACE", "--split", "1.5"), "--split"),
        (("--trace", "TRACE", "--horizons", "5m,soon"), "--horizons"),
        (("--trace", "TRACE", "--resolution", "7s"), "--resolution is 7s"),
        (("--trace", "TRACE", "--model", "Prophet"), "--model"),
        (("--trace", "nowhere.csv"), "nowhere.csv"),
        (("--trace", "TRACE", "--timezone", "Europe/Berln"), "did you mean Europe/Berlin?"),
        (("--service", "shop", "--metric", "rps", "--timezone", "Europe/Berlin"), "--timezone needs --trace"),
    ],
)
def test_wrong_options_are_told_with_exit_code_2(run: Run, trace: Path, arguments: tuple[str, ...], told: str) -> None:
    ran = run(*(str(trace) if argument == "TRACE" else argument for argument in arguments))
    assert ran.code == 2
    assert told in " ".join(re.sub(r"[│╭╮╰╯─]", " ", ran.err).split())


def test_a_file_that_cannot_be_used_is_told_in_one_line_with_exit_code_65(
    run: Run, trace: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("timestamp,value\n2026-11-24T12:00:00Z,1\n2026-11-24T12:05:00Z,?\n", encoding="utf-8")
    ran = run("--trace", wrong)
    assert (ran.code, ran.out) == (65, "")
    assert ran.err.endswith("wrong.csv, line 3, column value: '?' is not a finite number\n")
    two = tmp_path / "two.yaml"
    two.write_text(POLICY + "---\n" + POLICY, encoding="utf-8")
    ran = run("--trace", trace, "--policy", two)
    assert ran.code == 65
    assert "expected one ScalingPolicy, found 2 documents" in ran.err


def demand_at(seconds: float) -> float:
    return 100 + 50 * math.sin(seconds / 86_400 * 2 * math.pi)


def test_a_prometheus_server_is_asked_in_parts_that_it_accepts(run: Run) -> None:
    with prometheus_running(series_answer(demand_at)) as (url, asked):
        query = 'sum(rate(http_requests_total{app="shop"}[5m]))'
        ran = run("--prometheus", url, "--query", query, "--days", 40, "--output", "json", *QUICK)
    assert ran.code == 0
    assert ran.document["series"]["points"] == pytest.approx(40 * 288, abs=2)
    assert [question["query"] for question in asked] == [query, query]


def always(status: int, content: bytes) -> Callable[[dict[str, str]], Answer]:
    def answer(asked: dict[str, str]) -> Answer:
        return status, content

    return answer


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (series_answer(demand_at, series=2), 65, "returns 2 series"),
        (series_answer(demand_at, series=0), 65, "returned no samples"),
        (always(*refusal(400, "parse error: unexpected end of input")), 75, "400: parse error: unexpected end"),
        (always(503, b"starting"), 75, "answered 503: starting"),
        (always(200, b"<html>"), 75, "did not return JSON"),
        (always(200, b'{"status": "success", "data": []}'), 75, "is not a range query result"),
        (always(200, b'{"status": "success", "data": {"resultType": "scalar", "result": []}}'), 65, "a scalar"),
    ],
)
def test_what_a_prometheus_server_cannot_give_is_told(run: Run, answer: Any, code: int, told: str) -> None:
    with prometheus_running(answer) as (url, _):
        ran = run("--prometheus", url, "--query", "up", "--days", 3)
    assert ran.code == code
    assert told in ran.err


def test_a_server_that_is_away_is_told_with_exit_code_75(run: Run) -> None:
    ran = run("--prometheus", "http://127.0.0.1:1", "--query", "up")
    assert ran.code == 75
    assert "http://127.0.0.1:1/api/v1/query_range does not answer" in ran.err


async def test_a_service_is_read_from_the_database(
    run: Run, migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    series = series_of({"pod": "a"})
    times = [now - timedelta(minutes=minute) for minute in range(1, 4 * 1440)]
    async with Database(migrated_database_url, purpose="tests") as database:
        samples = [Sample(at, "shop", "requests", series, demand_at(at.timestamp()), {"pod": "a"}) for at in times]
        for begin in range(0, len(samples), 1000):
            await Samples(database).record(samples[begin : begin + 1000])
    monkeypatch.setenv("DATABASE_URL", migrated_database_url)
    monkeypatch.setenv("PREDICTIVE_SCALING_CLOCK", f"{now.isoformat()},1e15,1")
    ran = await asyncio.to_thread(
        run, "--service", "shop", "--metric", "requests", "--days", 5, "--output", "json", *QUICK
    )
    assert ran.code == 0
    assert ran.document["series"]["points"] == pytest.approx(4 * 288, abs=2)
    ran = await asyncio.to_thread(run, "--service", "nobody", "--metric", "requests")
    assert ran.code == 65
    assert "nobody/requests/Sum has no demand in the 60 days before 2026-11-24T12:00Z" in ran.err


@pytest.mark.parametrize("shape", ["constant", "repeated each day", "silent behind the split"])
def test_what_is_not_defined_is_a_dash_with_the_reason_and_null_for_programs(
    run: Run, tmp_path: Path, shape: str
) -> None:
    demand: dict[str, list[float]] = {
        "constant": [100.0] * 1440,
        "repeated each day": [100.0 + at % 288 for at in range(1440)],
        "silent behind the split": [100.0] * 1000 + [0.0] * 440,
    }
    path, page = tmp_path / "trace.csv", tmp_path / "page.html"
    path.write_text(
        "timestamp,value\n" + "".join(f"{1764000000 + 300 * at},{value}\n" for at, value in enumerate(demand[shape]))
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace("targetUtilization: 60", "targetUtilization: 60, zeroIsValid: true"))
    ran = run("--trace", path, "--policy", policy, "--report", page, *QUICK)
    assert ran.code == 0, ran.err
    for shown in (ran.out, page.read_text(encoding="utf-8")):
        assert not re.search(r"\b(nan|inf)\b", re.sub(r"<style>.*?</style>", "", shown, flags=re.DOTALL), re.IGNORECASE)
        assert "– is not defined: " in " ".join(shown.split())
    assert run("--trace", path, "--policy", policy, "--output", "json", *QUICK).document["accuracy"]
