"""Wrong and missing values of the chart: each message names the value and what is allowed."""

from typing import Any

import pytest

from tests.support.helm import CHART, REQUIRED, Helm


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"operator": {"replicas": "two"}}, "/operator/replicas': got string, want integer"),
        ({"operator": {"replicas": 0}}, "/operator/replicas': minimum: got 0, want 1"),
        ({"operater": {}}, "additional properties 'operater' not allowed"),
        ({"api": {"replica": 2}}, "/api': additional properties 'replica' not allowed"),
        ({"settings": {"tik": "30s"}}, "/settings': additional properties 'tik' not allowed"),
        ({"settings": {"tick": "half a minute"}}, "/settings/tick': 'half a minute' does not match pattern"),
        ({"settings": {"featureCount": 1}}, "/settings/featureCount': minimum: got 1, want 5"),
        ({"settings": {"logLevel": "loud"}}, "/settings/logLevel': value must be one of 'debug', 'info'"),
        ({"settings": {"databaseUrl": "postgresql://app:hunter2@db/x"}}, "'databaseUrl' not allowed"),
        ({"settings": {"awsRoles": {"shop": ["scaler"]}}}, "/settings/awsRoles/shop/0': 'scaler' does not match"),
        ({"image": {"digest": "latest"}}, "/image/digest': 'latest' does not match pattern"),
        ({"namespaces": "shop"}, "/namespaces': got string, want array"),
        ({"crds": {"enabled": "yes"}}, "/crds/enabled': got string, want boolean"),
        ({"trainer": {"every": "daily"}}, "/trainer/every': 'daily' does not match pattern"),
        ({"database": {"existingSecret": ""}}, "database.existingSecret is required: the name of a Secret whose key"),
        ({"kafka": {"bootstrapServers": ""}}, "kafka.bootstrapServers is required for ingest: set it to HOST:PORT"),
        ({"sources": [{"name": "prometheus", "kind": "prometheus", "url": "http://p"}]}, "missing property 'queries'"),
        ({"trainer": {"enabled": True}}, "set models.existingClaim or models.persistence.enabled"),
        ({"externalMetrics": {"enabled": True}}, "externalMetrics.certificateSecret is required"),
        ({"ingest": {"remoteWrite": {"enabled": True}}}, "ingest.remoteWrite.existingSecret is required"),
    ],
)
async def test_a_wrong_value_is_refused_with_its_path_and_what_is_allowed(
    helm: Helm, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssertionError) as refusal:
        await helm.template(values)
    assert message in str(refusal.value)


async def test_without_values_the_message_names_what_is_required(helm: Helm) -> None:
    assert REQUIRED.keys() == {"database", "kafka"}
    with pytest.raises(AssertionError, match=r"database\.existingSecret is required"):
        await helm("template", "predictive-scaling", CHART)
