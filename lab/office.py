# SPDX-License-Identifier: Apache-2.0
"""The other end: a real server on the loopback, and the operator's commands, run as people run them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.packages import ROOT
from lab.tools import LabError, run
from surefoot.cli.operator import OperatorClient

DEVICE, HARDWARE, PRODUCT = "lab-1", "lab-arm64", "lab"
ADDRESS = "10.0.2.2"
"""Where QEMU's network shows a guest the host's loopback; the server's certificate names it."""

_PATIENCE_S = 120
_RECIPE = """firmware:
  product: {product}
  version: "{version}"
  hardware: [{hardware}]
  revert_to: minor
  components:
    - name: system
      version: "{version}"
      path: {image}
      license: Apache-2.0
"""


class Office:
    """A server in a folder, with keys, releases and one device."""

    def __init__(self, folder: Path) -> None:
        """Make keys and start the server; ``LabError`` when it does not come up."""
        self.folder = folder
        self._data = folder / "server"
        surefoot("trust", "init", "--keys", folder / "keys", "--data", self._data, "--product", PRODUCT)
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            sys.executable,
            "-m",
            "surefoot",
            "serve",
            "--data",
            self._data,
            "--hostname",
            ADDRESS,
            "--poll-interval",
            "1",
        ]
        ports = [word for name in ("device", "enrol", "operator") for word in (f"--{name}-port", "0")]
        with (folder / "serve.log").open("wb") as log:
            self._server = subprocess.Popen([*map(str, command), *ports], stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        self._url = self._wait_for_server()
        self._client = OperatorClient(self._url, (self._data / "admin.token").read_text().strip())

    def release(self, version: str, image: Path) -> Path:
        """Build, sign and publish a slot image as a release; return its bundle."""
        recipe = self.folder / f"{version}.yaml"
        recipe.write_text(_RECIPE.format(product=PRODUCT, version=version, hardware=HARDWARE, image=image.name))
        if image.parent != self.folder:
            (self.folder / image.name).hardlink_to(image)
        bundle = self.folder / f"release-{version}"
        surefoot("release", "build", recipe, "-o", bundle)
        surefoot("release", "sign", bundle, "--keys", self.folder / "keys")
        surefoot("release", "publish", bundle, *self._options())
        return bundle

    def offer(self, path: Path) -> None:
        """Write a new offer to join for the device."""
        path.unlink(missing_ok=True)
        surefoot("token", "new", DEVICE, "--hardware", HARDWARE, "-o", path, *self._options())

    def order(self, version: str) -> None:
        """Order a release for the device."""
        surefoot("device", "order", DEVICE, PRODUCT, version, *self._options())

    def story(self) -> dict[str, Any]:
        """Return all that the server knows of the device."""
        return self._client.get(f"devices/{DEVICE}", dict[str, Any])

    def close(self) -> None:
        """End the server."""
        self._server.send_signal(signal.SIGTERM)
        self._server.wait()

    def _options(self) -> list[str | Path]:
        return ["--server", self._url, "--token-file", self._data / "admin.token"]

    def _wait_for_server(self) -> str:
        address, deadline = self._data / "server.json", time.monotonic() + _PATIENCE_S
        while not address.exists():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"The server does not come up; it said:\n{(self.folder / 'serve.log').read_text()}")
            time.sleep(0.1)
        return str(json.loads(address.read_text())["operator_url"])


def surefoot(*words: str | Path) -> str:
    """Run a command of Surefoot and return what it printed; ``LabError`` when it fails."""
    return run([sys.executable, "-m", "surefoot", *words], folder=ROOT)
