"""TCP listeners of all servers in this package: the HTTP API, health and metrics, external metrics."""

import contextlib
import socket

from predictive_scaling.errors import SettingsError

_BACKLOG = 512


def open_listener(host: str, port: int, purpose: str) -> socket.socket:
    """Return a listening socket whose accepted connections send small responses immediately (TCP_NODELAY).

    host: an IPv4 or IPv6 address, or a name that resolves to one; `::` also accepts IPv4. port: 0 selects a free one.
    purpose: completes "cannot listen on … for".

    Raises SettingsError with this purpose when the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, 0, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as stack:
            # socket.create_server creates a socket of protocol 0, for which asyncio sets no TCP_NODELAY on accepted
            # connections: Nagle's algorithm and delayed acknowledgements then delay each kept-alive response by 40 ms.
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
            listener.bind((address[0], port, *address[2:]))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            stack.pop_all()
            return listener
    except (OSError, OverflowError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SettingsError(
            f"cannot listen on {host} port {port} for {purpose}: {reason}; free it, or set another port"
        ) from None
