"""How kopf reaches the API server: as this pod's service account, or by KUBECONFIG."""

import os
from typing import Any

import kopf

from predictive_scaling.handlers.process import REGISTRY


@kopf.on.login(registry=REGISTRY)
async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """The same choice as targets/client.py makes; kopf asks again when credentials expire."""
    if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
        return kopf.login_with_service_account(**kwargs)
    return kopf.login_with_kubeconfig(**kwargs)
