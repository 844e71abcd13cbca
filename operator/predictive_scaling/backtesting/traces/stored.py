"""Read a trace from the operator's database."""

from datetime import datetime

import numpy as np

from forecasting.cleaning.outliers import describe_outliers
from predictive_scaling.backtesting.traces.recorded import Trace
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.policies import Policies
from predictive_scaling.training.demand_history import MINUTE, StoredHistory


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
