"""The bearer token of a request (RFC 6750)."""

import re
from collections.abc import Iterable

MAX_TOKEN_LENGTH = 8192
"""Tokens of ServiceAccounts have about 1 kB; web servers limit headers to 8 KiB as well."""

TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_HEADER = b"authorization"


class InvalidCredentialError(Exception):
    """The Authorization header holds no usable token. The message does not repeat it."""


def bearer_token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the token of the Authorization header; None without a header. Raises InvalidCredentialError."""
    values = [value for name, value in headers if name == _HEADER]
    if not values:
        return None
    if len(values) > 1:
        raise InvalidCredentialError("the request has several Authorization headers; send one")
    scheme, _, text = values[0].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidCredentialError("the Authorization header has another scheme; send Authorization: Bearer TOKEN")
    token = text.strip(" ")
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidCredentialError(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
    if not TOKEN.fullmatch(token):
        raise InvalidCredentialError("the token is empty, or has characters that no bearer token has")
    return token
