# SPDX-License-Identifier: Apache-2.0
"""``surefoot demo``: a fleet updated in stages to a good release, then a bad one stopped before it does much harm.

Three boards are processes of their own; two hundred live in one, each with the real agent, its own certificate and the code of its
slots. Everything is done by the commands that a user would type, each printed before it runs; nothing here knows a shortcut.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surefoot.cli.demo_table import Row, board_rows, difference, print_table, server_rows
from surefoot.cli.operator import OperatorClient
from surefoot.model.errors import Error, InvalidInput, TransportError
from surefoot.rollout.evidence import total
from surefoot.rollout.plan import Status
from surefoot.server.services.catalogue import RolloutStory

BOARDS = ("t-1", "t-2", "t-3")
PREFIX = "sim-"
PRODUCT = "thermostat"
HARDWARE = "thermostat-v1"
RECIPES = {"1.0.0": "firmware.yaml", "1.1.0": "firmware-1.1.0.yaml", "1.2.0": "firmware-1.2.0.yaml"}
GROUPS = {"canary": ("t-1", "sim-1", "sim-2", "sim-3"), "pilot": ("t-3", *(f"sim-{number}" for number in range(4, 23)))}

_PATIENCE_S = 90
_LOOK_S = 0.3


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which options there are."""
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything is put; emptied first (%(default)s)")
    parser.add_argument("--example", type=Path, default=Path("examples/thermostat"), help="the recipes and plans (%(default)s)")
    parser.add_argument("--boards", type=int, default=200, help="how many simulated boards, besides three real ones (%(default)s)")
    parser.add_argument("--exit", action="store_true", help="end when the story is told, instead of leaving all of it running")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    if arguments.boards < len(GROUPS["pilot"]) + len(GROUPS["canary"]):
        raise InvalidInput(f"{arguments.boards} boards do not fill the canary and pilot groups.", hint="Ask for 24 or more.")
    _empty(folder)
    # As Ctrl-C does: server and boards, which are processes of their own, end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    with _programs() as programs:
        demo = Demo(folder=folder, example=arguments.example, boards=arguments.boards, programs=programs)
        demo.make_releases()
        demo.start_server()
        demo.publish()
        demo.start_boards()
        demo.group()
        demo.roll_out("1.1.0", expected=Status.FINISHED)
        demo.roll_out("1.2.0", expected=Status.PAUSED)
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
    boards: int
    programs: list[subprocess.Popen[bytes]]
    step: int = 0
    rollouts: dict[str, int] = field(default_factory=dict)

    def make_releases(self) -> None:
        """Make keys, and build three releases."""
        self._say("Keys: two roots of trust, offline keys apart from the server's own")
        self._surefoot("trust", "init", "--keys", self._at("keys"), "--data", self._at("server"), "--product", PRODUCT)
        self._say("Build: three releases; 1.2.0 crashes on about a third of the boards, which nobody knows yet")
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

    def start_boards(self) -> None:
        """Flash, enrol and switch on the three real boards and the simulated ones, all with 1.0.0."""
        self._say(f"Boards: {', '.join(BOARDS)} as processes, and {self.boards} simulated ones, leave the factory with 1.0.0")
        bundle = self._at("release-1.0.0")
        for board in BOARDS:
            self._surefoot("simulate", "flash", self._at(board), "--bundle", bundle, "--hardware", HARDWARE, "--serial", board)
            self._surefoot("token", "new", board, "--hardware", HARDWARE, "-o", self._at(f"enrol-{board}.json"))
            self._surefoot("agent", "enroll", "--with", self._at(f"enrol-{board}.json"), "--config", self._at(f"{board}/agent.toml"))
            self._start("simulate", "board", self._at(board))
        offers = self._at("offers.ndjson")
        self._surefoot("token", "batch", PREFIX, "--count", str(self.boards), "--hardware", HARDWARE, "-o", offers)
        self._start("simulate", "fleet", self._at("fleet"), "--offers", offers, "--bundle", bundle, "--hardware", HARDWARE)
        whole = self.boards + len(BOARDS)
        self._await(f"all {whole} boards to report 1.0.0", lambda: self._running("1.0.0") == whole)
        print(f"   => {whole} boards run 1.0.0")

    def group(self) -> None:
        """Say who goes first."""
        self._say("Groups: who gets a release before everybody else does")
        for name, members in GROUPS.items():
            self._surefoot("group", "add", name, *members)
        print(f"   The console: {os.environ['SUREFOOT_SERVER']}/ (sign in with the token in {os.environ['SUREFOOT_TOKEN_FILE']})")

    def roll_out(self, version: str, *, expected: Status) -> None:
        """Roll a release out and show every decision until the rollout rests.

        Raises:
            TransportError: It takes too long, or ends otherwise than expected.
        """
        self._say(f"Roll out {version}: canary, then pilot, then everybody, as the plan says")
        self._surefoot("rollout", "create", str(self.example / "plans" / f"{version}.yaml"), "--start")
        rollout_id = self.rollouts[version] = len(self.rollouts) + 1
        shown = 0

        def look() -> bool:
            nonlocal shown
            story = self._client().get(f"rollouts/{rollout_id}", RolloutStory)
            shown = _show_decisions(story, shown)
            return story.rollout.status is not Status.RUNNING and not total(tally.counts for tally in story.evidence.tallies).open

        self._await(f"the rollout of {version} to rest", look)
        status = self._client().get(f"rollouts/{rollout_id}", RolloutStory).rollout.status
        print(f"   => {version}: {status}")
        if status is not expected:
            raise TransportError(f"The rollout ended as {status}; {expected} was expected.", hint=f"See {self.folder}/*.log.")

    def close(self) -> None:
        """Show where everybody stands: as the server counts it, held against what the boards themselves remember.

        Raises:
            Error: The server and the boards do not say the same.
        """
        self._say("Where everybody stands: the server's table, held against the boards' own journals")
        rows: list[Row] = []

        def agree() -> bool:
            rows[:] = server_rows(self._client(), self.rollouts)
            return not difference(rows, board_rows(self.folder, BOARDS, self.rollouts))

        self._await("the boards' journals to be written", agree)
        print_table(rows)
        print(f"   The journals of all {self.boards + len(BOARDS)} boards say the same.")

    def stay(self) -> None:
        """Leave server and boards running until interrupted."""
        print(f"The console stays up: {os.environ['SUREFOOT_SERVER']}/ (token: {os.environ['SUREFOOT_TOKEN_FILE']}). Stop with Ctrl-C.")
        print("In another shell, try:")
        print(f"  export SUREFOOT_SERVER={os.environ['SUREFOOT_SERVER']} SUREFOOT_TOKEN_FILE={os.environ['SUREFOOT_TOKEN_FILE']}")
        print(f"  {sys.argv[0]} rollout show {self.rollouts['1.2.0']}", flush=True)
        while all(program.poll() is None for program in self.programs):
            time.sleep(1)

    def _running(self, version: str) -> int:
        lines = self._client().get("versions", dict[str, Any])["versions"]
        return sum(line["devices"] for line in lines if line["version"] == version)

    def _client(self) -> OperatorClient:
        return OperatorClient(os.environ["SUREFOOT_SERVER"], Path(os.environ["SUREFOOT_TOKEN_FILE"]).read_text().strip())

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
        with (self.folder / f"{'server' if words[0] == 'serve' else Path(words[2]).name}.log").open("wb") as log:
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


def _show_decisions(story: RolloutStory, shown: int) -> int:
    """Print the decisions that came since, and return how many there are now."""
    for stored in reversed(story.decisions):
        if stored.number > shown:
            word = type(stored.decision).__name__
            print(f"   {stored.at[11:19]} {word:<8} {stored.decision.reason}", flush=True)
    return max((stored.number for stored in story.decisions), default=shown)
