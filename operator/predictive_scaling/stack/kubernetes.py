"""A real control plane: etcd, API server, controllers with the HPA controller, and kwok in place of kubelets."""

import asyncio
import base64
import json
import secrets
from pathlib import Path
from typing import Any

import yaml

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.errors import StackError
from predictive_scaling.stack.binaries import binaries
from predictive_scaling.stack.binary import CONTROL_PLANE, Binary
from predictive_scaling.stack.certificates import CertificateFiles, new_authority, new_signing_key
from predictive_scaling.stack.components import FRONT_PROXY_CLIENT, ClusterOptions, Components, Files, Ports
from predictive_scaling.stack.foreign_crds import (
    CAPACITY_BUFFER,
    PROMETHEUS_RULE,
    SCALED_OBJECT,
    SERVICE_MONITOR,
    folder_of,
)
from predictive_scaling.stack.kubelets import NODE_MANIFEST, stages
from predictive_scaling.stack.ports import LOOPBACK, free_ports
from predictive_scaling.stack.processes import Child, run
from predictive_scaling.stack.progress import Notify

Manifest = dict[str, Any]

_AUDIT_POLICY: Manifest = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}],
}
_SERVED_SECONDS = 120.0
"""Maximum time from a CRD's condition Established until its objects can be read."""
_POLL_SECONDS = 0.2


