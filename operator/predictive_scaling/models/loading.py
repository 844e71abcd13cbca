"""Load models from the models folder without trusting their files.

LightGBM's text loader crashes or hangs the process on damaged text. So size and checksum are checked first, then a
child process with a time limit loads the model and predicts with it, and only then this process loads it. Nothing is
ever unpickled.
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
from predictive_scaling.models.shared_members import Member
from predictive_scaling.resources.series_key import SeriesKey

TIMEOUT_SECONDS = 20.0
_PER_MODEL_SECONDS = 2.0
_BATCH_SIZE = 50
_WALL_TIME_FACTOR = 6
"""Wall time limit of a child process, as a multiple of its CPU time limit."""
_REMEDY = "train the model again"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that may be used.

    lightgbm: None if the series was too short. residuals: as in Learned. members: the series on which a shared model
    was judged.
    """

    manifest: Manifest
    lightgbm: FittedLightGBM | None
    holt_winters: FittedHoltWinters
    residuals: FloatArray | None
    members: Mapping[SeriesKey, Member] = field(default_factory=dict[SeriesKey, Member])


@dataclass(frozen=True, slots=True)
class Checked:
    """A version whose files match its manifest. contents: by file name, not parsed yet."""

    folder: Path
    manifest: Manifest
    contents: dict[str, bytes]


def check(folder: Path) -> Checked:
    """Compare a version's files with its manifest.

    Raises ModelRejectedError with the file, the expected value and the actual value.
    """
    manifest = read_manifest(folder)
    _check_shape(folder, manifest)
    expected = {file.name for file in manifest.files} | {MANIFEST}
    for path in sorted(folder.iterdir()):
        if path.name not in expected:
            raise ModelRejectedError(f"{path} is not in the manifest; {_REMEDY}")
    return Checked(folder, manifest, {file.name: _content(folder, file) for file in manifest.files})


def probe(folders: Sequence[Path], timeout_seconds: float = TIMEOUT_SECONDS) -> dict[Path, str]:
    """Return the problem of each version that a child process cannot load and predict with, by folder.

    A version that crashes or hangs the child process has a problem too.
    """
    problems: dict[Path, str] = {}
    remaining = list(folders)
    while remaining:
        batch = remaining[:_BATCH_SIZE]
        reported, exit_reason = _run_child(batch, timeout_seconds + _PER_MODEL_SECONDS * len(batch))
        problems.update({folder: problem for folder, problem in zip(batch, reported, strict=False) if problem})
        if len(reported) < len(batch):
            # The model that the child was loading ended it; the models after it get another child.
            problems[batch[len(reported)]] = exit_reason
        remaining = remaining[min(len(reported) + 1, len(batch)) :]
    return problems


def load(checked: Checked) -> Loaded:
    """Load a checked and probed version from the bytes that were checked."""
    manifest, contents = checked.manifest, checked.contents
    holt_winters = holt_winters_of(manifest)
    if not manifest.files:
        return Loaded(manifest, None, holt_winters, None)
    texts = {name: contents[file].decode() for name in (*TEXTS, EVENTS) if (file := f"{name}.txt") in contents}
    model = FittedLightGBM.from_texts(texts, manifest.columns, manifest.version)
    residuals = np.load(io.BytesIO(contents[RESIDUALS]), allow_pickle=False)
    judged = members.from_files(contents, len(manifest.residual_horizons)) if manifest.model == SHARED_NAME else {}
    return Loaded(manifest, replace(model, name=manifest.model), holt_winters, residuals.astype(np.float64), judged)


def holt_winters_of(manifest: Manifest) -> FittedHoltWinters:
    """Return the Holt-Winters model of a version; the manifest contains all of its parameters."""
    smoothing = Smoothing(**manifest.holt_winters.model_dump()) if manifest.holt_winters else Smoothing()
    return FittedHoltWinters((smoothing,), version=manifest.version)


def effects_of(checked: Checked) -> Effects | None:
    """Return the event effects that a checked and probed version learned; None if it learned none."""
    text = checked.contents.get(f"{EVENTS}.txt")
    return EventLayer.from_text(text.decode()).effects if text else None


def _check_shape(folder: Path, manifest: Manifest) -> None:
    """Raise ModelRejectedError if this code cannot use the files that the manifest describes."""
    path = folder / MANIFEST
    if manifest.version != folder.name:
        raise ModelRejectedError(f"{path} has version {manifest.version}, expected {folder.name}; {_REMEDY}")
    if manifest.key.slug != folder.parent.name:
        raise ModelRejectedError(
            f"{path} belongs to series {manifest.key}, not to folder {folder.parent.name}; {_REMEDY}"
        )
    if manifest.features != tuple(feature.name for feature in FEATURES) or manifest.quantiles != QUANTILES:
        raise ModelRejectedError(f"{path} lists other features or quantiles than this version computes; {_REMEDY}")
    if any(not 0 <= column < len(FEATURES) for column in manifest.columns):
        raise ModelRejectedError(f"{path}: columns expected within 0 to {len(FEATURES) - 1}; {_REMEDY}")
    expected = {*(f"{name}.txt" for name in TEXTS), RESIDUALS} if manifest.files else set[str]()
    expected |= {*members.FILES} if manifest.model == SHARED_NAME else set()
    if {file.name for file in manifest.files} - {f"{EVENTS}.txt"} != expected:
        listed = sorted(file.name for file in manifest.files)
        raise ModelRejectedError(f"{path} lists {listed}, expected {sorted(expected)}; {_REMEDY}")


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
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise ModelRejectedError(f"{path}: expected SHA-256 {file.sha256}, found {digest}; {_REMEDY}")
    return content


def _run_child(folders: Sequence[Path], limit_seconds: float) -> tuple[list[str], str]:
    """Return the problem of each folder that the child finished (empty: none), and the reason why the child ended."""
    # The limit is CPU time, so that a busy machine rejects no good model; a longer limit on wall time ends a child that
    # only waits.
    command = [sys.executable, "-m", "predictive_scaling.models.probe", str(math.ceil(limit_seconds))]
    try:
        child = subprocess.run(
            [*command, *map(str, folders)], capture_output=True, timeout=_WALL_TIME_FACTOR * limit_seconds, check=False
        )
        output = child.stdout
        exit_reason = (
            f"loading or predicting took more than {limit_seconds:.0f} s of CPU time"
            if child.returncode == -signal.SIGXCPU
            else f"loading it ended the probe with exit code {child.returncode}"
        )
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""
        exit_reason = f"loading or predicting took longer than {_WALL_TIME_FACTOR * limit_seconds:.0f} s"
    problems: list[str] = []
    for line in output.splitlines():
        try:
            problems.append(str(json.loads(line)["problem"]))
        except (ValueError, KeyError, TypeError):
            break
    return problems[: len(folders)], exit_reason
