"""A policy with leading indicators: its status says what becomes of each, and the floor does not depend on them."""

from datetime import timedelta

import pytest

from tests.support.demand import METRIC, end_demand
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_scaling_policy
from tests.support.observing import get_minimum, get_status, record_steady_demand, wait_for_minimum
from tests.support.operator_process import OperatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]


async def test_the_status_says_what_becomes_of_each_regressor_and_the_floor_is_kept(
    own_operator: OperatorProcess, kubectl: Kubectl
) -> None:
    url, clock = own_operator.database_url, own_operator.clock
    for service, demand in (("checkout", 880.0), ("gateway", 1200.0)):
        await record_steady_demand(url, clock, service, demand, timedelta(hours=12))
    await own_operator.start()
    regressors = [{"service": service, "metric": METRIC, "maxLag": "10m"} for service in ("gateway", "gatway")]
    await kubectl.apply(a_scaling_policy(forecast={"regressors": regressors}))
    await wait_for_minimum(kubectl, 9)

    async def statuses() -> list[dict[str, str]]:
        return (await get_status(kubectl)).get("forecast", {}).get("regressors", [])

    def are_explained(statuses: list[dict[str, str]]) -> bool:
        return [status["state"] in states for status, states in zip(statuses, expected, strict=False)] == [True, True]

    expected = (("Waiting", "Rejected"), ("Stale",))
    steady, misspelt = await eventually(statuses, are_explained)
    assert misspelt["service"] == "gatway"
    assert misspelt["message"].startswith("has no samples in the last days; ")
    assert (steady["service"], steady["metric"]) == ("gateway", METRIC)
    assert steady["message"]

    await end_demand(url, "gateway", clock.now())
    stale = await eventually(statuses, lambda statuses: statuses[0]["state"] == "Stale", seconds=60)
    assert stale[0]["message"].startswith("has no sample since ")
    assert "the forecast without it is in use" in stale[0]["message"]
    await own_operator.wait_for_ticks(3)
    assert await get_minimum(kubectl) == 9
