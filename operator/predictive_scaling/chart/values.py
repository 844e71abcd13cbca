"""The values of the Helm chart, as typed models: values.schema.json is generated from them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from predictive_scaling.ingest.sources.configuration import Source

KubernetesObject = dict[str, Any]
"""A part of a Kubernetes object, whose schema the API server knows."""
Labels = dict[str, str]
Port = Annotated[int, Field(ge=1, le=65535)]
Replicas = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$")]
"""The name of an object, or empty."""
DURATION_PATTERN = r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
DurationText = Annotated[str, Field(min_length=2, pattern=DURATION_PATTERN)]


class ValuesModel(BaseModel):
    """A map of values; a key that is no field is refused."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Image(ValuesModel):
    """The image of all processes."""

    repository: Annotated[str, Field(min_length=1)]
    tag: str
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
    pull_policy: Literal["Always", "IfNotPresent", "Never"]


class SecretKey(ValuesModel):
    """A key of an existing Secret."""

    existing_secret: Name
    key: Annotated[str, Field(min_length=1)]


class Kafka(SecretKey):
    """The brokers, and a Secret with further properties of librdkafka."""

    bootstrap_servers: str


class Persistence(ValuesModel):
    """A claim that the chart creates."""

    enabled: bool
    size: str
    storage_class: str
    access_modes: list[Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]]


class Models(ValuesModel):
    """The volume of the models."""

    existing_claim: Name
    persistence: Persistence


class Crds(ValuesModel):
    """The CustomResourceDefinitions."""

    enabled: bool
    keep: bool


class ScalableKind(ValuesModel):
    """A custom resource with a scale subresource."""

    api_group: Annotated[str, Field(min_length=1)]
    resource: Annotated[str, Field(pattern=r"^[a-z0-9]+$")]


class Rbac(ValuesModel):
    """The Roles."""

    create: bool
    aggregate_cluster_roles: bool
    keda: bool
    scalable_kinds: list[ScalableKind]


class NodeHeadroom(ValuesModel):
    """What `spec.nodeHeadroom` of a policy needs."""

    enabled: bool
    create_priority_class: bool
    priority_class_name: Annotated[Name, Field(min_length=1)]


class ExternalMetrics(ValuesModel):
    """The API external.metrics.k8s.io."""

    enabled: bool
    certificate_secret: Name
    ca_bundle: str
    api_service_annotations: Labels


class Switch(ValuesModel):
    """Objects that are created only where they are enabled."""

    enabled: bool


class Probe(ValuesModel):
    """The times of a probe; the chart sets the rest."""

    initial_delay_seconds: Annotated[int, Field(ge=0)] = 0
    period_seconds: Annotated[int, Field(ge=1)] = 10
    timeout_seconds: Annotated[int, Field(ge=1)] = 5
    failure_threshold: Annotated[int, Field(ge=1)] = 3


class PodOptions(ValuesModel):
    """Options of pods: of all processes, or of one of them."""

    pod_labels: Labels = {}
    pod_annotations: Labels = {}
    priority_class_name: Name = ""
    node_selector: Labels = {}
    tolerations: list[KubernetesObject] = []
    affinity: KubernetesObject = {}
    topology_spread_constraints: list[KubernetesObject] = []
    extra_env: list[KubernetesObject] = []
    extra_env_from: list[KubernetesObject] = []
    extra_volumes: list[KubernetesObject] = []
    extra_volume_mounts: list[KubernetesObject] = []
    pod_security_context: KubernetesObject = {}
    security_context: KubernetesObject = {}
    liveness_probe: Probe = Probe()
    readiness_probe: Probe = Probe()


class DisruptionBudget(ValuesModel):
    """How many pods may be evicted at a time."""

    enabled: bool
    max_unavailable: Annotated[int | str, WithJsonSchema({"type": ["integer", "string"]})]


class ServiceAccount(ValuesModel):
    """The account of a process."""

    create: bool
    name: Name
    annotations: Labels


class Process(PodOptions):
    """A process that runs permanently."""

    resources: KubernetesObject
    service_account: ServiceAccount


class Replicated(Process):
    """A process with replicas."""

    replicas: Replicas
    pod_disruption_budget: DisruptionBudget


class DemoImages(ValuesModel):
    """The images of the servers of a trial."""

    postgresql: Annotated[str, Field(min_length=1)]
    redis: Annotated[str, Field(min_length=1)]
    kafka: Annotated[str, Field(min_length=1)]


class Demo(ValuesModel):
    """PostgreSQL, Redis and Kafka for a trial."""

    enabled: bool
    storage: Annotated[str, Field(min_length=1)]
    images: DemoImages


class OptionalReplicated(Replicated):
    """A process with replicas that an installation may do without."""

    enabled: bool


class Api(OptionalReplicated):
    """The HTTP API."""

    tls_secret: Name


class RemoteWrite(SecretKey):
    """The receiver of Prometheus remote write, and the token of its senders."""

    enabled: bool
    tls_secret: Name


class Ingest(OptionalReplicated):
    """`ingest`."""

    remote_write: RemoteWrite


class Trainer(Process):
    """`train --every`."""

    enabled: bool
    every: DurationText


class Migrate(PodOptions):
    """The Job `migrate`."""

    enabled: bool
    resources: KubernetesObject
    backoff_limit: Annotated[int, Field(ge=0)]
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)]


class Restore(PodOptions):
    """The Job `restore`."""

    enabled: bool
    resources: KubernetesObject
    timeout_seconds: Annotated[int, Field(ge=1)]


class NetworkPolicy(Switch):
    """The connections of the processes."""

    ingress_from: list[KubernetesObject]
    api_server_ports: list[Port]
    database_port: Port
    redis_port: Port
    kafka_port: Port
    source_ports: list[Port]
    extra_egress: list[KubernetesObject]


class PrometheusRule(Switch):
    """The alerts."""

    additional_labels: Labels
    runbook_url: Annotated[str, Field(pattern=r"^(https?://[^\s#$]+)?$")]


class ServiceMonitor(Switch):
    """The scrape configuration."""

    additional_labels: Labels
    interval: str


class Dashboards(Switch):
    """The dashboards for Grafana, as ConfigMaps that its sidecar collects."""

    namespace: Name
    labels: Labels
    annotations: Labels


class AccountReference(ValuesModel):
    """An existing ServiceAccount; none without a name."""

    name: Name
    namespace: Name


class KubeStateMetrics(Switch):
    """The configuration of kube-state-metrics."""

    service_account: AccountReference


class Values(ValuesModel):
    """All values except `settings`, whose schema is that of Settings."""

    name_override: Name
    fullname_override: Name
    image: Image
    image_pull_secrets: list[KubernetesObject]
    namespaces: list[Annotated[Name, Field(min_length=1)]]
    database: SecretKey
    redis: SecretKey
    kafka: Kafka
    sources: list[Source]
    source_secrets: list[Annotated[Name, Field(min_length=1)]]
    demo: Demo
    models: Models
    crds: Crds
    rbac: Rbac
    node_headroom: NodeHeadroom
    external_metrics: ExternalMetrics
    admission_policy: Switch
    activation_policy: Switch
    pods: PodOptions
    operator: Replicated
    api: Api
    ingest: Ingest
    trainer: Trainer
    migrate: Migrate
    restore: Restore
    network_policy: NetworkPolicy
    service_monitor: ServiceMonitor
    prometheus_rule: PrometheusRule
    dashboards: Dashboards
    kube_state_metrics: KubeStateMetrics
    extra_objects: list[KubernetesObject]
