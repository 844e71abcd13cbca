"""Many policies with a year of decisions: reading their newest decisions takes one index scan per policy."""

from typing import Any

import pytest

from predictive_scaling.storage.database import Database
from predictive_scaling.storage.scaling_decisions import LAST_OF_EACH, ScalingDecisions

pytestmark = pytest.mark.integration

POLICIES, DECISIONS_PER_POLICY = 60, 2000

FILL = """
insert into scaling_decisions (id, created_at, service_name, namespace, policy, policy_uid, generation, target,
    decision_type, status, from_replicas, to_replicas, uncapped_replicas, source, reason, message, mode, attempts,
    deadline_at, limits)
select 'p' || p || '-' || n, timestamptz '2026-01-01' + n * interval '5 minutes', 'checkout', 'shop', 'p' || p, 'uid',
    1, 'hpa/checkout', 'scale_up', case when n = %(each)s then 'verifying' else 'succeeded' end, 1, 2, 2, 'Forecast',
    'ForecastRose', repeat('why ', 40), 'Auto', 1, timestamptz '2027-01-01', '{}'
from generate_series(1, %(policies)s) as p, generate_series(1, %(each)s) as n
"""


@pytest.fixture
async def populated(database: Database) -> Database:
    """120,000 decisions of 60 policies, of which the operator watches half."""
    async with database.connection() as connection:
        await connection.execute(FILL, {"policies": POLICIES, "each": DECISIONS_PER_POLICY})
        await connection.execute("analyze scaling_decisions")
    return database


WATCHED = [("shop", f"p{number}") for number in range(1, POLICIES // 2 + 1)]


async def execution_plan(database: Database, statement: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Run a statement and return its plan with the buffers that it read."""
    async with database.connection() as connection:
        cursor = await connection.execute("explain (analyze, buffers, format json) " + statement, values)
        row = await cursor.fetchone()
    assert row is not None
    return row[0][0]["Plan"]


def table_scans(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all nodes of a plan that read the table."""
    scans_below = [node for child in plan.get("Plans", ()) for node in table_scans(child)]
    return [plan, *scans_below] if plan.get("Relation Name") == "scaling_decisions" else scans_below


async def test_reading_the_newest_decisions_reads_one_row_per_policy(populated: Database) -> None:
    values = {"namespaces": [key[0] for key in WATCHED], "policies": [key[1] for key in WATCHED]}
    plan = await execution_plan(populated, LAST_OF_EACH, values)
    (scan,) = table_scans(plan)
    assert scan["Index Name"] == "scaling_decisions_by_policy"
    assert scan["Actual Rows"] * scan["Actual Loops"] == len(WATCHED)
    assert scan.get("Rows Removed by Filter", 0) == 0
    # An index scan reads a few pages; the 2,000 decisions of one policy fill a hundred.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 12 * len(WATCHED)


async def test_the_newest_decision_of_each_policy_is_returned(populated: Database) -> None:
    last = await ScalingDecisions(populated).last_of_each([*WATCHED, ("shop", "without-decisions"), ("other", "p1")])
    assert {key: row.id for key, row in last.items()} == {key: f"{key[1]}-{DECISIONS_PER_POLICY}" for key in WATCHED}
