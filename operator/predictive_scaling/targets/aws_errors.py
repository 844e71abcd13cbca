"""The errors of AWS in the product's terms: what happened, to which group, what to do."""

from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from predictive_scaling.errors import (
    AWSAccessDeniedError,
    AWSBusyError,
    AWSThrottledError,
    AWSUnavailableError,
    PredictiveScalingError,
    TargetNotFoundError,
    TargetRefusedError,
)

EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_UNKNOWN_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "IDPRejectedClaim",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "OptInRequired",
        "RegionDisabledException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_THROTTLED = frozenset(
    {"RequestLimitExceeded", "RequestThrottled", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)
_BUSY = frozenset({"ResourceContention", "ScalingActivityInProgress"})
_ASSUME_ROLE = "AssumeRole"
_ASSUME_OWN_ROLE = "AssumeRoleWithWebIdentity"
"""How the SDK gets the operator's own credentials from the token of its service account (IRSA)."""
ACTIVITIES: Final = "describe_scaling_activities"
"""The read that only explains a late raise: its failure pauses no account."""


def explain(
    error: BotoCoreError | ClientError | OSError, operation: str, subject: str, account: str
) -> PredictiveScalingError:
    """Return the error to raise for a failed call. operation: as boto3 names it; subject: the group or groups."""
    action = "".join(word.capitalize() for word in operation.split("_"))
    call = f"{action} of {subject} in {account}"
    if isinstance(error, ClientError):
        return _explain_response(error, action, call)
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return AWSAccessDeniedError(
            f"{call}: the operator has no AWS credentials; give its pod a role (IRSA or Pod Identity), or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if isinstance(error, OSError) and lacks_credentials(error):
        return AWSAccessDeniedError(
            f"{call}: the operator cannot read its AWS credentials from {error.filename or 'a file'}: "
            f"{error.strerror or error}; mount the token of its service account there (IRSA), or correct "
            "AWS_WEB_IDENTITY_TOKEN_FILE"
        )
    return AWSUnavailableError(
        f"AWS did not respond to {call}; check the region and the operator's network. Cause: {error}"
    )


def lacks_credentials(error: BotoCoreError | OSError) -> bool:
    """Whether the SDK has no credentials: none are configured, or the file of them cannot be read."""
    if isinstance(error, BotoCoreError):  # a time-out of the SDK is an OSError, too
        return isinstance(error, (NoCredentialsError, PartialCredentialsError))
    return True


def concerns_account(error: BotoCoreError | ClientError | OSError, operation: str) -> bool:
    """Whether a failed call concerns every group of an account and region, not only the group that it was about.

    A refused write concerns its group only: permissions can be limited to groups, while each may be read or none.
    """
    if operation == ACTIVITIES:
        return False
    if not isinstance(error, ClientError):
        return True
    code = _code(error)
    if code in _DENIED:
        return operation.startswith("describe_") or error.operation_name in (_ASSUME_ROLE, _ASSUME_OWN_ROLE)
    return code in _THROTTLED | EXPIRED | _UNKNOWN_CREDENTIALS or _status(error) >= 500


def _explain_response(error: ClientError, action: str, call: str) -> PredictiveScalingError:
    code, message = _code(error), error.response.get("Error", {}).get("Message", "")
    if code in _THROTTLED:
        return AWSThrottledError(f"AWS throttled {call}; it is repeated with increasing pauses")
    if code in EXPIRED:
        return AWSAccessDeniedError(f"{call}: the AWS credentials expired and could not be renewed: {message}")
    if code in _DENIED | _UNKNOWN_CREDENTIALS:
        remedy = _remedy(code, error.operation_name, action)
        return AWSAccessDeniedError(
            f"AWS refused {call}; {remedy} (docs/auto-scaling-groups.md). Its message: {message}"
        )
    if code in _BUSY:
        return AWSBusyError(f"{call} waits for an activity or the cooldown of the group; it is repeated. {message}")
    if code == "ValidationError" and "not found" in message:
        return TargetNotFoundError(f"{call}: the group does not exist (any more): {message}")
    if _status(error) >= 500:
        return AWSUnavailableError(f"AWS failed to execute {call}; it is repeated. Its message: {code}: {message}")
    return TargetRefusedError(f"AWS refused {call}; its message: {code}: {message}")


def _remedy(code: str, source: str, action: str) -> str:
    """What to change. source: the operation that AWS refused, which may be one that gets the credentials."""
    if source == _ASSUME_OWN_ROLE:
        return (
            f"in the trust policy of the operator's own role, allow sts:{source} for the token of its service account "
            "and the cluster's OIDC provider"
        )
    if code in _UNKNOWN_CREDENTIALS:
        return "correct or replace the AWS credentials of the operator, and check that the region is enabled"
    return f"allow sts:{source} on the role" if source == _ASSUME_ROLE else f"allow autoscaling:{action}"


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
