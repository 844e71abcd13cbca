"""Auto Scaling, EC2, IAM and STS of AWS as a local HTTP endpoint: moto."""

import sys
from pathlib import Path

from predictive_scaling.stack.installed_programs import package_folder
from predictive_scaling.stack.ports import LOOPBACK, free_port
from predictive_scaling.stack.processes import Child, SingleProcess, answers
from predictive_scaling.stack.progress import Notify

REGION = "eu-west-1"


class AWS(SingleProcess):
    """An account in memory, which is lost when the server stops."""

    def __init__(self, folder: Path, notify: Notify) -> None:
        self.folder = folder
        self._notify = notify
        self._port = free_port()

    @property
    def endpoint_url(self) -> str:
        """The value for AWS_ENDPOINT_URL."""
        return f"http://{LOOPBACK}:{self._port}"

    def environment(self) -> dict[str, str]:
        """The environment of boto3 for this endpoint, with accepted credentials."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }

    async def start(self) -> None:
        """Start the server and wait until it responds. Raises StackError with the end of its log."""
        self._child = self._child or self._build_server()
        await self._child.start()

    def _build_server(self) -> Child:
        package_folder("moto", "AWS")
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self._port)]
        ready = answers(f"{self.endpoint_url}/moto-api/data.json")
        return Child("moto (AWS)", command, self.folder / "moto.log", ready)
