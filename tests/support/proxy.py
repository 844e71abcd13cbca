"""A TCP proxy on loopback that a test can cut or slow down, so that its upstream becomes unreachable or slow."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Forwards connections from `port` to `upstream_port`."""

    upstream_port: int
    port: int = 0
    is_cut: bool = False
    delay_seconds: float = 0.0
    """How much later the upstream's answers arrive."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    def cut(self) -> None:
        """Close all connections, and refuse new connections until `restore`."""
        self.is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def restore(self) -> None:
        """Forward connections again."""
        self.is_cut = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection in both directions."""
        if self.is_cut:
            writer.transport.abort()
            return
        to_server = None
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            self._open |= {writer, to_server}
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._copy(reader, to_server))
                directions.create_task(self._copy(from_server, writer, answers=True))
        except OSError:
            pass
        finally:
            for side in (writer, to_server):
                if side is not None:
                    self._open.discard(side)
                    side.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool = False) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if answers and self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(upstream_port: int) -> AsyncGenerator[Proxy]:
    """Run a proxy for a port of loopback."""
    proxy = Proxy(upstream_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.cut()
        server.close()
