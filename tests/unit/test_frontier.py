"""Choice of a setting from a frontier of short minutes and replica-hours."""

from forecasting.scaling.frontier import Point, Prices, as_safe, at_target, cheapest, efficient, retuned

PRICES = Prices(under_provisioned_minute=1.0, replica_hour=1.0)


def a_point(quantile: float = 0.9, target: float = 0.7, minutes: float = 10.0, hours: float = 100.0) -> Point:
    return Point(quantile, target, minutes / 1440, minutes / 2880, minutes, hours)


def test_the_cheapest_point_depends_on_the_prices() -> None:
    cheap, safe = a_point(0.5, minutes=60, hours=100), a_point(0.95, minutes=5, hours=120)
    assert cheapest([cheap, safe], PRICES) == safe
    assert cheapest([cheap, safe], Prices(under_provisioned_minute=0.1, replica_hour=1.0)) == cheap


def test_the_safer_setting_is_chosen_where_costs_are_nearly_equal() -> None:
    short, safe = a_point(0.8, minutes=20, hours=100), a_point(0.9, minutes=10, hours=110.3)
    assert cheapest([short, safe], PRICES) == safe


def test_a_tuner_keeps_its_setting_where_another_saves_little() -> None:
    current, other = a_point(0.9, minutes=10, hours=100), a_point(0.95, minutes=8, hours=100)
    assert retuned((0.9, 0.7), [current, other], PRICES) == current


def test_a_tuner_moves_for_a_large_gain() -> None:
    current, other = a_point(0.9, minutes=30, hours=100), a_point(0.95, minutes=8, hours=100)
    assert retuned((0.9, 0.7), [current, other], PRICES) == other


def test_a_tuner_without_a_setting_on_the_frontier_takes_the_cheapest() -> None:
    points = [a_point(0.9, minutes=10), a_point(0.95, minutes=9.9)]
    assert retuned(None, points, PRICES) == points[1]
    assert retuned((0.42, 0.7), points, PRICES) == points[1]


def test_the_points_at_a_target_have_every_quantile() -> None:
    points = [a_point(0.8, 0.7), a_point(0.9, 0.7), a_point(0.9, 0.8)]
    assert at_target(points, 0.7) == points[:2]


def test_a_dominated_setting_is_not_efficient() -> None:
    best, expensive, worse = a_point(minutes=5, hours=100), a_point(minutes=1, hours=120), a_point(minutes=6, hours=110)
    assert efficient([worse, expensive, best]) == [best, expensive]


def test_the_safe_target_with_the_fewest_hours_is_chosen() -> None:
    points = [a_point(target=0.7, minutes=2, hours=100), a_point(target=0.8, minutes=9, hours=90)]
    assert as_safe(points, minutes=10) == points[1]
    assert as_safe(points, minutes=1) is None
