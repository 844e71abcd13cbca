"""External metrics without a server: quantities, selectors, values, trust and registration."""

import contextlib
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.errors import SettingsError
from predictive_scaling.external_metrics.documents import format_quantity
from predictive_scaling.external_metrics.registration import (
    API_SERVICE,
    ServiceReference,
    manifests,
    require_no_other_owner,
)
from predictive_scaling.external_metrics.selector import SelectorError, parse_selector
from predictive_scaling.external_metrics.trust import AggregatorTrust, read_trust
from predictive_scaling.external_metrics.values import ExternalMetricStore, Metric, MetricValue, Reading

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (820.0, "820"),
        (1234.5, "1234500m"),
        (0.1, "100m"),
        (0.30000000000000004, "300m"),
        (0.0004, "0"),
        (0.0006, "1m"),
        (1e15, "1000000000000000"),
        (9e15, "9000000000000000"),
    ],
)
def test_a_quantity_is_rounded_to_a_thousandth(value: float, written: str) -> None:
    assert format_quantity(value) == written


@given(st.floats(min_value=0, max_value=9e15))
def test_a_quantity_survives_a_round_trip_and_has_no_exponent(value: float) -> None:
    text = format_quantity(value)
    read = int(text[:-1]) / 1000 if text.endswith("m") else int(text)
    assert read == pytest.approx(value, abs=0.0005, rel=1e-12)


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        ("", True),
        ("  ", True),
        ("policy=checkout", True),
        ("policy==checkout", True),
        ("policy = checkout , service = web", True),
        ("policy=cart", False),
        ("policy!=cart", True),
        ("policy!=checkout", False),
        ("tier!=gold", True),
        ("policy in (cart, checkout)", True),
        ("policy in (cart)", False),
        ("policy notin (cart)", True),
        ("policy notin (cart,checkout)", False),
        ("tier notin (gold)", True),
        ("tier in (gold)", False),
        ("tier in ()", False),
        ("tier=", False),
        ("policy", True),
        ("tier", False),
        ("!tier", True),
        ("!policy", False),
        ("policy in (cart, checkout),service=web,!tier", True),
        ("example.com/policy", False),
    ],
)
def test_selectors_match_as_in_kubernetes(selector: str, selects: bool) -> None:
    assert parse_selector(selector).matches({"policy": "checkout", "service": "web"}) is selects


@pytest.mark.parametrize(
    "selector",
    ["policy=checkout,", ",", "=checkout", "policy in checkout", "policy in (a", "po licy", "policy=a=b", "!",
     "policy>", "-policy", "policy=-a", "p" * 64, "a=" + "v" * 64, "a,b" * 2000, "policyin(a)", "ключ=1"],
)  # fmt: skip
def test_an_invalid_selector_is_refused(selector: str) -> None:
    with pytest.raises(SelectorError, match=r"^labelSelector: "):
        parse_selector(selector)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_raises_a_selector_error(text: str) -> None:
    with contextlib.suppress(SelectorError):
        parse_selector(text).matches({"policy": "checkout"})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e16])
def test_values_that_an_hpa_cannot_use_are_not_served(value: float) -> None:
    assert not Reading(value, NOW, NOW + timedelta(minutes=5)).serves_at(NOW)


def test_a_reading_is_served_until_it_expires() -> None:
    reading = Reading(0.0, NOW, NOW + timedelta(minutes=5))
    assert reading.serves_at(NOW + timedelta(minutes=4, seconds=59))
    assert not reading.serves_at(NOW + timedelta(minutes=5))


def test_the_store_has_each_policy_of_a_namespace_until_it_is_forgotten() -> None:
    store, reading = ExternalMetricStore(), Reading(820.0, NOW, NOW + timedelta(minutes=5))
    store.publish("shop", "checkout", "web", demand=reading, forecast=None)
    store.publish("shop", "cart", "cart", demand=None, forecast=None)
    store.publish("other", "checkout", "web", demand=None, forecast=None)
    assert store.values("shop", Metric.DEMAND) == [
        MetricValue("cart", "cart", None),
        MetricValue("checkout", "web", reading),
    ]
    assert store.values("shop", Metric.FORECAST)[1] == MetricValue("checkout", "web", None)
    store.remove("shop", "cart")
    store.remove("shop", "checkout")
    store.remove("shop", "checkout")
    assert store.values("shop", Metric.DEMAND) == []
    assert len(store.values("other", Metric.DEMAND)) == 1


def test_trust_is_read_from_the_clusters_config_map() -> None:
    trust = read_trust({"requestheader-client-ca-file": "PEM", "requestheader-allowed-names": '["front-proxy-client"]'})
    assert trust == AggregatorTrust("PEM\n", ("front-proxy-client",))
    assert trust.admits({"subject": ((("organizationName", "x"),), (("commonName", "front-proxy-client"),))})
    assert not trust.admits({"subject": ((("commonName", "bob"),),)})
    assert not trust.admits(None)
    assert AggregatorTrust("PEM").admits({"subject": ((("commonName", "bob"),),)})


@pytest.mark.parametrize(
    ("config_map", "message"),
    [
        ({}, "ConfigMap kube-system/extension-apiserver-authentication has no requestheader-client-ca-file"),
        (
            {"requestheader-client-ca-file": "PEM", "requestheader-allowed-names": "bob"},
            "requestheader-allowed-names is",
        ),
    ],
)
def test_a_cluster_without_an_aggregation_layer_is_refused(config_map: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_trust(config_map)


def test_an_api_service_of_another_server_is_never_replaced() -> None:
    own_service = ServiceReference("scaling", "predictive-scaling-metrics")
    keda = {
        "metadata": {"annotations": {"meta.helm.sh/release-name": "keda"}},
        "spec": {"service": {"namespace": "keda", "name": "keda-operator-metrics-apiserver"}},
    }
    with pytest.raises(SettingsError, match=r"belongs to keda/keda-operator-metrics-apiserver \(Helm release keda\)"):
        require_no_other_owner(keda, own_service)
    with pytest.raises(SettingsError, match="belongs to the API server itself"):
        require_no_other_owner({"spec": {"service": None}}, own_service)


def test_a_missing_or_own_api_service_is_accepted() -> None:
    own_service = ServiceReference("scaling", "predictive-scaling-metrics")
    service, registration = manifests(own_service, b"PEM")
    require_no_other_owner(None, own_service)
    require_no_other_owner(registration, own_service)
    assert registration["metadata"]["name"] == API_SERVICE == "v1beta1.external.metrics.k8s.io"
    assert registration["spec"]["caBundle"] == "UEVN"
    assert service["spec"]["ports"][0] == {"name": "external-metrics", "port": 443, "targetPort": 8443}
