"""A ScalingBacktest as read from the cluster, with the problem of an invalid one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.decision.review import unexpected_problem
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_backtest import (
    ScalingBacktest,
    ScalingBacktestStatus,
    parse_backtest,
    parse_backtest_status,
)
from predictive_scaling.storage.backtests import BacktestRow

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BacktestRecord:
    """A ScalingBacktest. backtest: None if it is invalid; then `problem` says why."""

    key: PolicyKey
    uid: str
    generation: int
    resource_version: int
    created_at: datetime
    status: ScalingBacktestStatus
    backtest: ScalingBacktest | None
    problem: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it has ended."""
        return self.status.phase is not None and self.status.phase.is_final


def backtest_record(body: Mapping[str, Any]) -> BacktestRecord:
    """Return the record of a backtest. Never raises for its content."""
    metadata = ObjectMetadata.of(body)
    backtest, problem = _reviewed(body)
    return BacktestRecord(
        key=PolicyKey(metadata.namespace, metadata.name),
        uid=metadata.uid,
        generation=metadata.generation,
        resource_version=metadata.resource_version,
        created_at=metadata.created_at,
        status=_status(body.get("status")),
        backtest=backtest,
        problem=problem,
    )


def backtest_row(record: BacktestRecord) -> BacktestRow:
    """Return the row of a backtest for the HTTP API."""
    status = record.status
    return BacktestRow(
        uid=record.uid,
        namespace=record.key.namespace,
        name=record.key.name,
        policy=record.backtest.spec.policy if record.backtest else None,
        created_at=record.created_at,
        phase=status.phase.value if status.phase else "Pending",
        input_hash=status.input_hash or None,
        status=status.to_manifest(),
    )


def _reviewed(body: Mapping[str, Any]) -> tuple[ScalingBacktest | None, str | None]:
    try:
        return parse_backtest(body), None
    except InvalidManifestError as error:
        return None, str(error)
    except Exception as error:  # the record is kept for any manifest
        log.exception("review_failed", kind="ScalingBacktest", object=ObjectMetadata.of(body).name)
        return None, unexpected_problem(error).message


def _status(status: Any) -> ScalingBacktestStatus:
    try:
        return parse_backtest_status(status or {})
    except Exception:  # an unreadable status is written again
        log.exception("status_not_read", kind="ScalingBacktest")
        return ScalingBacktestStatus()
