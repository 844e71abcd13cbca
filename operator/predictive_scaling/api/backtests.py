"""ScalingBacktests with their last recorded status, and the HTML report of a finished one."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.responses import HTMLResponse
from pydantic import Field

from predictive_scaling.api.fields import Name, NextCursor, PageQuery, QueryModel, ResponseModel, Time
from predictive_scaling.api.problems import responses
from predictive_scaling.api.services import Use
from predictive_scaling.api.visible_namespaces import VisibleNamespaces
from predictive_scaling.storage.backtests import BacktestRow

router = APIRouter(prefix="/backtests", tags=["backtests"])

_REPORT_HEADERS = {"Cache-Control": "private, no-cache"}

Namespace = Annotated[Name, Path(description="Namespace of the backtest.")]
BacktestName = Annotated[Name, Path(description="Name of the backtest.")]


class Backtest(ResponseModel):
    """A ScalingBacktest."""

    namespace: str
    name: str
    policy: str | None = Field(description="Name of its ScalingPolicy; null for a policy in the backtest itself.")
    created_at: Time
    phase: str = Field(description="Pending, Running, Succeeded or Failed.")
    status: dict[str, Any] = Field(description="As in the resource: rows, summary, message, conditions.")
    report: str | None = Field(description="Path of the HTML report; null before the end and after a failure.")


class BacktestList(ResponseModel):
    """A page of backtests by namespace and name."""

    backtests: list[Backtest]
    next_cursor: NextCursor


@router.get("", responses=responses(422))
async def list_backtests(
    query: Annotated[PageQuery, Query()], services: Use, visible: VisibleNamespaces
) -> BacktestList:
    """Return a page of the backtests, optionally of one namespace."""
    namespaces = visible.within(query.namespace).namespaces
    page = await services.backtests.page(query.limit, namespaces=namespaces, cursor=query.cursor)
    return BacktestList(backtests=list(map(_backtest, page.backtests)), next_cursor=page.next_cursor)


@router.get("/{namespace}/{name}", responses=responses(404))
async def show_backtest(
    namespace: Namespace, name: BacktestName, _: Annotated[QueryModel, Query()], services: Use
) -> Backtest:
    """Return a backtest with its status."""
    return _backtest(await _row(namespace, name, services))


@router.get("/{namespace}/{name}/report", response_class=HTMLResponse, responses=responses(404))
async def show_report(
    namespace: Namespace, name: BacktestName, _: Annotated[QueryModel, Query()], services: Use
) -> HTMLResponse:
    """Return the report of a finished backtest as a self-contained page."""
    row = await _row(namespace, name, services)
    if row.input_hash is None:
        raise HTTPException(404, f"backtest {namespace}/{name} has no report: its phase is {row.phase}")
    report = await services.backtest_results.report(row.input_hash)
    if report is None:
        raise HTTPException(404, f"the report of backtest {namespace}/{name} is lost; create the backtest again")
    return HTMLResponse(report, headers=_REPORT_HEADERS)


async def _row(namespace: str, name: str, services: Use) -> BacktestRow:
    row = await services.backtests.of(namespace, name)
    if row is None:
        raise HTTPException(404, f"backtest {namespace}/{name} does not exist, or the operator has not seen it yet")
    return row


def _backtest(row: BacktestRow) -> Backtest:
    has_report = row.input_hash is not None
    return Backtest(
        namespace=row.namespace,
        name=row.name,
        policy=row.policy,
        created_at=row.created_at,
        phase=row.phase,
        status=dict(row.status),
        report=f"/api/v1/backtests/{row.namespace}/{row.name}/report" if has_report else None,
    )
