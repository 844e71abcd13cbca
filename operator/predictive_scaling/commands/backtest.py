"""`predictive-scaling backtest`: replays recorded demand through a policy, without a cluster."""

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from forecasting.forecaster import ModelChoice
from forecasting.scaling.frontier import Prices
from predictive_scaling.backtesting.events import events_for
from predictive_scaling.backtesting.manifests import default_policy, read_policy
from predictive_scaling.backtesting.reporting.document import as_json
from predictive_scaling.backtesting.reporting.page import write_report
from predictive_scaling.backtesting.reporting.summary import summary
from predictive_scaling.backtesting.run import Backtest, Options, run
from predictive_scaling.backtesting.traces.csv_trace import read_csv
from predictive_scaling.backtesting.traces.prometheus import PrometheusQuery, read_prometheus
from predictive_scaling.backtesting.traces.recorded import Trace
from predictive_scaling.backtesting.traces.regressors import RecordedRegressor, read_regressors, read_stored
from predictive_scaling.clock import parse_clock
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.demand_calendar import Timezone
from predictive_scaling.resources.quantities import parse_duration
from predictive_scaling.resources.scaling_policy import Objective, Quantile, ScalingPolicy
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import Aggregation
from predictive_scaling.settings import read_settings
from predictive_scaling.telemetry.logs import configure_logs

app = typer.Typer()

_WIDE = 160
_SOURCES = ("--trace", "--prometheus", "--service")
_MAX_HORIZON = timedelta(hours=3)
_QUANTILE = TypeAdapter[float](Quantile)

Regressors = tuple[RecordedRegressor, ...]


class Output(StrEnum):
    """Output format."""

    TABLE = "table"
    JSON = "json"


@app.command()
def backtest(
    trace: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="CSV file with the columns timestamp and value; may be gzipped."
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(help="Time zone of timestamps without one, such as Europe/Berlin; needs --trace; default: UTC."),
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="URL of a Prometheus server; needs --query.")
    ] = None,
    query: Annotated[str | None, typer.Option(metavar="PROMQL", help="Query that returns a single series.")] = None,
    service: Annotated[str | None, typer.Option(help="Service whose demand is read from the database.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric of --service; default: the policy's.")] = None,
    aggregation: Annotated[
        Aggregation | None, typer.Option(help="Aggregation over the series of --service; default: the policy's.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=730, help="Number of days to read with --prometheus or --service.")
    ] = 60,
    policy: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="ScalingPolicy manifest; default: p90 at 70 %.")
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="BusinessEvents as .yaml, or as CSV with name,type,start,end,multiplier."
        ),
    ] = None,
    regressors: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Leading indicators as CSV with time,service,metric,value; default: with --service those of the "
            "policy from the database.",
        ),
    ] = None,
    split: Annotated[
        float, typer.Option(min=0.2, max=0.95, help="Share of the trace that is used as training history only.")
    ] = 0.7,
    refits: Annotated[
        int, typer.Option(min=1, max=100, help="Number of times that models are fitted after the split.")
    ] = 4,
    horizons: Annotated[
        str, typer.Option(help="Forecast horizons to measure accuracy for, separated by commas.")
    ] = "5m,15m,30m,60m",
    resolution: Annotated[str, typer.Option(metavar="DURATION", help="Bin width of the forecast.")] = "5m",
    lead_time: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Time from a scale-up to ready replicas; default: the policy's, or 3m."),
    ] = None,
    model: Annotated[ModelChoice | None, typer.Option(help="Forecast model that overrides the policy's.")] = None,
    quantiles: Annotated[
        str | None,
        typer.Option(help="Further quantiles of the policy to compare, separated by commas, such as 0.8,0.95."),
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(help="Further prices to compare, MINUTE:HOUR separated by commas, such as 1:0.2,1:0.5."),
    ] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Also write an HTML report to this file.")] = None,
    output: Annotated[Output, typer.Option(help="Output format: a table, or JSON for programs.")] = Output.TABLE,
) -> None:
    """Replay recorded demand through the live decision code and compare the result with an HPA without a floor.

    Needs no cluster, and a database only with --service. Values are in the unit of demand.perReplica; where that is
    Auto, the 99.9th percentile of the series needs 20 replicas at the policy's target. Exit codes: 0 done, 2 invalid
    options, 65 invalid file, 75 the server or the database is unreachable.
    """
    _check_source_options(trace, prometheus, service, query, metric)
    if timezone is not None:
        _check_timezone(timezone, trace)
    options = Options(
        split=split,
        refits=refits,
        horizons=tuple(_duration(part, "--horizons", _MAX_HORIZON) for part in horizons.split(",")),
        resolution=_duration(resolution, "--resolution", timedelta(hours=1)),
        lead_time=None
        if lead_time is None
        else _duration(lead_time, "--lead-time", timedelta(hours=2), minimum=timedelta()),
        model=model,
        quantiles=_quantiles(quantiles) if quantiles else (),
        prices=_prices(prices) if prices else (),
    )
    scaling_policy = read_policy(policy) if policy else None
    business_events = events_for(events, scaling_policy or default_policy("trace")) if events else ()
    read_trace = _trace_reader(
        trace, timezone, prometheus, query, service, metric, aggregation, timedelta(days=days), options, scaling_policy
    )
    named = scaling_policy.spec.forecast.regressors if scaling_policy else ()
    recorded = read_regressors(regressors, named) if regressors else None
    result = _with_progress(
        lambda report_progress: _replay(read_trace, recorded, scaling_policy, business_events, options, report_progress)
    )
    if report is not None:
        write_report(result, report)
    if output is Output.JSON:
        typer.echo(as_json(result), nl=False)
    else:
        Console(width=None if sys.stdout.isatty() else _WIDE).print(summary(result))
    if report is not None:
        typer.echo(f"The report is in {report}.", err=True)


