"""The lead time of a target covers nine in ten starts, follows a new release, and is not trusted too early."""

from hypothesis import given
from hypothesis import strategies as st

from forecasting.scaling.start_durations import MIN_STARTS, Start, estimate_lead_time

seconds = st.floats(0, 86_400)
starts = st.lists(
    st.builds(Start, seconds, st.sampled_from([True, False, None]), st.sampled_from(["", "first", "second"])),
    min_size=1,
    max_size=20,
)


@given(starts)
def test_the_lead_time_lies_between_the_fastest_and_the_slowest_start(starts: list[Start]) -> None:
    estimate = estimate_lead_time(starts)
    assert estimate is not None
    durations = [start.seconds for start in starts]
    assert min(durations) - 1e-6 <= estimate.overall.seconds <= max(durations) + 1e-6
    assert estimate.is_trustworthy == (estimate.overall.starts >= MIN_STARTS)
    parts = [part for part in (estimate.on_existing_nodes, estimate.with_new_node) if part]
    assert sum(part.starts for part in parts) <= estimate.overall.starts


@given(st.lists(seconds, min_size=MIN_STARTS, max_size=20))
def test_at_most_one_start_in_ten_is_slower(durations: list[float]) -> None:
    estimate = estimate_lead_time([Start(duration) for duration in durations])
    assert estimate is not None
    slower = sum(duration > estimate.overall.seconds + 1e-6 for duration in durations)
    assert slower <= (len(durations) - 1) // 10 + 1


@given(st.lists(seconds, min_size=1, max_size=17), st.lists(seconds, min_size=MIN_STARTS, max_size=10))
def test_a_new_release_replaces_the_starts_of_the_earlier_one(before: list[float], after: list[float]) -> None:
    earlier = [Start(duration, release="first") for duration in before]
    newer = [Start(duration, release="second") for duration in after]
    assert estimate_lead_time([*earlier, *newer]) == estimate_lead_time(newer)


def test_starts_with_a_new_node_count_as_soon_as_they_are_likely() -> None:
    on_nodes = [Start(30.0, with_new_node=False)] * 9
    rare = estimate_lead_time([*on_nodes, *on_nodes, Start(300.0, with_new_node=True)])
    likely = estimate_lead_time([*on_nodes, *[Start(300.0, with_new_node=True)] * 2])
    assert rare is not None
    assert likely is not None
    assert rare.overall.seconds == 30.0
    assert likely.overall.seconds == 300.0
    assert (likely.on_existing_nodes, likely.with_new_node) == ((30.0, 9), (300.0, 2))


def test_nothing_is_estimated_without_starts() -> None:
    assert estimate_lead_time([]) is None


def test_a_new_release_does_not_forget_how_long_a_node_takes() -> None:
    earlier = [Start(400.0, with_new_node=True, release="first")] * 2
    newer = [Start(20.0, with_new_node=False, release="second")] * 3
    estimate = estimate_lead_time([*earlier, *newer])
    assert estimate is not None
    assert (estimate.overall.seconds, estimate.on_existing_nodes) == (400.0, (20.0, 3))
