"""The programs of the control plane: installed, or built from pinned Go modules into the cache."""

import hashlib
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from predictive_scaling.stack import toolchain
from predictive_scaling.stack.binary import KUBERNETES_VERSION, Binary
from predictive_scaling.stack.cache import cache_folder, cached
from predictive_scaling.stack.installed_programs import in_assets, on_path
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify

_MODULES = Path(__file__).parent / "control_plane"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
# Without these flags the programs report v0.0.0-master, which Helm and `kubectl version` reject.
_VERSION_FLAGS = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in (("gitVersion", f"v{KUBERNETES_VERSION}"), ("gitMajor", _MAJOR), ("gitMinor", _MINOR))
)


@dataclass(frozen=True, slots=True)
class _Source:
    package: str
    module: Path
    flags: str
    seconds: int
    """Build time on two cores without Go's own cache, after the programs above it."""


_SOURCES: Mapping[Binary, _Source] = {
    Binary.ETCD: _Source("go.etcd.io/etcd/server/v3", _MODULES, "", 45),
    Binary.API_SERVER: _Source("k8s.io/kubernetes/cmd/kube-apiserver", _MODULES, _VERSION_FLAGS, 185),
    Binary.CONTROLLER_MANAGER: _Source("k8s.io/kubernetes/cmd/kube-controller-manager", _MODULES, _VERSION_FLAGS, 75),
    Binary.KUBECTL: _Source("k8s.io/kubernetes/cmd/kubectl", _MODULES, _VERSION_FLAGS, 25),
    Binary.KWOK: _Source("sigs.k8s.io/kwok/cmd/kwok", _MODULES / "kwok", "", 90),
    Binary.SCHEDULER: _Source("k8s.io/kubernetes/cmd/kube-scheduler", _MODULES, _VERSION_FLAGS, 10),
}


async def binaries(requested: Iterable[Binary], notify: Notify) -> dict[Binary, Path]:
    """Return the path of each program: in KUBEBUILDER_ASSETS, in the cache, on the PATH, or built now in turn.

    Programs built before a failure are kept. Raises StackError with the end of the compiler's output.
    """
    return {binary: await find(binary, notify) or await build(binary, notify) for binary in requested}


async def find(binary: Binary, notify: Notify) -> Path | None:
    """Return the path of an existing program; None if it has to be built."""
    asset = await in_assets(binary, notify)
    if asset is not None:
        return asset
    built = cache_folder() / binary.value / _key(binary) / binary.value
    return built if built.is_file() else await on_path(binary, notify)


def usual_build(binary: Binary) -> timedelta:
    """Return the build time on two cores without Go's own cache, if the programs are built in the order of Binary."""
    return timedelta(seconds=_SOURCES[binary].seconds)


async def build(binary: Binary, notify: Notify) -> Path:
    """Build a program into the cache and return its path. Raises StackError with the end of the compiler's output."""
    folder = await cached(binary.value, _key(binary), partial(_build, binary, _SOURCES[binary], notify), notify)
    return folder / binary.value


def _key(binary: Binary) -> str:
    source = _SOURCES[binary]
    content = [(source.module / name).read_bytes() for name in ("go.mod", "go.sum")]
    parts = [*content, source.flags.encode(), platform.machine().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


async def _build(binary: Binary, source: _Source, notify: Notify, folder: Path) -> None:
    program = await toolchain.go(notify)
    notify(f"building {binary.value}: about {source.seconds} s on two cores, fewer when Go has built it before")
    module = folder / "module"
    module.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(source.module / name, module)
    await run(
        *(program, "build", "-buildvcs=false", "-ldflags", f"-s -w {source.flags}"),
        *("-o", folder / binary.value, source.package),
        folder=module,
        environment={
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=readonly",
            "GOWORK": "off",
            **await toolchain.go_folders(program),
        },
        purpose=f"building {binary.value} {KUBERNETES_VERSION if source.flags else ''}".rstrip(),
    )
    shutil.rmtree(module)
