"""Calls to AWS in threads of their own: credentials, time-outs, retries, back-off per account and region."""

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import (
    AWSUnavailableError,
    ClusterUnavailableError,
    RequestFailedError,
    TargetUnsupportedError,
)
from predictive_scaling.resources.namespace_patterns import ALL_NAMESPACES, UNRESTRICTED, NamespacePatterns
from predictive_scaling.targets.aws_errors import EXPIRED, concerns_account, explain, lacks_credentials

if TYPE_CHECKING:
    from botocore.config import Config

log = structlog.get_logger(__name__)

Json = dict[str, Any]

ROLES_SETTING: Final = "PREDICTIVE_SCALING_AWS_ROLES"
GROUPS_SETTING: Final = "PREDICTIVE_SCALING_AWS_GROUPS"

_READS = ("Describe", "AssumeRole")
"""Beginnings of the names of operations that change nothing in an account."""
_ALL_GROUPS = "groups"
"""Subject of an error that every namespace sees: it names no group of another namespace."""
_THREADS = 16
_CALLS_PER_ACCOUNT = 4
_SESSION_SECONDS = 900
_CONNECT_SECONDS, _READ_SECONDS = 2, 4
"""Validity of assumed credentials: the minimum of AWS, which every role allows."""
_RENEWED_AFTER = 2 / 3
_FIRST_PAUSE_SECONDS = 5.0
_MAX_PAUSE_SECONDS = 300.0
_MAX_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Account:
    """An account in a region, as one set of credentials reaches it. Its calls share one request quota of AWS."""

    region: str
    role_arn: str | None = None
    """Role to assume; None for the operator's own credentials."""

    @property
    def number(self) -> str | None:
        """Number of the AWS account; None for that of the operator's own credentials, which no setting names."""
        return self.role_arn.split(":")[4] if self.role_arn is not None else None

    def __str__(self) -> str:
        return f"{self.region} as {self.role_arn or 'the operator'}"


@dataclass(slots=True)
class _Client:
    client: Any
    renew_at: float | None
    """Monotonic second at which assumed credentials are renewed; None for the operator's own."""


@dataclass(frozen=True, slots=True)
class _Pause:
    """Back-off of an account, longer after each failure in a row."""

    error: RequestFailedError
    """Names no group: the policies of every namespace that uses the account show it."""
    failures: int
    until: float
    """Monotonic second."""


@dataclass(slots=True)
class _Request:
    """A call on its way through our own queue to a thread."""

    account: Account
    operation: str
    subject: str
    parameters: Json
    future: "Future[Json] | None" = None
    """None while it waits for a slot of its account."""
    began_at: float | None = None
    """Monotonic second at which a thread began it."""

    def withdraw(self) -> bool:
        """Whether it had not begun; then it never does."""
        return self.future is None or self.future.cancel()