def _replay(
    read_trace: Callable[[], tuple[Trace, Regressors]],
    regressors: Regressors | None,
    policy: ScalingPolicy | None,
    events: tuple[BusinessEvent, ...],
    options: Options,
    report_progress: Callable[[str, float], None],
) -> Backtest:
    report_progress("reading", 0.0)
    trace, stored = read_trace()
    effective = policy or default_policy(trace.name)
    return run(trace, effective, events, options, report_progress, stored if regressors is None else regressors)


def _trace_reader(
    trace: Path | None,
    timezone: str | None,
    prometheus: str | None,
    query: str | None,
    service: str | None,
    metric: str | None,
    aggregation: Aggregation | None,
    span: timedelta,
    options: Options,
    policy: ScalingPolicy | None,
) -> Callable[[], tuple[Trace, Regressors]]:
    if trace is not None:
        return lambda: (read_csv(trace, timezone), ())
    settings = read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, stream=sys.stderr)
    if prometheus is not None:
        now = clock.now().replace(second=0, microsecond=0)
        question = PrometheusQuery(prometheus, query or "", now - span, now, options.resolution)
        return lambda: (read_prometheus(question), ())
    demand = policy.spec.demand if policy else None
    metric_name = metric or (demand.metric if demand else None)
    if metric_name is None:
        raise typer.BadParameter("--service needs --metric, or a --policy with a metric")
    effective_aggregation = aggregation or (demand.aggregation if demand else Aggregation.SUM)
    key = SeriesKey(service or "", metric_name, effective_aggregation)
    zero_is_valid = demand.zero_is_valid if demand else False
    url = settings.database_url.get_secret_value()
    named = policy.spec.forecast.regressors if policy else ()
    return lambda: asyncio.run(read_stored(url, key, clock, span, named, zero_is_valid=zero_is_valid))


def _check_source_options(
    trace: Path | None, prometheus: str | None, service: str | None, query: str | None, metric: str | None
) -> None:
    sources = [name for name, value in zip(_SOURCES, (trace, prometheus, service), strict=True) if value is not None]
    if len(sources) != 1:
        raise typer.BadParameter(f"set exactly one of {', '.join(_SOURCES)}; set: {', '.join(sources) or 'none'}")
    if (prometheus is None) != (query is None):
        raise typer.BadParameter("--prometheus and --query must be set together")
    if prometheus is not None and not prometheus.startswith(("http://", "https://")):
        raise typer.BadParameter(f"--prometheus is {prometheus!r}; write an address such as http://localhost:9090")
    if metric is not None and service is None:
        raise typer.BadParameter("--metric needs --service")


def _check_timezone(timezone: str, trace: Path | None) -> None:
    if trace is None:
        raise typer.BadParameter("--timezone needs --trace")
    try:
        TypeAdapter(Timezone).validate_python(timezone)
    except ValidationError as error:
        problem = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise typer.BadParameter(f"--timezone {timezone!r} {problem}") from None


def _duration(text: str, option: str, maximum: timedelta, minimum: timedelta = timedelta(seconds=15)) -> timedelta:
    try:
        duration = parse_duration(text.strip())
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None
    if not minimum <= duration <= maximum or duration % timedelta(seconds=15):
        raise typer.BadParameter(f"{option} is {text}; use a multiple of 15 s up to {maximum}")
    return duration


def _quantiles(text: str) -> tuple[float, ...]:
    try:
        return tuple(_QUANTILE.validate_python(part.strip()) for part in text.split(","))
    except ValidationError:
        raise typer.BadParameter(
            f"--quantiles is {text!r}; write quantiles from 0.5 to 0.999, such as 0.8,0.95"
        ) from None


def _prices(text: str) -> tuple[Prices, ...]:
    objectives: list[Objective] = []
    try:
        for part in text.split(","):
            minute, hour = part.strip().split(":")
            objectives.append(Objective.model_validate({"underProvisionedMinute": minute, "replicaHour": hour}))
    except ValueError:
        raise typer.BadParameter(
            f"--prices is {text!r}; write pairs of positive decimals, MINUTE:HOUR, such as 1:0.2,1:0.5"
        ) from None
    return tuple(Prices(objective.under_provisioned_minute, objective.replica_hour) for objective in objectives)


def _with_progress(work: Callable[[Callable[[str, float], None]], Backtest]) -> Backtest:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("reading", total=1.0)
        return work(lambda stage, completed: progress.update(task, description=stage, completed=completed))
