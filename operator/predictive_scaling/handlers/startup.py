"""The configuration of kopf: settings, login and the start of the indices."""

import os
from typing import Any

import kopf

from predictive_scaling.handlers.context import HandlerContext

_DOMAIN = "predictive-scaling.io"


async def started(
    memo: HandlerContext,
    policies: Any,
    business_events: Any,
    autoscalers: Any = None,
    workloads: Any = None,
    scaled_objects: Any = None,
    **_: Any,
) -> None:
    """Bind the indices to the informer cache, through which the tick reads them.

    The index of a kind that is not watched is missing.
    """
    targets = ({} if index is None else index for index in (autoscalers, workloads, scaled_objects))
    memo.cache.bind(policies, business_events, *targets)


def kopf_settings(namespaces: tuple[str, ...]) -> kopf.OperatorSettings:
    """Return settings with time-outs against silent watches, no writes to objects, no peering and a quick exit."""
    settings = kopf.OperatorSettings()
    # A silent watch hides all changes; kopf's own inactivity time-out (70 s) stays in effect.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    # queueing.worker_limit stays None: one below the number of indexed objects would deadlock the start.
    settings.queueing.exit_timeout = 1
    settings.execution.max_workers = 4
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.enforce_retry_after = True
    settings.peering.standalone = True
    settings.process.ultimate_exiting_timeout = 25
    settings.scanning.disabled = bool(namespaces)
    # kopf has no reason to write to objects; if it ever did, it would use names of our own domain.
    settings.persistence.finalizer = f"{_DOMAIN}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=_DOMAIN)
    settings.persistence.diffbase_storage = NoDiffBase()
    return settings


class NoDiffBase(kopf.DiffBaseStorage):
    """Stores no last-handled state, as no handler uses differences.

    kopf's own storages deep-copy the object of each watch event to compare it with the last-handled state.
    """

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        del body, extra_fields
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        del body
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        del body, patch, essence


async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Choose the credentials as cluster/client.py does; kopf calls this again when they expire."""
    if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
        return kopf.login_with_service_account(**kwargs)
    return kopf.login_with_kubeconfig(**kwargs)


def register(registry: kopf.OperatorRegistry) -> None:
    """Register what runs when kopf starts and when it needs credentials."""
    kopf.on.startup(registry=registry)(started)
    kopf.on.login(registry=registry)(login)
