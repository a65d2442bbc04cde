# SPDX-License-Identifier: Apache-2.0
"""Surefoot as its users run it: commands and programs as processes, by any interpreter, in one folder."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from surefoot.cli.operator import OperatorClient
from surefoot.model.errors import TransportError

SOURCES = Path(__file__).parents[2]
PATIENCE_S = 60
DEVELOPMENT = (sys.executable, "-m", "surefoot")
"""The command of the environment that the tests run in."""

_LOOK_S = 0.02
_STOP_S = 10


@dataclass(slots=True)
class Programs:
    """Processes that share a folder; those still running at the end of the block are ended.

    Attributes:
        folder: Where their logs go, and everything else that is named without a folder.
        environment: Environment variables for all of them, besides those of this process.
        running: What was started, by name.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self.running):
            self.stop(name)

    def at(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return str(self.folder / name)

    def run(self, *words: str, by: Sequence[str] = DEVELOPMENT, status: int = 0, without: Sequence[str] = ()) -> str:
        """Run a command to its end and return all it said.

        Args:
            words: The command.
            by: What runs it.
            status: What it must end with.
            without: Environment variables that it must not see.

        Raises:
            TransportError: It ended with another status.
        """
        done = subprocess.run(
            [*by, *words], env=self._seen(without), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode != status:
            raise TransportError(f"{' '.join([*by, *words])} ended with status {done.returncode}: {done.stdout}")
        return done.stdout

    def start(
        self,
        name: str,
        *words: str,
        by: Sequence[str] = DEVELOPMENT,
        without: Sequence[str] = (),
        more: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program that writes into ``<name>.log``; ``more`` are further environment variables for it alone."""
        with (self.folder / f"{name}.log").open("wb") as log:
            environment = self._seen(without) | dict(more or {})
            self.running[name] = subprocess.Popen([*by, *words], env=environment, stdout=log, stderr=subprocess.STDOUT)
        return self.running[name]

    def stop(self, name: str) -> None:
        """Ask a program to end, and end it when it does not."""
        program = self.running[name]
        program.terminate()
        try:
            program.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()

    def log(self, name: str) -> str:
        """Return what a program has said so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start_server(self, product: str, *, poll_s: int = 1) -> None:
        """Make keys for ``product``, start a server on free ports that wants polls each ``poll_s`` s, and let later commands use it."""
        self.run("trust", "init", "--keys", self.at("keys"), "--data", self.at("server"), "--product", product)
        ports = ["--device-port", "0", "--enrol-port", "0", "--operator-port", "0"]
        self.start("serve", "serve", "--data", self.at("server"), "--poll-interval", str(poll_s), *ports)
        address = self.folder / "server" / "server.json"
        self.wait_for("the server", address.exists)
        self.environment["SUREFOOT_SERVER"] = json.loads(address.read_text())["operator_url"]
        self.environment["SUREFOOT_TOKEN_FILE"] = self.at("server/admin.token")

    def release(self, recipe: Path, bundle: str) -> None:
        """Build a recipe into a bundle, sign it and publish it."""
        self.run("release", "build", str(recipe), "-o", self.at(bundle))
        self.run("release", "sign", self.at(bundle), "--keys", self.at("keys"))
        self.run("release", "publish", self.at(bundle))

    def story(self, device_id: str) -> dict[str, Any]:
        """Return what the server knows of a device."""
        token = Path(self.environment["SUREFOOT_TOKEN_FILE"]).read_text().strip()
        return OperatorClient(self.environment["SUREFOOT_SERVER"], token).get(f"devices/{device_id}", dict[str, Any])

    def wait_for(self, what: str, is_there: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> None:
        """Return as soon as it is there.

        Raises:
            TransportError: It takes too long, or a program has ended, which none should.
        """
        deadline = time.monotonic() + patience_s
        pause = threading.Event()
        while not is_there():
            for name, program in self.running.items():
                if program.poll() is not None:
                    raise TransportError(f"Waited for {what}, but '{name}' ended: {self.log(name)}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"{name}: {self.log(name)}" for name in self.running)
                raise TransportError(f"Waited {patience_s:g} s for {what}.\n{logs}")
            pause.wait(_LOOK_S)

    def _seen(self, without: Sequence[str]) -> dict[str, str]:
        return {name: value for name, value in (os.environ | self.environment).items() if name not in without}
