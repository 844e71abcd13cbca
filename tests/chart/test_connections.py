"""How the processes of the chart are connected: Secrets, servers of a trial, certificates, network policies."""

from pathlib import Path
from urllib.parse import urlsplit

from predictive_scaling.ingest.sources.configuration import read_sources
from predictive_scaling.settings import Settings
from tests.support.chart_values import VALUE_SETS
from tests.support.helm import (
    Helm,
    demo_templates,
    environment,
    merged,
    named,
    of_kind,
    pod_templates,
    secret_files,
    templates_of,
)


async def test_each_process_has_only_the_secrets_that_it_uses_as_files(helm: Helm) -> None:
    values = merged(VALUE_SETS["all secrets"], merged(VALUE_SETS["existing claim"]))
    files = {name: secret_files(template) for name, template in (await templates_of(helm, values)).items()}
    database = {"DATABASE_URL": ("postgres", "uri")}
    redis = {"REDIS_URL": ("redis", "url")}
    kafka = {"PREDICTIVE_SCALING_KAFKA_OPTIONS": ("kafka", "librdkafka.json")}
    assert files == {
        "operator": database,
        "api": database | redis | kafka,
        "ingest": database | kafka,
        "trainer": database,
        "migrate": database,
    }


async def test_a_trial_has_servers_without_passwords_that_only_its_own_pods_reach(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["trial"])
    servers = dict(demo_templates(objects))
    assert servers.keys() == {"demo-postgresql", "demo-redis", "demo-kafka"}
    secret = named(objects, "Secret", "predictive-scaling-demo")["stringData"]
    addresses = {name: urlsplit(url) for name, url in secret.items()}
    kafka = environment(dict(pod_templates(objects))["ingest"])["KAFKA_BOOTSTRAP_SERVERS"]
    for component, address in {
        "demo-postgresql": addresses["DATABASE_URL"],
        "demo-redis": addresses["REDIS_URL"],
        "demo-kafka": urlsplit(f"//{kafka}"),
    }.items():
        assert address.password is None
        service = named(objects, "Service", address.hostname or "")
        assert service["spec"]["ports"][0]["port"] == address.port
        (container,) = servers[component]["spec"]["containers"]
        assert container["ports"] == [{"name": "server", "containerPort": address.port}]
        (rule,) = named(objects, "NetworkPolicy", address.hostname or "")["spec"]["ingress"]
        assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "predictive-scaling"
    files = secret_files(dict(pod_templates(objects))["api"])
    assert files == {name: ("predictive-scaling-demo", name) for name in ("DATABASE_URL", "REDIS_URL")}
    (migration,) = of_kind(objects, "Job")
    assert "annotations" not in migration["metadata"], "a hook would run before its database exists"


async def test_a_connection_that_is_set_takes_precedence_over_a_trial(helm: Helm) -> None:
    template = dict(pod_templates(await helm.template({"demo": {"enabled": True}})))["ingest"]
    assert secret_files(template) == {"DATABASE_URL": ("db", "DATABASE_URL")}
    assert environment(template)["KAFKA_BOOTSTRAP_SERVERS"] == "kafka:9092"


