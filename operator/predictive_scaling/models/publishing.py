"""Publish learned models as a version in the models folder."""

import hashlib
import io
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np

from forecasting.features import FEATURES
from forecasting.forecast import QUANTILES
from forecasting.learning import LearnedModels
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.shared import NAME as SHARED_NAME
from forecasting.quality.gate import Succession, Verdict
from forecasting.quality.scores import Score
from predictive_scaling.models import shared_members as members
from predictive_scaling.models.manifest import (
    MANIFEST,
    SCHEMA,
    ActingRecord,
    File,
    GateRecord,
    Manifest,
    Scores,
    SmoothingRecord,
)
from predictive_scaling.models.promotion_history import Entry, Outcome, record
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.shared_members import JudgedSeries, Member
from predictive_scaling.resources.series_key import SeriesKey

RESIDUALS = "residuals.npy"


def publish(
    registry: Registry,
    key: SeriesKey,
    learned: LearnedModels,
    now: datetime,
    event_types: Collection[str] = (),
    judged: Sequence[JudgedSeries] = (),
) -> Manifest:
    """Write a version, make it the current one, record it, and remove the oldest versions.

    The version's name is the time and a hash of its content. If it is worse than the version in use, the version in use
    stays, and only the refusal is recorded. event_types: types of the business events that have begun by now, which the
    model could learn from. judged: the series on which a shared model was judged.
    """
    files = _files(learned)
    if learned.lightgbm is not None and learned.lightgbm.name == SHARED_NAME:
        files |= members.as_files([_member(series) for series in judged])
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + content)
    version = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"
    manifest = _manifest(key, learned, version, files, event_types)
    previous = registry.current(key.slug)
    succession = learned.succession
    refused = succession is not None and not succession.accepted and manifest.gate.passed
    if refused and previous is not None:
        # Write the pointer again, so that processes that watch it read the refusal.
        registry.point(key.slug, previous)
    else:
        registry.add(key.slug, version, {**files, MANIFEST: manifest.model_dump_json(indent=1).encode()})
    outcome = Outcome.PROMOTED if manifest.gate.passed and not refused else Outcome.REJECTED
    entry = Entry(at=now, outcome=outcome, version=version, previous=previous, evidence=manifest.gate.evidence)
    record(registry.folder / key.slug, entry)
    registry.prune(key.slug)
    return manifest


def _files(learned: LearnedModels) -> dict[str, bytes]:
    if learned.lightgbm is None:
        return {}
    texts = learned.lightgbm.texts()
    buffer = io.BytesIO()
    np.save(buffer, learned.residuals.astype(np.float32), allow_pickle=False)
    return {**{f"{name}.txt": text.encode() for name, text in texts.items()}, RESIDUALS: buffer.getvalue()}


def _member(judged: JudgedSeries) -> Member:
    return Member(judged.key, _gate(judged.verdict), judged.residuals.astype(np.float16))


def _manifest(
    key: SeriesKey, learned: LearnedModels, version: str, files: dict[str, bytes], event_types: Collection[str]
) -> Manifest:
    model = learned.lightgbm
    return Manifest(
        schema_version=SCHEMA,
        model=model.name if model else learned.verdict.acting,
        version=version,
        service=key.service,
        metric=key.metric,
        aggregation=key.aggregation,
        resolution_seconds=round(learned.span.step.total_seconds()),
        features=tuple(feature.name for feature in FEATURES),
        columns=model.columns if model else (),
        quantiles=QUANTILES,
        trained_from=learned.span.since,
        trained_until=learned.span.until,
        timezone=learned.span.calendar.zone,
        holidays=learned.span.calendar.country,
        bins=learned.span.bins,
        gate=_gate(learned.verdict, learned.succession),
        holt_winters=_smoothing(learned.holt_winters),
        residual_horizons=tuple(int(horizon) for horizon in learned.horizons),
        files=tuple(
            File(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in sorted(files.items())
        ),
        event_types=tuple(sorted(event_types)),
    )


def _gate(verdict: Verdict, succession: Succession | None = None) -> GateRecord:
    scores = [verdict.champion, *verdict.baselines] if verdict.champion else [*verdict.baselines]
    evidence = verdict.evidence if succession is None else f"{verdict.evidence}; it {succession.evidence}"
    return GateRecord(
        passed=verdict.passed,
        acting=verdict.acting,
        evidence=evidence,
        scores=tuple(_scores(score) for score in scores),
        by_horizon=tuple(ActingRecord(horizon=acting.horizon, model=acting.model) for acting in verdict.by_horizon),
    )


def _scores(score: Score) -> Scores:
    numbers = {name: getattr(score, name) for name in ("cost", "wape", "mape", "coverage", "short", "hours")}
    finite = {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}
    return Scores(model=score.model, judged=score.judged, **finite)


def _smoothing(model: FittedHoltWinters | None) -> SmoothingRecord | None:
    if model is None:
        return None
    (smoothing,) = model.smoothings
    return SmoothingRecord(**asdict(smoothing))
