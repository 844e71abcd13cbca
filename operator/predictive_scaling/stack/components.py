"""The command lines of the components of the control plane."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from predictive_scaling.stack.binary import Binary
from predictive_scaling.stack.certificates import CertificateFiles
from predictive_scaling.stack.ports import LOOPBACK
from predictive_scaling.stack.processes import Child, answers

_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
    "statefulset-controller",
)
_ISSUER = "https://kubernetes.default.svc"
FRONT_PROXY_CLIENT = "front-proxy-client"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Intervals of the cluster: a replay at n times real time divides each of them by n."""

    hpa_sync_period: timedelta = timedelta(seconds=2)
    """Interval between two syncs of the HPA controller; Kubernetes' default is 15 s."""
    hpa_downscale_stabilization: timedelta = timedelta(minutes=5)
    """Downscale stabilization of HPAs whose behavior does not set it."""
    pod_ready_delay: timedelta = timedelta(0)
    """Time from the start of a pod to its readiness."""
    requests_per_second: int = 500
    """Rate limit of the controllers' requests; Kubernetes' default of 20 throttles a fast clock."""
    scheduler: bool = False
    """Whether to start a scheduler. Without it, pods must set `nodeName: node` (kubelets.NODE)."""
    audited: bool = False
    """Whether the API server logs the requests of service accounts, see Files.audit_log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Ports of the components, on the loopback address."""

    etcd: int
    etcd_peer: int
    api_server: int
    controller_manager: int
    scheduler: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files that the components read."""

    folder: Path
    kubeconfig: Path
    tokens: Path
    kwok_configuration: Path
    authority: Path
    front_proxy_authority: Path
    serving: CertificateFiles
    front_proxy_client: CertificateFiles
    service_accounts: CertificateFiles
    audit_policy: Path
    audit_log: Path
    """A JSON object per line, complete before the request's response is."""


@dataclass(frozen=True, slots=True)
class Components:
    """Builds the processes of a cluster."""

    programs: Mapping[Binary, Path]
    ports: Ports
    files: Files
    options: ClusterOptions

    def etcd(self) -> Child:
        """The store, without fsync, because its data need not survive the machine."""
        client = f"http://{LOOPBACK}:{self.ports.etcd}"
        peer = f"http://{LOOPBACK}:{self.ports.etcd_peer}"
        return self._child(
            Binary.ETCD,
            f"--data-dir={self.files.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            # The only member elects itself within the election timeout, and a request may take 5 s plus twice that
            # timeout: the default of 1 s is too short for a starved machine.
            "--heartbeat-interval=300",
            "--election-timeout=3000",
            "--log-level=warn",
            url=f"{client}/health",
        )

    def api_server(self, token: str) -> Child:
        """RBAC, real ServiceAccount tokens, and the aggregation layer; `token` is the administrator's."""
        files = self.files
        audit = (f"--audit-policy-file={files.audit_policy}", f"--audit-log-path={files.audit_log}")
        return self._child(
            Binary.API_SERVER,
            *(audit if self.options.audited else ()),
            f"--etcd-servers=http://{LOOPBACK}:{self.ports.etcd}",
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.ports.api_server}",
            f"--tls-cert-file={files.serving.certificate}",
            f"--tls-private-key-file={files.serving.key}",
            f"--client-ca-file={files.authority}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={files.tokens}",
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={files.service_accounts.certificate}",
            f"--service-account-signing-key-file={files.service_accounts.key}",
            f"--requestheader-client-ca-file={files.front_proxy_authority}",
            f"--requestheader-allowed-names={FRONT_PROXY_CLIENT}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={files.front_proxy_client.certificate}",
            f"--proxy-client-key-file={files.front_proxy_client.key}",
            # All clients are the owner's: queues by client would take a twelfth of the CPU time.
            "--enable-priority-and-fairness=false",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
            "--shutdown-delay-duration=0s",
            url=f"https://{LOOPBACK}:{self.ports.api_server}/readyz",
            headers={"Authorization": f"Bearer {token}"},
        )

    def controller_manager(self) -> Child:
        """The controllers that take part in scaling, including the HPA controller."""
        rate = self.options.requests_per_second
        return self._child(
            Binary.CONTROLLER_MANAGER,
            f"--kubeconfig={self.files.kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            f"--horizontal-pod-autoscaler-sync-period={_seconds(self.options.hpa_sync_period)}",
            f"--horizontal-pod-autoscaler-downscale-stabilization={_seconds(self.options.hpa_downscale_stabilization)}",
            # A quota of a custom resource refuses all its objects until the next pass, by default after five minutes.
            "--resource-quota-sync-period=5s",
            f"--kube-api-qps={rate}",
            f"--kube-api-burst={2 * rate}",
            "--leader-elect=false",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self.ports.controller_manager}",
            f"--cert-dir={self.files.folder / 'controller-manager'}",
            url=f"https://{LOOPBACK}:{self.ports.controller_manager}/healthz",
        )

    def scheduler(self) -> Child:
        """Assigns pods to nodes."""
        return self._child(
            Binary.SCHEDULER,
            f"--kubeconfig={self.files.kubeconfig}",
            "--leader-elect=false",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self.ports.scheduler}",
            f"--cert-dir={self.files.folder / 'scheduler'}",
            url=f"https://{LOOPBACK}:{self.ports.scheduler}/healthz",
        )

    def kwok(self, port: int) -> Child:
        """Simulates the kubelets: pods of the node start and become ready."""
        return self._child(
            Binary.KWOK,
            f"--kubeconfig={self.files.kubeconfig}",
            f"--config={self.files.kwok_configuration.name}",  # relative: kwok splits it at commas
            "--manage-all-nodes=true",
            f"--server-address={LOOPBACK}:{port}",
            url=f"http://{LOOPBACK}:{port}/healthz",
        )

    def _child(self, binary: Binary, *arguments: str, url: str, headers: Mapping[str, str] | None = None) -> Child:
        return Child(
            name=binary.value,
            command=[self.programs[binary], *arguments],
            log=self.files.folder / f"{binary.value}.log",
            ready=answers(url, headers),
            folder=self.files.folder,
        )


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():f}s"
