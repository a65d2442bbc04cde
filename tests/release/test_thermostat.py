# SPDX-License-Identifier: Apache-2.0
"""The example's images, run as the board runs them: the good one lives, each bad one really is bad."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from runpy import run_path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from surefoot.release.build import Settings, build
from surefoot.release.bundle import read_bundle
from surefoot.release.recipe import read_recipe
from tests.release.firmware import copy_thermostat

BEHAVIOURS = Path(__file__).parents[2] / "examples" / "thermostat" / "behaviours"
SETTINGS = Settings(build_id="test", release_counter=1, environment=os.environ, tool_version="0.1.0")
AGENT = 'import os, signal; print("agent", os.environ.get("SUREFOOT_SERVER_OVERRIDE", "free"), flush=True); signal.pause()'
FAILING_AGENT = 'print("agent fails", flush=True); raise SystemExit(3)'


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A running image and the folder it runs in."""

    process: subprocess.Popen[str]
    folder: Path

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def age_ns(self, name: str) -> int:
        path = self.folder / "run" / name
        return path.stat().st_mtime_ns if path.exists() else 0

    def health(self) -> tuple[int, dict[str, object]]:
        port = (self.folder / "run" / "health-port").read_text().strip()
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:  # loopback
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the image that a recipe of the example builds."""
    folder = tmp_path_factory.mktemp("images")
    copy_thermostat(folder / "thermostat")

    def image(recipe: str) -> Path:
        target = folder / recipe
        if not target.exists():
            build(read_recipe(folder / "thermostat" / recipe), target, SETTINGS)
        (manifest,) = read_bundle(target).manifests.values()
        return target / "images" / manifest.image.hash.removeprefix("sha256:")

    return image


@contextmanager
def running(image: Path, folder: Path, agent: str = AGENT, serial: str = "t-1") -> Iterator[Board]:
    script = folder / "agent.py"
    script.write_text(agent)
    environment = {
        "PATH": os.environ["PATH"],
        "SUREFOOT_SLOT": "b",
        "SUREFOOT_BOARD": str(folder),
        "SUREFOOT_SERIAL": serial,
        "SUREFOOT_AGENT": f"{sys.executable} {script}",
    }
    command = [sys.executable, str(image)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Board(process=process, folder=folder)
        finally:
            process.kill()


def until(condition: Callable[[], bool]) -> None:
    """Return when another process has made ``condition`` true; fail after ten seconds."""
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.02)
    pytest.fail("it did not happen within ten seconds")


def self_test(image: Path) -> int:
    return subprocess.run([sys.executable, str(image), "--self-test"], check=False).returncode


@pytest.mark.parametrize(("recipe", "version"), [("firmware.yaml", "1.0.0"), ("firmware-1.1.0.yaml", "1.1.0")])
def test_a_good_release_runs_beats_and_answers(images: Callable[[str], Path], tmp_path: Path, recipe: str, version: str) -> None:
    image = images(recipe)
    with running(image, tmp_path) as board:
        assert board.line() == f"thermostat {version} starting in slot b"
        assert board.line() == "agent free"
        until(lambda: board.age_ns("heartbeat") > 0)
        watchdog, heartbeat = board.age_ns("watchdog"), board.age_ns("heartbeat")
        until(lambda: board.age_ns("watchdog") > watchdog and board.age_ns("heartbeat") > heartbeat)
        code, health = board.health()
    assert (code, health["version"], health["slot"]) == (200, version, "b")
    assert isinstance(health["temperature"], float)
    assert self_test(image) == 0


def test_it_stops_with_its_agent_when_asked_to(images: Callable[[str], Path], tmp_path: Path) -> None:
    agent = AGENT.replace("print(", 'print("pid", os.getpid(), flush=True); print(')
    with running(images("firmware.yaml"), tmp_path, agent) as board:
        board.line()
        pid = int(board.line().removeprefix("pid "))
        board.line()
        board.process.send_signal(signal.SIGTERM)
        assert board.process.wait(10) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_agent_that_fails_is_started_again(images: Callable[[str], Path], tmp_path: Path) -> None:
    with running(images("firmware.yaml"), tmp_path, FAILING_AGENT) as board:
        lines = [board.line() for _ in range(4)]
    assert lines[1:] == ["agent fails", "agent ended with status 3; starting it again in 1 s", "agent fails"]


def test_the_crashing_release_ends_before_it_starts_the_agent_of_a_harmed_board(images: Callable[[str], Path], tmp_path: Path) -> None:
    with running(images("firmware-1.2.0.yaml"), tmp_path) as board:
        said = board.process.communicate(timeout=10)[0]
        assert board.process.returncode == 1
    assert said.startswith("thermostat 1.2.0 starting in slot b\n")
    assert "the calibration of the sensor of board t-1 is missing" in said
    assert "agent" not in said


def test_the_crashing_release_runs_on_the_boards_that_it_does_not_harm(images: Callable[[str], Path], tmp_path: Path) -> None:
    with running(images("firmware-1.2.0.yaml"), tmp_path, serial="t-3") as board:
        assert [board.line(), board.line()] == ["thermostat 1.2.0 starting in slot b", "agent free"]


def test_about_a_third_of_all_boards_is_harmed() -> None:
    at_start = run_path(str(BEHAVIOURS / "crashes_on_some.py"))["at_start"]

    def is_harmed(serial: str) -> bool:
        try:
            at_start(serial)
        except RuntimeError:
            return True
        return False

    assert [is_harmed(serial) for serial in ("t-1", "t-2", "t-3")] == [True, True, False]
    assert 0.3 < sum(is_harmed(f"sim-{n}") for n in range(10_000)) / 10_000 < 0.37


def test_the_hanging_release_starts_and_then_neither_feeds_the_watchdog_nor_ends(images: Callable[[str], Path], tmp_path: Path) -> None:
    with running(images("firmware-hangs.yaml"), tmp_path) as board:
        assert board.line() == "thermostat 1.3.0 starting in slot b"
        until(lambda: board.age_ns("watchdog") > 0)
        fed = board.age_ns("watchdog")
        with pytest.raises(subprocess.TimeoutExpired):
            board.process.wait(1)
        assert board.age_ns("watchdog") == fed
        assert not (tmp_path / "run" / "health-port").exists()


def test_the_unhealthy_release_feeds_the_watchdog_but_says_that_it_is_not_well(images: Callable[[str], Path], tmp_path: Path) -> None:
    image = images("firmware-unhealthy.yaml")
    with running(image, tmp_path) as board:
        assert [board.line(), board.line()] == ["thermostat 1.4.0 starting in slot b", "agent free"]
        fed = board.age_ns("watchdog")
        until(lambda: board.age_ns("watchdog") > fed)
        assert board.health()[0] == 503
        assert board.age_ns("heartbeat") == 0
    assert self_test(image) == 1


def test_the_release_that_loses_the_server_sends_its_agent_to_a_dead_address(images: Callable[[str], Path], tmp_path: Path) -> None:
    with running(images("firmware-loses-server.yaml"), tmp_path) as board:
        assert [board.line(), board.line()] == ["thermostat 1.5.0 starting in slot b", "agent https://127.0.0.1:9"]
        until(lambda: board.age_ns("heartbeat") > 0)
        assert board.health()[0] == 200
