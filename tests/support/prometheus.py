"""A Prometheus server's range queries, on loopback."""

import json
import threading
import urllib.parse
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, bytes]


def series_answer(value_at: Callable[[float], float], series: int = 1) -> Callable[[dict[str, str]], Answer]:
    """Answers with as many series as told, each of value_at(epoch seconds)."""

    def answer(asked: dict[str, str]) -> Answer:
        start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        count = int((end - start) // step) + 1
        if count > 11_000:
            return refusal(400, "exceeded maximum resolution of 11,000 points per timeseries")
        values = [[start + i * step, f"{value_at(start + i * step):g}"] for i in range(count)]
        result = [{"metric": {"pod": str(i)}, "values": values} for i in range(series)]
        return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()

    return answer


def refusal(status: int, error: str) -> Answer:
    """What Prometheus says to a wrong query."""
    return status, json.dumps({"status": "error", "errorType": "bad_data", "error": error}).encode()


@contextmanager
def prometheus_running(answer: Callable[[dict[str, str]], Answer]) -> Generator[tuple[str, list[dict[str, str]]]]:
    """Its address, and every question that it was asked."""
    asked: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            question = dict(urllib.parse.parse_qsl(body))
            asked.append(question)
            status, content = (404, b"no such page") if self.path != "/api/v1/query_range" else answer(question)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (as its base calls it)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
