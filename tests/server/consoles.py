# SPDX-License-Identifier: Apache-2.0
"""A console on loopback over a showroom, with a clock that tests move, and a browser's manners without a browser."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import urllib3
import uvicorn

from surefoot.fleet.enroll import token_hash
from surefoot.server.api.http import Receive, Scope, Send
from surefoot.server.ui.console import Console, ConsoleParts
from surefoot.server.ui.live import Pace
from tests.server.showroom import BEGIN, Showroom

TOKEN = "ada's own token"
_SECRETS = count(1)


class Desk:
    """A running console, and what lies behind it."""

    def __init__(self, pace: Pace) -> None:
        self.url = ""
        self.browser = urllib3.PoolManager(retries=False, timeout=20)
        self._pace = pace
        self.renew()

    def renew(self) -> None:
        """Begin anew behind the same address: nobody is logged in, and nothing has happened."""
        self.showroom = Showroom()
        self.operators = {token_hash(TOKEN): "ada"}
        self.now = BEGIN
        self.console = Console(
            ConsoleParts(
                catalogue=self.showroom,
                why=self.showroom.why,
                windows=self.showroom.windows_of,
                steer=self.showroom.steer,
                token_name=self.operators.get,
                secret=lambda: f"secret-{next(_SECRETS)}",
                clock=lambda: self.now,
                pace=self._pace,
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.console(scope, receive, send)

    def get(self, path: str, cookie: str = "", **headers: str) -> urllib3.BaseHTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.browser.request("GET", self.url + path, headers={**named, "Cookie": cookie}, redirect=False)

    def post(self, path: str, fields: dict[str, str], cookie: str = "", origin: str | None = None) -> urllib3.BaseHTTPResponse:
        headers = {"Cookie": cookie, "Origin": self.url if origin is None else origin}
        return self.browser.request(
            "POST", self.url + path, fields=fields, encode_multipart=False, headers={k: v for k, v in headers.items() if v}, redirect=False
        )

    def log_in(self, token: str = TOKEN) -> str:
        """Return the cookie of a new session."""
        answer = self.post("/login", {"token": token})
        assert answer.status == 303, answer.data
        return answer.headers["set-cookie"].split(";")[0]

    def form_token(self, cookie: str) -> str:
        found = re.search(r'name="form_token" value="([^"]+)"', self.get("/rollouts", cookie).data.decode())
        assert found is not None
        return found[1]

    def steer(self, cookie: str, path: str, **fields: str) -> urllib3.BaseHTTPResponse:
        return self.post(path, {"form_token": self.form_token(cookie), **fields}, cookie)

    @contextmanager
    def stream(self, path: str, cookie: str) -> Iterator[Iterator[str]]:
        """Open a stream; what comes are its messages, each as a whole."""
        answer = self.browser.request("GET", self.url + path, headers={"Cookie": cookie}, preload_content=False, redirect=False)
        try:
            assert answer.status == 200
            yield _messages(answer)
        finally:
            answer.close()


@contextmanager
def desk(pace: Pace | None = None) -> Iterator[Desk]:
    """Run a console in a thread of its own."""
    found = Desk(pace or Pace(tick_s=0.05, ticks_per_ping=3))
    config = uvicorn.Config(found, host="127.0.0.1", port=0, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    loop = asyncio.new_event_loop()
    is_ready = threading.Event()

    async def serve() -> None:
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        found.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        is_ready.set()
        await server.main_loop()
        found.console.close()
        await server.shutdown()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    is_ready.wait()
    try:
        yield found
    finally:
        server.should_exit = True
        thread.join()
        loop.close()


def later(found: Desk, by: timedelta) -> None:
    """Let time go by."""
    found.now += by


def _messages(answer: urllib3.BaseHTTPResponse) -> Iterator[str]:
    waiting = ""
    for piece in answer.stream(65_536):
        waiting += piece.decode()
        *whole, waiting = waiting.split("\n\n")
        yield from whole
