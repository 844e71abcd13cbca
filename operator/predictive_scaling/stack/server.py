from predictive_scaling.errors import StackError
from predictive_scaling.stack.processes import Child


class SingleProcess:
    """A part that is one process."""

    _child: Child | None = None

    @property
    def server(self) -> Child:
        """The process, for tests that stop, kill and start it. Raises StackError before the first start."""
        if self._child is None:
            raise StackError(f"{type(self).__name__} has no process here: it was not started")
        return self._child

    async def stop(self) -> None:
        """End it in order; it may be started again on the same port."""
        if self._child is not None:
            await self._child.stop()

    def kill(self) -> None:
        """SIGKILL, as when the machine fails."""
        if self._child is not None:
            self._child.kill()