class Kubernetes:
    """A cluster on this machine.

    Its parts are attributes (`etcd`, `api_server`, `controller_manager`, `kwok`, and an optional `scheduler`), so that
    tests can stop, kill and start them individually: data and ports stay. They exist after `start`.
    """

    etcd: Child
    api_server: Child
    controller_manager: Child
    kwok: Child
    scheduler: Child | None = None
    kubectl_program: Path
    """kubectl in the version of the cluster; the method `kubectl` runs it as the administrator."""

    def __init__(self, folder: Path, clock: Clock, options: ClusterOptions, notify: Notify) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        """The kubeconfig of the administrator."""
        self.audit_log = folder / "audit.log"
        """The requests of service accounts, where ClusterOptions.audited is set."""
        self._options = options
        self._notify = notify
        self._token = secrets.token_urlsafe(32)
        etcd, peer, server, controllers, scheduler, self._kwok_port = free_ports(6)
        self._ports = Ports(
            etcd=etcd, etcd_peer=peer, api_server=server, controller_manager=controllers, scheduler=scheduler
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._authority = new_authority(folder, "ca", clock.now())
        self._front_proxy = new_authority(folder, "front-proxy-ca", clock.now())
        self._parts: list[Child] = []

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{LOOPBACK}:{self._ports.api_server}"

    @property
    def ca_file(self) -> Path:
        """The PEM file of the authority of the API server's certificate and of `serving_certificate`."""
        return self._authority.file

    async def start(self) -> None:
        """Start all parts and wait until they are ready. Raises StackError with the part and the end of its log."""
        if not self._parts:
            await self._prepare()
        for part in self._parts:
            await part.start()
            if part is self.api_server:
                await self.apply([NODE_MANIFEST], "node")

    async def stop(self) -> None:
        """Stop all parts in reverse order; they may be started again with the same data."""
        for part in reversed(self._parts):
            await part.stop()

    def kill(self) -> None:
        """Send SIGKILL to all parts, as in a failure of the machine."""
        for part in reversed(self._parts):
            part.kill()

    async def kubectl(self, *arguments: str | Path, folder: Path | None = None) -> str:
        """Run kubectl as the administrator and return its output. Raises StackError with its message.

        folder: the working folder. Files are named relative to it, as kubectl splits the paths of `-f` at commas.
        """
        purpose = f"kubectl {' '.join(map(str, arguments))}"
        return await run(
            self.kubectl_program, "--kubeconfig", self.kubeconfig, *arguments, folder=folder, purpose=purpose
        )

    async def apply(self, manifests: list[Manifest], name: str) -> None:
        """Apply manifests server-side; `<name>.json` in the cluster's folder keeps them for inspection."""
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}, indent=1))
        await self.kubectl("apply", "--server-side", "--force-conflicts", "-f", file.name, folder=self.folder)

    async def install_custom_resources(self, folder: Path) -> None:
        """Apply the CRDs of a folder and wait until the API server serves them."""
        await self.kubectl("apply", "--server-side", "-f", ".", folder=folder)
        await self.kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", ".", folder=folder)
        definitions = (await self.kubectl("get", "-f", ".", "-o", "name", folder=folder)).split()
        plurals = ",".join(definition.rpartition("/")[2] for definition in definitions)
        until = monotonic() + _SERVED_SECONDS
        while True:
            try:
                # Discovery and storage follow the condition a moment later.
                await self.kubectl("get", plurals, "--all-namespaces", "-o", "name")
                return
            except StackError:
                if monotonic() > until:
                    raise
            await asyncio.sleep(_POLL_SECONDS)

    async def install_admission_policies(self, folder: Path) -> None:
        """Apply the admission policies of a folder; the API server uses them about a second later.

        An API server of KUBEBUILDER_ASSETS may be too old for them; then they are left out, with a notice.
        """
        try:
            await self.kubectl("apply", "--server-side", "-f", ".", folder=folder)
        except StackError as error:
            if "no matches for kind" not in str(error):
                raise
            self._notify("config/admission/ is left out: the API server is older than Kubernetes 1.36")

    async def install_keda(self) -> None:
        """Apply the CRD of KEDA's ScaledObjects and wait until the API server serves it."""
        await self.install_custom_resources(await folder_of(SCALED_OBJECT, self._notify))

    async def install_capacity_buffers(self) -> None:
        """Apply the CRD of CapacityBuffers and wait until the API server serves it."""
        await self.install_custom_resources(await folder_of(CAPACITY_BUFFER, self._notify))

    async def install_prometheus_operator(self) -> None:
        """Apply the CRDs of ServiceMonitors and PrometheusRules and wait until the API server serves them."""
        for crd in (SERVICE_MONITOR, PROMETHEUS_RULE):
            await self.install_custom_resources(await folder_of(crd, self._notify))

    async def kubeconfig_of(self, namespace: str, service_account: str) -> Path:
        """Write a kubeconfig with a real token of a ServiceAccount, valid for a day, so that RBAC applies."""
        token = await self.kubectl("create", "token", service_account, "-n", namespace, "--duration=24h")
        file = self.folder / f"kubeconfig-{namespace}-{service_account}"
        self._write_kubeconfig(file, token.strip())
        return file

    def serving_certificate(self, service: str, namespace: str) -> CertificateFiles:
        """Issue a certificate for a process that the API server calls as a Service. `ca_file` is its authority."""
        name = f"{service}.{namespace}.svc"
        return self._authority.issue(name, f"serving-{name}", [name, "localhost", LOOPBACK])

    async def serve_api(self, group: str, version: str, service: str, namespace: str, port: int) -> None:
        """Register an API group, such as external.metrics.k8s.io, that the API server forwards to a local port.

        The process at that port serves TLS with `serving_certificate(service, namespace)`. The namespace must exist.
        """
        bundle = base64.b64encode(self.ca_file.read_bytes()).decode()
        reference = {"name": service, "namespace": namespace, "port": port}
        spec = {"group": group, "version": version, "service": reference, "caBundle": bundle}
        spec |= {"groupPriorityMinimum": 100, "versionPriority": 100}
        await self.apply(
            [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": service, "namespace": namespace},
                    "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
                },
                {
                    "apiVersion": "apiregistration.k8s.io/v1",
                    "kind": "APIService",
                    "metadata": {"name": f"{version}.{group}"},
                    "spec": spec,
                },
            ],
            f"api-{group}",
        )

    async def _prepare(self) -> None:
        requested = [binary for binary in CONTROL_PLANE if self._options.scheduler or binary is not Binary.SCHEDULER]
        programs = await binaries(requested, self._notify)
        self.kubectl_program = programs[Binary.KUBECTL]
        components = Components(programs, self._ports, self._write_files(), self._options)
        self.etcd = components.etcd()
        self.api_server = components.api_server(self._token)
        self.controller_manager = components.controller_manager()
        self.kwok = components.kwok(self._kwok_port)
        self._parts = [self.etcd, self.api_server, self.controller_manager, self.kwok]
        if self._options.scheduler:
            self.scheduler = components.scheduler()
            self._parts.append(self.scheduler)

    def _write_files(self) -> Files:
        self._write_kubeconfig(self.kubeconfig, self._token)
        tokens, kwok_configuration = self.folder / "tokens.csv", self.folder / "kwok.yaml"
        _write_secret(tokens, f'{self._token},admin,admin,"system:masters"\n')
        kwok_configuration.write_text(stages(self._options.pod_ready_delay))
        audit_policy = self.folder / "audit-policy.json"
        audit_policy.write_text(json.dumps(_AUDIT_POLICY))
        hosts = [LOOPBACK, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.0.0.1"]
        return Files(
            folder=self.folder,
            kubeconfig=self.kubeconfig,
            tokens=tokens,
            kwok_configuration=kwok_configuration,
            authority=self._authority.file,
            front_proxy_authority=self._front_proxy.file,
            serving=self._authority.issue("kube-apiserver", "serving", hosts),
            front_proxy_client=self._front_proxy.issue(FRONT_PROXY_CLIENT, FRONT_PROXY_CLIENT),
            service_accounts=new_signing_key(self.folder, "service-accounts"),
            audit_policy=audit_policy,
            audit_log=self.audit_log,
        )

    def _write_kubeconfig(self, file: Path, token: str) -> None:
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        configuration = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "stack", "cluster": {"server": self.server, "certificate-authority-data": authority}}
            ],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "stack", "context": {"cluster": "stack", "user": "user"}}],
            "current-context": "stack",
        }
        _write_secret(file, yaml.safe_dump(configuration, sort_keys=False))


def _write_secret(file: Path, content: str) -> None:
    file.touch(mode=0o600)
    file.write_text(content)
