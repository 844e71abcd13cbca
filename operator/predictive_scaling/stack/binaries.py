"""The programs of the control plane and of the chart: installed, or built from pinned Go modules into the cache."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from predictive_scaling.stack import toolchain
from predictive_scaling.stack.binary import KUBERNETES_VERSION, Binary
from predictive_scaling.stack.cache import cache_folder, cached
from predictive_scaling.stack.installed_programs import in_assets, on_path
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
    Binary.HELM: _Source("helm.sh/helm/v4/cmd/helm", _MODULES / "helm", "", 90),
    Binary.HELM_DOCS: _Source("github.com/norwoodj/helm-docs/cmd/helm-docs", _MODULES / "helm_docs", "", 15),
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
    return toolchain.module_key(source.module, source.flags)


async def _build(binary: Binary, source: _Source, notify: Notify, folder: Path) -> None:
    notify(f"building {binary.value}: about {source.seconds} s on two cores, fewer when Go has built it before")
    await toolchain.run_go(
        *(source.module, folder, "build", "-buildvcs=false", "-ldflags", f"-s -w {source.flags}"),
        *("-o", folder / binary.value, source.package),
        purpose=f"building {binary.value} {KUBERNETES_VERSION if source.flags else ''}".rstrip(),
        notify=notify,
    )
