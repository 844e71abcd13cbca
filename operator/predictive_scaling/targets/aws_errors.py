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
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    }
)
_THROTTLED = frozenset(
    {"RequestLimitExceeded", "RequestThrottled", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)
OF_ACCOUNT: Final = (AWSThrottledError, AWSAccessDeniedError, AWSUnavailableError)
"""Errors that concern every group of an account and region, not only one group."""
_BUSY = frozenset({"ResourceContention", "ScalingActivityInProgress"})
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError)


def explain(error: BotoCoreError | ClientError, operation: str, subject: str, account: str) -> PredictiveScalingError:
    """Return the error to raise for a failed call. operation: as boto3 names it; subject: the group or groups."""
    action = "".join(word.capitalize() for word in operation.split("_"))
    call = f"{action} of {subject} in {account}"
    if isinstance(error, ClientError):
        return _explain_response(error, action, call)
    if isinstance(error, _NO_CREDENTIALS):
        return AWSAccessDeniedError(
            f"{call}: the operator has no AWS credentials; give its pod a role (IRSA or Pod Identity), or set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return AWSUnavailableError(
        f"AWS did not respond to {call}; check the region and the operator's network. Cause: {error}"
    )


def _explain_response(error: ClientError, action: str, call: str) -> PredictiveScalingError:
    answer = error.response.get("Error", {})
    code, said = answer.get("Code", ""), answer.get("Message", "")
    if code in _THROTTLED:
        return AWSThrottledError(f"AWS throttled {call}; it is repeated with increasing pauses")
    if code in EXPIRED:
        return AWSAccessDeniedError(f"{call}: the AWS credentials expired and could not be renewed: {said}")
    if code in _DENIED:
        source = error.operation_name
        needed = f"allow sts:{source} on the role" if source == "AssumeRole" else f"allow autoscaling:{action}"
        return AWSAccessDeniedError(f"AWS refused {call}; {needed} (docs/auto-scaling-groups.md). Its message: {said}")
    if code in _BUSY:
        return AWSBusyError(f"{call} waits for an activity or the cooldown of the group; it is repeated. {said}")
    if code == "ValidationError" and "not found" in said:
        return TargetNotFoundError(f"{call}: the group does not exist (any more): {said}")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= 500:
        return AWSUnavailableError(f"AWS failed to execute {call}; it is repeated. Its message: {code}: {said}")
    return TargetRefusedError(f"AWS refused {call}; its message: {code}: {said}")
