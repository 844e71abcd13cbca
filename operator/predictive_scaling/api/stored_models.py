"""The trained models as the API shows them: the current version of each series, from the models folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from predictive_scaling.api.fields import Number, ResponseModel, Time
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.manifest import Manifest, read_manifest
from predictive_scaling.models.promotion_history import Entry, entries
from predictive_scaling.models.registry import Registry

_MAX_CHANGES = 10


class Score(ResponseModel):
    """The holdout score of a kind of model, as the quality gate measured it."""

    model: str
    wape: Number
    mape: Number
    coverage: Number
    cost: Number = Field(
        description="Pinball loss of p90 over the mean demand; under-forecasting costs nine times over-forecasting."
    )
    short: Number = Field(description="Share of the time in which a floor of p90 was too low.")
    hours: Number = Field(description="Replicas of that floor over the required replicas.")


class Horizon(ResponseModel):
    """The kind of model in use up to a forecast horizon."""

    minutes: float
    model: str


class Change(ResponseModel):
    """A change of the version in use, or a rejected version."""

    at: Time
    outcome: Literal["promoted", "rejected", "rolled_back"] = Field(
        description="promoted: in use. rejected: a naive model is used. rolled_back: a user returned to this version."
    )
    version: str
    previous: str | None = Field(description="Version that was in use before.")
    evidence: str


class Model(ResponseModel):
    """The current model version of a series, from its manifest."""

    service_name: str
    metric_name: str
    version: str
    folder: str = Field(description="Path inside the models directory.")
    trained_from: Time
    trained_until: Time
    acting: str = Field(description="Kind of model in use: the best that passed the quality gate.")
    evidence: str = Field(description="Explanation in one sentence.")
    horizons: list[Horizon] = Field(
        description="Kind of model by horizon; empty when one kind is used for all horizons."
    )
    scores: list[Score]
    history: list[Change] = Field(description="Most recent changes, newest first.")


class RejectedModel(ResponseModel):
    """A model file that failed validation."""

    file: str
    reason: str


class Models(ResponseModel):
    """Models by service and metric."""

    models: list[Model]
    rejected: list[RejectedModel] = Field(description="Model versions that failed validation.")


def stored_models(registry: Registry) -> Models:
    """Return the current version of each series, and the versions that cannot be read, with the reason."""
    models: list[Model] = []
    rejected: list[RejectedModel] = []
    for slug in sorted(registry.pointers()):
        version = registry.current(slug)
        if version is None:
            reason = "its CURRENT file names a version that does not exist; train the series again"
            rejected.append(RejectedModel(file=slug, reason=reason))
            continue
        try:
            manifest = read_manifest(registry.path(slug, version))
            models.append(_model(manifest, Path(slug) / version, entries(registry.folder / slug)))
        except ModelRejectedError as error:
            rejected.append(RejectedModel(file=f"{slug}/{version}", reason=str(error)))
    return Models(models=models, rejected=rejected)


def _model(manifest: Manifest, folder: Path, changes: Sequence[Entry]) -> Model:
    minutes = manifest.resolution_seconds / 60
    return Model(
        service_name=manifest.service,
        metric_name=manifest.metric,
        version=manifest.version,
        folder=str(folder),
        trained_from=manifest.trained_from,
        trained_until=manifest.trained_until,
        acting=manifest.gate.acting,
        evidence=manifest.gate.evidence,
        scores=[Score.model_validate(score, from_attributes=True) for score in manifest.gate.scores],
        horizons=[Horizon(minutes=acting.horizon * minutes, model=acting.model) for acting in manifest.gate.by_horizon],
        history=[Change.model_validate(change, from_attributes=True) for change in reversed(changes[-_MAX_CHANGES:])],
    )
