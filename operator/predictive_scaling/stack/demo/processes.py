"""The product's own processes, as children of the demo on ports of its own."""

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
    """Of the product's processes."""

    api: int
    operator: int
    ingest: int
    external_metrics: int


def choose_ports() -> Ports:
    """Free ones."""
    return Ports(*free_ports(4))


@dataclass(frozen=True, slots=True)
class Product:
    """How to start each of them: with the stack's addresses, and with time as the demo has it."""

    stack: Stack
    ports: Ports
    folder: Path
    """Logs and models."""
    certificate: CertificateFiles
    """Of the external metrics."""

    def ingest(self, clock: Clock) -> Child:
        """Samples from Kafka into the database, at once: half a second of waiting would be most of a minute here."""
        return self._child("ingest", self.ports.ingest, clock, {"PREDICTIVE_SCALING_INGEST_BATCH_WAIT": "20ms"})

    def operator(self, clock: Clock) -> Child:
        """The operator, with the HPAs' metric."""
        environment = {
            "PREDICTIVE_SCALING_EXTERNAL_METRICS": "true",
            "PREDICTIVE_SCALING_EXTERNAL_METRICS_PORT": str(self.ports.external_metrics),
            "PREDICTIVE_SCALING_EXTERNAL_METRICS_CERTIFICATE": str(self.certificate.certificate),
            "PREDICTIVE_SCALING_EXTERNAL_METRICS_KEY": str(self.certificate.key),
            "PREDICTIVE_SCALING_LEASE_NAMESPACE": "default",
            # The demo has trained already; a second training would only take the replay's CPU.
            "PREDICTIVE_SCALING_TRAIN_FROM_OPERATOR": "false",
            # So that kubectl shows the whole day.
            "PREDICTIVE_SCALING_DECISIONS_KEPT": "200",
        }
        return self._child("operator", self.ports.operator, clock, environment)

    def api(self, clock: Clock) -> Child:
        """The HTTP API."""
        return self._child("api", self.ports.api, clock, {})

    def environment(self, clock: Clock) -> dict[str, str]:
        """For a command that runs to its end, such as `migrate` and `train`."""
        return {
            **self.stack.environment(),
            "PREDICTIVE_SCALING_CLOCK": str(clock),
            "PREDICTIVE_SCALING_MODELS_DIR": str(self.folder / MODELS),
            "PREDICTIVE_SCALING_HOST": LOOPBACK,
            "PREDICTIVE_SCALING_API_PORT": str(self.ports.api),
            "PREDICTIVE_SCALING_OPERATOR_PORT": str(self.ports.operator),
            "PREDICTIVE_SCALING_INGEST_PORT": str(self.ports.ingest),
            # Each of them shares two cores with the rest of the world; more threads only get in its way.
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
    """User and system time that a running child has used; 0 where the kernel does not say."""
    try:
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
