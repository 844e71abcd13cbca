"""The statuses of a ScalingBacktest, from its creation to its end."""

from datetime import datetime

from predictive_scaling.backtesting.task import Finished, ResultRow
from predictive_scaling.control.jobs.backtest_record import BacktestRecord
from predictive_scaling.resources.conditions import Condition, merge
from predictive_scaling.resources.scaling_backtest import (
    MAX_ROWS,
    BacktestRow,
    ReplayedSpan,
    ScalingBacktestStatus,
)
from predictive_scaling.resources.vocabulary import BacktestCondition, BacktestPhase, BacktestReason, ConditionStatus


def waiting(
    record: BacktestRecord, reason: BacktestReason, message: str, now: datetime, attempts: int = 0
) -> ScalingBacktestStatus:
    """Return the status of a backtest that waits. attempts: those that count against the limit."""
    return _status(record, BacktestPhase.PENDING, reason, message, now).model_copy(update={"attempts": attempts})


def running(record: BacktestRecord, span: tuple[datetime, datetime], now: datetime) -> ScalingBacktestStatus:
    """Return the status of a backtest whose next attempt starts."""
    status = _status(record, BacktestPhase.RUNNING, BacktestReason.IN_PROGRESS, "the demand is replayed", now)
    return status.model_copy(
        update={
            "attempts": record.status.attempts + 1,
            "span": ReplayedSpan(from_=span[0], to=span[1]),
            "started_at": now.replace(microsecond=0),
        }
    )


def succeeded(record: BacktestRecord, finished: Finished, now: datetime) -> ScalingBacktestStatus:
    """Return the status of a backtest with a result. record: with the status of its last attempt."""
    result, key = finished.result, record.key
    reason = BacktestReason.REUSED if finished.reused else BacktestReason.COMPLETED
    status = _ended(record, BacktestPhase.SUCCEEDED, reason, result.message, now)
    shown = {
        "rows": tuple(map(_row, result.rows[:MAX_ROWS])),
        "input_hash": finished.input_hash,
        "report": f"/api/v1/backtests/{key.namespace}/{key.name}/report",
    }
    # Validated, so that the values are those that are read back.
    return ScalingBacktestStatus.model_validate(dict(status) | shown | {"summary": result.summary})


def failed(record: BacktestRecord, reason: BacktestReason, message: str, now: datetime) -> ScalingBacktestStatus:
    """Return the status of a backtest that failed."""
    return _ended(record, BacktestPhase.FAILED, reason, message, now).model_copy(
        update={"summary": reason.value, "rows": (), "input_hash": "", "report": ""}
    )


def _ended(
    record: BacktestRecord, phase: BacktestPhase, reason: BacktestReason, message: str, now: datetime
) -> ScalingBacktestStatus:
    return _status(record, phase, reason, message, now).model_copy(update={"finished_at": now.replace(microsecond=0)})


def _status(
    record: BacktestRecord, phase: BacktestPhase, reason: BacktestReason, message: str, now: datetime
) -> ScalingBacktestStatus:
    is_true = {
        BacktestCondition.COMPLETE: phase is BacktestPhase.SUCCEEDED,
        BacktestCondition.FAILED: phase is BacktestPhase.FAILED,
        BacktestCondition.RECONCILING: not phase.is_final,
        BacktestCondition.STALLED: phase is BacktestPhase.FAILED,
    }
    conditions = [
        Condition(
            type=type_,
            status=ConditionStatus.TRUE if holds else ConditionStatus.FALSE,
            reason=reason,
            message=message,
            observed_generation=record.generation,
        )
        for type_, holds in is_true.items()
    ]
    kept = {name: value for name, value in record.status if name not in ("finished_at", "summary")}
    return ScalingBacktestStatus.model_validate(
        kept
        | {
            "observed_generation": record.generation,
            "phase": phase,
            "message": message,
            "conditions": merge(record.status.conditions, conditions, now, tuple(BacktestCondition)),
        }
    )


def _row(row: ResultRow) -> BacktestRow:
    return BacktestRow(
        variant=row.variant,
        name=row.name,
        quantile=row.quantile,
        hpa_target=row.hpa_target,
        under_provisioned_share=row.under_provisioned_share,
        under_provisioned_minutes=row.under_provisioned_minutes,
        lost_demand_share=row.lost_demand_share,
        replica_hours=row.replica_hours,
        hours_ratio=row.hours_ratio,
    )
