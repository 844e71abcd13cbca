"""Helm as a subprocess, and the objects that it renders."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "charts" / "predictive-scaling"
NAMESPACE = "scaling"
RELEASE = "predictive-scaling"

Object = dict[str, Any]
Values = Mapping[str, Any]

REQUIRED: Values = {"database": {"existingSecret": "db"}, "kafka": {"bootstrapServers": "kafka:9092"}}
"""The values without which the chart installs nothing."""


class HelmError(AssertionError):
    """A failure of Helm, with its message."""


@dataclass(frozen=True)
class Helm:
    """Runs Helm with its own folders: `await helm("list")` returns what it printed."""

    program: Path
    folder: Path
    kubeconfig: Path | None = None
    _rendered: dict[str, list[Object]] = field(default_factory=dict[str, list[Object]])

    async def __call__(self, *arguments: str | Path, values: Values | None = None) -> str:
        """Run a command; values: the content of a values file. Raises HelmError with Helm's message."""
        options = () if values is None else ("--values", "-")
        process = await asyncio.create_subprocess_exec(
            *(self.program, *arguments, *options),
            env=self.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate(json.dumps(values or {}).encode())
        if process.returncode:
            raise HelmError(f"helm {' '.join(map(str, arguments))}: {output.decode()}{errors.decode()}")
        return output.decode()

    async def template(self, values: Values, *options: str, release: str = RELEASE) -> list[Object]:
        """Return the rendered objects, which must not be changed: each set of values is rendered once.

        Raises HelmError.
        """
        command = ("template", release, str(CHART), "--namespace", NAMESPACE, *options)
        key = json.dumps([command, merged(values)])
        if key not in self._rendered:
            documents = yaml.load_all(await self(*command, values=merged(values)), Loader=yaml.CSafeLoader)
            self._rendered[key] = [document for document in documents if document]
        return self._rendered[key]

    def environment(self) -> dict[str, str]:
        """Return the variables with which Helm uses its own folders and the cluster."""
        folders = {f"HELM_{name}_HOME": str(self.folder / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        kubeconfig = {"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {}
        # The kubeconfig of the shell must not be used by accident.
        return {**os.environ, "KUBECONFIG": "/dev/null", **folders, **kubeconfig}


def merged(values: Values, base: Values = REQUIRED) -> dict[str, Any]:
    """Return the values with the required ones; maps are merged."""
    result = dict(base)
    for key, value in values.items():
        below = result.get(key)
        result[key] = merged(value, below) if isinstance(value, dict) and isinstance(below, dict) else value
    return result


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Return the objects of these kinds."""
    return [body for body in objects if body["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """Return one object. Raises AssertionError with the names that exist."""
    names = {body["metadata"]["name"]: body for body in of_kind(objects, kind)}
    assert name in names, f"no {kind} {name}, only {sorted(names)}"
    return names[name]


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield component and pod template of each Deployment and Job."""
    for body in of_kind(objects, "Deployment", "Job"):
        yield body["metadata"]["labels"]["app.kubernetes.io/component"], body["spec"]["template"]


def demo_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield component and pod template of each server of a trial, with the volumes of its claims."""
    for body in of_kind(objects, "StatefulSet"):
        template, claims = body["spec"]["template"], body["spec"].get("volumeClaimTemplates", [])
        volumes = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
        spec = template["spec"] | {"volumes": [*template["spec"]["volumes"], *volumes]}
        yield body["metadata"]["labels"]["app.kubernetes.io/component"], template | {"spec": spec}


async def templates_of(helm: Helm, values: Values) -> dict[str, Object]:
    """Return the pod templates by component."""
    return dict(pod_templates(await helm.template(values)))


def container_of(objects: list[Object], component: str) -> Object:
    """Return the container of a process."""
    (container,) = dict(pod_templates(objects))[component]["spec"]["containers"]
    return container


def environment(template: Object) -> dict[str, str]:
    """Return the variables of the container of a pod template."""
    (container,) = template["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def secret_files(template: Object) -> dict[str, tuple[str, str]]:
    """Return Secret and key of each file in the folder of secrets."""
    (volume,) = (volume for volume in template["spec"]["volumes"] if volume["name"] == "secrets")
    return {
        item["path"]: (source["secret"]["name"], item["key"])
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
