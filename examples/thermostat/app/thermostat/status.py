# SPDX-License-Identifier: Apache-2.0
"""How the thermostat is, and ``GET /health`` that says so."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Status:
    """What the control loop last said; read by the threads that answer requests."""

    def __init__(self, *, version: str, slot: str) -> None:
        """Start unhealthy: health is something to be shown."""
        self.version = version
        self.slot = slot
        self.temperature = 0.0
        self.is_healthy = False

    def tell(self, temperature: float, *, is_healthy: bool) -> None:
        """Take note of how things are now."""
        self.temperature = round(temperature, 2)
        self.is_healthy = is_healthy

    def as_json(self) -> bytes:
        """Return what ``/health`` answers."""
        return json.dumps({"version": self.version, "slot": self.slot, "temperature": self.temperature}).encode()


def serve_health(status: Status) -> int:
    """Answer ``GET /health`` in the background, on loopback, and return the port.

    200 when healthy, 503 when not.
    """

    class Answer(BaseHTTPRequestHandler):
        """One request."""

        def do_GET(self) -> None:  # the library's name
            """Answer it."""
            code = 404 if self.path != "/health" else 200 if status.is_healthy else 503
            body = status.as_json() if self.path == "/health" else b""
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the console for what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_port)
