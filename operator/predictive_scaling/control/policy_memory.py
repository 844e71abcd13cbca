"""What is remembered of a policy between two ticks: changes by people, waits after failures, and our own writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.decision.review import Problem
from predictive_scaling.resources.annotations import resume_of


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The last change by a person: generation of the spec and resume annotation. A newer one ends a conflict."""

    generation: int
    resume: str | None

    @classmethod
    def of(cls, record: PolicyRecord, generation: int | None = None) -> "Acknowledgement":
        """The acknowledgement of a policy now. generation: overrides that of the record.

        A long annotation is represented by its digest: a status holds 253 characters.
        """
        resume = resume_of(record.annotations)
        return cls(record.generation if generation is None else generation, resume)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Back-off after a refused write, longer each time."""

    until: datetime
    failures: int
    generation: int
    """metadata.generation of the policy whose write was refused: an edited policy does not wait."""
    raises: bool
    """Whether a raise was refused: a refused decrease does not hold back a raise."""
    problem: Problem
    """Why, and what to do."""


@dataclass(frozen=True, slots=True)
class ReconcileRetry:
    """Back-off after a failed reconciliation, longer each time; a change by a person ends it."""

    until: datetime
    failures: int
    generation: int
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OwnMetadata:
    """A policy's metadata as returned by our newest request; valid until the watch shows newer ones."""

    resource_version: int
    finalizers: tuple[str, ...]
