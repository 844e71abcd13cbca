"""The CRD of KEDA's ScaledObjects, from a pinned Go module, in the cache. KEDA's operator is not part of the stack."""

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

from predictive_scaling.stack import toolchain
from predictive_scaling.stack.cache import cached
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify

_MODULE = Path(__file__).parent / "control_plane" / "keda"
_PACKAGE = "github.com/kedacore/keda/v2"
_CRD = Path("config/crd/bases/keda.sh_scaledobjects.yaml")


async def crds(notify: Notify) -> Path:
    """Return the folder with the CRD; fetch it if it is missing. Raises StackError with the message of Go."""
    key = hashlib.sha256((_MODULE / "go.sum").read_bytes()).hexdigest()[:16]
    return await cached("keda-crds", key, partial(_fetch, notify), notify)


async def _fetch(notify: Notify, folder: Path) -> None:
    program = await toolchain.go(notify)
    notify("fetching the CRD of KEDA, a few seconds")
    module = folder / "module"
    module.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(_MODULE / name, module)
    # Go compares the download with go.sum.
    printed = await run(
        *(program, "mod", "download", "-json", _PACKAGE),
        folder=module,
        environment={
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=readonly",
            "GOWORK": "off",
            **await toolchain.go_folders(program),
        },
        purpose=f"fetching {_PACKAGE}",
    )
    shutil.rmtree(module)
    crd = folder / _CRD.name
    shutil.copyfile(Path(json.loads(printed)["Dir"]) / _CRD, crd)
