"""What the chart renders for every set of values."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictive_scaling.__main__ import COMMANDS
from predictive_scaling.resources.kinds import KINDS
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.settings_sources import setting_name
from tests.support.chart_values import VALUE_SETS
from tests.support.dockerfile import instructions
from tests.support.documents import DOCS, Block, blocks
from tests.support.helm import (
    CHART,
    Helm,
    container_of,
    demo_templates,
    environment,
    merged,
    named,
    of_kind,
    pod_templates,
    secret_files,
    templates_of,
)

ROOT = CHART.parents[1]
UNLABELED = ("extra", "lower-maximum.predictive-scaling.io", "activation.predictive-scaling.io")
"""Objects that are rendered as they are written elsewhere."""
SETTINGS = {"DATABASE_URL", "REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS", *map(setting_name, Settings.model_fields)}
"""All names of settings as environment variables."""
GUIDE_VALUES = [
    block
    for guide in ("install.md", "traces.md")
    for block in blocks((DOCS / guide).read_text())
    if block.language == "yaml"
]


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
async def test_helm_lint_accepts_the_values(helm: Helm, values: dict[str, Any]) -> None:
    assert "0 chart(s) failed" in await helm("lint", "--strict", CHART, values=merged(values))


async def test_helm_lint_accepts_the_default_values(helm: Helm) -> None:
    assert "0 chart(s) failed" in await helm("lint", "--strict", CHART)


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
async def test_every_pod_is_restricted_and_runs_a_command_with_valid_settings(
    helm: Helm, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for component, template in (await templates_of(helm, values)).items():
        spec = template["spec"]
        (container,) = spec["containers"]
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is (
            component == "operator" or (component == "api" and values is VALUE_SETS["access control"])
        )
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"] == {"memory": container["resources"]["requests"]["memory"]}
        assert container["args"][0] in COMMANDS
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name in SETTINGS & os.environ.keys():
                patch.delenv(name)
            for name, value in environment(template).items():
                patch.setenv(name, str(tmp_path) if name == "PREDICTIVE_SCALING_SECRETS_DIR" else value)
            read_settings()


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
async def test_every_object_has_the_recommended_labels_and_the_namespace_of_the_release(
    helm: Helm, values: dict[str, Any]
) -> None:
    objects = await helm.template(values)
    assert len(
        {(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]) for body in objects}
    ) == len(objects)
    for body in objects:
        if body["metadata"]["name"] in UNLABELED:
            continue
        labels = body["metadata"]["labels"]
        assert {
            f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "version", "managed-by")
        } <= labels.keys()
        assert labels["app.kubernetes.io/part-of"] == "predictive-scaling"
    for body in of_kind(objects, "Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "Job"):
        assert body["metadata"]["namespace"] == "scaling"


@pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)
async def test_services_and_selectors_match_the_pods_of_one_process(helm: Helm, values: dict[str, Any]) -> None:
    objects = await helm.template(values)
    templates = (*pod_templates(objects), *demo_templates(objects))
    pods = {component: template["metadata"]["labels"] for component, template in templates}
    selectors = [body["spec"]["selector"] for body in of_kind(objects, "Service")]
    selectors += [
        body["spec"]["selector"]["matchLabels"] for body in of_kind(objects, "Deployment", "PodDisruptionBudget")
    ]
    selectors += [body["spec"]["podSelector"]["matchLabels"] for body in of_kind(objects, "NetworkPolicy")]
    for selector in selectors:
        matching = [component for component, labels in pods.items() if selector.items() <= labels.items()]
        assert matching == [selector["app.kubernetes.io/component"]]
        assert "app.kubernetes.io/version" not in selector


async def test_no_variable_that_kubernetes_derives_from_a_service_is_a_setting(helm: Helm) -> None:
    for values in (VALUE_SETS["monitoring"], VALUE_SETS["all rights"], VALUE_SETS["trial"], VALUE_SETS["remote write"]):
        for service in of_kind(await helm.template(values), "Service"):
            prefix = service["metadata"]["name"].upper().replace("-", "_")
            assert not {name for name in SETTINGS if name.startswith(f"{prefix}_")}


async def test_settings_have_the_names_and_the_syntax_of_the_environment(helm: Helm) -> None:
    variables = environment((await templates_of(helm, VALUE_SETS["settings"]))["ingest"])
    assert variables.items() >= {
        ("PREDICTIVE_SCALING_TICK", "30s"),
        ("PREDICTIVE_SCALING_MAX_SERVICES", "2000000"),
        ("PREDICTIVE_SCALING_VERIFICATION_PATIENCE", "2.5"),
        ("PREDICTIVE_SCALING_BACKTEST_MEMORY_MIB", "4096"),
        ("PREDICTIVE_SCALING_KAFKA_TOPIC", "samples, raw: 1"),
        ("PREDICTIVE_SCALING_AWS_ROLES", '{"shop":["arn:aws:iam::123456789012:role/scaler"]}'),
    }


async def test_options_of_a_process_take_precedence_over_those_of_all(helm: Helm) -> None:
    templates = await templates_of(helm, VALUE_SETS["pod options"])
    assert templates["operator"]["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert templates["api"]["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "web"}
    probes = {name: template["spec"]["containers"][0].get("livenessProbe") for name, template in templates.items()}
    assert [probes["api"]["failureThreshold"], probes["ingest"]["failureThreshold"]] == [9, 6]
    assert probes["migrate"] is None
    for template in templates.values():
        assert template["metadata"]["labels"]["team"] == "platform"
        assert template["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
        assert environment(template)["TZ"] == "UTC"
        assert template["spec"]["priorityClassName"] == "system-cluster-critical"


async def test_a_process_is_reached_at_the_port_that_it_listens_on(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["existing claim"])
    templates = dict(pod_templates(objects))
    ports = {"api": "api_port", "operator": "operator_port", "ingest": "ingest_port", "trainer": "trainer_port"}
    for component, field in ports.items():
        (container,) = templates[component]["spec"]["containers"]
        assert container["ports"][0]["containerPort"] == Settings.model_fields[field].default
    assert container_of(objects, "trainer")["args"] == ["train", "--every", "24h"]
    assert environment(templates["operator"])["PREDICTIVE_SCALING_TRAIN_FROM_OPERATOR"] == "false"


async def test_the_pods_run_as_the_user_and_in_the_folders_of_the_image(helm: Helm) -> None:
    image = dict(instructions(ROOT / "Dockerfile"))
    objects = await helm.template({})
    for _, template in pod_templates(objects):
        assert str(template["spec"]["securityContext"]["runAsUser"]) == image["USER"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of(objects, "operator")["volumeMounts"]}
    assert mounts["models"] == f"{image['WORKDIR']}/{Settings.model_fields['models_dir'].default}"
    assert image["ENTRYPOINT"] == '["predictive-scaling"]'


async def test_a_digest_takes_precedence_over_a_tag(helm: Helm) -> None:
    images = {
        template["spec"]["containers"][0]["image"]
        for _, template in pod_templates(await helm.template(VALUE_SETS["image and accounts"]))
    }
    assert images == {f"registry.local/predictive-scaling@sha256:{'0' * 64}"}
    assert container_of(await helm.template({"image": {"tag": "1.2"}}), "api")["image"] == "predictive-scaling:1.2"


async def test_accounts_are_created_or_used_as_they_exist(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["image and accounts"])
    accounts = {name: template["spec"].get("serviceAccountName") for name, template in pod_templates(objects)}
    assert accounts == {"operator": "scaler-operator", "api": "default", "ingest": "existing", "migrate": None}
    assert [body["metadata"]["name"] for body in of_kind(objects, "ServiceAccount")] == ["scaler-operator"]


async def test_new_pods_start_before_old_ones_end_except_for_the_trainer(helm: Helm) -> None:
    deployments = of_kind(await helm.template(VALUE_SETS["existing claim"]), "Deployment")
    strategies = {body["metadata"]["name"]: body["spec"]["strategy"] for body in deployments}
    assert strategies.pop("predictive-scaling-trainer") == {"type": "Recreate"}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert list(strategies.values()) == [rolling] * 3


async def test_single_replicas_have_no_disruption_budget(helm: Helm) -> None:
    assert of_kind(await helm.template(VALUE_SETS["one of each"]), "PodDisruptionBudget") == []
    assert len(of_kind(await helm.template({}), "PodDisruptionBudget")) == 3


async def test_models_that_the_chart_stores_outlive_the_release(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["trainer"])
    (claim,) = of_kind(objects, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"]["storageClassName"] == "efs"
    for component in ("operator", "api", "trainer"):
        volumes = dict(pod_templates(objects))[component]["spec"]["volumes"]
        assert {"name": "models", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in volumes


async def test_the_definitions_are_those_of_crds_and_are_kept(helm: Helm) -> None:
    for values, kept in (({}, "keep"), ({"crds": {"keep": False}}, None)):
        rendered = of_kind(await helm.template(values), "CustomResourceDefinition")
        assert len(rendered) == len(list((ROOT / "crds").glob("*.yaml"))) == 4
        for body in rendered:
            source = yaml.safe_load((ROOT / "crds" / f"{body['spec']['names']['plural']}.yaml").read_text())
            assert body["spec"] == source["spec"]
            assert body["metadata"]["name"] == source["metadata"]["name"]
            assert (body["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == kept


async def test_alerts_and_scrapes_have_the_names_of_the_runbook(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["monitoring"])
    (rule,) = of_kind(objects, "PrometheusRule")
    rules = yaml.safe_load((ROOT / "config" / "alerts.yml").read_text())
    for alert in rules["groups"][0]["rules"]:
        section = alert["annotations"]["runbook"].partition("#")[2]
        alert["annotations"]["runbook_url"] = f"https://wiki.example.com/scaling/runbook.md#{section}"
    assert rule["spec"] == rules
    (rule,) = of_kind(await helm.template({"prometheusRule": {"enabled": True}}), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((ROOT / "config" / "alerts.yml").read_text())
    jobs = {
        body["spec"]["endpoints"][0]["relabelings"][0]["replacement"] for body in of_kind(objects, "ServiceMonitor")
    }
    configured = yaml.safe_load((ROOT / "config" / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs == {job["job_name"] for job in configured}


def _is_dashboard(config_map: dict[str, Any]) -> bool:
    return "-dashboard-" in config_map["metadata"]["name"]


async def test_dashboards_are_config_maps_that_the_sidecar_of_grafana_selects(helm: Helm) -> None:
    folder = ROOT / "config" / "grafana" / "dashboards"
    maps = [body for body in of_kind(await helm.template(VALUE_SETS["monitoring"]), "ConfigMap") if _is_dashboard(body)]
    assert {key: text for body in maps for key, text in body["data"].items()} == {
        f"predictive-scaling-{path.name}": path.read_text() for path in folder.glob("*.json")
    }
    for body in maps:
        assert body["metadata"]["namespace"] == "default"
        assert body["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert body["metadata"]["annotations"] == {"grafana_folder": "Scaling"}
    assert not [body for body in of_kind(await helm.template({}), "ConfigMap") if _is_dashboard(body)]


async def test_kube_state_metrics_gets_its_configuration_and_may_read_every_kind(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["kube-state-metrics"])
    configuration = named(objects, "ConfigMap", "predictive-scaling-kube-state-metrics")["data"]["config.yaml"]
    assert configuration.rstrip() == (ROOT / "config" / "kube-state-metrics.yaml").read_text().rstrip()
    name = "scaling-predictive-scaling-kube-state-metrics"
    ours, definitions = named(objects, "ClusterRole", name)["rules"]
    assert set(ours["resources"]) == {kind.plural for kind in KINDS}
    assert definitions["resources"] == ["customresourcedefinitions"]
    assert ours["verbs"] == definitions["verbs"] == ["list", "watch"]
    binding = named(objects, "ClusterRoleBinding", name)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "exporter", "namespace": "monitoring"}]
    unbound = await helm.template({"kubeStateMetrics": {"enabled": True}})
    assert name not in [body["metadata"]["name"] for body in of_kind(unbound, "ClusterRoleBinding")]


async def test_names_of_digits_stay_names(helm: Helm) -> None:
    digits: dict[str, Any] = {
        "fullnameOverride": "123",
        "database": {"existingSecret": "1", "key": "2"},
        "models": {"existingClaim": "3"},
        "namespaces": ["4"],
        "nodeHeadroom": {"enabled": True, "priorityClassName": "5"},
        "externalMetrics": {"enabled": True, "certificateSecret": "6"},
        "pods": {"priorityClassName": "7"},
        "operator": {"serviceAccount": {"name": "8"}},
    }
    objects = await helm.template(merged(digits, merged(VALUE_SETS["monitoring"])), release="456")
    for body in objects:
        metadata = body["metadata"]
        assert isinstance(metadata["name"], str)
        assert isinstance(metadata.get("namespace", ""), str)
        assert all(isinstance(value, str) for value in metadata["labels"].values())
    operator = dict(pod_templates(objects))["operator"]
    assert secret_files(operator) == {"DATABASE_URL": ("1", "2")}
    assert environment(operator)["PREDICTIVE_SCALING_LEASE_NAME"] == "123"
    assert [operator["spec"]["serviceAccountName"], operator["spec"]["priorityClassName"]] == ["8", "7"]
    volumes = {volume["name"]: volume for volume in operator["spec"]["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": "3"}
    assert volumes["external-metrics"]["secret"] == {"secretName": "6"}


async def test_rendering_is_deterministic_and_a_changed_job_has_another_name(helm: Helm) -> None:
    command = "template", "predictive-scaling", CHART
    assert await helm(*command, values=merged({})) == await helm(*command, values=merged({}))
    names = {
        of_kind(await helm.template({"image": {"tag": tag}}), "Job")[0]["metadata"]["name"] for tag in ("1.0", "1.1")
    }
    assert len(names) == 2


@pytest.mark.parametrize("block", GUIDE_VALUES, ids=lambda block: block.name)
async def test_the_values_of_the_installation_guide_render(helm: Helm, block: Block) -> None:
    text = await helm("template", "predictive-scaling", CHART, values=yaml.safe_load(block.text))
    assert named([body for body in yaml.safe_load_all(text) if body], "Deployment", "predictive-scaling-operator")
