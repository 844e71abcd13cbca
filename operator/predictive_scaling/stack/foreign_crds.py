"""CRDs of other projects, from pinned Go modules, in the cache. Their controllers are not part of the stack."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from predictive_scaling.stack import toolchain
from predictive_scaling.stack.cache import cached
from predictive_scaling.stack.progress import Notify

_MODULES = Path(__file__).parent / "control_plane"


@dataclass(frozen=True, slots=True)
class ForeignCrd:
    """A CustomResourceDefinition within a Go module."""

    kind: str
    """Kind of the resource, for messages."""
    cache: str
    """Name of its folder in the cache."""
    module: str
    """Folder of control_plane/ with the go.mod and go.sum that pin the module."""
    package: str
    """Path of the module."""
    file: Path
    """The CRD within the module."""


SCALED_OBJECT: Final = ForeignCrd(
    "ScaledObject",
    "keda-crds",
    "keda",
    "github.com/kedacore/keda/v2",
    Path("config/crd/bases/keda.sh_scaledobjects.yaml"),
)
CAPACITY_BUFFER: Final = ForeignCrd(
    "CapacityBuffer",
    "capacity-buffer-crds",
    "capacity_buffers",
    "sigs.k8s.io/karpenter",
    Path("pkg/apis/crds/autoscaling.x-k8s.io_capacitybuffers.yaml"),
)
SERVICE_MONITOR: Final = ForeignCrd(
    "ServiceMonitor",
    "service-monitor-crds",
    "prometheus_operator",
    "github.com/prometheus-operator/prometheus-operator",
    Path("example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
)
PROMETHEUS_RULE: Final = ForeignCrd(
    "PrometheusRule",
    "prometheus-rule-crds",
    "prometheus_operator",
    "github.com/prometheus-operator/prometheus-operator",
    Path("example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
)


async def folder_of(crd: ForeignCrd, notify: Notify) -> Path:
    """Return a folder with only this CRD; fetch it if it is missing. Raises StackError with the message of Go."""
    key = hashlib.sha256((_MODULES / crd.module / "go.sum").read_bytes()).hexdigest()[:16]
    return await cached(crd.cache, key, partial(_fetch, crd, notify), notify)


async def _fetch(crd: ForeignCrd, notify: Notify, folder: Path) -> None:
    notify(f"fetching the CRD {crd.kind}, a few seconds")
    # Go compares the download with go.sum.
    printed = await toolchain.run_go(
        *(_MODULES / crd.module, folder, "mod", "download", "-json", crd.package),
        purpose=f"fetching {crd.package}",
        notify=notify,
    )
    shutil.copyfile(Path(json.loads(printed)["Dir"]) / crd.file, folder / crd.file.name)
