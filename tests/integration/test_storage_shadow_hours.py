"""The table of what mode Auto would have done, on a real PostgreSQL."""

from dataclasses import replace
from datetime import timedelta

import pytest

from predictive_scaling.storage.database import Database
from predictive_scaling.storage.retention import Retention
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from predictive_scaling.storage.shadow_hours import HourDifference, ShadowAccount, ShadowHours
from tests.support.api_services import NOW, a_decision, a_shadow_hour

pytestmark = pytest.mark.integration

HOUR, WEEK = timedelta(hours=1), timedelta(days=7)


async def test_an_hour_is_returned_as_it_was_written(database: Database) -> None:
    table, row = ShadowHours(database), a_shadow_hour(demand=[0.1, None, *[812.3] * 58])
    await table.record([row, a_shadow_hour("cart")])
    assert await table.of_keys([row.key], row.since) == [row]
    assert await table.of_keys([row.key], row.since + HOUR) == []
    assert await table.of_policy("shop", "checkout", NOW - WEEK) == [row]


async def test_an_hour_is_replaced_unless_fewer_of_its_minutes_were_observed(database: Database) -> None:
    table, row = ShadowHours(database), a_shadow_hour()
    more = replace(row, observed_minutes=51, minutes_short=5.0)
    for written in (row, more, row):
        await table.record([written])
    assert await table.of_keys([row.key], row.since) == [more]


async def test_a_recreated_policy_and_another_target_begin_a_new_account(database: Database) -> None:
    table, row = ShadowHours(database), a_shadow_hour(hours_ago=2)
    await table.record([row])
    recreated = a_shadow_hour(policy_uid="u-2", observed_minutes=1)
    await table.record([recreated])
    assert [account.key for account in await table.accounts([row.key, recreated.key], NOW - WEEK)] == [
        row.key,
        recreated.key,
    ]
    assert await table.of_policy("shop", "checkout", NOW - WEEK) == [recreated]
    retargeted = replace(recreated, target="hpa/web", observed_minutes=0)
    await table.record([retargeted])
    assert await table.of_keys([recreated.key], NOW - WEEK) == []


async def test_an_account_sums_up_the_window_and_names_the_three_largest_hours(database: Database) -> None:
    table, decisions = ShadowHours(database), ScalingDecisions(database)
    hours = [
        a_shadow_hour(hours_ago=1, auto_minutes_short=4.0, auto_replica_hours=4.0),
        a_shadow_hour(hours_ago=2, auto_minutes_short=1.0),
        a_shadow_hour(hours_ago=3, auto_minutes_short=9.0),
        a_shadow_hour(hours_ago=4, auto_minutes_short=4.0, auto_replica_hours=9.0),
        a_shadow_hour(hours_ago=5, auto_minutes_short=4.0, auto_replica_hours=3.0),
        a_shadow_hour(hours_ago=168, auto_minutes_short=100.0),
    ]
    await table.record([*hours, a_shadow_hour("cart", auto_minutes_short=4.0, auto_replica_hours=4.0)])
    for id_, changes in {
        "counted": {"created_at": NOW - 2 * HOUR},
        "applied": {"created_at": NOW - 2 * HOUR, "status": "succeeded"},
        "of-another-policy": {"created_at": NOW - 2 * HOUR, "policy_uid": "u-9"},
        "earlier": {"created_at": NOW - 6 * HOUR},
    }.items():
        await decisions.intend(a_decision(id_, **{"status": "recommended", **changes}))
    checkout, cart = hours[0].key, a_shadow_hour("cart").key
    accounts = {account.key: account for account in await table.accounts([cart, checkout], NOW - WEEK)}
    assert accounts[checkout] == ShadowAccount(
        key=checkout,
        since=NOW - 5 * HOUR,
        until=NOW - timedelta(minutes=10),
        covered_minutes=250,
        minutes_short=20.0,
        auto_minutes_short=22.0,
        replica_hours=20.0,
        auto_replica_hours=25.0,
        decisions=1,
        largest=(
            HourDifference(NOW - 3 * HOUR, -5.0, 0.5),
            HourDifference(NOW - 2 * HOUR, 3.0, 0.5),
            HourDifference(NOW - 4 * HOUR, 0.0, 5.0),
        ),
    )
    assert accounts[cart].largest == ()


async def test_hours_are_deleted_with_their_policy_and_by_retention(database: Database) -> None:
    table = ShadowHours(database)
    unwatched = a_shadow_hour("checkout", namespace="other")
    await table.record([a_shadow_hour(), a_shadow_hour("cart"), a_shadow_hour("cart", hours_ago=24 * 31), unwatched])
    await table.forget_others([("shop", "checkout", "u-2"), ("shop", "cart", "u-1")], ["shop"])
    assert await table.of_policy("shop", "checkout", NOW - WEEK) == []
    assert len(await table.of_policy("other", "checkout", NOW - WEEK)) == 1
    await table.forget_others([("shop", "cart", "u-1")], None)
    assert await table.of_policy("other", "checkout", NOW - WEEK) == []
    removed = await Retention(database, raw=timedelta(days=30), rollups=timedelta(days=400)).apply(NOW)
    assert removed.rows["shadow_hours"] == 1
    assert len(await table.of_keys([a_shadow_hour("cart").key], NOW - timedelta(days=60))) == 1