class AWSClients:
    """Clients of all accounts. Creating it makes no call and reads no credentials."""

    def __init__(
        self, roles: Mapping[str, Sequence[str]] | None = None, groups: NamespacePatterns = UNRESTRICTED
    ) -> None:
        """Roles: for each namespace, or `*` for all, the ARNs that its policies may name. groups: NAME, REGION:NAME."""
        self.may_write: Callable[[], bool] = lambda: True
        """Whether this process leads; called in threads."""
        self._is_closed = False
        self._roles = roles or {}
        self._groups = groups
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aws")
        self._locks: dict[Account, threading.Lock] = {}
        self._clients: dict[Account, _Client] = {}
        self._pauses: dict[Account, _Pause] = {}
        self._slots: dict[Account, asyncio.Semaphore] = {}

    def account(self, namespace: str, group: str, region: str, role_arn: str | None) -> Account:
        """Return the account of a group. Raises TargetUnsupportedError if the namespace may not use role or group."""
        allowed = [*self._roles.get(namespace, ()), *self._roles.get(ALL_NAMESPACES, ())]
        if role_arn is not None and role_arn not in allowed:
            raise TargetUnsupportedError(
                f"policies of namespace {namespace} may not assume {role_arn}; "
                f"allowed: {', '.join(allowed) or 'none'}. Add the role to {ROLES_SETTING} of the operator, or correct "
                "spec.target.autoScalingGroup.roleArn"
            )
        if not self._groups.allows(namespace, group, f"{region}:{group}"):
            raise TargetUnsupportedError(
                f'policies of namespace {namespace} may not scale Auto Scaling group "{group}" in {region}; '
                f"allowed: {', '.join(self._groups.allowed(namespace)) or 'none'}. Add the group to {GROUPS_SETTING} "
                "of the operator, or correct name and region in spec.target.autoScalingGroup"
            )
        return Account(region, role_arn)

    async def call(self, account: Account, operation: str, subject: str, **parameters: Any) -> Json:
        """Call an operation of Auto Scaling, such as `describe_auto_scaling_groups`, and return its response.

        subject: the group or groups, for messages. Throttled calls are retried with back-off. While an account is in
        back-off after a failure, no call is made. Raises what aws_errors.explain returns.
        """
        return await self._send(_Request(account, operation, subject, parameters))

    async def call_within(
        self,
        seconds: float,
        account: Account,
        operation: str,
        subject: str,
        *,
        ended: Callable[[bool], None] | None = None,
        **parameters: Any,
    ) -> Json:
        """Call an operation, but wait at most `seconds` (real time) for AWS. A call that takes longer continues.

        A call that no thread began within `seconds` is not made: other calls of the operator to this account precede
        it. ended: called when the call has ended, maybe much later, with whether it succeeded.
        Raises AWSUnavailableError after that time, otherwise as `call`.
        """
        request = _Request(account, operation, subject, parameters)
        call = asyncio.ensure_future(self._send(request))
        call.add_done_callback(lambda done: _end(done, ended))
        await _wait(call, request, seconds)
        if not call.done() and request.began_at is None and request.withdraw():
            call.cancel()
            raise AWSUnavailableError(
                f"{operation} of {subject} in {account} was not sent: it waited {seconds:g} s for earlier calls of the "
                "operator; it is repeated"
            )
        if not call.done():
            began_at = request.began_at or monotonic()
            await _wait(call, request, max(0.0, began_at + seconds - monotonic()))
        if call.done():
            return call.result()
        self._pause(account, _unanswered(request, _ALL_GROUPS, seconds))
        raise _unanswered(request, subject, seconds)

    async def close(self) -> None:
        """Send no further request, and wait for the responses to those that were sent: for one attempt of each."""
        self._is_closed = True
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def _check_open(self, operation: str) -> None:
        if self._is_closed:
            raise ClusterUnavailableError(f"the operator stops; {operation} is not sent to AWS")

    def _check_send(self, event_name: str, **_: Any) -> None:
        """In a thread, before each attempt of a request is sent. Raises ClusterUnavailableError if it may not be sent.

        event_name: of the SDK, such as before-send.auto-scaling.UpdateAutoScalingGroup. A call waits for threads,
        credentials and earlier attempts, longer than a lease is valid, and a thread cannot be cancelled.
        """
        operation = event_name.rpartition(".")[2]
        self._check_open(operation)
        if not operation.startswith(_READS) and not self.may_write():
            raise ClusterUnavailableError(f"leadership was lost before {operation} was sent to AWS; not sent")

    async def _send(self, request: _Request) -> Json:
        account, operation = request.account, request.operation
        self._check_pause(account)
        slots = self._slots.setdefault(account, asyncio.Semaphore(_CALLS_PER_ACCOUNT))
        async with slots:
            self._check_pause(account)  # it may have begun while this call waited
            self._check_open(operation)
            request.future = self._threads.submit(self._call, request)
            try:
                response = await asyncio.wrap_future(request.future)
            except (BotoCoreError, ClientError, OSError) as error:  # OSError: a file of credentials
                of_account = explain(error, operation, _ALL_GROUPS, str(account))
                if concerns_account(error, operation) and isinstance(of_account, RequestFailedError):
                    self._pause(account, of_account)
                raise explain(error, operation, request.subject, str(account)) from error
        self._pauses.pop(account, None)
        return response

    def _check_pause(self, account: Account) -> None:
        """Raise a new error each time: a shared one would collect the tracebacks of all policies."""
        pause = self._pauses.get(account)
        seconds = 0.0 if pause is None else pause.until - monotonic()
        if pause is not None and seconds > 0:
            raise type(pause.error)(str(pause.error), retry_after_seconds=seconds)

    def _pause(self, account: Account, error: RequestFailedError) -> None:
        """Start or prolong the back-off of an account."""
        before, now = self._pauses.get(account), monotonic()
        if before is not None and now < before.until:
            return  # a call that was made before the pause
        failures = before.failures if before is not None else 0
        seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(failures, _MAX_DOUBLINGS), _MAX_PAUSE_SECONDS)
        self._pauses[account] = _Pause(error, failures + 1, now + seconds * random.uniform(0.8, 1.2))
        log.warning("aws_paused", account=str(account), seconds=round(seconds), reason=error.reason, error=str(error))

    def _call(self, request: _Request) -> Json:
        """In a thread. Credentials that expired or were missing at the first call are read again."""
        request.began_at = monotonic()
        account, operation, parameters = request.account, request.operation, request.parameters
        try:
            return getattr(self._client(account), operation)(**parameters)
        except (BotoCoreError, OSError) as error:
            if lacks_credentials(error):
                # A client keeps the credentials of its creation, or their absence: the next call creates another.
                self._clients.pop(account, None)
            raise
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in EXPIRED:
                raise
        self._clients.pop(account, None)
        return getattr(self._client(account), operation)(**parameters)

    def _client(self, account: Account) -> Any:
        """In a thread. Each account has its own session, which is not thread-safe while it creates a client."""
        with self._locks.setdefault(account, threading.Lock()):
            known = self._clients.get(account)
            if known is None or (known.renew_at is not None and monotonic() >= known.renew_at):
                known = self._clients[account] = _connect(account, self._check_send)
            return known.client


