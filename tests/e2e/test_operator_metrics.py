"""A real Prometheus scrapes the processes and evaluates the alerts and the dashboards."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.api_process import api_running
from tests.support.eventually import eventually
from tests.support.ingesting import Pipeline, ingesting
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_scaling_policy
from tests.support.observing import get_minimum
from tests.support.operator_process import OperatorProcess
from tests.support.prometheus_programs import check_metrics
from tests.support.prometheus_server import PrometheusServer, prometheus_server

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]

CONFIG = Path(__file__).parents[2] / "config"
SHOWN = {
    "sum(predictive_scaling_leader)",
    "max(predictive_scaling_policies)",
    'sum by (job) (up{job=~"predictive-scaling-.*"})',
    'sum by (namespace, policy) (predictive_scaling_floor_replicas{namespace=~"$namespace", policy=~"$policy"})',
    "max by (source) (predictive_scaling_source_age_seconds)",
    "count by (version) (predictive_scaling_build_info)",
}
"""Queries of the dashboards that have a result within seconds; rates need time, failures a failure."""


def queries() -> Iterator[str]:
    """Return the queries of the alerts and of the panels."""
    for group in yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for path in sorted((CONFIG / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            yield from (target["expr"] for target in panel.get("targets", []))


def with_variables(query: str) -> str:
    return re.sub(r"\$\w+", ".*", query.replace("$__rate_interval", "1m"))


def a_configuration(ports: dict[str, int]) -> dict[str, object]:
    """config/prometheus.yml with these ports, and a scrape each second."""
    configured = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    jobs = [
        {**job, "static_configs": [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]}
        for job in configured["scrape_configs"]
        if job["job_name"] in ports
    ]
    return {"global": {"scrape_interval": "1s"}, "rule_files": [str(CONFIG / "alerts.yml")], "scrape_configs": jobs}


async def scraped(server: PrometheusServer) -> int:
    return sum(int(series["value"][1]) for series in await server.query("up"))


async def test_prometheus_scrapes_the_processes_and_evaluates_every_query(
    own_operator: OperatorProcess, kubectl: Kubectl, tmp_path: Path
) -> None:
    sources = tmp_path / "sources.json"
    query = {"metric": "rps", "service": "checkout", "query": "rate(x[2m])"}
    source = {"name": "away", "kind": "prometheus", "url": "http://127.0.0.1:1", "queries": [query]}
    sources.write_text(json.dumps({"sources": [source]}))
    pipeline = Pipeline("", "none", "none", own_operator.database_url, tmp_path / "ingest.log")
    await own_operator.start(KAFKA_BOOTSTRAP_SERVERS="")
    await kubectl.apply(a_scaling_policy(replicas={"min": 3, "max": 40}))
    async with (
        ingesting(pipeline, PREDICTIVE_SCALING_SOURCES=str(sources)) as ingester,
        api_running(own_operator.database_url, tmp_path, KAFKA_BOOTSTRAP_SERVERS="") as api,
    ):
        await ingester.wait_until_live()
        await eventually(lambda: get_minimum(kubectl), lambda minimum: minimum == 3, seconds=40)
        ports = {
            "predictive-scaling-api": api.port,
            "predictive-scaling-operator": own_operator.port,
            "predictive-scaling-ingest": ingester.port,
        }
        for port in ports.values():
            await check_metrics(f"http://127.0.0.1:{port}/metrics")
        async with prometheus_server(tmp_path / "prometheus", a_configuration(ports)) as server:
            await eventually(lambda: scraped(server), lambda count: count == len(ports), seconds=20)
            every = list(queries())
            assert set(every) >= SHOWN
            # A query that the server refuses raises.
            results = {query: await server.query(with_variables(query)) for query in every}
    assert {query for query in SHOWN if not results[query]} == set()
    assert results["sum(predictive_scaling_leader)"][0]["value"][1] == "1"
    (floor,) = results[next(query for query in SHOWN if "floor_replicas" in query)]
    assert floor["value"][1] == "3"
