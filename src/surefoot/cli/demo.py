# SPDX-License-Identifier: Apache-2.0
"""``surefoot demo``: one real board over mutual TLS, updated to a good release, then rescued by itself from one that crashes.

Everything is done by the commands that a user would type, each printed before it runs; nothing here knows a shortcut.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surefoot.cli.operator import OperatorClient
from surefoot.model.errors import Error, InvalidInput, TransportError

DEVICE = "t-1"
PRODUCT = "thermostat"
HARDWARE = "thermostat-v1"
RECIPES = {"1.0.0": "firmware.yaml", "1.1.0": "firmware-1.1.0.yaml", "1.2.0": "firmware-1.2.0.yaml"}

_PATIENCE_S = 90
_LOOK_S = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which options there are."""
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything is put; emptied first (%(default)s)")
    parser.add_argument("--example", type=Path, default=Path("examples/thermostat"), help="the recipes (%(default)s)")
    parser.add_argument("--exit", action="store_true", help="end when the story is told, instead of leaving server and board running")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    _empty(folder)
    started = time.monotonic()
    with _programs() as programs:
        demo = Demo(folder=folder, example=arguments.example, programs=programs)
        demo.make_releases()
        demo.start_server()
        demo.publish()
        demo.start_board()
        demo.update("1.1.0", expected="succeeded")
        demo.update("1.2.0", expected="rolled_back")
        demo.close()
        print(f"\nThat took {time.monotonic() - started:.0f} s. Everything lies in {folder}/.")
        if not arguments.exit:
            demo.stay()
    return 0


