"""No forecast reads a leading indicator at or after its origin, and units do not matter."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecasting.leading import Correction, Indicator, PastForecasts, study_indicators
from forecasting.leading.study import corrected
from forecasting.series import Series
from tests.support.leading import DAY, START, STEP, followed, past_forecasts

SCENE = followed()
PAST = past_forecasts(SCENE.demand)
STUDY = study_indicators(PAST, [Indicator("upstream", SCENE.upstream, 8)])
SLOW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def correction() -> Correction:
    assert STUDY.correction is not None
    return STUDY.correction


@SLOW
@given(st.integers(6 * DAY, 8 * DAY - 1), st.floats(0.0, 1e6))
def test_values_from_the_origin_on_change_no_forecast(origin: int, replaced_by: float) -> None:
    changed = SCENE.upstream.copy()
    changed[origin:] = replaced_by
    demand = SCENE.demand.copy()
    demand[origin:] = replaced_by
    before = PAST.rows(PAST.origins <= origin)
    altered = PastForecasts.of(Series("orders", START, STEP, demand), before.origins, before.values, before.peaks)
    kept = corrected(before, correction(), [Indicator("upstream", SCENE.upstream, 8)])
    moved = corrected(altered, correction(), [Indicator("upstream", changed, 8)])
    np.testing.assert_array_equal(kept.values, moved.values)
    np.testing.assert_array_equal(kept.peaks, moved.peaks)


@SLOW
@given(st.integers(6 * DAY, 7 * DAY), st.floats(0.0, 1e6))
def test_a_study_reads_nothing_after_its_end(end: int, replaced_by: float) -> None:
    until = PAST.rows(PAST.origins < end)
    past = PastForecasts.of(Series("orders", START, STEP, SCENE.demand[:end]), until.origins, until.values, until.peaks)
    changed = SCENE.upstream.copy()
    changed[end:] = replaced_by
    first, second = (study_indicators(past, [Indicator("upstream", values, 8)]) for values in (SCENE.upstream, changed))
    assert first.findings == second.findings
    assert (first.correction is None) == (second.correction is None)
    if first.correction is not None and second.correction is not None:
        np.testing.assert_array_equal(first.correction.leads[0].weights, second.correction.leads[0].weights)


@SLOW
@given(st.floats(1e-3, 1e6))
def test_the_unit_of_an_indicator_does_not_matter(unit: float) -> None:
    other = study_indicators(PAST, [Indicator("upstream", SCENE.upstream * unit, 8)])
    assert other.findings == STUDY.findings
    assert other.correction is not None
    np.testing.assert_allclose(other.correction.leads[0].weights, correction().leads[0].weights, atol=1e-6)
