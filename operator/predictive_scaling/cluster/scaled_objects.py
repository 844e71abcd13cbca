"""Reads ScaledObjects from the API server, which serves them only if KEDA is installed."""

from predictive_scaling.clock import monotonic
from predictive_scaling.cluster.client import Cluster, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.scaled_object_record import GROUP, PLURAL, ScaledObjectRecord, path_of
from predictive_scaling.errors import KedaNotInstalledError, TargetRefusedError

_RETRY_SECONDS = 10.0


class ScaledObjects:
    """Individual reads. While KEDA is not installed, all objects together cost one request in ten seconds."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._absent_until = float("-inf")

    async def read(self, namespace: str, name: str) -> ScaledObjectRecord | None:
        """Return the record; None if the object does not exist.

        Raises KedaNotInstalledError, and TargetRefusedError if the operator may not read it.
        """
        if monotonic() < self._absent_until:
            raise _not_installed()
        try:
            return ScaledObjectRecord.parse(await self._cluster.get(path_of(namespace, name)))
        except ObjectNotFoundError as error:
            # For a kind that it serves, the API server names the object that it does not have.
            if f'{PLURAL}.{GROUP} "{name}"' in str(error):
                return None
            self._absent_until = monotonic() + _RETRY_SECONDS
            raise _not_installed() from error
        except ObjectRefusedError as error:
            raise TargetRefusedError(
                f"the operator may not read ScaledObject {namespace}/{name}; grant its service account get, list, "
                f"watch and patch on {PLURAL}.{GROUP}. The API server's message: {error}"
            ) from error


def _not_installed() -> KedaNotInstalledError:
    return KedaNotInstalledError(
        f"the API server does not serve {PLURAL}.{GROUP}; install KEDA, and the policy continues by itself"
    )
