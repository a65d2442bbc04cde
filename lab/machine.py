# SPDX-License-Identifier: Apache-2.0
"""The board: QEMU with Debian's U-Boot, a disk that forgets, and a console that is written down.

A boot is what the boot script says it is; whoever waits for something waits for a line of the console or for the server's word, and
gives up when nothing has moved for a long time, however slow this machine is.
"""

import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lab.image import BROKER
from lab.layout import SWITCHES_OFFSET, switches
from lab.nbd import Aim, BlockServer, Request
from lab.tools import LabError
from lab.volatile import Survives, VolatileDisk, lost

LOADER = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
STARTING = re.compile(r"surefoot: starting slot (?P<slot>[AB])")
PATIENCE_S = 300
"""How long a machine may neither say anything nor touch its disk; an idle one writes to no disk, but is not waited for either."""

MOST_STARTS = 12
"""How often a machine is started while one thing is waited for."""

_PAUSE_S = 0.05


class Console:
    """What a machine has said, line by line, through all its boots; also kept in a file."""

    def __init__(self, log: Path) -> None:
        """Write the lines to ``log`` as well, behind what is there."""
        self.lines: list[str] = []
        self._log = log

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        """Take in what ``process`` says, to its end."""
        assert process.stdout is not None  # noqa: S101  # it was started with a pipe
        with self._log.open("ab") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                self.lines.append(line.decode("latin-1").strip())

    def find(self, pattern: str | re.Pattern[str], since: int = 0) -> int | None:
        """Return the number of the first line from ``since`` on that has ``pattern`` in it."""
        return next((place for place in range(since, len(self.lines)) if re.search(pattern, self.lines[place])), None)

    def starts(self, since: int = 0) -> list[str]:
        """Return which slots the loader started from line ``since`` on, in order."""
        return [found["slot"] for line in self.lines[since:] if (found := STARTING.search(line))]


class Machine:
    """One board, switched on and off; its disk lies in a file.

    Attributes:
        console: What it says.
        blocks: Its disk's server.
        requests: How many requests its disk has had since it was made.
    """

    def __init__(self, disk: Path, flash: Path, folder: Path) -> None:
        """Make it from a disk and a loader's flash, switched off; its socket and its console's log lie in ``folder``."""
        self.console = Console(folder / "console.log")
        self.requests = 0
        self._aim: Aim | None = None
        self._flash = flash
        self._socket = folder / "disk.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._file = disk.open("r+b")
        self._reader = threading.Thread()
        self.blocks = BlockServer(VolatileDisk(self._file.fileno()), self._socket, lost, self._kill)
        self.blocks.aim = self._watch

    @property
    def is_on(self) -> bool:
        """Say whether it runs."""
        return self._process is not None and self._process.poll() is None

    def power_on(self, words: Mapping[str, str] | None = None, *, clock: str = "utc") -> None:
        """Switch it on, with switches set as ``words`` say; ``clock`` is what its clock says at first, as QEMU takes it."""
        self._file.seek(SWITCHES_OFFSET)
        self._file.write(switches(words or {}))
        self._file.flush()
        self._process = subprocess.Popen(self._command(clock), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self.console.follow, args=(self._process,), daemon=True)
        self._reader.start()

    def cut_at(self, aim: Aim | None, survives: Survives) -> None:
        """Let the power go at the request that ``aim`` picks, and ``survives`` say what is left of unflushed sectors."""
        self.blocks.survives = survives
        self._aim = aim

    def cut(self, survives: Survives = lost) -> int:
        """Cut the power now, if it has not gone already; return how many sectors that cost."""
        if self._process is not None:
            if self._aim is None:
                self.blocks.survives = survives
            self._kill()
            self._process.wait()
            self._reader.join()
            self.blocks.wait_until_dark()
            self._process, self._aim = None, None
        return self.blocks.lost_sectors

    def change_disk(self, offset: int, data: bytes) -> None:
        """Overwrite part of the disk of a machine that is off."""
        self._file.seek(offset)
        self._file.write(data)
        self._file.flush()

    def read_disk(self, offset: int, size: int) -> bytes:
        """Return part of the disk of a machine that is off."""
        self._file.seek(offset)
        return self._file.read(size)

    def wait(self, what: str, is_there: Callable[[], object]) -> None:
        """Return as soon as it is there.

        Raises:
            LabError: It is not, and the machine is off, has not moved for ``PATIENCE_S``, or was started ``MOST_STARTS`` times.
        """
        before, since, line = (-1, -1), time.monotonic(), len(self.console.lines)
        while not is_there():
            now = time.monotonic()
            if (moved := (len(self.console.lines), self.requests)) != before:
                before, since = moved, now
            if not self.is_on and not is_there():
                raise LabError(f"The machine went off while it was waited for {what}.")
            if now - since > PATIENCE_S or len(self.console.starts(line)) > MOST_STARTS:
                raise LabError(f"Waited in vain for {what}; the console ended with:\n" + "\n".join(self.console.lines[-10:]))
            time.sleep(_PAUSE_S)

    def wait_for_line(self, pattern: str, since: int) -> int:
        """Return the number of the first line from ``since`` on that has ``pattern`` in it, once there is one; see ``wait``."""
        self.wait(f"'{pattern}'", lambda: self.console.find(pattern, since) is not None)
        found = self.console.find(pattern, since)
        assert found is not None  # noqa: S101  # it was there, and lines stay
        return found

    def wait_until_off(self, what: str) -> None:
        """Return once the power has gone by itself; see ``wait``."""
        self.wait(what, lambda: not self.is_on)

    def close(self) -> None:
        """Switch it off for good."""
        self.cut()
        self.blocks.close()
        self._file.close()

    def _watch(self, request: Request) -> bool:
        self.requests += 1
        return self._aim is not None and self._aim(request)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _command(self, clock: str) -> list[str]:
        return [
            # Should the lab be struck down, its machine goes with it.
            "setpriv", "--pdeathsig", "KILL", "nice", "-n", "5",
            # Its time goes by instructions, 2 ns each, and by the host's while it idles: on a busy host no watchdog bites too early.
            "qemu-system-aarch64", "-M", "virt", "-accel", "tcg", "-icount", "shift=1", "-cpu", "cortex-a72", "-m", "320", "-smp", "1",
            "-display", "none", "-nodefaults", "-serial", "stdio", "-monitor", "none", "-rtc", f"base={clock}",
            "-bios", LOADER, "-drive", f"if=pflash,unit=1,format=raw,file={self._flash},snapshot=on",
            "-drive", f"file=nbd:unix:{self._socket},if=none,id=disk,format=raw,cache=writeback",
            "-device", "virtio-blk-device,drive=disk", "-device", "virtio-net-device,netdev=net", "-device", "virtio-rng-device",
            "-netdev", f"user,id=net,guestfwd=tcp:{BROKER}:1883-cmd:cat",
        ]  # fmt: skip
