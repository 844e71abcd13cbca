"""Static tokens from a file, for installations outside of a cluster."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import structlog

from predictive_scaling.access.bearer_token import MAX_TOKEN_LENGTH, TOKEN
from predictive_scaling.access.permission import Caller, Permission
from predictive_scaling.errors import SettingsError

log = structlog.get_logger(__name__)

MIN_TOKEN_LENGTH: Final = 20
MAX_TOKENS: Final = 1000
_MAX_BYTES: Final = 1 << 20
_MAX_USER_LENGTH: Final = 253
_READS: Final = frozenset({"get", "list"})

Access = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of a user. namespaces: empty for all namespaces and for paths that belong to none."""

    access: Access
    namespaces: frozenset[str]

    def allows(self, permission: Permission) -> bool:
        """Whether the grant covers a permission. Limited to namespaces, it covers nothing that spans all of them."""
        if permission.verb not in _READS and self.access != "write":
            return False
        return not self.namespaces or permission.namespace in self.namespaces


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A line of the file. The token itself is not kept."""

    digest: bytes
    caller: Caller
    grant: Grant


class StaticTokens:
    """Authenticator and Authorizer of a file of tokens, read again when it changes.

    A changed file with an invalid line is refused as a whole: the last valid content stays in use, and the log names
    the line.
    """

    def __init__(self, file: Path) -> None:
        """Read the file. Raises SettingsError with the invalid line."""
        self._file = file
        self._version = _version(file)
        self._tokens = read_tokens(file)
        self._grants = {token.caller.name: token.grant for token in self._tokens}

    def known(self, token: str) -> Caller | None:
        self._reload()
        digest = sha256(token.encode()).digest()
        caller = None
        # All tokens are compared, each in constant time, so that the duration shows nothing about them.
        for candidate in self._tokens:
            if hmac.compare_digest(candidate.digest, digest):
                caller = candidate.caller
        return caller

    async def authenticate(self, token: str) -> Caller | None:
        return self.known(token)

    async def allows(self, caller: Caller, permission: Permission) -> bool:
        grant = self._grants.get(caller.name)
        return grant is not None and grant.allows(permission)

    def _reload(self) -> None:
        version = _version(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            tokens = read_tokens(self._file)
        except SettingsError as error:
            log.warning("static_tokens_refused", error=str(error))
            return
        self._tokens, self._grants = tokens, {token.caller.name: token.grant for token in tokens}
        log.info("static_tokens_reloaded", file=str(self._file), tokens=len(tokens))


def read_tokens(file: Path) -> Sequence[StaticToken]:
    """Return the tokens of a file. Raises SettingsError that names the file and its first invalid line, never a token.

    Each line is `TOKEN,USER,ACCESS,NAMESPACES`: access `read` or `write`, namespaces separated by spaces or `*`. Empty
    lines and lines that begin with # are skipped.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read the tokens of the HTTP API in {file}: {error.strerror}") from None
    if len(content) > _MAX_BYTES:
        raise SettingsError(f"{file} is larger than {_MAX_BYTES} bytes; it should have one short line per token")
    tokens: dict[bytes, StaticToken] = {}
    grants: dict[str, Grant] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            token = _parse(line)
            if token is not None:
                _check_against(tokens, grants, token)
                tokens[token.digest], grants[token.caller.name] = token, token.grant
        except ValueError as error:
            raise SettingsError(f"{file} line {number}: {error}") from None
    if not tokens:
        raise SettingsError(f"{file} has no token; write lines of the form TOKEN,USER,ACCESS,NAMESPACES")
    return list(tokens.values())


def _check_against(tokens: Mapping[bytes, StaticToken], grants: Mapping[str, Grant], token: StaticToken) -> None:
    """Raise ValueError if a token does not fit those of earlier lines."""
    if token.digest in tokens:
        raise ValueError("the token is also in an earlier line")
    if grants.get(token.caller.name, token.grant) != token.grant:
        raise ValueError("the user has other rights in an earlier line; give all its tokens the same rights")
    if len(tokens) == MAX_TOKENS:
        raise ValueError(f"the file has more than {MAX_TOKENS} tokens")


def _parse(line: bytes) -> StaticToken | None:
    """Return the token of a line; None for an empty line and a comment. Raises ValueError without the token."""
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None
    if not text or text.startswith("#"):
        return None
    fields = [part.strip() for part in text.split(",")]
    if len(fields) != 4:
        raise ValueError(f"has {len(fields)} fields; write TOKEN,USER,ACCESS,NAMESPACES")
    token, user, access, namespaces = fields
    if not MIN_TOKEN_LENGTH <= len(token) <= MAX_TOKEN_LENGTH or not TOKEN.fullmatch(token):
        raise ValueError(
            f"the token must have {MIN_TOKEN_LENGTH} to {MAX_TOKEN_LENGTH} letters, digits or -._~+/, such as the "
            "output of `openssl rand -hex 32`"
        )
    if not user.isprintable() or not 0 < len(user) <= _MAX_USER_LENGTH:
        raise ValueError(f"the user must have 1 to {_MAX_USER_LENGTH} printable characters")
    if access not in ("read", "write"):
        raise ValueError("the access must be read or write")
    names = namespaces.split()
    if not names or ("*" in names and len(names) > 1):
        raise ValueError("the namespaces must be names separated by spaces, or * for all")
    limited = frozenset[str]() if names == ["*"] else frozenset(names)
    return StaticToken(sha256(token.encode()).digest(), Caller(user), Grant(access, limited))


def _version(file: Path) -> tuple[int, int, int] | None:
    """Return what changes with the content of a file; None if it is missing. A mounted Secret is a new inode."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
