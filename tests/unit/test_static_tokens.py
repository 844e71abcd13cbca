"""Static tokens of the HTTP API: the file, its changes, and what each line allows."""

import hmac
from pathlib import Path

import pytest
from structlog.typing import EventDict

from predictive_scaling.access import static_tokens
from predictive_scaling.access.permission import Caller, Permission
from predictive_scaling.access.static_tokens import StaticTokens, read_tokens
from predictive_scaling.errors import SettingsError

ALICE, BOB, CAROL = "a" * 32, "b" * 32, "c" * 32
FILE = f"""# rotated in June
{ALICE},alice,write,*

{BOB}, bob , read, shop bank
{CAROL},bob,read,bank shop
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(FILE)
    return path


def replace(file: Path, content: str) -> None:
    file.write_text(content)


async def test_a_token_names_its_user(file: Path) -> None:
    tokens = StaticTokens(file)
    assert tokens.known(ALICE) == Caller("alice")
    assert await tokens.authenticate(CAROL) == Caller("bob")
    assert tokens.known("d" * 32) is None
    assert tokens.known(ALICE[:-1]) is None


@pytest.mark.parametrize(
    ("user", "permission", "is_allowed"),
    [
        ("alice", Permission("list", "scalingpolicies"), True),
        ("alice", Permission("update", "scalingpolicies"), True),
        ("alice", Permission("post", path="/predictive-scaling/models/reload"), True),
        ("bob", Permission("get", "scalingpolicies", "shop", "checkout"), True),
        ("bob", Permission("list", "scalingpolicies", "bank"), True),
        ("bob", Permission("list", "scalingpolicies", "other"), False),
        ("bob", Permission("list", "scalingpolicies"), False),
        ("bob", Permission("update", "scalingpolicies", "shop"), False),
        ("bob", Permission("get", path="/metrics"), False),
        ("mallory", Permission("get", "scalingpolicies", "shop"), False),
    ],
)
async def test_a_line_allows_its_access_in_its_namespaces(
    file: Path, user: str, permission: Permission, is_allowed: bool
) -> None:
    assert await StaticTokens(file).allows(Caller(user), permission) is is_allowed


async def test_all_tokens_are_compared_in_constant_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare_digest = hmac.compare_digest

    def compare(expected: bytes, given: bytes) -> bool:
        compared.append(expected)
        return compare_digest(expected, given)

    tokens = StaticTokens(file)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for token in (ALICE, CAROL, "d" * 32):
        compared.clear()
        tokens.known(token)
        assert len(set(compared)) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("short,eve,read,*", "the token must have 20 to 8192 letters"),
        (f"{'tö' * 20},eve,read,*", "the token must have 20 to 8192 letters"),
        (f"{'d' * 8193},eve,read,*", "the token must have 20 to 8192 letters"),
        (f"{'d' * 32},eve,read", "has 3 fields; write TOKEN,USER,ACCESS,NAMESPACES"),
        (f"{'d' * 32},,read,*", "the user must have 1 to 253 printable characters"),
        (f"{'d' * 32},e\x07ve,read,*", "the user must have 1 to 253 printable characters"),
        (f"{'d' * 32},eve,admin,*", "the access must be read or write"),
        (f"{'d' * 32},eve,read,", "the namespaces must be names separated by spaces, or \\* for all"),
        (f"{'d' * 32},eve,read,* shop", "the namespaces must be names separated by spaces, or \\* for all"),
        (f"{ALICE},eve,read,*", "the token is also in an earlier line"),
        (f"{'d' * 32},alice,read,*", "the user has other rights in an earlier line"),
    ],
)
def test_a_bad_line_is_refused_by_its_number_without_its_token(file: Path, line: str, message: str) -> None:
    file.write_text(FILE + line + "\n")
    with pytest.raises(SettingsError, match=f"tokens line 6: {message}") as raised:
        read_tokens(file)
    assert line.partition(",")[0] not in str(raised.value)


def test_a_file_that_is_missing_empty_binary_or_too_long_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, message in [
        (b"# nothing\n", "has no token"),
        (b"\xff\xfe\n", "line 1: is not UTF-8 text"),
        (b"#" * (1 << 20) + b"\n", "is larger than 1048576 bytes"),
    ]:
        file.write_bytes(content)
        with pytest.raises(SettingsError, match=message):
            StaticTokens(file)
    file.write_text(FILE)
    monkeypatch.setattr(static_tokens, "MAX_TOKENS", 2)
    with pytest.raises(SettingsError, match="line 5: the file has more than 2 tokens"):
        StaticTokens(file)
    with pytest.raises(SettingsError, match=r"cannot read the tokens of the HTTP API in .*: No such file"):
        StaticTokens(file.with_name("missing"))


async def test_a_changed_file_applies_to_the_next_request(file: Path, logs: list[EventDict]) -> None:
    tokens = StaticTokens(file)
    replace(file, f"{'d' * 32},dora,read,shop\n")
    assert tokens.known(ALICE) is None
    assert tokens.known("d" * 32) == Caller("dora")
    assert not await tokens.allows(Caller("alice"), Permission("list", "scalingpolicies"))
    assert [entry["event"] for entry in logs] == ["static_tokens_reloaded"]


def test_a_bad_change_keeps_the_last_valid_content_and_is_logged_once(file: Path, logs: list[EventDict]) -> None:
    tokens = StaticTokens(file)
    file.write_text("nonsense\n")
    assert tokens.known(ALICE) == tokens.known(ALICE) == Caller("alice")
    file.unlink()
    assert tokens.known(ALICE) == Caller("alice")
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("static_tokens_refused", "warning")] * 2
    assert "line 1" in logs[0]["error"]
    file.write_text(FILE.replace(ALICE, "d" * 32))
    assert tokens.known(ALICE) is None
