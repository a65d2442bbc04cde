# SPDX-License-Identifier: Apache-2.0
"""Heartbeats: of a file, judged by how it is seen to move, and of a socket, heard by a thread as they come.

A beat counts when it is *seen*, and is timed by the monotonic clock; a file left by an earlier boot is none, and a wall clock that
jumps changes nothing.
"""

import socket
import threading
from contextlib import suppress
from pathlib import Path

from surefoot.agent.clock import Clock
from surefoot.agent.probes.settings import HeartbeatProbe

_BEATS = {b"WATCHDOG=1", b"READY=1"}
_ENDS = {b"WATCHDOG=trigger", b"STOPPING=1"}
_MOST_BYTES = 4096


def judge(name: str, beat_at_s: float | None, max_age_s: float, now_s: float) -> str:
    """Say what is wrong with a heart that beat last at ``beat_at_s``, or never; times are the monotonic clock's."""
    if beat_at_s is None:
        return f"The heartbeat {name} has not moved yet."
    age_s = now_s - beat_at_s
    return f"The heartbeat {name} has not moved for {age_s:.1f} s." if age_s > max_age_s else ""


class FileHeart:
    """What was seen of one heartbeat file."""

    def __init__(self, probe: HeartbeatProbe, folder: Path) -> None:
        """Watch ``probe.path`` in ``folder``; nothing has been seen yet."""
        self._probe = probe
        self._path = folder / probe.path
        self._stamp: int | None = None
        self._moved_at_s: float | None = None
        self._was_seen = False

    def ask(self, now_s: float) -> str:
        """Look at the file at ``now_s`` of the monotonic clock, and say what is wrong."""
        stamp = _stamp(self._path)
        if self._was_seen and stamp is not None and stamp != self._stamp:
            self._moved_at_s = now_s
        self._was_seen, self._stamp = True, stamp
        if stamp is None:
            return f"There is no heartbeat {self._probe.path}."
        return judge(self._probe.path, self._moved_at_s, self._probe.max_age_s, now_s)


class SocketHeart:
    """A datagram socket that beats are sent to; who sends one is never held up, since a thread reads them as they come."""

    def __init__(self, probe: HeartbeatProbe, folder: Path, clock: Clock) -> None:
        """Make the socket, for the agent's user and group; one that cannot be made is said to be wrong at each look."""
        self._probe = probe
        self._name = probe.socket or probe.notify
        self._clock = clock
        self._beat_at_s: float | None = None
        self._wrong = ""
        self._is_closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = folder / self._name
        try:
            if path.is_socket():
                path.unlink()
            self._socket.bind(str(path))
            path.chmod(0o660)
        except OSError as error:
            self._socket.close()
            self._wrong = f"The heartbeat {self._name} cannot be heard: {error.strerror or error}."
            return
        threading.Thread(target=self._listen, name=f"heartbeat {self._name}", daemon=True).start()

    def ask(self, now_s: float) -> str:
        """Say what is wrong at ``now_s`` of the monotonic clock."""
        return self._wrong or judge(self._name, self._beat_at_s, self._probe.max_age_s, now_s)

    def close(self) -> None:
        """Stop listening."""
        self._is_closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(_MOST_BYTES)
            except OSError:
                return
            if self._is_closed:
                return
            self._heard(datagram)

    def _heard(self, datagram: bytes) -> None:
        lines = {line.strip() for line in datagram.split(b"\n")}
        if self._probe.notify and lines & _ENDS:
            self._beat_at_s = None
        elif not self._probe.notify or lines & _BEATS:
            self._beat_at_s = self._clock.monotonic()


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
