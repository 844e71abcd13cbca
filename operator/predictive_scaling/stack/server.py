from predictive_scaling.errors import StackError
from predictive_scaling.stack.processes import Child


class SingleProcess:
    """A part of the stack that consists of one process."""

    _child: Child | None = None

    @property
    def server(self) -> Child:
        """The process, which tests stop, kill and start. Raises StackError before the first start."""
        if self._child is None:
            raise StackError(f"{type(self).__name__} has no process: it was not started")
        return self._child

    async def stop(self) -> None:
        """Stop the process gracefully; it may be started again on the same port."""
        if self._child is not None:
            await self._child.stop()

    def kill(self) -> None:
        """Send SIGKILL, as in a failure of the machine."""
        if self._child is not None:
            self._child.kill()
