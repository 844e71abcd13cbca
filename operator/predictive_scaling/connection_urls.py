"""Refuses connection URLs whose password would be split: what is left of it would show in messages and logs."""

import re
from collections.abc import Collection

ENCODE = "percent-encode a user name or password that holds @ / ? # % [ ] or a blank (@ is %40, / is %2F, % is %25)"

_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]*\]|[^\[\]:@]*)(?::[0-9]{0,5})?")


def check_url(url: str, schemes: Collection[str]) -> str:
    """The URL without blanks around it. The form `host=… password=…` of libpq is returned as it is.

    Raises ValueError, whose message holds nothing of the URL, where the end of the password is ambiguous.
    """
    url = url.strip()
    scheme, separator, rest = url.partition("://")
    if not separator or "=" in scheme:
        return url
    if not url.isprintable() or " " in url:
        raise ValueError(f"holds a blank, a line break or a control character; {ENCODE}")
    if scheme not in schemes:
        raise ValueError(f"has an unknown scheme; write {' or '.join(f'{each}://…' for each in schemes)}")
    credentials, at, after = rest.rpartition("@")
    if _BAD_PERCENT.search(url) or (at and any(character in credentials for character in "@/?#[]")):
        raise ValueError(f"is ambiguous; {ENCODE}")
    hosts = re.split(r"[/?#]", after, maxsplit=1)[0].split(",")
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError(
            f"has no host and port that can be read; write {scheme}://USER:PASSWORD@HOST:PORT/…, and {ENCODE}"
        )
    return url
