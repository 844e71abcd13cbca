"""Where a series is learned: the port, and the one in this process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from forecasting.learning import Incumbent, Learned, learn
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.series import Series
from predictive_scaling.errors import DaskUnavailableError, SettingsError


class TrainingBackend(Protocol):
    """Runs `learning.learn` somewhere; what comes out is the same wherever that is."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, incumbent: Incumbent | None) -> Learned:
        """Learn, judge and give back."""
        ...


class LocalBackend:
    """A thread of this process."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, incumbent: Incumbent | None) -> Learned:
        return await asyncio.to_thread(learn, series, settings, incumbent)


_CONNECT_SECONDS = 10.0
_MIN_THREADS = 1


class DaskBackend:
    """A Learner that hands each series to the cluster. Made by `connected`."""

    def __init__(self, client: Any, address: str, threads: int) -> None:
        self._client = client
        self._address = address
        self.threads = threads
        """How many series the cluster learns at once."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, incumbent: Incumbent | None) -> Learned:
        """Raises DaskUnavailableError where the cluster goes away or loses the task for good."""
        from distributed import CancelledError, KilledWorker

        # Not pure: the same series twice is two trainings, not one that is remembered.
        future = self._client.submit(learn, series, settings, incumbent, pure=False)
        try:
            return await future
        except (CancelledError, KilledWorker, OSError) as error:
            raise DaskUnavailableError(
                f"the Dask cluster at {self._address} lost the training of {series.name}: {error}; see that its "
                "workers run and have enough memory, then train again"
            ) from error
        finally:
            future.release()


@asynccontextmanager
async def connected(address: str, wait_seconds: float = _CONNECT_SECONDS) -> AsyncGenerator[DaskBackend]:
    """A connection to the cluster whose scheduler is at `address`, such as tcp://scheduler:8786.

    Raises SettingsError where Dask is not installed or the address is none, DaskUnavailableError where the scheduler
    does not answer or has no worker.
    """
    try:
        from distributed import Client
    except ImportError:
        raise SettingsError(
            "--dask needs the package dask; install it with pip install 'predictive-scaling[dask]'"
        ) from None
    client = _client(Client, address, wait_seconds)
    try:
        await _connect(client, address, wait_seconds)
        yield DaskBackend(client, address, await _threads(client, address, wait_seconds))
    finally:
        await client.close()


def _client(kind: Any, address: str, wait_seconds: float) -> Any:
    try:
        return kind(address, asynchronous=True, timeout=wait_seconds, set_as_default=False)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"--dask {address!r} is no address such as tcp://scheduler:8786: {error}") from None


async def _connect(client: Any, address: str, wait_seconds: float) -> None:
    try:
        await client
    except (OSError, TimeoutError) as error:
        raise DaskUnavailableError(
            f"no Dask scheduler answers at {address} within {wait_seconds:.0f} s ({error}); see that it runs and that "
            "the address is right"
        ) from error
    except (ValueError, TypeError) as error:
        raise SettingsError(f"--dask {address!r} is no address such as tcp://scheduler:8786: {error}") from None


async def _threads(client: Any, address: str, wait_seconds: float) -> int:
    """All workers' threads together."""
    try:
        await client.wait_for_workers(1, timeout=wait_seconds)
        return max(_MIN_THREADS, sum((await client.nthreads()).values()))
    except TimeoutError as error:
        raise DaskUnavailableError(
            f"the Dask cluster at {address} has no worker; start one, then train again"
        ) from error
