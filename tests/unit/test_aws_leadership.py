"""No write reaches AWS after the lease was lost, or while the operator stops."""

import asyncio
import threading
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from predictive_scaling.errors import AWSUnavailableError, ClusterUnavailableError
from predictive_scaling.targets.aws_clients import Account, AWSClients
from tests.support.builders import a_policy
from tests.support.control import World
from tests.support.eventually import eventually

OWN, ASSUMED = Account("eu-west-1"), Account("eu-west-1", "arn:aws:iam::123456789012:role/scaling")
UPDATE, DESCRIBE = "update_auto_scaling_group", "describe_auto_scaling_groups"
GROUP: dict[str, Any] = {"AutoScalingGroupName": "web", "MinSize": 9}


class Network:
    """Takes requests to AWS, which time out."""

    def __init__(self, clients: AWSClients) -> None:
        self.clients = clients
        self.actions: list[str] = []
        self.leads = True
        self.loses_lease_with = ""
        self.responds = threading.Event()
        self.responds.set()
        clients.may_write = lambda: self.leads

    def send(self, request: AWSPreparedRequest) -> None:
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        (action,) = parse_qs(body)["Action"]
        self.actions.append(action)
        if action == self.loses_lease_with:
            self.leads = False
        self.responds.wait()
        raise ReadTimeoutError(endpoint_url=request.url)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    network = Network(AWSClients())

    def send(_: URLLib3Session, request: AWSPreparedRequest) -> None:
        network.send(request)

    monkeypatch.setattr(URLLib3Session, "send", send)
    return network


async def test_a_write_is_not_sent_without_the_lease(network: Network) -> None:
    network.leads = False
    with pytest.raises(ClusterUnavailableError, match="leadership was lost before UpdateAutoScalingGroup was sent"):
        await network.clients.call(OWN, UPDATE, "web", **GROUP)
    assert network.actions == []


async def test_a_write_is_not_repeated_after_the_lease_was_lost(network: Network) -> None:
    network.loses_lease_with = "UpdateAutoScalingGroup"
    with pytest.raises(ClusterUnavailableError, match="leadership was lost"):
        await network.clients.call(OWN, UPDATE, "web", **GROUP)
    assert network.actions == ["UpdateAutoScalingGroup"]


async def test_a_standby_reads_groups(network: Network) -> None:
    network.leads = False
    with pytest.raises(AWSUnavailableError, match="did not respond to DescribeAutoScalingGroups"):
        await network.clients.call(OWN, DESCRIBE, "web", AutoScalingGroupNames=["web"])
    assert set(network.actions) == {"DescribeAutoScalingGroups"}


@pytest.mark.parametrize("account", [OWN, ASSUMED])
async def test_a_closed_client_sends_nothing(network: Network, account: Account) -> None:
    await network.clients.close()
    for operation, parameters in ((UPDATE, GROUP), (DESCRIBE, {"AutoScalingGroupNames": ["web"]})):
        with pytest.raises(ClusterUnavailableError, match=f"the operator stops; {operation} is not sent"):
            await network.clients.call(account, operation, "web", **parameters)
    assert network.actions == []


async def test_closing_waits_for_the_requests_that_were_sent_and_repeats_none(network: Network) -> None:
    network.responds.clear()
    call = asyncio.create_task(network.clients.call(ASSUMED, UPDATE, "web", **GROUP))
    await eventually(lambda: has_sent(network))
    closing = asyncio.create_task(network.clients.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    network.responds.set()
    await closing
    with pytest.raises(ClusterUnavailableError, match="the operator stops; AssumeRole is not sent"):
        await call
    assert network.actions == ["AssumeRole"]


async def has_sent(network: Network) -> bool:
    return bool(network.actions)


async def test_the_operator_writes_to_aws_only_while_it_leads() -> None:
    world = World(a_policy())
    assert not world.aws.may_write()
    await world.leadership.campaign()
    assert world.aws.may_write()
    await world.leadership.release()
    assert not world.aws.may_write()
