"""Writes the minimum of an object by server-side apply of this field only: take-over, conflicts, release."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from predictive_scaling.cluster.client import (
    FIELD_MANAGER,
    Cluster,
    Json,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
)
from predictive_scaling.errors import (
    RequestFailedError,
    TargetConflictError,
    TargetNotFoundError,
    TargetRefusedError,
)
from predictive_scaling.targets.field_release import release_field

_ATTEMPTS = 3


class MinimumRecord(Protocol):
    """The part of a record that a write depends on."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def floor_managers(self) -> tuple[str, ...]: ...
    @property
    def foreign_write(self) -> str | None: ...
    @property
    def floor_given_up(self) -> bool: ...


Record = TypeVar("Record", bound=MinimumRecord)


@dataclass(frozen=True, slots=True)
class MinimumWriter(Generic[Record]):
    """Writes one field of the spec of one kind.

    All methods raise TargetNotFoundError if the object was deleted or recreated since the record.
    """

    cluster: Cluster
    api_version: str
    kind: str
    field: str
    """Name of the field in the spec, such as minReplicas."""
    parse: Callable[[Mapping[str, Any]], Record]
    not_found: Callable[[], TargetNotFoundError]
    advice: Callable[[str, int, Record], str]
    """The remedy for a refusal, from the API server's message, the minimum and the newest record."""

    async def apply(self, before: Record, observed: Record, minimum: int, *, take: bool) -> Record:
        """Set the minimum and return the new record. observed: the record that the decision is based on.

        Raises TargetConflictError if another manager holds the field and we do not, or with `take` wrote it since
        `observed`; TargetRefusedError with the remedy.
        """
        _check_same(observed, before)
        if take and observed.foreign_write != before.foreign_write:
            raise TargetConflictError(f"spec.{self.field} was changed since it was observed, by {before.foreign_write}")
        return self.parse(await self._write(before, minimum, force=take or before.floor_given_up))

    async def restore(self, record: Record, minimum: int) -> Record:
        """Set the minimum, give up the field and return the new record; the value stays. Raises as `apply` does."""
        body = await self._write(record, minimum, force=False)
        try:
            return self.parse(await release_field(self.cluster, record.path, body))
        except ObjectNotFoundError as error:
            raise self.not_found() from error

    async def remove(self, record: Record) -> Record:
        """Give up the field without a value and return the new record. Raises as `apply` does."""
        return self.parse(await self._write(record, None, force=False))

    async def _write(self, record: Record, minimum: int | None, *, force: bool) -> Json:
        """Apply the minimum. A forced write fails if another manager replaced the value since the record.

        A manager that applies the value that we hold shares the field, as Argo CD does with a field that it ignores. It
        replaces nothing, so that we write on.
        """
        for _ in range(_ATTEMPTS):
            try:
                return await self.cluster.apply(record.path, self._body(record, minimum, force=force), force=force)
            except ObjectNotFoundError as error:
                raise self.not_found() from error
            except (ObjectConflictError, ObjectRefusedError) as error:
                live = await self._live(record)
                if isinstance(error, ObjectConflictError) and FIELD_MANAGER in live.floor_managers:
                    record, force = live, True
                    continue
                if live.foreign_write != record.foreign_write or not (force and isinstance(error, ObjectConflictError)):
                    raise self._explained(error, minimum, live) from error
                # Another field of the object changed since the record, such as its status.
                record = live
        raise RequestFailedError(f"{record.path} changed during each of {_ATTEMPTS} writes; the write is retried later")

    async def _live(self, record: Record) -> Record:
        try:
            live = self.parse(await self.cluster.get(record.path))
        except ObjectNotFoundError as error:
            raise self.not_found() from error
        except ObjectRefusedError:
            return record
        _check_same(record, live)
        return live

    def _body(self, record: Record, minimum: int | None, *, force: bool) -> Json:
        # With the uid the write fails if the object was recreated; with the version, if it changed since the record.
        metadata = {"name": record.name, "namespace": record.namespace, "uid": record.uid}
        if force:
            metadata["resourceVersion"] = str(record.resource_version)
        body: Json = {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata}
        return body if minimum is None else body | {"spec": {self.field: minimum}}

    def _explained(
        self, error: ObjectConflictError | ObjectRefusedError, minimum: int | None, live: Record
    ) -> TargetConflictError | TargetRefusedError:
        if isinstance(error, ObjectConflictError):
            return TargetConflictError(f"another manager holds spec.{self.field}: {error}")
        advice = self.advice(str(error), minimum or 0, live)
        value = "without a value" if minimum is None else minimum
        return TargetRefusedError(f"the API server refused {self.field} {value}; {advice}. Its message: {error}")


def _check_same(before: MinimumRecord, live: MinimumRecord) -> None:
    """Raise TargetNotFoundError if an object was recreated: what was decided for the former one does not fit it."""
    if live.uid != before.uid:
        raise TargetNotFoundError(f"{live.path} was deleted and created again; the new object is observed next")
