"""kopf as we run it."""

from typing import Any

import kopf

from predictive_scaling.handlers.startup import kopf_settings


class Watched(dict[str, Any]):
    """A part of an object that must not be walked through or copied."""

    def __deepcopy__(self, memo: Any) -> "Watched":
        raise AssertionError("a watched object was copied")


def test_watch_events_are_not_copied_for_differences_that_nobody_looks_at() -> None:
    storage = kopf_settings(()).persistence.diffbase_storage
    body = kopf.Body({"metadata": {"name": "checkout"}, "spec": Watched(replicas=4), "status": Watched()})
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None
    patch = kopf.Patch()
    storage.store(body=body, patch=patch, essence=storage.build(body=body))
    assert not patch
