"""config/prometheus.yml and config/alerts.yml, checked by Prometheus's own promtool."""

from pathlib import Path

import pytest

from tests.support.promtool import promtool

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


async def test_prometheus_accepts_the_configuration_with_its_rules() -> None:
    assert "is valid prometheus config file syntax" in await promtool("check", "config", ROOT / "config/prometheus.yml")


async def test_each_alert_fires_and_ends_when_it_should_with_its_texts() -> None:
    """The series and the expected alerts are in tests/data/alerts.yml."""
    assert "SUCCESS" in await promtool("test", "rules", ROOT / "tests/data/alerts.yml")
