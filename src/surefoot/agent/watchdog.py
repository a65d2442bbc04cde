# SPDX-License-Identifier: Apache-2.0
"""Watchdogs: the board's (``/dev/watchdog``) and systemd's are kicked for as long as the agent goes on, and not a moment longer.

- A thread kicks, so that a chip that wants it every few seconds is served while the agent waits for a server. It kicks only while the
  agent's loop has beaten within ``stalled_s``, or within what the step under way was given: a loop that hangs is not kicked for.
- The loop looks at the health probes itself, each with a time-out: a loop that beats has looked at them.
- On an orderly stop the board's watchdog is told so (the magic ``V`` of the kernel's watchdog API), and left running after a crash:
  who starts the agent again in time keeps the board up.
- A stop that is asked for (SIGTERM) is taken at the next beat, or at once in a pause: never in the middle of a write.
"""

import fcntl
import logging
import os
import signal
import socket
import struct
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from msgspec import Meta

from surefoot.agent.clock import Clock
from surefoot.agent.pulse import Stopping
from surefoot.model.errors import InvalidInput
from surefoot.model.record import Record

_LOG = logging.getLogger("surefoot.agent")

_WDIOC_GETTIMEOUT = 0x8004_5707
"""Of linux/watchdog.h: how many seconds the board's watchdog waits."""

_PART = 3
"""A watchdog is kicked so often in the time it waits."""

_USUAL_S = 15.0


class Watchdog(Record, frozen=True, kw_only=True):
    """The table ``[watchdog]`` of agent.toml.

    Attributes:
        device: The board's watchdog, as ``/dev/watchdog``; empty when the agent is not to kick it. systemd's is kicked in any case.
        stalled_s: How long the agent may go without a beat before it counts as hung; no less than the longest step takes, which is an
            answer of the server (120 s), unless the step says that it takes longer, as one that reads a whole slot does.
    """

    device: str = ""
    stalled_s: Annotated[float, Meta(ge=30, le=3600)] = 180.0


class Life:
    """Until when the agent counts as going on, by the monotonic clock."""

    def __init__(self, stalled_s: float, now_s: float) -> None:
        """Count it as going on from ``now_s``."""
        self._stalled_s = stalled_s
        self._until_s = now_s + stalled_s

    def beat(self, now_s: float, within_s: float = 0.0) -> None:
        """Note that it goes on, and will again within ``stalled_s``, or ``within_s`` if that is longer."""
        self._until_s = now_s + max(self._stalled_s, within_s)

    def is_going_on(self, now_s: float) -> bool:
        """Say whether it does."""
        return now_s <= self._until_s


class Systemd:
    """What a service tells systemd (sd_notify(3)); nothing when systemd did not start it, or does not ask."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        named = environment.get("WATCHDOG_PID", str(pid))
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_asked = bool(self._address) and named == str(pid) and microseconds.isdecimal()
        self.watchdog_s = int(microseconds) / 1e6 if is_asked else 0.0

    def tell(self, *lines: str) -> None:
        """Send ``lines``; a systemd that does not listen is no reason to stop."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(1.0)
                sender.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            _LOG.debug("systemd does not listen: %s", error)


class Keeper:
    """Keeps the watchdogs from biting while the agent goes on; the agent's clock and pulse at once.

    Use it as a context: it kicks from its start to its end.
    """

    def __init__(self, settings: Watchdog, environment: Mapping[str, str], clock: Clock) -> None:
        """Kick nothing yet."""
        self._settings = settings
        self._systemd = Systemd(environment, os.getpid())
        self._clock = clock
        self._life = Life(settings.stalled_s, clock.monotonic())
        self._device = -1
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._is_ready = self._is_asked = self._is_pausing = self._is_stalled = False

    def __enter__(self) -> Self:
        """Take the board's watchdog and start to kick.

        Raises:
            InvalidInput: The device cannot be opened.
        """
        waits_s = [self._systemd.watchdog_s] if self._systemd.watchdog_s else []
        if self._settings.device:
            self._device = _open(self._settings.device)
            waits_s.append(_waits_s(self._device))
        if waits_s:
            self.kick()
            every_s = min(waits_s) / _PART
            self._thread = threading.Thread(target=self._kick_on, args=(every_s,), name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Stop kicking; after an orderly stop the board's watchdog is stopped too."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()
        is_orderly = kind is None or issubclass(kind, Stopping | KeyboardInterrupt)
        if is_orderly:
            self._systemd.tell("STOPPING=1")
        if self._device >= 0:
            if is_orderly:
                self._write(b"V")
            os.close(self._device)
            self._device = -1

    def ready(self) -> None:
        """Tell systemd that the agent has started."""
        self._is_ready = True
        self._systemd.tell("READY=1")

    def say(self, status: str) -> None:
        """Implement ``Pulse``."""
        self._systemd.tell(f"STATUS={status}")

    def beat(self, within_s: float = 0.0) -> None:
        """Implement ``Pulse``."""
        if self._is_asked:
            raise Stopping
        self._life.beat(self._clock.monotonic(), within_s)
        if within_s and not self._is_ready:
            # What TimeoutStartSec allows ends a start that reads a large slot; this extends it (sd_notify(3)).
            self._systemd.tell(f"EXTEND_TIMEOUT_USEC={round(within_s * 1e6)}")

    def rest_s(self) -> float:
        """Implement ``Pulse``: a pause is cut in parts while a watchdog is kicked."""
        return self._settings.stalled_s / _PART if self._thread is not None else float("inf")

    def listen(self) -> None:
        """Let SIGTERM ask the agent to stop; for the main thread."""
        signal.signal(signal.SIGTERM, lambda _number, _frame: self.ask_to_stop())

    def ask_to_stop(self) -> None:
        """Stop at the next beat; a pause ends at once."""
        self._is_asked = True
        if self._is_pausing:
            raise Stopping

    def monotonic(self) -> float:
        """Implement ``Clock``."""
        return self._clock.monotonic()

    def now(self) -> datetime:
        """Implement ``Clock``."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Implement ``Clock``; ``Stopping`` when the agent is asked to stop before that is over."""
        self._is_pausing = True
        try:
            if self._is_asked:
                raise Stopping
            self._clock.sleep(seconds)
        finally:
            self._is_pausing = False

    def kick(self) -> None:
        """Kick both watchdogs, if the agent goes on."""
        if not self._life.is_going_on(self._clock.monotonic()):
            if not self._is_stalled:
                _LOG.error("the agent does not go on; the watchdog is kicked no longer")
            self._is_stalled = True
            return
        self._is_stalled = False
        if self._device >= 0:
            self._write(b"\0")
        if self._systemd.watchdog_s:
            self._systemd.tell("WATCHDOG=1")

    def _write(self, word: bytes) -> None:
        try:
            os.write(self._device, word)
        except OSError as error:
            _LOG.warning("the watchdog cannot be told anything: %s", error)

    def _kick_on(self, every_s: float) -> None:
        while not self._is_over.wait(every_s):
            self.kick()


def _open(device: str) -> int:
    try:
        return os.open(device, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(
            f"The watchdog {device} cannot be opened: {error.strerror}.",
            hint="Name another in [watchdog] of agent.toml; systemd may hold it itself, by RuntimeWatchdogSec.",
        ) from error


def _waits_s(descriptor: int) -> float:
    try:
        (seconds,) = struct.unpack("i", fcntl.ioctl(descriptor, _WDIOC_GETTIMEOUT, struct.pack("i", 0)))
    except OSError:
        return _USUAL_S
    return float(seconds) if seconds > 0 else _USUAL_S
