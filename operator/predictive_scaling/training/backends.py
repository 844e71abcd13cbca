"""Where a training runs: the port, and its backends for this process and for a Dask cluster."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from forecasting.learning import Incumbent, LearnedModels, learn
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.series import Series
from predictive_scaling.errors import DaskUnavailableError, SettingsError


class TrainingBackend(Protocol):
    """Runs `learning.learn`; every backend returns the same result."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, incumbent: Incumbent | None) -> LearnedModels:
        """Train and judge the models of a series."""
        ...


class LocalBackend:
    """A backend that trains in a thread of this process."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, incumbent: Incumbent | None) -> LearnedModels:
        return await asyncio.to_thread(learn, series, settings, incumbent)


_CONNECT_SECONDS = 10.0
_MIN_THREADS = 1


class DaskBackend:
    """A backend that submits each series to a Dask cluster. Created by `connected`."""

    def __init__(self, client: Any, address: str, threads: int) -> None:
        self._client = client
        self._address = address
        self.threads = threads
        """Number of series that the cluster trains concurrently."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, incumbent: Incumbent | None) -> LearnedModels:
        """Train and judge on the cluster.

        Raises DaskUnavailableError if the cluster becomes unreachable or finally loses the task.
        """
        from distributed import CancelledError, KilledWorker

        # Not pure: Dask must train the same series again instead of returning a cached result.
        future = self._client.submit(learn, series, settings, incumbent, pure=False)
        try:
            return await future
        except (CancelledError, KilledWorker, OSError) as error:
            raise DaskUnavailableError(
                f"the Dask cluster at {self._address} lost the training of {series.name}: {error}; check that its "
                "workers run and have enough memory, then train again"
            ) from error
        finally:
            future.release()


@asynccontextmanager
async def connected(address: str, wait_seconds: float = _CONNECT_SECONDS) -> AsyncGenerator[DaskBackend]:
    """Connect to the cluster whose scheduler is at `address`, such as tcp://scheduler:8786, and yield its backend.

    Raises SettingsError if Dask is not installed or the address is invalid, DaskUnavailableError if the scheduler does
    not answer or has no worker.
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


def _client(client_class: Any, address: str, wait_seconds: float) -> Any:
    try:
        return client_class(address, asynchronous=True, timeout=wait_seconds, set_as_default=False)
    except (ValueError, TypeError) as error:
        raise _invalid_address(address, error) from None


async def _connect(client: Any, address: str, wait_seconds: float) -> None:
    try:
        await client
    except (OSError, TimeoutError) as error:
        raise DaskUnavailableError(
            f"no Dask scheduler answers at {address} within {wait_seconds:.0f} s ({error}); check that it runs and "
            "that the address is correct"
        ) from error
    except (ValueError, TypeError) as error:
        raise _invalid_address(address, error) from None


def _invalid_address(address: str, error: Exception) -> SettingsError:
    return SettingsError(f"--dask {address!r} is not an address such as tcp://scheduler:8786: {error}")


async def _threads(client: Any, address: str, wait_seconds: float) -> int:
    """Return the number of threads of all workers together."""
    try:
        await client.wait_for_workers(1, timeout=wait_seconds)
        return max(_MIN_THREADS, sum((await client.nthreads()).values()))
    except TimeoutError as error:
        raise DaskUnavailableError(
            f"the Dask cluster at {address} has no worker; start one, then train again"
        ) from error
