"""An HTTP server on loopback that answers range queries as a test wants it; see prometheus_server for a real one."""

import json
import threading
import urllib.parse
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Response = tuple[int, bytes]


def series_response(value_at: Callable[[float], float], series: int = 1) -> Callable[[dict[str, str]], Response]:
    """Return a handler whose response has this number of series, each with the values value_at(epoch seconds)."""

    def response(request: dict[str, str]) -> Response:
        start, end, step = (float(request[name]) for name in ("start", "end", "step"))
        count = int((end - start) // step) + 1
        if count > 11_000:
            return error_response(400, "exceeded maximum resolution of 11,000 points per timeseries")
        values = [[start + i * step, f"{value_at(start + i * step):g}"] for i in range(count)]
        result = [{"metric": {"pod": str(i)}, "values": values} for i in range(series)]
        return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()

    return response


def error_response(status: int, error: str) -> Response:
    """Return the response of Prometheus to an invalid query."""
    return status, json.dumps({"status": "error", "errorType": "bad_data", "error": error}).encode()


@contextmanager
def prometheus_running(
    response_to: Callable[[dict[str, str]], Response], headers: list[Mapping[str, str]] | None = None
) -> Generator[tuple[str, list[dict[str, str]]]]:
    """Run the server; yields its address and the list of the requests that it received.

    headers: gets the headers of each request.
    """
    requests: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            request = dict(urllib.parse.parse_qsl(body))
            requests.append(request)
            if headers is not None:
                headers.append(dict(self.headers.items()))
            status, content = (404, b"no such page") if self.path != "/api/v1/query_range" else response_to(request)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name in the base class)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
