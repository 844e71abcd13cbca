"""docker-compose.yml: what it names exists, and each service can be supervised."""

import ast
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.__main__ import load
from predictive_scaling.settings import Settings
from predictive_scaling.settings_sources import NOT_SETTINGS, setting_name

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
LONG_RUNNING = sorted(SERVICES.keys() - {"migrate"})
PORTS = {"api": "api_port", "operator": "operator_port", "ingest": "ingest_port", "trainer": "trainer_port"}
KNOWN_VARIABLES = {
    *(setting_name(str(field.validation_alias or name)) for name, field in Settings.model_fields.items()),
    *NOT_SETTINGS,
    "KUBECONFIG",
}


def test_the_project_has_the_services_of_the_runbook() -> None:
    assert COMPOSE["name"] == "predictive-scaling"
    assert SERVICES.keys() >= {"api", "operator", "ingest", "trainer", "postgres", "redis", "kafka"}
    assert SERVICES.keys() >= {"prometheus", "grafana", "postgres-exporter", "kafka-exporter", "proxy"}
    for row in re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \|", (ROOT / "docs" / "compose.md").read_text(), re.MULTILINE):
        assert set(re.findall(r"`([\w-]+)`", row)) <= SERVICES.keys()


@pytest.mark.parametrize("name", OURS)
def test_each_process_runs_a_subcommand_with_known_settings(name: str) -> None:
    service = OURS[name]
    command, *arguments = service["command"]
    load(command).make_context(command, list(arguments))  # raises for an unknown command or option
    assert service["environment"].keys() <= KNOWN_VARIABLES


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_file_exists_and_every_volume_and_secret_is_declared(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], mount
    assert set(SERVICES[name].get("secrets", [])) <= COMPOSE["secrets"].keys()


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_each_service_is_restarted_probed_limited_and_its_log_is_rotated(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    for dependency in service.get("depends_on", {}):
        assert dependency in SERVICES


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - OURS.keys()))
def test_images_of_others_have_a_version(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*", SERVICES[name]["image"])


def test_no_secret_is_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            is_secret = re.search(r"PASS|TOKEN|KEY|DATABASE_URL", variable) and not variable.endswith("FILE")
            assert not is_secret, f"{variable} of {name}"
            assert "@" not in value.removeprefix("1@kafka"), f"{variable} of {name}"


@pytest.mark.parametrize("process", PORTS)
def test_each_process_is_probed_scraped_and_published_at_its_default_port(process: str) -> None:
    port = Settings.model_fields[PORTS[process]].default
    probe = ast.parse(OURS[process]["healthcheck"]["test"][3])
    assert f"http://127.0.0.1:{port}/health/ready" in ast.unparse(probe)
    jobs = yaml.safe_load((ROOT / "config/compose/prometheus.yml").read_text())["scrape_configs"]
    (job,) = (job for job in jobs if job["job_name"] == f"predictive-scaling-{process}")
    assert f"{process}:{port}" in str(job) or (process in str(job) and str(port) in str(job))


def test_the_api_can_have_several_replicas_behind_the_proxy() -> None:
    assert not SERVICES["api"].keys() & {"ports", "container_name"}
    assert SERVICES["proxy"]["ports"] == ["127.0.0.1:8000:8000"]
    caddyfile = (ROOT / "config/compose/Caddyfile").read_text()
    assert re.search(r"dynamic a \{\s+name api\s+port 8000", caddyfile)


def test_ports_are_open_on_this_machine_only() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_kafka_is_advertised_to_the_services_and_to_this_machine() -> None:
    kafka = SERVICES["kafka"]["environment"]
    listeners = dict(item.split("://") for item in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert listeners == {"INSIDE": "kafka:9092", "OUTSIDE": "localhost:29092"}
    assert OURS["ingest"]["environment"]["KAFKA_BOOTSTRAP_SERVERS"] == listeners["INSIDE"]


def test_grafana_reads_the_dashboards_where_they_are_mounted() -> None:
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    provisioning = ROOT / "config/grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/files.yml").read_text())["providers"]
    assert mounts["./config/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./config/grafana/provisioning"] == "/etc/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_the_script_writes_every_secret_once_and_git_ignores_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    script = ROOT / "config/compose/secrets.sh"

    def run() -> dict[str, str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        subprocess.run([script, folder], env=environment, check=True, capture_output=True)
        return {file.name: file.read_text() for file in folder.iterdir()}

    written = run()
    assert {ROOT / secret["file"] for secret in COMPOSE["secrets"].values()} == {
        ROOT / "secrets" / name for name in written
    }
    password = written["postgres_password"].strip()
    assert len(password) == 32
    assert written["DATABASE_URL"].strip() == (
        f"postgresql://predictive_scaling:{password}@postgres:5432/predictive_scaling"
    )
    assert run() == written
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "\n\t@config/compose/secrets.sh\n" in (ROOT / "Makefile").read_text()
