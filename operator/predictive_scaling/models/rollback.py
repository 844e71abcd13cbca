"""Back to an earlier version of a series' models."""

from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.errors import ModelRejectedError, NoEarlierModelError
from predictive_scaling.models.loading import check
from predictive_scaling.models.promotion_history import Entry, Outcome, record
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.series_key import SeriesKey


@dataclass(frozen=True, slots=True)
class RolledBack:
    """version: in use now. previous: the one that was left. acting: the kind of model that forecasts."""

    key: SeriesKey
    version: str
    previous: str
    acting: str
    evidence: str


def roll_back(registry: Registry, key: SeriesKey, now: datetime) -> RolledBack:
    """Point to the newest whole version before the current one, and record it.

    No training undoes it for a training interval. Raises NoEarlierModelError where there is none.
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
        # Recorded first: a pointer without its entry would let the next training undo it at once.
        entry = Entry(at=now, outcome=Outcome.ROLLED_BACK, version=version, previous=current, evidence=evidence)
        record(registry.folder / key.slug, entry)
        registry.point(key.slug, version)
        return RolledBack(key, version, current, gate.acting, evidence)
    refused = f" ({'; '.join(problems)})" if problems else ""
    raise NoEarlierModelError(f"{key} has no whole version before {current} in {registry.folder}{refused}; train it")
