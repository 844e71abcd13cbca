"""The control plane's programs: found, else built from pinned Go modules into the cache."""

import enum
import hashlib
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from predictive_scaling.errors import StackError
from predictive_scaling.stack import toolchain
from predictive_scaling.stack.cache import cached
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Say

KUBERNETES_VERSION = "1.36.3"

_MODULES = Path(__file__).parent / "control_plane"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
# Without these the programs call themselves v0.0.0-master, which Helm and `kubectl version` refuse.
_VERSION_FLAGS = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in (("gitVersion", f"v{KUBERNETES_VERSION}"), ("gitMajor", _MAJOR), ("gitMinor", _MINOR))
)


class Binary(enum.Enum):
    """A program, by the name of its file."""

    ETCD = "etcd"
    API_SERVER = "kube-apiserver"
    CONTROLLER_MANAGER = "kube-controller-manager"
    KUBECTL = "kubectl"
    KWOK = "kwok"
    SCHEDULER = "kube-scheduler"


@dataclass(frozen=True, slots=True)
class _Source:
    package: str
    module: Path
    flags: str
    usual: str
    """How long a build takes on two cores without Go's own cache."""


_SOURCES: Mapping[Binary, _Source] = {
    Binary.ETCD: _Source("go.etcd.io/etcd/server/v3", _MODULES, "", "half a minute"),
    Binary.API_SERVER: _Source("k8s.io/kubernetes/cmd/kube-apiserver", _MODULES, _VERSION_FLAGS, "3 minutes"),
    Binary.CONTROLLER_MANAGER: _Source(
        "k8s.io/kubernetes/cmd/kube-controller-manager", _MODULES, _VERSION_FLAGS, "a minute"
    ),
    Binary.KUBECTL: _Source("k8s.io/kubernetes/cmd/kubectl", _MODULES, _VERSION_FLAGS, "half a minute"),
    Binary.KWOK: _Source("sigs.k8s.io/kwok/cmd/kwok", _MODULES / "kwok", "", "a minute"),
    Binary.SCHEDULER: _Source("k8s.io/kubernetes/cmd/kube-scheduler", _MODULES, _VERSION_FLAGS, "half a minute"),
}


async def binaries(wanted: Iterable[Binary], say: Say) -> dict[Binary, Path]:
    """Where each program is: in KUBEBUILDER_ASSETS, in the cache, or built now, one after the other.

    Raises StackError with the compiler's last words.
    """
    return {binary: _asset(binary) or await _built(binary, say) for binary in wanted}


def _asset(binary: Binary) -> Path | None:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise StackError(f"KUBEBUILDER_ASSETS names {folder}, which is no folder; correct it or leave it out")
    program = Path(folder) / binary.value
    return program if os.access(program, os.X_OK) else None


async def _built(binary: Binary, say: Say) -> Path:
    source = _SOURCES[binary]
    content = [(source.module / name).read_bytes() for name in ("go.mod", "go.sum")]
    parts = [*content, source.flags.encode(), platform.machine().encode()]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    folder = await cached(binary.value, key, partial(_build, binary, source, say), say)
    return folder / binary.value


async def _build(binary: Binary, source: _Source, say: Say, folder: Path) -> None:
    program = await toolchain.go(say)
    say(f"building {binary.value}: {source.usual} on two cores, seconds when Go has built it before")
    module = folder / "module"
    module.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(source.module / name, module)
    await run(
        *(program, "build", "-buildvcs=false", "-ldflags", f"-s -w {source.flags}"),
        *("-o", folder / binary.value, source.package),
        folder=module,
        environment={"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
        told=f"building {binary.value} {KUBERNETES_VERSION if source.flags else ''}".rstrip(),
    )
    shutil.rmtree(module)
