"""`predictive-scaling backtest`: its documents, reports and errors."""

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
from tests.support.prometheus import Response, error_response, prometheus_running, series_response

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
NAIVE = ("--model", "SeasonalNaive", "--refits", "1")
QUICK = (*NAIVE, "--split", "0.9")
"""Simulates a tenth of the demand, as the simulation takes most of the time."""


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_backtest(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["predictive-scaling", "backtest", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        return Result(int(exited.value.code or 0), captured.out, captured.err)

    return run_backtest


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
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def test_the_json_document_has_the_fields_of_the_contract(run: Run, trace: Path) -> None:
    result = run("--trace", trace, "--output", "json", *NAIVE)
    assert (result.code, result.err) == (0, "")
    document = result.document
    assert (document["series"]["name"], document["series"]["points"], document["series"]["resolution"]) == (
        "shop",
        1152,
        300,
    )
    assert [season["period"] for season in document["series"]["seasons"]] == [86_400]
    assert list(document["accuracy"]) == ["5", "15", "30", "60"]
    for scores in document["accuracy"].values():
        assert {"wape", "mape", "mase", "coverage", "pinball"} <= scores.keys()
        assert list(scores["coverage"]) == list(scores["pinball"]) == ["0.5", "0.8", "0.9", "0.95"]
    assert document["baselines"]["seasonal_naive"]["60"]["wape"] == document["accuracy"]["60"]["wape"]
    assert document["baselines"]["last_value"]["5"]["wape"] > 0
    simulation = document["simulation"]
    for way in ("hpa_only", "hpa_equal_cost", "predictive", "tuned", "tuned_with_target", "clairvoyant"):
        assert {"under_provisioned_share", "lost_demand_share", "replica_hours"} <= simulation[way].keys()
    assert {"quantile", "hpa_target"} <= simulation["tuned_with_target"].keys()
    assert simulation["clairvoyant"]["under_provisioned_share"] == 0
    for way in ("predictive", "tuned", "tuned_with_target"):
        hpa_at_same_hours = simulation[way]["hpa_at_same_hours"]
        assert hpa_at_same_hours["replica_hours"] == pytest.approx(simulation[way]["replica_hours"], rel=0.05)
        assert {"under_provisioned_minutes", "hpa_target"} <= hpa_at_same_hours.keys()
    assert 0.2 <= simulation["hpa_tuned"]["hpa_target"] <= 1.5
    assert simulation["hpa_equal_cost"] == simulation["predictive"]["hpa_at_same_hours"]
    assert simulation["hpa_equal_cost"]["replica_hours"] == pytest.approx(
        simulation["predictive"]["replica_hours"], rel=0.05
    )
    point = {"quantile", "hpa_target", "under_provisioned_share", "lost_demand_share", "replica_hours"}
    assert all(setting.keys() == point for setting in document["frontier"])
    assert (simulation["tuned"]["quantile"], 0.7) in {
        (setting["quantile"], setting["hpa_target"]) for setting in document["frontier"]
    }
    assert document["model"]["chosen"] == "SeasonalNaive"
    assert document["model"]["why"]
    assert {"train", "predict"} <= document["seconds"].keys()
    assert all(math.isfinite(number) for number in numbers(document))


def test_a_policy_is_simulated_with_its_target_prices_and_lead_time(run: Run, trace: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    document = run("--trace", trace, "--policy", policy, "--output", "json", *QUICK).document
    assert document["simulation"]["hpa_only"]["hpa_target"] == 0.6
    assert document["policy"]["lead_time"] == 120
    assert document["assumptions"]["lead_time"] == {"value": 120, "source": "as stated"}
    assert document["prices"]["tuned"] == {"under_provisioned_minute": 1.0, "replica_hour": 0.2}
    # As in production, the prices determine the quantile from the days before the split.
    assert document["simulation"]["predictive"]["quantile"] == document["simulation"]["tuned"]["quantile"] != 0.9
    assert (
        run("--trace", trace, "--policy", policy, "--lead-time", "6m", "--output", "json", *QUICK).document["policy"][
            "lead_time"
        ]
        == 360
    )


def test_known_events_are_part_of_the_simulation(run: Run, trace: Path, tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text("name,start,end,multiplier\nsale,2026-11-05T08:00:00Z,2026-11-05T10:00:00Z,3\n", encoding="utf-8")
    options = ("--output", "json", *NAIVE, "--split", "0.8")
    without_events = run("--trace", trace, *options).document
    with_events = run("--trace", trace, "--events", events, *options).document
    assert with_events["policy"]["events"] == 1
    hours = [document["simulation"]["predictive"]["replica_hours"] for document in (without_events, with_events)]
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
    ("rule", "day", "zone", "message"),
    [
        ("FREQ=DAILY;INTERVAL=0", "2026-01-02", "UTC", "INTERVAL must be between 1 and 999"),
        ("FREQ=MONTHLY;INTERVAL=0", "2026-01-02", "UTC", "INTERVAL must be between 1 and 999"),
        ("FREQ=MONTHLY;BYDAY=5FR;BYMONTHDAY=1", "2026-01-02", "UTC", "never occurs"),
        ("FREQ=DAILY", "9999-12-31", "UTC", "must be between the years 1970 and 2199"),
        ("FREQ=DAILY", "2026-01-02", "Factory", "must be a time zone"),
        ("FREQ=DAILY;BYMONTH=11;COUNT=10000", "1970-01-01", "UTC", "set a later recurrence.from"),
    ],
)
def test_an_event_that_cannot_be_expanded_is_refused(
    run: Run, trace: Path, tmp_path: Path, rule: str, day: str, zone: str, message: str
) -> None:
    events = tmp_path / "events.yaml"
    events.write_text(RECURRING.format(rule=rule, day=day, zone=zone), encoding="utf-8")
    result = run("--trace", trace, "--events", events, *QUICK)
    assert result.code == InvalidManifestError.exit_code
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_the_default_output_is_a_table_and_the_report_is_self_contained(run: Run, trace: Path, tmp_path: Path) -> None:
    report = tmp_path / "out" / "report.html"
    result = run("--trace", trace, "--report", report, *QUICK)
    assert result.code == 0
    rows = ("HPA alone", "HPA alone at the same hours", "the policy as written", "oracle that knows the future")
    for fragment in (*rows, "REPLICA-HOURS", "gain: ", "advice: "):
        assert fragment in result.out
    page = report.read_text(encoding="utf-8")
    assert page.count("<svg") >= 2
    assert not re.search(r"(src|href)=|@import|https?://|\$[a-z]|\bnan\b", page)
    for part in ("The cost of safety", "recommended: p", "The worst hours", "Forecast accuracy"):
        assert part in page


def test_lightgbm_is_better_than_the_seasonal_naive_forecast(run: Run, trace: Path) -> None:
    document = run("--trace", trace, "--output", "json", *QUICK, "--model", "LightGBM").document
    assert document["model"] | {"refits": 0} == {"chosen": "LightGBM", "why": "requested", "refits": 0}
    assert document["accuracy"]["5"]["wape"] < document["baselines"]["seasonal_naive"]["5"]["wape"]
    assert document["seconds"]["train"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_invalid_options_exit_with_2_and_a_message(
    run: Run, trace: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run(*(str(trace) if argument == "TRACE" else argument for argument in arguments))
    assert result.code == 2
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.err).split())


def test_an_invalid_file_exits_with_65_and_names_the_position(run: Run, trace: Path, tmp_path: Path) -> None:
    invalid_trace = tmp_path / "wrong.csv"
    invalid_trace.write_text("timestamp,value\n2026-11-24T12:00:00Z,1\n2026-11-24T12:05:00Z,?\n", encoding="utf-8")
    result = run("--trace", invalid_trace)
    assert (result.code, result.out) == (65, "")
    assert "wrong.csv, line 3, column value: '?'" in result.err
    assert result.err.count("\n") == 1
    two_policies = tmp_path / "two.yaml"
    two_policies.write_text(POLICY + "---\n" + POLICY, encoding="utf-8")
    result = run("--trace", trace, "--policy", two_policies)
    assert result.code == 65
    assert "expected one ScalingPolicy, found 2 documents" in result.err


def demand_at(seconds: float) -> float:
    return 100 + 50 * math.sin(seconds / 86_400 * 2 * math.pi)


def test_a_prometheus_server_is_queried_in_chunks_that_it_accepts(run: Run) -> None:
    with prometheus_running(series_response(demand_at)) as (url, requests):
        query = 'sum(rate(http_requests_total{app="shop"}[5m]))'
        options = ("--days", 8, "--resolution", "1m", "--split", 0.95, "--output", "json")
        result = run("--prometheus", url, "--query", query, *NAIVE, *options)
    assert result.code == 0
    assert result.document["series"]["points"] == pytest.approx(8 * 1440, abs=2)
    assert [request["query"] for request in requests] == [query, query]


def constant_response(status: int, content: bytes) -> Callable[[dict[str, str]], Response]:
    def response(request: dict[str, str]) -> Response:
        return status, content

    return response


@pytest.mark.parametrize(
    ("response", "code", "message"),
    [
        (series_response(demand_at, series=2), 65, "2 series"),
        (series_response(demand_at, series=0), 65, "no samples"),
        (
            constant_response(*error_response(400, "parse error: unexpected end of input")),
            75,
            "400: parse error: unexpected end",
        ),
        (constant_response(503, b"starting"), 75, "answered 503: starting"),
        (constant_response(200, b"<html>"), 75, "JSON"),
        (
            constant_response(200, b'{"status": "success", "data": []}'),
            75,
            "range query",
        ),
        (
            constant_response(200, b'{"status": "success", "data": {"resultType": "scalar", "result": []}}'),
            75,
            "a scalar",
        ),
    ],
)
def test_an_unusable_prometheus_response_is_an_error(run: Run, response: Any, code: int, message: str) -> None:
    with prometheus_running(response) as (url, _):
        result = run("--prometheus", url, "--query", "up", "--days", 3)
    assert result.code == code
    assert message in result.err


def test_an_unreachable_prometheus_server_exits_with_75(run: Run) -> None:
    result = run("--prometheus", "http://127.0.0.1:1", "--query", "up")
    assert result.code == 75
    assert "http://127.0.0.1:1/api/v1/query_range does not answer" in result.err


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
    result = await asyncio.to_thread(
        run, "--service", "shop", "--metric", "requests", "--days", 5, "--output", "json", *QUICK
    )
    assert result.code == 0
    assert result.document["series"]["points"] == pytest.approx(4 * 288, abs=2)
    result = await asyncio.to_thread(run, "--service", "nobody", "--metric", "requests")
    assert result.code == 65
    assert "nobody/requests/Sum has no demand in the 60 days before 2026-11-24T12:00Z" in result.err


@pytest.mark.parametrize("shape", ["constant", "repeated each day", "zero after the split"])
def test_undefined_numbers_are_a_dash_with_the_reason_and_null_in_json(run: Run, tmp_path: Path, shape: str) -> None:
    demand: dict[str, list[float]] = {
        "constant": [100.0] * 576,
        "repeated each day": [100.0 + at % 288 for at in range(576)],
        "zero after the split": [100.0] * 518 + [0.0] * 58,
    }
    path, page = tmp_path / "trace.csv", tmp_path / "page.html"
    path.write_text(
        "timestamp,value\n" + "".join(f"{1764000000 + 300 * at},{value}\n" for at, value in enumerate(demand[shape]))
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.replace("targetUtilization: 60", "targetUtilization: 60, zeroIsValid: true"))
    result = run("--trace", path, "--policy", policy, "--report", page, *QUICK)
    assert result.code == 0, result.err
    for text in (result.out, page.read_text(encoding="utf-8")):
        assert not re.search(r"\b(nan|inf)\b", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL), re.IGNORECASE)
        assert "– is not defined: " in " ".join(text.split())
    assert run("--trace", path, "--policy", policy, "--output", "json", *QUICK).document["accuracy"]
