"""Starts the processes of the product as children of the demo, on free ports."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from predictive_scaling.clock import Clock
from predictive_scaling.stack.certificates import CertificateFiles
from predictive_scaling.stack.ports import LOOPBACK, free_ports
from predictive_scaling.stack.processes import Child, answers
from predictive_scaling.stack.stack import Stack

_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the product's processes."""

    api: int
    operator: int
    ingest: int
    external_metrics: int


def choose_ports() -> Ports:
    """Four free ports."""
    return Ports(*free_ports(4))


@dataclass(frozen=True, slots=True)
class Product:
    """Builds the processes with the addresses of the stack and the clock of the demo."""

    stack: Stack
    ports: Ports
    folder: Path
    """The folder of logs and models."""
    certificate: CertificateFiles
    """The serving certificate of the external metrics API."""
    operator_kubeconfig: Path
    """Of an account with the rights of the operator and no others."""

    def ingest(self, clock: Clock) -> Child:
        """The ingester, with a short batch wait: half a second of real time is most of a demo minute."""
        return self._child("ingest", self.ports.ingest, clock, {"PREDICTIVE_SCALING_INGEST_BATCH_WAIT": "20ms"})

    def operator(self, clock: Clock) -> Child:
        """The operator, which also serves the metric of the HPAs."""
        environment = {
            "KUBECONFIG": str(self.operator_kubeconfig),
            "PREDICTIVE_SCALING_EXTERNAL_METRICS": "true",
            "PREDICTIVE_SCALING_EXTERNAL_METRICS_PORT": str(self.ports.external_metrics),
            "PREDICTIVE_SCALING_EXTERNAL_METRICS_CERTIFICATE": str(self.certificate.certificate),
            "PREDICTIVE_SCALING_EXTERNAL_METRICS_KEY": str(self.certificate.key),
            "PREDICTIVE_SCALING_LEASE_NAMESPACE": "default",
            # The demo has trained already; a second training would only take the replay's CPU.
            "PREDICTIVE_SCALING_TRAIN_FROM_OPERATOR": "false",
            # kubectl then shows the decisions of the entire day.
            "PREDICTIVE_SCALING_DECISIONS_KEPT": "200",
        }
        return self._child("operator", self.ports.operator, clock, environment)

    def api(self, clock: Clock) -> Child:
        """The HTTP API."""
        return self._child("api", self.ports.api, clock, {})

    def environment(self, clock: Clock) -> dict[str, str]:
        """The environment of a command that runs to its end, such as `migrate` and `train`."""
        return {
            **self.stack.environment(),
            # Only the operator has rights in the cluster.
            "KUBECONFIG": os.devnull,
            "PREDICTIVE_SCALING_CLOCK": str(clock),
            "PREDICTIVE_SCALING_MODELS_DIR": str(self.folder / MODELS),
            "PREDICTIVE_SCALING_HOST": LOOPBACK,
            "PREDICTIVE_SCALING_API_PORT": str(self.ports.api),
            "PREDICTIVE_SCALING_OPERATOR_PORT": str(self.ports.operator),
            "PREDICTIVE_SCALING_INGEST_PORT": str(self.ports.ingest),
            # The processes share two cores; more threads only slow them down.
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def _child(self, name: str, port: int, clock: Clock, environment: Mapping[str, str]) -> Child:
        return Child(
            name=name,
            command=[*PROGRAM, name],
            log=self.folder / f"{name}.log",
            ready=answers(f"http://{LOOPBACK}:{port}/health/live"),
            deadline_seconds=_START_SECONDS,
            environment={**self.environment(clock), **environment},
        )


MODELS = "models"
"""In the output folder."""

PROGRAM = (sys.executable, "-m", "predictive_scaling")


def cpu_seconds(child: Child) -> float:
    """User and system time of a running child; 0 where the kernel does not report it."""
    try:
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