async def test_the_api_serves_the_certificate_of_a_secret(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["tls"])
    template = dict(pod_templates(objects))["api"]
    (container,) = template["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    variables = environment(template)
    for name, file in (("CERTIFICATE", "tls.crt"), ("KEY", "tls.key")):
        assert variables[f"PREDICTIVE_SCALING_API_{name}"] == f"{mounts['tls']}/{file}"
    assert {"name": "tls", "secret": {"secretName": "api-tls"}} in template["spec"]["volumes"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    monitors = {body["metadata"]["name"]: body for body in of_kind(objects, "ServiceMonitor")}
    (endpoint,) = monitors["predictive-scaling-api"]["spec"]["endpoints"]
    assert endpoint["tlsConfig"]["serverName"] == "predictive-scaling-http-api.scaling.svc"
    assert "scheme" not in monitors["predictive-scaling-operator"]["spec"]["endpoints"][0]


async def test_remote_write_has_a_service_and_the_token_and_certificate_of_secrets(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["remote write"])
    templates = dict(pod_templates(objects))
    (container,) = templates["ingest"]["spec"]["containers"]
    port = Settings.model_fields["remote_write_port"].default
    assert {"name": "remote-write", "containerPort": port} in container["ports"]
    service = named(objects, "Service", "predictive-scaling-remote-write-receiver")
    assert service["spec"]["ports"] == [{"name": "remote-write", "port": port, "targetPort": "remote-write"}]
    assert environment(templates["ingest"])["PREDICTIVE_SCALING_REMOTE_WRITE"] == "true"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    token_file = environment(templates["ingest"])["PREDICTIVE_SCALING_REMOTE_WRITE_TOKEN_FILE"]
    assert token_file == f"{mounts['remote-write']}/token"
    secret = {"secretName": "senders", "items": [{"key": "token", "path": "token"}]}
    volumes = templates["ingest"]["spec"]["volumes"]
    assert {"name": "remote-write", "secret": secret} in volumes
    assert {"name": "remote-write-tls", "secret": {"secretName": "receiver-tls"}} in volumes
    for setting, file in (("CERTIFICATE", "tls.crt"), ("KEY", "tls.key")):
        path = environment(templates["ingest"])[f"PREDICTIVE_SCALING_REMOTE_WRITE_{setting}"]
        assert path == f"{mounts['remote-write-tls']}/{file}"
    assert not {"remote-write", "remote-write-tls"} & {volume["name"] for volume in templates["api"]["spec"]["volumes"]}
    policy = named(objects, "NetworkPolicy", "predictive-scaling-ingest")
    assert [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]] == [8002, port]


async def test_sources_are_a_file_of_ingest_alone_with_the_keys_of_secrets(helm: Helm, tmp_path: Path) -> None:
    objects = await helm.template(VALUE_SETS["sources"])
    templates = dict(pod_templates(objects))
    (container,) = templates["ingest"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    content = named(objects, "ConfigMap", "predictive-scaling-ingest-sources")["data"]["sources.yaml"]
    (tmp_path / "sources.yaml").write_text(content)
    assert [source.name for source in read_sources(tmp_path / "sources.yaml")] == ["prometheus", "orders"]
    assert environment(templates["ingest"])["PREDICTIVE_SCALING_SOURCES"] == f"{mounts['sources']}/sources.yaml"
    secrets = {
        mounts[volume["name"]]: volume["secret"]["secretName"]
        for volume in templates["ingest"]["spec"]["volumes"]
        if volume["name"].startswith("source-")
    }
    assert secrets == {f"/run/source-secrets/{name}": name for name in ("prometheus", "orders")}
    assert templates["ingest"]["metadata"]["annotations"].keys() == {"checksum/sources"}
    assert "KAFKA_BOOTSTRAP_SERVERS" not in environment(templates["ingest"])
    for name in ("operator", "api", "migrate"):
        assert "PREDICTIVE_SCALING_SOURCES" not in environment(templates[name])
        assert not [volume for volume in templates[name]["spec"]["volumes"] if volume["name"].startswith("source")]
    ports = [
        port["port"]
        for rule in named(objects, "NetworkPolicy", "predictive-scaling-ingest")["spec"]["egress"]
        for port in rule.get("ports", ())
    ]
    assert {443, 9090, 5432} <= set(ports)


async def test_network_policies_admit_only_what_a_process_uses(helm: Helm) -> None:
    objects = await helm.template(VALUE_SETS["network policies"])

    def ports(component: str, direction: str) -> set[int]:
        policy = named(objects, "NetworkPolicy", f"predictive-scaling-{component}")
        return {port["port"] for rule in policy["spec"][direction] for port in rule.get("ports", ())}

    assert {name: ports(name, "egress") - {53, 9093} for name in ("operator", "api", "ingest", "migrate")} == {
        "operator": {6432, 443, 6443},
        "api": {6432, 6379, 9092},
        "ingest": {6432, 9092},
        "migrate": {6432},
    }
    assert {name: ports(name, "ingress") for name in ("operator", "api", "migrate")} == {
        "operator": {8001, 8443},
        "api": {8000},
        "migrate": set(),
    }
