"""kubectl as a user types it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class KubectlError(AssertionError):
    """kubectl ended with an error; the message is what it said."""


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl in one namespace: `await kubectl("get", "hpa", "-o", "name")` returns what it printed."""

    program: Path
    kubeconfig: Path
    namespace: str = "default"

    async def __call__(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Raises KubectlError with kubectl's message."""
        process = await asyncio.create_subprocess_exec(
            *(self.program, "--kubeconfig", self.kubeconfig, "--namespace", self.namespace, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, complaint = await process.communicate((stdin or "").encode())
        if process.returncode:
            raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {complaint.decode().strip()}")
        return printed.decode()

    async def apply(self, *manifests: dict[str, Any]) -> str:
        """`kubectl apply` of objects."""
        return await self("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))

    async def apply_file(self, path: Path) -> str:
        """`kubectl apply` of a file or a folder."""
        return await self("apply", "-f", path)

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object. Raises KubectlError when it does not exist."""
        return json.loads(await self("get", kind, name, "-o", "json"))

    async def items(self, kind: str, *arguments: str) -> Sequence[dict[str, Any]]:
        """All objects of a kind in the namespace."""
        return json.loads(await self("get", kind, *arguments, "-o", "json"))["items"]
