"""Ports for servers that are started later, which no other process of the stack or of the tests takes meanwhile."""

import atexit
import random
import socket

LOOPBACK = "127.0.0.1"

# Below the ephemeral ports of Linux (32768 and up): an outgoing connection could take a port before its server does.
_RANGE = range(15_000, 32_000)

_reservations: list[socket.socket] = []
"""Open until this process ends. The servers use TCP, so that a UDP socket with the number of a port reserves it."""


@atexit.register
def _release() -> None:
    for reservation in _reservations:
        reservation.close()


def free_ports(count: int) -> list[int]:
    """Return different ports of the loopback address that are free, and reserve them for this process.

    Other processes that call this function do not get them before this process ends, even while no server uses them.
    """
    ports: list[int] = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if len(ports) == count:
            break
        if _reserve(port):
            ports.append(port)
    return ports


def free_port() -> int:
    """Return a free port, as `free_ports` does."""
    return free_ports(1)[0]


def _reserve(port: int) -> bool:
    """Return whether no server and no other process has the port; if so, reserve it."""
    reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        reservation.bind((LOOPBACK, port))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK, port))
    except OSError:
        reservation.close()
        return False
    _reservations.append(reservation)
    return True
