import itertools
import random
import socket

LOOPBACK = "127.0.0.1"

# Below the ephemeral ports of Linux (32768 and up): an outgoing connection could take a port before its server does.
_RANGE = range(15_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Return different ports of the loopback address that are free at the time of the call.

    They are chosen at random, so that two stacks that start at the same time get different ports.
    """
    candidates = iter(random.sample(_RANGE, len(_RANGE)))
    return list(itertools.islice(filter(_is_free, candidates), count))


def free_port() -> int:
    """Return a free port."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
