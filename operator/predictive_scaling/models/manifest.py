"""What is written beside a model: where it comes from, what it is worth, and how to tell that it is whole."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forecasting.context import CalendarContext
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.series_key import SeriesKey

SCHEMA = 1
"""Of our folders, not of LightGBM, whose loader takes any version for its own."""
MANIFEST = "manifest.json"
_MAX_BYTES = 1_000_000

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of a manifest: unknown fields are refused, nothing changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class File(Part):
    """A file of the folder."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}\.(txt|npy|json)$")]
    bytes: Annotated[int, Field(ge=1, le=50_000_000)]
    sha256: Sha256


class Scores(Part):
    """What the gate saw of one model: ratios, mean over horizons; NaN is written as null."""

    model: str
    cost: float | None
    wape: float | None
    mape: float | None
    coverage: float | None
    judged: int
    short: float | None = None
    hours: float | None = None


class ActingRecord(Part):
    """The model that acts up to a horizon, in bins ahead."""

    horizon: Annotated[int, Field(ge=1)]
    model: str


class GateRecord(Part):
    """passed: LightGBM acts. acting: the model that does. evidence: one sentence with numbers.

    by_horizon: ascending; empty where one model acts at all of them.
    """

    passed: bool
    acting: str
    evidence: str
    scores: tuple[Scores, ...]
    by_horizon: tuple[ActingRecord, ...] = ()


class SmoothingRecord(Part):
    """Holt-Winters' parameters."""

    level: Annotated[float, Field(ge=0, le=1)]
    trend: Annotated[float, Field(ge=0, le=1)]
    season: Annotated[float, Field(ge=0, le=1)]
    damping: Annotated[float, Field(ge=0, le=1)]
    seasonal: bool = True


class Manifest(Part):
    """One version of the models of one series, or of the one that many share.

    columns: positions of the features that LightGBM uses, in `features`. files: empty where the series was too short
    for LightGBM. residual_horizons: bins ahead, of the errors in residuals.npy. event_types: of the business events
    that had begun by then.
    """

    schema_version: int
    model: str
    version: Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")]
    service: str
    metric: str
    aggregation: str
    resolution_seconds: Annotated[int, Field(ge=1)]
    features: tuple[str, ...]
    columns: tuple[int, ...]
    quantiles: tuple[float, ...]
    trained_from: datetime
    trained_until: datetime
    bins: int
    gate: GateRecord
    holt_winters: SmoothingRecord | None
    residual_horizons: tuple[int, ...]
    files: tuple[File, ...]
    event_types: tuple[str, ...] = ()
    timezone: str = "UTC"
    holidays: str = ""

    @property
    def place(self) -> CalendarContext:
        """By whose clocks and holidays it learned; elsewhere its columns mean something else."""
        return CalendarContext(self.timezone, self.holidays)

    @property
    def key(self) -> SeriesKey:
        """Whose models these are."""
        return SeriesKey(self.service, self.metric, self.aggregation)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version's folder. Raises ModelRejectedError naming the file, what was expected and found."""
    path = folder / MANIFEST
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_BYTES:
            raise ModelRejectedError(f"{path} is a link or larger than {_MAX_BYTES} bytes; train the model again")
        text = path.read_bytes()
        schema = _Schema.model_validate_json(text).schema_version
        if schema != SCHEMA:
            raise ModelRejectedError(f"{path} has schema {schema}, this version reads {SCHEMA}; train the model again")
        return Manifest.model_validate_json(text)
    except OSError as error:
        raise ModelRejectedError(f"{path} cannot be read: {error.strerror}; train the model again") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its content"
        raise ModelRejectedError(f"{path}: {where}: {first['msg']}; train the model again") from None


class _Schema(BaseModel):
    schema_version: int
