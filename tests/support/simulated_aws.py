"""Auto Scaling in memory behind boto3's interface: responses wait, or fail, when a test says so."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from predictive_scaling.targets import aws_clients
from predictive_scaling.targets.aws_clients import Account
from tests.support.eventually import eventually

Json = dict[str, Any]


class SimulatedAWS:
    """The client of every account. Its methods run in the operator's threads."""

    def __init__(self) -> None:
        self.groups: dict[str, Json] = {}
        self.written: list[tuple[str, Json]] = []
        """The writes that took effect, as operation and parameters, in order."""
        self.error: Exception | None = None
        """What every operation fails with, once its gate is open."""
        self.errors: dict[str, Exception] = {}
        """What single operations fail with, once their gate is open."""
        self.capacity = 1_000_000
        """The number of instances that can be started in each group."""
        self.activities: list[Json] = []
        """Of every group, newest first."""
        self.activity_reads: list[str] = []
        """The groups whose activities were read, in order."""
        self.loses_responses = False
        """Whether writes take effect and their responses are lost."""
        self._gates: dict[str, threading.Event] = {}
        self._waiting: list[str] = []
        """The operation of each call that waits."""

    def create(self, name: str, *, minimum: int = 2, maximum: int = 40) -> None:
        """Create a group, whose instances are in service at once."""
        arn = f"arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:{name}:autoScalingGroupName/{name}"
        self.groups[name] = {
            "AutoScalingGroupName": name,
            "AutoScalingGroupARN": arn,
            "MinSize": minimum,
            "MaxSize": maximum,
            "DesiredCapacity": minimum,
        }

    def hold(self, operation: str) -> None:
        """Let calls of an operation wait before a write takes effect, and after a read was made."""
        self._gates[operation] = threading.Event()

    def release(self, operation: str) -> None:
        """Let the waiting calls of an operation continue."""
        self._gates.pop(operation).set()

    async def wait_for_calls(self, operation: str, count: int = 1) -> None:
        """Return once so many calls of a held operation wait."""

        async def is_reached() -> bool:
            return self._waiting.count(operation) == count

        await eventually(is_reached, interval_seconds=0.005)

    async def wait(self, call: asyncio.Future[Json], request: Any, seconds: float) -> None:
        """In place of the operator's wait for a call: only a call that a test holds takes longer than `seconds`.

        request: what the operator keeps of the call; it has a future as soon as it has a slot of its account.
        """

        async def is_held_or_done() -> bool:
            return call.done() or request.operation in self._waiting

        await asyncio.wait({call}, timeout=seconds)
        if request.future is not None:
            await eventually(is_held_or_done, interval_seconds=0.005)

    def describe_auto_scaling_groups(self, AutoScalingGroupNames: list[str], **_: Any) -> Json:  # noqa: N803
        described = [
            _running(self.groups[name], self.capacity) for name in AutoScalingGroupNames if name in self.groups
        ]
        self._wait("describe_auto_scaling_groups")
        return {"AutoScalingGroups": described}

    def describe_scaling_activities(self, AutoScalingGroupName: str, **_: Any) -> Json:  # noqa: N803
        self.activity_reads.append(AutoScalingGroupName)
        self._wait("describe_scaling_activities")
        return {"Activities": list(self.activities)}

    def update_auto_scaling_group(self, **parameters: Any) -> Json:
        self._write("update_auto_scaling_group", parameters, {"MinSize": parameters["MinSize"]})
        return {}

    def set_desired_capacity(self, **parameters: Any) -> Json:
        self._write("set_desired_capacity", parameters, {"DesiredCapacity": parameters["DesiredCapacity"]})
        return {}

    def _write(self, operation: str, parameters: Json, fields: Json) -> None:
        self._wait(operation)
        self.written.append((operation, parameters))
        group = self.groups[parameters["AutoScalingGroupName"]]
        group.update(fields)
        group["DesiredCapacity"] = max(group["DesiredCapacity"], group["MinSize"])
        if self.loses_responses:
            raise ReadTimeoutError(endpoint_url="https://autoscaling.eu-west-1.amazonaws.com")

    def _wait(self, operation: str) -> None:
        gate = self._gates.get(operation)
        if gate is not None:
            self._waiting.append(operation)
            gate.wait()
            self._waiting.remove(operation)
        error = self.errors.get(operation, self.error)
        if error is not None:
            raise error


class Connection:
    """What the operator keeps of a client; its credentials are not renewed."""

    renew_at = None

    def __init__(self, client: SimulatedAWS) -> None:
        self.client = client

    def __call__(self, _account: Account, _check_send: Callable[..., None]) -> "Connection":
        return self


class ImmediateExecutor(Executor):
    """Runs each call at once, in the thread that submits it."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        """Take what a ThreadPoolExecutor takes."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = Future[Any]()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def use_simulated_aws(monkeypatch: pytest.MonkeyPatch, *, pauses: bool = False, threads: bool = True) -> SimulatedAWS:
    """Let every AWS client be one of a simulated AWS with the group web, and return it.

    pauses: whether the operator pauses after a failure, as in production. threads: whether its calls run in threads,
    which a test needs that holds calls; otherwise each turn of the control loop has the results of its calls.
    """
    simulated = SimulatedAWS()
    simulated.create("web")
    monkeypatch.setattr(aws_clients, "_connect", Connection(simulated))
    monkeypatch.setattr(aws_clients, "_wait", simulated.wait)
    if not threads:
        monkeypatch.setattr(aws_clients, "ThreadPoolExecutor", ImmediateExecutor)
    if not pauses:
        monkeypatch.setattr(aws_clients, "_FIRST_PAUSE_SECONDS", 0.0)
    return simulated


def a_refusal(code: str, operation: str, status: int = 400, message: str = "injected") -> ClientError:
    """An error response of AWS."""
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[arg-type]
        operation,
    )


def an_activity(message: str = "", *, ago_seconds: float = 0.0, **fields: Any) -> Json:
    """A failed launch with the message of AWS, or a successful one without."""
    return {
        "ActivityId": "5cc5a714",
        "Description": "Launching a new EC2 instance",
        "Cause": "At 2026-11-27T12:00:00Z an instance was started in response to a difference between desired "
        "and actual capacity, increasing the capacity from 2 to 9.",
        "StartTime": datetime.now(UTC) - timedelta(seconds=ago_seconds),
        "StatusCode": "Failed" if message else "Successful",
        "StatusMessage": message,
    } | fields


def _running(group: Json, capacity: int) -> Json:
    instance = {"LifecycleState": "InService", "HealthStatus": "Healthy"}
    return {"Instances": [instance] * min(group["DesiredCapacity"], capacity)} | group
