# SPDX-License-Identifier: Apache-2.0
"""A server, releases that behave in every way, and boards, all as real processes, driven by the real commands."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surefoot.cli.main import main
from surefoot.cli.operator import OperatorClient
from surefoot.model.errors import TransportError
from surefoot.simulator.recorder import story_of
from surefoot.simulator.story import Ending
from surefoot.simulator.supervisor import Board, Timing

EXAMPLE = Path(__file__).parents[2] / "examples" / "thermostat"
HARDWARE = "thermostat-v1"
RELEASES = {
    "good": ("1.1.0", "firmware-1.1.0.yaml"),
    "crashes": ("1.2.0", "firmware-1.2.0.yaml"),
    "hangs": ("1.3.0", "firmware-hangs.yaml"),
    "unhealthy": ("1.4.0", "firmware-unhealthy.yaml"),
    "loses-server": ("1.5.0", "firmware-loses-server.yaml"),
}
FACTORY = ("1.0.0", "firmware.yaml")
PATIENCE_S = 60

_WORDS = {Ending.COMMITTED: "succeeded", Ending.OPEN: ""}
_QUICK = Timing(watchdog_s=1.0, grace_s=3.0, stop_s=2.0, pause_s=0.1)


def surefoot(*words: str | Path) -> None:
    """Run a command in this process; it must succeed."""
    status = main([str(word) for word in words])
    assert status == 0, words


@dataclass
class Lab:
    """One server's world in a folder."""

    folder: Path
    ports: list[str] = field(default_factory=lambda: ["0", "0", "0"])
    server: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make keys and releases, start the server, publish."""
        sources = self.folder / "sources"
        shutil.copytree(EXAMPLE, sources)
        surefoot("trust", "init", "--keys", self.folder / "keys", "--data", self.data, "--product", "thermostat")
        self.start_server()
        for version, recipe in (FACTORY, *RELEASES.values()):
            bundle = self.folder / f"release-{version}"
            surefoot("release", "build", sources / recipe, "-o", bundle)
            surefoot("release", "sign", bundle, "--keys", self.folder / "keys")
            surefoot("release", "publish", bundle, *self.options())

    @property
    def data(self) -> Path:
        return self.folder / "server"

    def start_server(self) -> None:
        """Start the server; on the ports that it had before, if it had any."""
        device, enrol, operator = self.ports
        command = [sys.executable, "-m", "surefoot", "serve", "--data", str(self.data), "--poll-interval", "1"]
        command += ["--device-port", device, "--enrol-port", enrol, "--operator-port", operator]
        with (self.folder / "serve.log").open("ab") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_for("the server", self._is_up)

    def kill_server(self) -> None:
        """End the server as a power cut would."""
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()
        (self.data / "server.json").unlink(missing_ok=True)

    def options(self) -> list[str]:
        return ["--server", f"http://127.0.0.1:{self.ports[2]}", "--token-file", str(self.data / "admin.token")]

    def story(self, device_id: str) -> dict[str, Any]:
        """Return what the server knows of a device; waits out a server that is down."""
        client = OperatorClient(f"http://127.0.0.1:{self.ports[2]}", (self.data / "admin.token").read_text().strip())
        return client.get(f"devices/{device_id}", dict[str, Any])

    def board(self, serial: str) -> "LabBoard":
        """Flash and enrol a board; it is not switched on."""
        folder = self.folder / serial
        offer = self.folder / f"{serial}.json"
        surefoot("simulate", "flash", folder, "--bundle", self.folder / "release-1.0.0", "--hardware", HARDWARE, "--serial", serial)
        config = folder / "agent.toml"
        config.write_text(config.read_text().replace("settle_s = 2", "settle_s = 1").replace("timeout_s = 20", "timeout_s = 6"))
        surefoot("token", "new", serial, "--hardware", HARDWARE, "-o", offer, *self.options())
        surefoot("agent", "enroll", "--with", offer, "--config", config)
        return LabBoard(lab=self, serial=serial, folder=folder)

    def order(self, serial: str, version: str) -> None:
        surefoot("device", "order", serial, "thermostat", version, *self.options())

    def _is_up(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, (self.folder / "serve.log").read_text()
        address = self.data / "server.json"
        if not address.exists():
            return False
        found = json.loads(address.read_text())
        self.ports = [found[name].rpartition(":")[2] for name in ("device_url", "enroll_url", "operator_url")]
        return bool(found["pid"] == self.server.pid)


@dataclass
class LabBoard:
    """A board that can be switched on and off."""

    lab: Lab
    serial: str
    folder: Path
    said: list[str] = field(default_factory=list)

    @contextmanager
    def powered(self) -> Iterator[None]:
        """Let the board run while the block does."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def agent_pids(self) -> list[int]:
        """Return the processes that run this board's agent."""
        wanted = str(self.folder / "agent.toml").encode()
        return [pid for pid, words in _command_lines() if b"agent" in words and wanted in words]

    def outcome(self) -> str | None:
        """Return how the newest attempt ended, if it has and the board has told all; ``None`` while the server is down."""
        try:
            story = self.lab.story(self.serial)
        except TransportError:
            return None
        found: str | None = story["assignments"][0].get("outcome")
        return found

    def check_story(self, version: str) -> None:
        """Assert that every event is there once, that the device says it runs ``version``, and that its own memory agrees."""
        story = self.lab.story(self.serial)
        seqs = sorted(stored["event"]["seq"] for stored in story["events"])
        assert seqs == list(range(1, len(seqs) + 1)), seqs
        assert story["device"]["report"]["version"] == version
        own = story_of(self.folder)
        remembered = [(one.assignment_id, one.version, _WORDS.get(one.ended, str(one.ended))) for one in own.attempts]
        known = [(one["assignment_id"], one["version"], one.get("outcome", "")) for one in reversed(story["assignments"])]
        assert (own.version, remembered) == (version, known)

    def _run(self, stop: threading.Event) -> None:
        Board(self.folder, self.serial, say=self.said.append, timing=_QUICK).run(stop)


def wait_for(what: str, is_there: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Return as soon as it is there; fail when that takes too long."""
    deadline = time.monotonic() + patience_s
    pause = threading.Event()
    while not is_there():
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        pause.wait(0.05)


def _command_lines() -> Iterator[tuple[int, list[bytes]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
