"""A decision in a sentence that can be checked (semantics 23)."""

from predictive_scaling.decision.bounds import effective_maximum
from predictive_scaling.decision.case import Case, floor_before
from predictive_scaling.decision.model import Limit, Source, Wish


def explain(case: Case, wishes: tuple[Wish, ...], floor: int, limits: tuple[Limit, ...]) -> str:
    """What happens, why, which limits cut it, what the forecast leans on, and which sources had to stay silent."""
    stands = floor_before(case.situation)
    parts = [f"{_what(stands, floor)}: {_why(case)}{_cut(case, limits)}."]
    if stands != case.before:
        parts.append(f"The minimum of {stands} is the default of a manifest that no longer states it.")
    # Contributions are computed when they are read; only a floor that changes is worth it.
    if floor != stands and case.strongest.source is Source.FORECAST and case.sight.forecast:
        contributions = tuple(case.sight.forecast.contributions)
        parts += [f"The forecast leans on {', '.join(contributions)}."] if contributions else []
    parts.extend(f"Not counted: {wish.why}." for wish in wishes if not wish.applies)
    return " ".join(parts)


def _what(before: int, floor: int) -> str:
    if floor == before:
        return f"Hold {floor}"
    return f"{'Raise' if floor > before else 'Lower'} from {before} to {floor}"


def _why(case: Case) -> str:
    if case.pause.freezes or case.pause.pin is not None:
        return case.pause.message
    return case.strongest.why


def _cut(case: Case, limits: tuple[Limit, ...]) -> str:
    if not limits:
        return ""
    named = (f"{limit} of {effective_maximum(case.situation)}" if limit is Limit.MAXIMUM else limit for limit in limits)
    return f"; {case.strongest.replicas} wanted, cut by {', '.join(named)}"
