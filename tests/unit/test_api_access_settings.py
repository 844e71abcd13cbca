"""How the settings of `predictive-scaling api` become its access control and its certificate."""

from pathlib import Path

import pytest
from structlog.typing import EventDict

from predictive_scaling.access.serving_certificate import serving_certificate
from predictive_scaling.access.static_tokens import StaticTokens
from predictive_scaling.api.serving import HTTP_API
from predictive_scaling.clock import WallClock
from predictive_scaling.commands.api_access import access_policy, is_loopback
from predictive_scaling.errors import SettingsError
from predictive_scaling.settings import read_settings
from predictive_scaling.stack.certificates import new_authority

TOKENS = f"{'a' * 32},alice,read,*\n"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(TOKENS)
    return file


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.7", False),
        ("localhost.example.org", False),
    ],
)
async def test_open_access_is_warned_of_beyond_loopback(host: str, is_local: bool, logs: list[EventDict]) -> None:
    assert is_loopback(host) is is_local
    async with access_policy(read_settings({}), host) as policy:
        assert policy.authority is None
    warnings = [(entry["event"], entry["host"]) for entry in logs if entry["log_level"] == "warning"]
    assert warnings == ([] if is_local else [("api_access_unrestricted", host)])


async def test_static_tokens_are_read_at_the_start(tokens: Path, logs: list[EventDict]) -> None:
    settings = read_settings({}, api_authentication="tokens", api_tokens_file=tokens, api_public_telemetry=False)
    async with access_policy(settings, "0.0.0.0") as policy:
        assert policy.authority is not None
        assert isinstance(policy.authority.authenticator, StaticTokens)
        assert policy.authority.authenticator.known("a" * 32) is not None
        assert not policy.public_telemetry
    assert logs == []


async def test_authentication_by_tokens_needs_their_file(tmp_path: Path) -> None:
    for settings, message in [
        (read_settings({}, api_authentication="tokens"), "set PREDICTIVE_SCALING_API_TOKENS_FILE as well"),
        (read_settings({}, api_authentication="tokens", api_tokens_file=tmp_path / "missing"), "No such file"),
    ]:
        with pytest.raises(SettingsError, match=message):
            async with access_policy(settings, "0.0.0.0"):
                pass


async def test_authentication_by_kubernetes_needs_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="No cluster is configured"):
        async with access_policy(read_settings({}, api_authentication="kubernetes"), "0.0.0.0"):
            pass


def test_the_rate_of_the_settings_applies() -> None:
    with pytest.raises(SettingsError, match="PREDICTIVE_SCALING_API_REQUESTS_PER_SECOND"):
        read_settings({}, api_requests_per_second=0)
    with pytest.raises(SettingsError, match="PREDICTIVE_SCALING_API_AUTHENTICATION"):
        read_settings({}, api_authentication="basic")


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    authority = new_authority(tmp_path, "ca", WallClock().now())
    issued = authority.issue("api", "api", ["localhost"])
    other = authority.issue("other", "other", ["localhost"])
    assert serving_certificate(None, None, HTTP_API) is None
    assert serving_certificate(issued.certificate, issued.key, HTTP_API) is not None
    for certificate, key, message in [
        (issued.certificate, None, "set both PREDICTIVE_SCALING_API_CERTIFICATE and PREDICTIVE_SCALING_API_KEY"),
        (None, issued.key, "set both"),
        (issued.certificate, other.key, "use a PEM certificate and its key"),
        (issued.certificate, tmp_path / "missing", "missing for the HTTP API: No such file"),
    ]:
        with pytest.raises(SettingsError, match=message):
            serving_certificate(certificate, key, HTTP_API)
