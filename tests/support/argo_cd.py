"""What Argo CD does with manifests and objects: health scripts, comparison, synchronization.

Its engine is a Go module that does not build on its own; this imitates the parts that meet the operator, from the
documentation (operator-manual/health.md, user-guide/diffing.md, user-guide/sync-options.md).
"""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from lupa import lua51

from predictive_scaling.resources.metadata import GROUP
from tests.support.kubectl import Kubectl, KubectlError

Json = dict[str, Any]

MANAGER = "argocd-controller"
EXAMPLES = Path(__file__).parents[2] / "examples" / "argocd"
CUSTOMIZATIONS = EXAMPLES / "resource_customizations" / GROUP
HEALTHS = {"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_DISABLED = ("string", "math", "io", "os", "debug", "coroutine", "python")
"""Globals that a script of argocd-cm does not have: Argo CD opens only the base, package and table libraries."""


def health(body: Json) -> Json:
    """Return what the health script of the object's kind returns: `status` and `message`.

    Lua 5.1, as in Argo CD. Raises LuaError if the script fails, AssertionError if its result is not a health.
    """
    runtime = cast("Any", lua51).LuaRuntime()
    script = (CUSTOMIZATIONS / body["kind"] / "health.lua").read_text()
    runtime.execute('debug.getmetatable("").__index = nil')
    runtime.execute("".join(f"{name} = nil\n" for name in _DISABLED))
    runtime.globals()["obj"] = _as_lua(runtime, body)
    result: Any = runtime.execute(script)
    assert lua51.lua_type(result) == "table", f"{body['kind']}/health.lua returned {result!r}"
    values = dict(result.items())
    assert values.keys() == {"status", "message"}, values
    assert values["status"] in HEALTHS, values
    assert isinstance(values["message"], str), values
    return values


@dataclass
class Application:
    """An Application of one manifest, which Argo CD synchronizes by itself (`automated: {selfHeal: true}`)."""

    kubectl: Kubectl
    manifest: Json
    """The object in Git."""
    server_side: bool = False
    """ServerSideApply=true."""
    ignored: tuple[tuple[str, ...], ...] = ()
    """Paths of ignoreDifferences, with RespectIgnoreDifferences=true."""
    syncs: int = field(default=0, init=False)

    async def heal(self) -> bool:
        """Synchronize if the live object differs from Git. Returns whether it did."""
        live = await self._live()
        if live is not None and not self._is_out_of_sync(live):
            return False
        await self._apply(live)
        return True

    async def sync(self) -> Json:
        """Synchronize whether or not it differs, as after each commit. Returns the object as it was after the write."""
        return await self._apply(await self._live())

    def _is_out_of_sync(self, live: Json) -> bool:
        target, actual = copy.deepcopy(self.manifest), copy.deepcopy(live)
        for path in self.ignored:
            _parent(target, path).pop(path[-1], None)
            _parent(actual, path).pop(path[-1], None)
        return not _contains(actual, target) or self._has_left_field(actual)

    def _has_left_field(self, live: Json) -> bool:
        """Whether a field that was applied client-side is no longer in Git, but in the cluster."""
        last_applied = live["metadata"].get("annotations", {}).get(_LAST_APPLIED)
        if self.server_side or last_applied is None:
            return False
        left = json.loads(last_applied)["spec"].keys() - self.manifest["spec"].keys()
        ignored = {path[-1] for path in self.ignored}
        return any(name in live["spec"] and name not in ignored for name in left)

    async def _apply(self, live: Json | None) -> Json:
        target = copy.deepcopy(self.manifest)
        if live is not None:
            for path in self.ignored:
                # Argo CD writes the live value of an ignored field, whether or not Git has the field.
                _parent(target, path)[path[-1]] = _parent(live, path)[path[-1]]
        options = ["--field-manager", MANAGER, "-o", "json"]
        if self.server_side:
            options += ["--server-side", "--force-conflicts"]
        self.syncs += 1
        return json.loads(await self.kubectl("apply", *options, "-f", "-", stdin=json.dumps(target)))

    async def _live(self) -> Json | None:
        try:
            return await self.kubectl.get("hpa", self.manifest["metadata"]["name"])
        except KubectlError as error:
            if "not found" in str(error):
                return None
            raise


def _as_lua(runtime: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return runtime.table_from({name: _as_lua(runtime, item) for name, item in value.items()})
    if isinstance(value, list):
        return runtime.table_from([_as_lua(runtime, item) for item in value])
    return value


def _contains(actual: Any, expected: Any) -> bool:
    """Whether each field of `expected` has the same value in `actual`."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(
            name in actual and _contains(actual[name], item) for name, item in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(_contains(left, right) for left, right in zip(actual, expected, strict=True))
        )
    return actual == expected


def _parent(body: Json, path: tuple[str, ...]) -> Json:
    for name in path[:-1]:
        body = body[name]
    return body
