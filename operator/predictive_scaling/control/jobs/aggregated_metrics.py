"""Serves external metrics once the cluster publishes the aggregator's authority, and follows its rotation."""

from collections.abc import Callable
from dataclasses import dataclass

from predictive_scaling.cluster.client import Cluster
from predictive_scaling.errors import SettingsError
from predictive_scaling.external_metrics.server import ExternalMetricsServer
from predictive_scaling.external_metrics.trust import AUTHENTICATION_CONFIG_MAP, AggregatorTrust, read_trust
from predictive_scaling.settings import Settings


@dataclass(slots=True)
class AggregatedMetrics:
    """The server of external metrics. make: a server that trusts the aggregation layer as the cluster describes it."""

    cluster: Cluster
    make: Callable[[AggregatorTrust], ExternalMetricsServer]
    _server: ExternalMetricsServer | None = None

    async def refresh(self) -> None:
        """Start where it does not run yet; otherwise follow the cluster's authority, which may have been rotated.

        Raises ClusterUnavailableError and SettingsError: the next run tries again.
        """
        namespace, name = AUTHENTICATION_CONFIG_MAP
        config_map = await self.cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        trust = read_trust(config_map.get("data") or {})
        if self._server is not None:
            await self._server.trust(trust)
            return
        server = self.make(trust)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Stop the server, if it runs."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()


def check_settings(settings: Settings) -> None:
    """Raises SettingsError if external metrics are enabled without certificate and key."""
    if settings.external_metrics and None in (settings.external_metrics_certificate, settings.external_metrics_key):
        raise SettingsError(
            "PREDICTIVE_SCALING_EXTERNAL_METRICS needs PREDICTIVE_SCALING_EXTERNAL_METRICS_CERTIFICATE and …_KEY: "
            "the API server speaks TLS only"
        )
