# SPDX-License-Identifier: Apache-2.0
"""A board in wall time: a small supervisor that plays power supply, bootloader and watchdog for a folder.

The folder is the board: ``boot.json``, ``slots/{a,b}.img``, ``agent.toml``, ``data/`` (the agent's), and ``run/``, which is
empty at every boot as a ``/run`` in memory is. A slot's image is a program that Python runs.

- A boot asks ``agent.boot.file.boot`` which slot to start; the state is durable before the program runs.
- A program that ends has failed to boot, whatever its exit status; the board boots again after a short while.
- ``run/reboot`` asks for a reboot; the whole process group is ended first.
- ``run/watchdog`` must be touched; when it is not, the group is killed and the board boots again.
- ``story.json`` says what the board remembers of its updates, see ``surefoot.simulator.story``.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from surefoot.agent.boot.file import boot
from surefoot.agent.installer import SLOTS
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import read_file
from surefoot.model.digest import digest_of
from surefoot.model.slot import SlotName
from surefoot.simulator.recorder import FolderRecorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things take on this board, in seconds.

    Attributes:
        look_s: Between two looks at the program.
        pause_s: From the end of a program to the next boot.
        watchdog_s: How old the last touch of the watchdog may become.
        grace_s: From the start of a program to when the watchdog begins to count.
        stop_s: From asking a program to end to ending it.
    """

    look_s: float = 0.05
    pause_s: float = 0.3
    watchdog_s: float = 5.0
    grace_s: float = 10.0
    stop_s: float = 5.0


class Watchdog:
    """When a board must be booted again; timed by the monotonic clock, so that a wall clock that jumps resets no board."""

    def __init__(self, stamp: int | None, now_s: float, timing: Timing) -> None:
        """Start counting; arguments as in ``is_due``."""
        self._stamp = stamp
        self._timeout_s = timing.watchdog_s
        self._due_s = now_s + timing.grace_s

    def is_due(self, stamp: int | None, now_s: float) -> bool:
        """Say whether the watchdog has not been touched for too long.

        Args:
            stamp: The modification time of its file in any unit, or ``None`` when there is none.
            now_s: The monotonic clock.
        """
        if stamp != self._stamp:
            self._stamp = stamp
            self._due_s = max(self._due_s, now_s + self._timeout_s)
        return now_s >= self._due_s


class Board:
    """One board; ``run`` is its whole life."""

    def __init__(self, folder: Path, serial: str, *, say: Callable[[str], None], timing: Timing | None = None) -> None:
        """Make a board that lies in ``folder``; ``say`` is told of each happening in one line."""
        self._folder = folder.resolve()
        self._serial = serial
        self._say = say
        self._timing = timing or Timing()
        self._boots = 0

    def run(self, stop: Event) -> None:
        """Boot, again and again, until ``stop`` is set.

        Raises:
            BootError: The bootloader's state cannot be read or written: the board does not start.
            DeviceError: The agent's journal is damaged.
            InvalidInput: ``story.json`` cannot be read.
        """
        with closing(FolderRecorder(self._folder)) as recorder:
            while not stop.is_set():
                self._boot_once(recorder, stop)
                stop.wait(self._timing.pause_s)
        self._say("off")

    def _boot_once(self, recorder: FolderRecorder, stop: Event) -> None:
        storage = PosixStorage(self._folder)
        slot = boot(storage)
        recorder.booted(slot, digest_of(read_file(storage, SLOTS[slot]) or b""))
        self._boots += 1
        self._clear_run()
        self._say(f"boot #{self._boots} slot {slot}")
        process = self._start(slot)
        try:
            self._say(self._watch(process, slot, recorder, stop))
        finally:
            self._end(process)

    def _clear_run(self) -> None:
        run = self._folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(exist_ok=True)

    def _start(self, slot: SlotName) -> subprocess.Popen[bytes]:
        agent = [sys.executable, "-m", "surefoot", "agent", "run", "--config", str(self._folder / "agent.toml")]
        environment = {
            "SUREFOOT_SLOT": str(slot),
            "SUREFOOT_BOARD": str(self._folder),
            "SUREFOOT_SERIAL": self._serial,
            "SUREFOOT_AGENT": shlex.join(agent),
        }
        return subprocess.Popen(
            [sys.executable, str(self._folder / SLOTS[slot])],
            cwd=self._folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _watch(self, process: subprocess.Popen[bytes], slot: SlotName, recorder: FolderRecorder, stop: Event) -> str:
        watched = self._folder / "run" / "watchdog"
        watchdog = Watchdog(_stamp(watched), time.monotonic(), self._timing)
        while not stop.wait(self._timing.look_s):
            recorder.look()
            if (self._folder / "run" / "reboot").exists():
                self._ask_to_end(process)
                return "reboot"
            if (status := process.poll()) is not None:
                return f"slot {slot} ended with status {status}"
            if watchdog.is_due(_stamp(watched), time.monotonic()):
                return "watchdog"
        self._ask_to_end(process)
        return "stopping"

    def _ask_to_end(self, process: subprocess.Popen[bytes]) -> None:
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(self._timing.stop_s)
        except subprocess.TimeoutExpired:
            self._say(f"does not end within {self._timing.stop_s:g} s")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        # Without power nothing goes on, children of the program included.
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
