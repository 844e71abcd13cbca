"""The log of a real operator: JSON lines with their fields and without secrets, also while its servers are away."""

import json
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from predictive_scaling.clock import ReplayClock, monotonic
from tests.support.kubectl import Kubectl
from tests.support.log_lines import checked_lines, with_password
from tests.support.manifests import a_scaling_policy
from tests.support.observing import record_steady_demand
from tests.support.operator_process import NOON, OperatorProcess, running
from tests.support.proxy import proxied

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]

DATABASE, REDIS, KAFKA = (f"planted-{name}-{'0123456789' * 3}" for name in ("database", "redis", "kafka"))


async def test_every_line_is_json_without_secrets_also_while_the_database_is_away(
    operator_kubeconfig: Path, kubectl: Kubectl, namespace: str, migrated_database_url: str, tmp_path: Path
) -> None:
    clock = ReplayClock(NOON, monotonic(), 60)
    sasl = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "app"}
    settings = {
        "NAMESPACES": json.dumps([namespace]),
        "LOG_LEVEL": "debug",
        "KAFKA_OPTIONS": json.dumps({**sasl, "sasl.password": KAFKA}),
    }
    async with proxied(urlsplit(migrated_database_url).port or 5432) as proxy:
        url = with_password(migrated_database_url, DATABASE, proxy.port)
        operator = OperatorProcess(operator_kubeconfig, url, clock, tmp_path, settings)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("REDIS_URL", f"redis://:{REDIS}@127.0.0.1:1/0")
            environment.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
            async with running(operator):
                await record_steady_demand(migrated_database_url, clock, "checkout", 400.0, timedelta(hours=4))
                await kubectl.apply(a_scaling_policy("checkout"))
                await operator.wait_for_ticks(2)
                proxy.cut()
                await operator.wait_for_ticks(2)
                proxy.restore()
                await operator.wait_for_ticks(2)
                token = kubectl_token(operator_kubeconfig)
                assert await operator.terminate() == 0
    lines = checked_lines(tmp_path / "operator.log", (DATABASE, REDIS, KAFKA, token))
    assert lines[-1]["event"] == "operator_stopped"
    about_the_database = [line for line in lines if "PostgreSQL at 127.0.0.1" in json.dumps(line)]
    assert about_the_database, "the outage is in the log"


def kubectl_token(kubeconfig: Path) -> str:
    """Return the token of a kubeconfig."""
    lines = kubeconfig.read_text().splitlines()
    return next(line.partition("token:")[2].strip(' "') for line in lines if "token:" in line)
