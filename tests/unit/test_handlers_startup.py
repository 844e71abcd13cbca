"""The settings of kopf."""

from typing import Any

import kopf

from predictive_scaling.handlers.startup import kopf_settings


class UncopyableDict(dict[str, Any]):
    """A part of an object that must not be traversed or copied."""

    def __deepcopy__(self, memo: Any) -> "UncopyableDict":
        raise AssertionError("a watched object was copied")


def test_watch_events_are_not_copied_for_unused_differences() -> None:
    storage = kopf_settings(()).persistence.diffbase_storage
    body = kopf.Body({"metadata": {"name": "checkout"}, "spec": UncopyableDict(replicas=4), "status": UncopyableDict()})
    assert storage.build(body=body) == {}
    assert storage.fetch(body=body) is None
    patch = kopf.Patch()
    storage.store(body=body, patch=patch, essence=storage.build(body=body))
    assert not patch
