"""No decrease without data (semantics 8)."""

from predictive_scaling.decision.case import Case


def hold_without_data(floor: int, case: Case) -> int:
    """The floor sinks only while fresh demand, a forecast and what a replica carries are all known.

    A person's word stands in for data: a suppressing event, or a floor that spec.fallback names.
    """
    sure = case.sight.suffices or case.suppressed or case.blind_order
    return floor if sure else max(floor, case.before)
