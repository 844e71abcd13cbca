"""From a version in the models folder to a model in memory, trusting nothing on the way.

LightGBM's text loader kills or hangs the process on damaged text, so size and checksum come first, then a load and a
prediction in a child process with a time limit, and only then a load in ours. Nothing is ever unpickled.
"""

import hashlib
import io
import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from forecasting.events import Effects, EventLayer
from forecasting.features import FEATURES
from forecasting.forecast import QUANTILES
from forecasting.models.holt_winters import FittedHoltWinters, Smoothing
from forecasting.models.lightgbm_quantiles import EVENTS, TEXTS, FittedLightGBM
from forecasting.models.shared import NAME as SHARED_NAME
from forecasting.series import FloatArray
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models import shared_members as members
from predictive_scaling.models.manifest import MANIFEST, File, Manifest, read_manifest
from predictive_scaling.models.publishing import RESIDUALS
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.models.shared_members import Member

TIMEOUT_SECONDS = 20.0
_PER_MODEL_SECONDS = 2.0
_BATCH = 50
_WAITING = 6
"""How much longer than it may work a child may take."""
_REMEDY = "train the model again"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that may be used. lightgbm: None where the series was too short. residuals: as in Learned.

    members: the series that a shared model was judged on.
    """

    manifest: Manifest
    lightgbm: FittedLightGBM | None
    holt_winters: FittedHoltWinters
    residuals: FloatArray | None
    members: Mapping[SeriesKey, Member] = field(default_factory=dict[SeriesKey, Member])


@dataclass(frozen=True, slots=True)
class Checked:
    """A version whose files are what the manifest says. contents: by file name; no code has looked at them yet."""

    folder: Path
    manifest: Manifest
    contents: dict[str, bytes]


def check(folder: Path) -> Checked:
    """Compare a version's files with its manifest. Raises ModelRejectedError naming file, expected and found."""
    manifest = read_manifest(folder)
    _check_shape(folder, manifest)
    expected = {file.name for file in manifest.files} | {MANIFEST}
    for path in sorted(folder.iterdir()):
        if path.name not in expected:
            raise ModelRejectedError(f"{path} is not in the manifest; {_REMEDY}")
    return Checked(folder, manifest, {file.name: _content(folder, file) for file in manifest.files})


def probe(folders: Sequence[Path], timeout_seconds: float = TIMEOUT_SECONDS) -> dict[Path, str]:
    """Load and try each version in a child process. Gives the reason for each that failed, crashed or hung it."""
    failed: dict[Path, str] = {}
    rest = list(folders)
    while rest:
        batch = rest[:_BATCH]
        fates, ending = _run_child(batch, timeout_seconds + _PER_MODEL_SECONDS * len(batch))
        failed.update({folder: said for folder, said in zip(batch, fates, strict=False) if said})
        if len(fates) < len(batch):
            # The one that the child was busy with took it down; those behind it get another child.
            failed[batch[len(fates)]] = ending
        rest = rest[min(len(fates) + 1, len(batch)) :]
    return failed


def load(checked: Checked) -> Loaded:
    """A checked and probed version, from the very bytes that were checked."""
    manifest, contents = checked.manifest, checked.contents
    holt_winters = holt_winters_of(manifest)
    if not manifest.files:
        return Loaded(manifest, None, holt_winters, None)
    texts = {name: contents[file].decode() for name in (*TEXTS, EVENTS) if (file := f"{name}.txt") in contents}
    model = FittedLightGBM.from_texts(texts, manifest.columns, manifest.version)
    residuals = np.load(io.BytesIO(contents[RESIDUALS]), allow_pickle=False)
    found = members.from_files(contents, len(manifest.residual_horizons)) if manifest.model == SHARED_NAME else {}
    return Loaded(manifest, replace(model, name=manifest.model), holt_winters, residuals.astype(np.float64), found)


def holt_winters_of(manifest: Manifest) -> FittedHoltWinters:
    """The Holt-Winters of a version: all of it stands in the manifest."""
    smoothing = Smoothing(**manifest.holt_winters.model_dump()) if manifest.holt_winters else Smoothing()
    return FittedHoltWinters((smoothing,), version=manifest.version)


def effects_of(checked: Checked) -> Effects | None:
    """What a checked and probed version learned of events; None where it learned nothing."""
    text = checked.contents.get(f"{EVENTS}.txt")
    return EventLayer.from_text(text.decode()).effects if text else None


def _check_shape(folder: Path, manifest: Manifest) -> None:
    """Whether this code can use what the manifest describes."""
    path = folder / MANIFEST
    if manifest.version != folder.name:
        raise ModelRejectedError(f"{path} is of version {manifest.version}, expected {folder.name}; {_REMEDY}")
    if manifest.key.slug != folder.parent.name:
        raise ModelRejectedError(f"{path} is of series {manifest.key}, which is not {folder.parent.name}; {_REMEDY}")
    if manifest.features != tuple(feature.name for feature in FEATURES) or manifest.quantiles != QUANTILES:
        raise ModelRejectedError(f"{path} lists other features or quantiles than this version computes; {_REMEDY}")
    if any(not 0 <= column < len(FEATURES) for column in manifest.columns):
        raise ModelRejectedError(f"{path}: columns expected within 0 to {len(FEATURES) - 1}; {_REMEDY}")
    wanted = {*(f"{name}.txt" for name in TEXTS), RESIDUALS} if manifest.files else set[str]()
    wanted |= {*members.FILES} if manifest.model == SHARED_NAME else set()
    if {file.name for file in manifest.files} - {f"{EVENTS}.txt"} != wanted:
        found = sorted(file.name for file in manifest.files)
        raise ModelRejectedError(f"{path} lists {found}, expected {sorted(wanted)}; {_REMEDY}")


def _content(folder: Path, file: File) -> bytes:
    path = folder / file.name
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise ModelRejectedError(f"{path} is a link; models are plain files in the models folder; {_REMEDY}")
    try:
        size = path.stat().st_size
        if size != file.bytes:
            raise ModelRejectedError(f"{path}: expected {file.bytes} bytes, found {size}; {_REMEDY}")
        content = path.read_bytes()
    except OSError as error:
        raise ModelRejectedError(f"{path} cannot be read: {error.strerror}; {_REMEDY}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise ModelRejectedError(f"{path}: expected SHA-256 {file.sha256}, found {found}; {_REMEDY}")
    return content


def _run_child(folders: Sequence[Path], limit_seconds: float) -> tuple[list[str], str]:
    """What the child said of each folder it finished (empty: good), and how it ended."""
    # The limit is on the child's own work, so that a busy machine refuses no good model; one that only waits ends too.
    command = [sys.executable, "-m", "predictive_scaling.models.probe", str(math.ceil(limit_seconds))]
    try:
        child = subprocess.run(
            [*command, *map(str, folders)], capture_output=True, timeout=_WAITING * limit_seconds, check=False
        )
        output = child.stdout
        ending = (
            f"loading or predicting took more than {limit_seconds:.0f} s of work"
            if child.returncode == -signal.SIGXCPU
            else f"loading it ended the probe with code {child.returncode}"
        )
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""
        ending = f"loading or predicting took longer than {_WAITING * limit_seconds:.0f} s"
    fates: list[str] = []
    for line in output.splitlines():
        try:
            fates.append(str(json.loads(line)["problem"]))
        except (ValueError, KeyError, TypeError):
            break
    return fates[: len(folders)], ending
