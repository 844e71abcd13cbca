"""Validation of connection URLs: a password that is parsed wrongly would show up in messages and logs."""

import re
from collections.abc import Collection

ENCODE = "percent-encode a user name or password that holds @ / ? # % [ ] or a space (@ is %40, / is %2F, % is %25)"

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]*\]|[^\[\]:@]*)(?::[0-9]{0,5})?")


def check_url(url: str, schemes: Collection[str]) -> str:
    """Return the URL without surrounding spaces. The libpq form `host=… password=…` is returned unchanged.

    Raises ValueError, whose message holds no part of the URL, when the end of the password is ambiguous.
    """
    url = url.strip()
    scheme, separator, rest = url.partition("://")
    if not separator or "=" in scheme:
        return url
    if not url.isprintable() or " " in url:
        raise ValueError(f"contains a space, a line break or a control character; {ENCODE}")
    if scheme not in schemes:
        raise ValueError(f"has an unknown scheme; write {' or '.join(f'{known}://…' for known in schemes)}")
    credentials, at, after = rest.rpartition("@")
    if _BAD_PERCENT.search(url) or (at and any(character in credentials for character in "@/?#[]")):
        raise ValueError(f"is ambiguous; {ENCODE}")
    hosts = re.split(r"[/?#]", after, maxsplit=1)[0].split(",")
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError(f"has no valid host and port; write {scheme}://USER:PASSWORD@HOST:PORT/…, and {ENCODE}")
    return url
