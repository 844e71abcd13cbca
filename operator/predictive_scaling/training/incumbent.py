"""The model in use, to judge its successor by."""

import structlog

from forecasting.learning import Incumbent
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.loading import check, load, probe
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.series_key import SeriesKey

log = structlog.get_logger(__name__)


def incumbent(registry: Registry, key: SeriesKey, resolution_seconds: float) -> Incumbent | None:
    """The current version where LightGBM acts in it; None where it does not, is of another step, or cannot be used."""
    version = registry.current(key.slug)
    if version is None:
        return None
    folder = registry.path(key.slug, version)
    try:
        checked = check(folder)
        problem = probe([folder]).get(folder, "")
        model = None if problem else load(checked).lightgbm
    except (ModelRejectedError, ValueError, KeyError) as error:
        checked, model, problem = None, None, str(error)
    if checked is None or model is None:
        log.info("incumbent_not_compared", series=str(key), version=version, reason=problem or "it has no LightGBM")
        return None
    manifest = checked.manifest
    serves = manifest.gate.passed and manifest.resolution_seconds == resolution_seconds
    return Incumbent(model, manifest.trained_until) if serves else None