async def _wait(call: "asyncio.Future[Json]", _request: _Request, seconds: float) -> None:
    """Return when the call has ended or `seconds` have passed."""
    await asyncio.wait({call}, timeout=seconds)


def _end(call: "asyncio.Future[Json]", ended: Callable[[bool], None] | None) -> None:
    succeeded = not call.cancelled() and call.exception() is None
    if ended is not None:
        ended(succeeded)


def _unanswered(request: _Request, subject: str, seconds: float) -> AWSUnavailableError:
    return AWSUnavailableError(
        f"AWS did not respond to {request.operation} of {subject} in {request.account} within {seconds:g} s; it is "
        "repeated"
    )


def _connect(account: Account, check_send: Callable[..., None]) -> _Client:
    # Only policies of Auto Scaling groups need the SDK, which takes long to import.
    import boto3

    session = boto3.Session(region_name=account.region)
    # Clients copy the handlers of their session.
    session.events.register_first("before-send", check_send)
    if account.role_arn is None:
        return _Client(session.client("autoscaling", config=_config()), None)
    assumed = session.client("sts", config=_config()).assume_role(
        RoleArn=account.role_arn, RoleSessionName="predictive-scaling", DurationSeconds=_SESSION_SECONDS
    )["Credentials"]
    client = session.client(
        "autoscaling",
        config=_config(),
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )
    return _Client(client, monotonic() + _RENEWED_AFTER * _SESSION_SECONDS)


def _config() -> "Config":
    """Limits of a call: three attempts of at most six seconds, spaced by the client's own rate limiter."""
    from botocore.config import Config

    return Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "adaptive", "total_max_attempts": 3},
        max_pool_connections=_CALLS_PER_ACCOUNT,
        user_agent_extra="predictive-scaling",
    )
