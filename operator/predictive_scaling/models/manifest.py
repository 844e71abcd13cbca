"""The manifest of a model version: its origin, its scores, and the sizes and checksums of its files."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forecasting.context import CalendarContext
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.resources.series_key import SeriesKey

SCHEMA = 1
"""Version of the folder layout. LightGBM's own version does not help: its loader accepts every version."""
MANIFEST = "manifest.json"
_MAX_BYTES = 1_000_000

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """Base of all parts of a manifest: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class File(Part):
    """A file of the version's folder."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}\.(txt|npy|json)$")]
    bytes: Annotated[int, Field(ge=1, le=50_000_000)]
    sha256: Sha256


class Scores(Part):
    """The scores of one model at the quality gate: ratios, means over the horizons; NaN is written as null."""

    model: str
    cost: float | None
    wape: float | None
    mape: float | None
    coverage: float | None
    judged: int
    short: float | None = None
    hours: float | None = None


class ActingRecord(Part):
    """The model that acts up to a horizon (in bins ahead)."""

    horizon: Annotated[int, Field(ge=1)]
    model: str


class GateRecord(Part):
    """The verdict of the quality gate.

    passed: LightGBM acts. acting: the model that acts. evidence: one sentence with numbers. by_horizon: ascending;
    empty if one model acts at all horizons.
    """

    passed: bool
    acting: str
    evidence: str
    scores: tuple[Scores, ...]
    by_horizon: tuple[ActingRecord, ...] = ()


class SmoothingRecord(Part):
    """The parameters of Holt-Winters."""

    level: Annotated[float, Field(ge=0, le=1)]
    trend: Annotated[float, Field(ge=0, le=1)]
    season: Annotated[float, Field(ge=0, le=1)]
    damping: Annotated[float, Field(ge=0, le=1)]
    seasonal: bool = True


class Manifest(Part):
    """One version of the models of a series, or of the shared model.

    columns: positions in `features` of the features that LightGBM uses. files: empty if the series was too short for
    LightGBM. residual_horizons: bins ahead of the errors in residuals.npy. event_types: types of the business events
    that had begun before the training.
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
    def calendar(self) -> CalendarContext:
        """Time zone and holidays of the training; with others, the feature columns have another meaning."""
        return CalendarContext(self.timezone, self.holidays)

    @property
    def key(self) -> SeriesKey:
        """The series that the models forecast."""
        return SeriesKey(self.service, self.metric, self.aggregation)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a version's folder.

    Raises ModelRejectedError with the file, the expected value and the actual value.
    """
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
        location = ".".join(str(part) for part in first["loc"]) or "its content"
        raise ModelRejectedError(f"{path}: {location}: {first['msg']}; train the model again") from None


class _Schema(BaseModel):
    schema_version: int
