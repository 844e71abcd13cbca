"""Calls to AWS in threads of their own: credentials, time-outs, retries, back-off per account and region."""

import asyncio
import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import (
    AWSUnavailableError,
    PredictiveScalingError,
    RequestFailedError,
    TargetUnsupportedError,
)
from predictive_scaling.targets.aws_errors import EXPIRED, OF_ACCOUNT, explain

log = structlog.get_logger(__name__)

Json = dict[str, Any]

ROLES_SETTING: Final = "PREDICTIVE_SCALING_AWS_ROLES"
ALL_NAMESPACES: Final = "*"

_THREADS = 16
_CALLS_PER_ACCOUNT = 4
_SESSION_SECONDS = 900
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
    failures: int
    until: float
    """Monotonic second."""


class AWSClients:
    """Clients of all accounts. Creating it makes no call and reads no credentials."""

    def __init__(self, roles: Mapping[str, Sequence[str]] | None = None) -> None:
        """Roles: for each namespace, or `*` for all, the ARNs that its policies may name."""
        self._roles = roles or {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aws")
        self._locks: dict[Account, threading.Lock] = {}
        self._clients: dict[Account, _Client] = {}
        self._pauses: dict[Account, _Pause] = {}
        self._slots: dict[Account, asyncio.Semaphore] = {}

    def account(self, namespace: str, region: str, role_arn: str | None) -> Account:
        """Return the account of a policy. Raises TargetUnsupportedError for a role that its namespace may not use."""
        allowed = [*self._roles.get(namespace, ()), *self._roles.get(ALL_NAMESPACES, ())]
        if role_arn is not None and role_arn not in allowed:
            raise TargetUnsupportedError(
                f"policies of namespace {namespace} may not assume {role_arn}; "
                f"allowed: {', '.join(allowed) or 'none'}. Add the role to {ROLES_SETTING} of the operator, or correct "
                "spec.target.autoScalingGroup.roleArn"
            )
        return Account(region, role_arn)

    async def call(self, account: Account, operation: str, subject: str, **parameters: Any) -> Json:
        """Call an operation of Auto Scaling, such as `describe_auto_scaling_groups`, and return its response.

        subject: the group or groups, for messages. Throttled calls are retried with back-off. While an account is in
        back-off after a failure, no call is made. Raises what aws_errors.explain returns.
        """
        self._check_pause(account)
        slots = self._slots.setdefault(account, asyncio.Semaphore(_CALLS_PER_ACCOUNT))
        async with slots:
            self._check_pause(account)  # it may have begun while this call waited
            loop = asyncio.get_running_loop()
            try:
                response = await loop.run_in_executor(self._threads, self._call, account, operation, parameters)
            except (BotoCoreError, ClientError) as error:
                explained = explain(error, operation, subject, str(account))
                self._note(account, explained)
                raise explained from error
        self._pauses.pop(account, None)
        return response

    async def call_within(
        self, seconds: float, account: Account, operation: str, subject: str, **parameters: Any
    ) -> Json:
        """Call an operation, but wait at most `seconds` (real time). A call that takes longer continues.

        Raises AWSUnavailableError after that time, otherwise as `call`.
        """
        call = asyncio.ensure_future(self.call(account, operation, subject, **parameters))
        await asyncio.wait({call}, timeout=seconds)
        if call.done():
            return call.result()
        call.add_done_callback(lambda late: None if late.cancelled() else late.exception())
        error = AWSUnavailableError(
            f"AWS did not respond to {operation} of {subject} in {account} within {seconds:g} s; it is repeated"
        )
        self._note(account, error)
        raise error

    def _check_pause(self, account: Account) -> None:
        """Raise a new error each time: a shared one would collect the tracebacks of all policies."""
        pause = self._pauses.get(account)
        seconds = 0.0 if pause is None else pause.until - monotonic()
        if pause is not None and seconds > 0:
            raise type(pause.error)(str(pause.error), retry_after_seconds=seconds)

    def _note(self, account: Account, error: PredictiveScalingError) -> None:
        """Start or prolong the back-off of an account, unless the error concerns a single group."""
        if not isinstance(error, OF_ACCOUNT):
            return
        before, now = self._pauses.get(account), monotonic()
        if before is not None and now < before.until:
            return  # a call that was made before the pause
        failures = before.failures if before is not None else 0
        seconds = min(_FIRST_PAUSE_SECONDS * 2 ** min(failures, _MAX_DOUBLINGS), _MAX_PAUSE_SECONDS)
        self._pauses[account] = _Pause(error, failures + 1, now + seconds * random.uniform(0.8, 1.2))
        log.warning("aws_paused", account=str(account), seconds=round(seconds), reason=error.reason, error=str(error))

    def _call(self, account: Account, operation: str, parameters: Json) -> Json:
        """In a thread. Credentials that expired meanwhile are renewed once."""
        try:
            return getattr(self._client(account), operation)(**parameters)
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
                known = self._clients[account] = _connect(account)
            return known.client


def _connect(account: Account) -> _Client:
    session = boto3.Session(region_name=account.region)
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


def _config() -> Config:
    """Limits of a call: three attempts of at most six seconds, spaced by the client's own rate limiter."""
    return Config(
        connect_timeout=2,
        read_timeout=4,
        retries={"mode": "adaptive", "total_max_attempts": 3},
        max_pool_connections=_CALLS_PER_ACCOUNT,
        user_agent_extra="predictive-scaling",
    )
