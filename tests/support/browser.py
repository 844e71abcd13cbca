"""A headless Chromium over its DevTools pipe, without a driver. Where it is not installed, its tests are skipped."""

import asyncio
import base64
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tests.support.eventually import eventually

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_LINE_LIMIT = 1 << 26


@dataclass(slots=True)
class Page:
    """A tab. problems: errors of scripts, of the console, and violations of the Content-Security-Policy."""

    _connection: "_Connection"
    _session: str
    problems: list[str] = field(default_factory=list[str])

    async def open(self, url: str) -> None:
        """Go to an address; what its scripts load may still be on its way."""
        await self.call("Page.navigate", url=url)

    async def evaluate(self, script: str) -> Any:
        """Return the value of a script, which may be a promise."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def text(self, selector: str) -> str:
        """Return the text of the first element; empty without one."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    async def shows(self, text: str, selector: str = "body", seconds: float = 60) -> str:
        """Wait until the element has this text, and return all of its text."""
        return await eventually(lambda: self.text(selector), lambda shown: text in shown, seconds=seconds)

    async def press(self, key: str, *, modifiers: int = 0) -> None:
        """Press and release a key, such as Tab or Enter. modifiers: 8 for shift."""
        keys = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}
        parameters = {"key": key, "code": key, "windowsVirtualKeyCode": keys[key], "modifiers": modifiers}
        text = {"text": "\r"} if key == "Enter" else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **parameters, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **parameters)

    async def prefer(self, **features: str) -> None:
        """Set media features, such as prefers_color_scheme="dark"."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        await self.call("Emulation.setEmulatedMedia", features=named)

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the viewport."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def screenshot(self, file: Path) -> None:
        """Write the whole page as a PNG."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(answer["data"]))

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and return its result."""
        return await self._connection.call(method, parameters, self._session)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.pages: dict[str, Page] = {}

    async def call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        number = len(self._answers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._writer.write(json.dumps(message).encode() + b"\0")
        return await self._answers[number]

    async def read(self) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if "id" in message:
                    self._answer(message)
                else:
                    self._note(message)

    def _answer(self, message: dict[str, Any]) -> None:
        answer = self._answers[message["id"]]
        if answer.done():
            return
        if "error" in message:
            answer.set_exception(RuntimeError(message["error"]["message"]))
        else:
            answer.set_result(message["result"])

    def _note(self, message: dict[str, Any]) -> None:
        page = self.pages.get(message.get("sessionId", ""))
        if page is None:
            return
        parameters = message["params"]
        if message["method"] == "Runtime.exceptionThrown":
            page.problems.append(json.dumps(parameters["exceptionDetails"]))
        if message["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            page.problems.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")


@asynccontextmanager
async def browser_page(width: int = 1280, height: int = 900) -> AsyncGenerator[Page]:
    """Start Chromium with an empty profile, and yield its page."""
    assert CHROMIUM is not None
    folder = tempfile.mkdtemp(prefix="chromium-")
    commands, answers = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and writes answers to 4. Not <&: dash knows descriptors up to 9 only.
    script = f'exec "$0" "$@" 3</proc/self/fd/{commands[0]} 4>/proc/self/fd/{answers[1]}'
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", script, CHROMIUM, *_ARGUMENTS, f"--user-data-dir={folder}", "about:blank"),
        pass_fds=(commands[0], answers[1]),
        env=os.environ | {"TMPDIR": folder},
        start_new_session=True,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(commands[0])
    os.close(answers[1])
    connection = await _connect(answers[0], commands[1])
    reading = asyncio.create_task(connection.read())
    try:
        target = await connection.call("Target.createTarget", {"url": "about:blank"})
        attached = await connection.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
        page = Page(connection, attached["sessionId"])
        connection.pages[attached["sessionId"]] = page
        for domain in ("Page", "Runtime", "Log"):
            await page.call(f"{domain}.enable")
        await page.resize(width, height)
        yield page
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        # Its helpers would still write to the profile, which they also create again.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await eventually(lambda: asyncio.to_thread(_is_removed, folder))


def _is_removed(folder: str) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not Path(folder).exists()


async def _connect(answers: int, commands: int) -> _Connection:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers, "rb"))
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(commands, "wb"))
    return _Connection(reader, asyncio.StreamWriter(transport, cast("Any", protocol), None, loop))
