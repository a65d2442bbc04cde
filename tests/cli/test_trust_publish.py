# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust publish``: what it sends, over HTTP as a server hears it."""

import json
import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from surefoot.cli.main import main
from tests.cli.test_trust import init


class Listener(BaseHTTPRequestHandler):
    """Keeps what it is sent, and says that one file was new."""

    heard: list[tuple[str, dict[str, dict[str, str]]]]

    def do_POST(self) -> None:
        self.heard.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        answer = b'{"changed":["image/2.root.json"]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_every_root_after_the_first_and_all_that_people_signed_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "thermostat") == 0
    keys = str(tmp_path / "keys")
    assert main(["trust", "refresh", "--all", "--keys", keys]) == 0
    assert main(["trust", "refresh", "--all", "--keys", keys]) == 0
    (tmp_path / "token").write_text("secret")
    Listener.heard = []
    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        once = threading.Thread(target=server.handle_request)
        once.start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert main(["trust", "publish", "--keys", keys, "--server", address, "--token-file", str(tmp_path / "token")]) == 0
        once.join()
    assert "The server took in: image/2.root.json." in capsys.readouterr().out
    ((path, sent),) = Listener.heard
    assert path == "/api/v1/trust"
    assert set(sent["image"]) == {"2.root.json", "3.root.json", "targets.json", "thermostat.json"}
    assert set(sent["director"]) == {"2.root.json", "3.root.json"}
    assert b64decode(sent["image"]["3.root.json"]) == (tmp_path / "keys/metadata/root.json").read_bytes()
    assert b64decode(sent["director"]["3.root.json"]) == (tmp_path / "keys/metadata/director-root.json").read_bytes()
