"""Roll back a series to an earlier version of its models."""

from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.errors import ModelRejectedError, NoEarlierModelError
from predictive_scaling.models.loading import check
from predictive_scaling.models.promotion_history import Entry, Outcome, record
from predictive_scaling.models.registry import Registry
from predictive_scaling.resources.series_key import SeriesKey


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A rollback. version: in use now. previous: in use before. acting: the kind of model that forecasts."""

    key: SeriesKey
    version: str
    previous: str
    acting: str
    evidence: str


def roll_back(registry: Registry, key: SeriesKey, now: datetime) -> RolledBack:
    """Make the newest intact version before the current one the current one, and record it.

    No training undoes the rollback for one training interval. Raises NoEarlierModelError if there is no such version.
    """
    current = registry.current(key.slug)
    versions = registry.versions(key.slug)
    if current is None:
        raise NoEarlierModelError(f"{key} has no version in use in {registry.folder}; train it")
    problems: list[str] = []
    for version in versions[versions.index(current) + 1 :]:
        try:
            gate = check(registry.path(key.slug, version)).manifest.gate
        except ModelRejectedError as error:
            problems.append(str(error))
            continue
        evidence = f"rolled back from {current}; when it was trained: {gate.evidence}"
        # Record first: without the entry, the next training would undo the rollback at once.
        entry = Entry(at=now, outcome=Outcome.ROLLED_BACK, version=version, previous=current, evidence=evidence)
        record(registry.folder / key.slug, entry)
        registry.point(key.slug, version)
        return RolledBack(key, version, current, gate.acting, evidence)
    details = f" ({'; '.join(problems)})" if problems else ""
    raise NoEarlierModelError(f"{key} has no intact version before {current} in {registry.folder}{details}; train it")
