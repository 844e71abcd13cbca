"""A web-identity token that the operator cannot read is explained."""

from pathlib import Path

import pytest

from predictive_scaling.errors import AWSAccessDeniedError
from predictive_scaling.targets.aws_clients import Account, AWSClients
from predictive_scaling.targets.aws_errors import ACTIVITIES, concerns_account

ACCOUNT = Account("eu-west-1")


@pytest.fixture
def token_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a token that is not there; nothing else gives credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "missing"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/operator")
    path = tmp_path / "token"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(path))
    return path


async def test_a_missing_token_file_is_explained(token_file: Path) -> None:
    clients = AWSClients()
    with pytest.raises(AWSAccessDeniedError, match="mount the token of its service account") as raised:
        await clients.call(ACCOUNT, "describe_auto_scaling_groups", "group checkout")
    assert str(token_file) in str(raised.value)
    assert "group checkout" in str(raised.value)
    with pytest.raises(AWSAccessDeniedError) as paused:  # the file concerns every group of the account
        await clients.call(ACCOUNT, "describe_auto_scaling_groups", "group orders")
    assert paused.value.retry_after_seconds
    assert "group checkout" not in str(paused.value)


def test_only_a_read_that_explains_a_late_raise_pauses_no_account() -> None:
    assert concerns_account(FileNotFoundError(2, "No such file"), "update_auto_scaling_group")
    assert not concerns_account(FileNotFoundError(2, "No such file"), ACTIVITIES)
