import itertools
import random
import socket

LOOPBACK = "127.0.0.1"

# Below what Linux gives to outgoing connections (32768 and up), one of which could take a port before its server does.
_RANGE = range(15_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nothing listened on a moment ago, all different.

    They are drawn at random, so that two stacks that start at once do not choose the same.
    """
    drawn = iter(random.sample(_RANGE, len(_RANGE)))
    return list(itertools.islice(filter(_is_free, drawn), count))


def free_port() -> int:
    """One of `free_ports`."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
