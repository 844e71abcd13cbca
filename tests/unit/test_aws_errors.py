"""A refused call to AWS names the permission or the credentials to correct."""

import pytest
from botocore.exceptions import BotoCoreError, ConnectTimeoutError, ReadTimeoutError, SSLError

from predictive_scaling.errors import AWSAccessDeniedError, AWSUnavailableError
from predictive_scaling.targets.aws_errors import concerns_account, explain
from tests.support.simulated_aws import a_refusal

DESCRIBE, UPDATE = "describe_auto_scaling_groups", "update_auto_scaling_group"


@pytest.mark.parametrize(
    ("code", "source", "remedy"),
    [
        ("AccessDenied", "UpdateAutoScalingGroup", "allow autoscaling:UpdateAutoScalingGroup"),
        ("AccessDenied", "AssumeRole", "allow sts:AssumeRole on the role"),
        ("AccessDenied", "AssumeRoleWithWebIdentity", "trust policy .* allow sts:AssumeRoleWithWebIdentity"),
        ("InvalidIdentityToken", "AssumeRoleWithWebIdentity", "trust policy .* OIDC provider"),
        ("InvalidClientTokenId", "UpdateAutoScalingGroup", "correct or replace the AWS credentials"),
        ("RegionDisabledException", "AssumeRole", "check that the region is enabled"),
    ],
)
def test_the_remedy_of_a_refused_call_fits_what_aws_refused(code: str, source: str, remedy: str) -> None:
    error = explain(a_refusal(code, source, 403), UPDATE, "web", "eu-west-1")
    assert isinstance(error, AWSAccessDeniedError)
    with pytest.raises(AWSAccessDeniedError, match=f"AWS refused UpdateAutoScalingGroup of web in .*{remedy}"):
        raise error


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidIdentityToken", "IDPRejectedClaim"])
def test_credentials_that_cannot_be_got_concern_the_account(code: str) -> None:
    assert concerns_account(a_refusal(code, "AssumeRoleWithWebIdentity", 400), UPDATE)
    assert not concerns_account(a_refusal("AccessDenied", "UpdateAutoScalingGroup", 403), UPDATE)


@pytest.mark.parametrize("kind", [ConnectTimeoutError, ReadTimeoutError, SSLError])
def test_a_missing_response_is_not_called_a_missing_file_of_credentials(kind: type[BotoCoreError]) -> None:
    error = kind(endpoint_url="https://autoscaling.eu-west-1.amazonaws.com", error="timed out")
    explained = explain(error, DESCRIBE, "web", "eu-west-1")
    assert isinstance(explained, AWSUnavailableError)
    assert "check the region and the operator's network" in str(explained)
