"""Read a trace from the operator's database."""

from datetime import datetime, timedelta

import numpy as np

from forecasting.cleaning.outliers import describe_outliers
from predictive_scaling.backtesting.traces.recorded import Trace
from predictive_scaling.clock import Clock
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.schema import check_schema
from predictive_scaling.training.demand_history import MINUTE, StoredHistory


async def read_stored(url: str, key: SeriesKey, clock: Clock, span: timedelta, *, zero_is_valid: bool) -> Trace:
    """Read the demand of a series over the last `span`, minute by minute.

    Raises InvalidTraceError if there is none, DatabaseUnavailableError, SchemaError.
    """
    async with Database(url, purpose="backtest", max_size=1) as database:
        await check_schema(database)
        now = clock.now()
        trace = await stored_trace(database, key, now - span, now, zero_is_valid=zero_is_valid)
    if trace is None:
        raise InvalidTraceError(
            f"{key} has no demand in the {span.days} days before {now:%Y-%m-%dT%H:%MZ}; check --service, --metric and "
            "--aggregation"
        )
    return trace


async def stored_trace(
    database: Database, key: SeriesKey, since: datetime, until: datetime, *, zero_is_valid: bool
) -> Trace | None:
    """Return the demand of a series in [since, until), minute by minute; None if there is none.

    Raises DatabaseUnavailableError.
    """
    history = StoredHistory(Demand(database), Policies(database), zero_is_valid=zero_is_valid)
    series = await history.demand(key, since, until, MINUTE)
    gaps = int((~np.isfinite(series.values)).sum()) - len(series.outliers or ())
    if gaps == len(series.values):
        return None
    notes = [f"{gaps:,} of {len(series.values):,} minutes have no sample; they are gaps, never zero"] if gaps else []
    if series.outliers:
        notes.append(describe_outliers(series.outliers))
    return Trace(series, tuple(notes))
