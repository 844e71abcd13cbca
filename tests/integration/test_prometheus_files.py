"""config/prometheus.yml, config/alerts.yml and the queries of the dashboards, checked by Prometheus's own promtool."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.prometheus_programs import promtool

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


async def test_prometheus_accepts_the_configuration_with_its_rules() -> None:
    assert "is valid prometheus config file syntax" in await promtool("check", "config", ROOT / "config/prometheus.yml")


async def test_prometheus_accepts_the_configuration_of_compose_with_its_rules(tmp_path: Path) -> None:
    """With one API as a static target instead of those that DNS names: the promtool built here has no DNS."""
    configuration = yaml.safe_load((ROOT / "config/compose/prometheus.yml").read_text())
    (api,) = (job for job in configuration["scrape_configs"] if "dns_sd_configs" in job)
    (names,) = api.pop("dns_sd_configs")
    api["static_configs"] = [{"targets": [f"{names['names'][0]}:{names['port']}"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    shutil.copy(ROOT / "config/alerts.yml", tmp_path)
    assert "is valid prometheus config file syntax" in await promtool("check", "config", tmp_path / "prometheus.yml")


async def test_each_alert_fires_and_ends_when_it_should_with_its_texts() -> None:
    """The series and the expected alerts are in tests/data/alerts.yml."""
    assert "SUCCESS" in await promtool("test", "rules", ROOT / "tests/data/alerts.yml")


async def test_prometheus_parses_each_query_of_the_dashboards(tmp_path: Path) -> None:
    """As recording rules, with the variables of Grafana replaced as Grafana does."""
    rules: list[dict[str, str]] = []
    for path in sorted((ROOT / "config" / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"].replace("$__rate_interval", "1m")
                rules.append({"record": f"panel:{len(rules)}", "expr": re.sub(r"\$\w+", ".*", query)})
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert f"{len(rules)} rules found" in await promtool("check", "rules", file)
