# SPDX-License-Identifier: Apache-2.0
"""The thermostat's life: starts its parts, turns its control loop, stops when asked to.

What the board gives it: ``SUREFOOT_SLOT`` (a or b), ``SUREFOOT_BOARD`` (the board's folder), ``SUREFOOT_SERIAL``, and
``SUREFOOT_AGENT``, the command of the update agent. What the board gets: the times of ``run/watchdog`` and ``run/heartbeat``,
the port of ``/health`` in ``run/health-port``.
"""

import json
import os
import signal
import threading
from importlib.resources import files
from pathlib import Path

from thermostat import behaviour
from thermostat.agent import Agent
from thermostat.heating import Heating
from thermostat.status import Status, serve_health

TURN_S = 0.2


def main(arguments: list[str]) -> int:
    """Run until SIGTERM, or test oneself when asked to; return the exit status."""
    if "--self-test" in arguments:
        return 0 if is_healthy(load_heating()) else 1
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    slot, board = os.environ.get("SUREFOOT_SLOT", "a"), Path(os.environ.get("SUREFOOT_BOARD", "."))
    print(f"thermostat {version()} starting in slot {slot}", flush=True)
    run(board, slot, stop)
    return 0


def run(board: Path, slot: str, stop: threading.Event) -> None:
    """Turn the control loop until ``stop`` is set."""
    folder = board / "run"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "watchdog").touch()
    behaviour.at_start(os.environ.get("SUREFOOT_SERIAL", ""))
    status = Status(version=version(), slot=slot)
    port = serve_health(status)
    replace(folder / "health-port", f"{port}\n")
    agent = Agent(os.environ.get("SUREFOOT_AGENT", ""), behaviour.agent_environment())
    heating = load_heating()
    while not stop.wait(TURN_S):
        heating.turn(TURN_S)
        status.tell(heating.celsius, is_healthy=is_healthy(heating))
        agent.keep_running(TURN_S)
        (folder / "watchdog").touch()
        if status.is_healthy:
            (folder / "heartbeat").touch()
    agent.stop()


def is_healthy(heating: Heating) -> bool:
    """Say whether the sensor makes sense and the release believes in itself."""
    return heating.is_plausible() and behaviour.is_healthy()


def version() -> str:
    """Return the version that was built in."""
    return files("thermostat").joinpath("version.txt").read_text("utf-8")


def load_heating() -> Heating:
    """Return the heating as the built-in configuration sets it."""
    config = json.loads(files("thermostat").joinpath("config.json").read_text("utf-8"))
    return Heating(wanted=config["wanted_celsius"], hysteresis=config["hysteresis_celsius"])


def replace(path: Path, text: str) -> None:
    """Write a file so that nobody reads half of it."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(text)
    draft.replace(path)
