"""Down only if the replicas left could carry today's load (semantics 4)."""

from predictive_scaling.decision.case import Case
from predictive_scaling.decision.peak import replicas_for


def keep_what_demand_needs(floor: int, case: Case) -> int:
    """A decrease stops at what the newest demand needs, each replica filled to forecast.utilization.

    The same measure as the forecast floor's: a replica is not fuller today than the policy lets a forecast fill it.
    """
    demand, per_replica = case.sight.demand, case.sight.per_replica
    if floor >= case.before or demand is None or per_replica is None:
        return floor
    needed = replicas_for(demand, per_replica, case.situation.policy.spec.forecast.utilization / 100)
    return max(floor, min(case.before, needed))
