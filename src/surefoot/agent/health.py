# SPDX-License-Identifier: Apache-2.0
"""Health: what a release on trial must keep up, and for how long it has done so without a break.

- A probe that cannot be evaluated fails: doubt holds.
- A heartbeat counts when it is *seen* to move, and is timed by the monotonic clock; a file left by an earlier boot is not
  one, and a wall clock that jumps changes nothing.
- Between two checks nothing is known; check a few times within the time that must be held.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import urllib3
from msgspec import Meta

from surefoot.agent.clock import Clock
from surefoot.model.record import Record

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class HeartbeatProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="heartbeat"):
    """A file that the release touches; ``path`` is taken from the folder of agent.toml."""

    path: str
    max_age_s: Seconds = 5.0


class HttpProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="http"):
    """A GET that must be answered with 200; redirects are not followed, the body is not read.

    Attributes:
        url: Where to ask; or, when the release chooses its port at run time:
        port_file: The file it writes the port to, taken from the folder of agent.toml; 127.0.0.1 is asked.
        path: The path to ask for then.
        timeout_s: For connecting and for each wait for the answer.
    """

    url: str = ""
    port_file: str = ""
    path: str = "/"
    timeout_s: Seconds = 2.0

    def __post_init__(self) -> None:
        """Refuse a probe that names no place or two; the decoder turns this into ``FormatError``."""
        if bool(self.url) == bool(self.port_file):
            raise ValueError("an http probe has either 'url' or 'port_file'")


class CommandProbe(Record, frozen=True, kw_only=True, tag_field="kind", tag="command"):
    """A command that must exit with 0 in time; run in the folder of agent.toml, its output thrown away."""

    command: Annotated[list[str], Meta(min_length=1)]
    timeout_s: Seconds = 5.0


Probe = HeartbeatProbe | HttpProbe | CommandProbe


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How the release is doing.

    Attributes:
        healthy_s: How long every probe has held without a break; 0 when one fails.
        failing: What is wrong with the first probe that fails, in words; empty when none does.
    """

    healthy_s: float
    failing: str


class Monitor:
    """Runs the probes and remembers since when all of them hold. With no probes at all, they hold."""

    def __init__(self, probes: Sequence[Probe], clock: Clock, folder: Path) -> None:
        """Watch ``probes``, whose relative paths start at ``folder``."""
        self._probes = tuple(probes)
        self._clock = clock
        self._folder = folder
        self._beats = {probe.path: Heartbeat() for probe in self._probes if isinstance(probe, HeartbeatProbe)}
        self._http = urllib3.PoolManager(num_pools=4, maxsize=1)
        self._holding_since: float | None = None

    def check(self) -> Health:
        """Run every probe once, in order, up to the first that fails; takes as long as they do."""
        failing = next(filter(None, map(self._run, self._probes)), "")
        now_s = self._clock.monotonic()
        if failing:
            self._holding_since = None
            return Health(healthy_s=0.0, failing=failing)
        if self._holding_since is None:
            self._holding_since = now_s
        return Health(healthy_s=now_s - self._holding_since, failing="")

    def close(self) -> None:
        """Give back what connections the probes kept."""
        self._http.clear()

    def _run(self, probe: Probe) -> str:
        match probe:
            case HeartbeatProbe():
                stamp = _stamp(self._folder / probe.path)
                return self._beats[probe.path].judge(probe, stamp, self._clock.monotonic())
            case HttpProbe():
                return _ask(self._http, probe, self._folder)
            case CommandProbe():
                return _run_command(probe, self._folder)


class Heartbeat:
    """What was seen of one heartbeat file."""

    def __init__(self) -> None:
        """Start having seen nothing."""
        self._stamp: int | None = None
        self._moved_at_s: float | None = None
        self._was_seen = False

    def judge(self, probe: HeartbeatProbe, stamp: int | None, now_s: float) -> str:
        """Say what is wrong with the file, or nothing.

        Args:
            probe: How old it may be.
            stamp: Its modification time in any unit, or ``None`` when there is no file.
            now_s: The monotonic clock.
        """
        if self._was_seen and stamp is not None and stamp != self._stamp:
            self._moved_at_s = now_s
        self._was_seen, self._stamp = True, stamp
        if stamp is None:
            return f"There is no heartbeat {probe.path}."
        if self._moved_at_s is None:
            return f"The heartbeat {probe.path} has not moved yet."
        age_s = now_s - self._moved_at_s
        return f"The heartbeat {probe.path} has not moved for {age_s:.1f} s." if age_s > probe.max_age_s else ""


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _ask(http: urllib3.PoolManager, probe: HttpProbe, folder: Path) -> str:
    url = probe.url or _local_url(probe, folder)
    if not url:
        return f"There is no port in {probe.port_file}."
    try:
        timeout = urllib3.Timeout(total=probe.timeout_s)
        answer = http.request("GET", url, timeout=timeout, retries=False, redirect=False, preload_content=False)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        return f"{url} does not answer: {type(error).__name__}."
    answer.close()
    return "" if answer.status == HTTPStatus.OK else f"{url} answers with status {answer.status}."


def _local_url(probe: HttpProbe, folder: Path) -> str:
    try:
        port = int((folder / probe.port_file).read_text())
    except (OSError, ValueError):
        return ""
    return f"http://127.0.0.1:{port}{probe.path}"


def _run_command(probe: CommandProbe, folder: Path) -> str:
    words = " ".join(probe.command)
    try:
        # A group of its own, so that what the command started ends with it.
        process = subprocess.Popen(
            probe.command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"The command '{words}' cannot be started: {error.strerror}."
    with process:
        try:
            status = process.wait(probe.timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"The command '{words}' took longer than {probe.timeout_s:g} s."
    return "" if status == 0 else f"The command '{words}' exited with status {status}."