@dataclass(slots=True, kw_only=True)
class Demo:
    """The story, one act a method."""

    folder: Path
    example: Path
    programs: list[subprocess.Popen[bytes]]
    shown: int = 0
    step: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)

    def make_releases(self) -> None:
        """Make keys, and build three releases."""
        self._say("Keys: two roots of trust, offline keys apart from the server's own")
        self._surefoot("trust", "init", "--keys", self._at("keys"), "--data", self._at("server"), "--product", PRODUCT)
        self._say("Build: three releases; 1.2.0 crashes on about a third of the boards as it starts, which nobody knows yet")
        for version, recipe in RECIPES.items():
            self._surefoot("release", "build", str(self.example / recipe), "-o", self._at(f"release-{version}"))

    def start_server(self) -> None:
        """Start the server in a process of its own, on free ports."""
        self._say("Server: SQLite and a folder; devices are let in by their certificates alone")
        ports = ["--device-port", "0", "--enrol-port", "0", "--operator-port", "0", "--poll-interval", "1"]
        address = self.folder / "server" / "server.json"
        self._start("serve", "--data", self._at("server"), *ports)
        self._await("the server to start", address.exists)
        os.environ["SUREFOOT_SERVER"] = json.loads(address.read_text())["operator_url"]
        os.environ["SUREFOOT_TOKEN_FILE"] = self._at("server/admin.token")

    def publish(self) -> None:
        """Sign and publish all three."""
        self._say("Sign and publish: the product's key signs what may exist; the server only orders")
        for version in RECIPES:
            self._surefoot("release", "sign", self._at(f"release-{version}"), "--keys", self._at("keys"))
            self._surefoot("release", "publish", self._at(f"release-{version}"))

    def start_board(self) -> None:
        """Flash a board with 1.0.0, enrol it, and switch it on."""
        self._say(f"Board: {DEVICE} leaves the factory with 1.0.0, joins with a single-use token, and is switched on")
        self._surefoot(
            "simulate", "flash", self._at("board"), "--bundle", self._at("release-1.0.0"), "--hardware", HARDWARE, "--serial", DEVICE
        )
        self._surefoot("token", "new", DEVICE, "--hardware", HARDWARE, "-o", self._at("enrol.json"))
        self._surefoot("agent", "enroll", "--with", self._at("enrol.json"), "--config", self._at("board/agent.toml"))
        self._start("simulate", "board", self._at("board"))
        self._follow("the board to report 1.0.0", lambda story: _runs(story) == "1.0.0")

    def update(self, version: str, *, expected: str) -> None:
        """Order a release and show what happens until the attempt is over.

        Raises:
            TransportError: It takes too long, or ends otherwise than expected.
        """
        self._say(f"Order {version}" + ("" if expected == "succeeded" else ": it will crash, and the board must come back by itself"))
        self._surefoot("device", "order", DEVICE, PRODUCT, version)
        story = self._follow(f"{version} to end", lambda story: "outcome" in story["assignments"][0])
        outcome = story["assignments"][0]["outcome"]
        self.outcomes[version] = outcome
        print(f"   => {version}: {outcome}; the device runs {_runs(story)}")
        if outcome != expected:
            raise TransportError(f"The attempt ended as {outcome}; {expected} was expected.", hint=f"See {self.folder}/board.log.")

    def close(self) -> None:
        """Show where everybody stands, from the server and from the device itself."""
        self._say("Where everybody stands")
        self._surefoot("device", "list")
        self._surefoot("agent", "status", "--config", self._at("board/agent.toml"))
        print("\n   order    outcome")
        for version, outcome in self.outcomes.items():
            print(f"   {version:<8} {outcome}")

    def stay(self) -> None:
        """Leave server and board running until interrupted."""
        print("Server and board go on running; stop them with Ctrl-C. In another shell, try:")
        print(f"  export SUREFOOT_SERVER={os.environ['SUREFOOT_SERVER']} SUREFOOT_TOKEN_FILE={os.environ['SUREFOOT_TOKEN_FILE']}")
        print(f"  {sys.argv[0]} device show {DEVICE}", flush=True)
        while all(program.poll() is None for program in self.programs):
            time.sleep(1)

    def _follow(self, what: str, is_over: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        calls = OperatorClient(os.environ["SUREFOOT_SERVER"], Path(os.environ["SUREFOOT_TOKEN_FILE"]).read_text().strip())
        story: dict[str, Any] = {}

        def look() -> bool:
            story.update(calls.get(f"devices/{DEVICE}", dict[str, Any]))
            self._show_events(story["events"])
            return is_over(story)

        self._await(what, look)
        return story

    def _show_events(self, events: list[dict[str, Any]]) -> None:
        for event in sorted((stored["event"] for stored in events), key=lambda event: int(event["seq"])):
            if event["seq"] > self.shown:
                self.shown = event["seq"]
                facts = " ".join(f"{key}={_short(value)}" for key, value in event.get("data", {}).items())
                print(f"   {event['at'][11:19]} {event['type']:<28} {facts}", flush=True)

    def _await(self, what: str, is_there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not is_there():
            ended = [program for program in self.programs if program.poll() is not None]
            if ended or time.monotonic() > deadline:
                reason = "a program ended" if ended else f"nothing happened for {_PATIENCE_S} s"
                raise TransportError(f"Waited for {what}, but {reason}.", hint=f"See {self.folder}/*.log.")
            time.sleep(_LOOK_S)

    def _say(self, sentence: str) -> None:
        self.step += 1
        print(f"\n{self.step}. {sentence}", flush=True)

    def _at(self, name: str) -> str:
        return str(self.folder / name)

    def _surefoot(self, *words: str) -> None:
        print(f"   $ surefoot {' '.join(words)}", flush=True)
        done = subprocess.run(_command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        for line in done.stdout.splitlines():
            if not line.startswith(("Next", "      ")):
                print(f"     {line}", flush=True)
        if done.returncode != 0:
            raise Error(f"'surefoot {' '.join(words)}' ended with status {done.returncode}.")

    def _start(self, *words: str) -> None:
        print(f"   $ surefoot {' '.join(words)} &", flush=True)
        with (self.folder / f"{words[0] if words[0] == 'serve' else words[1]}.log").open("wb") as log:
            self.programs.append(subprocess.Popen(_command(*words), stdout=log, stderr=subprocess.STDOUT, start_new_session=True))


@contextmanager
def _programs() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Give a list of processes that are stopped at the end, the last started first."""
    programs: list[subprocess.Popen[bytes]] = []
    try:
        yield programs
    finally:
        for program in reversed(programs):
            program.terminate()
            try:
                program.wait(timeout=10)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "surefoot", *words]


def _empty(folder: Path) -> None:
    # Only what an earlier demo made is removed: a folder of somebody else's is left alone.
    marker = folder / ".surefoot-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise InvalidInput(f"{folder} is not empty, and no demo made it.", hint="Name another folder with --folder.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()


def _runs(story: dict[str, Any]) -> str:
    report = story["device"].get("report")
    return str(report["version"]) if report else ""


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:19]}…"  # noqa: PLR2004  # as much as fits a terminal's line
