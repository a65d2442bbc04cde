# SPDX-License-Identifier: Apache-2.0
"""Probes of the board itself: processes, systemd units, commands, disk and memory. Each returns what is wrong, or nothing."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from surefoot.agent.probes.settings import CommandProbe, DiskProbe, MemoryProbe, ProcessProbe, UnitProbe

RunCommand = Callable[[Sequence[str], Path, float], str]
"""Runs a command in a folder for so many seconds at most, and returns what is wrong with it, or nothing."""

PROC = Path("/proc")

_COMM_BYTES = 15
_DEAD = {"Z", "X", "x"}


def ask_process(probe: ProcessProbe, folder: Path, proc: Path = PROC) -> str:
    """Say what is wrong with a process."""
    if probe.pid_file:
        return _ask_pid_file(folder / probe.pid_file, probe.pid_file, proc)
    # The kernel keeps the first bytes of a command's name (proc(5), comm).
    name = probe.name.encode()[:_COMM_BYTES]
    is_running = any(comm == name and state not in _DEAD for comm, state in _processes(proc))
    return "" if is_running else f"No process '{probe.name}' runs."


def _ask_pid_file(path: Path, named: str, proc: Path) -> str:
    try:
        number = int(path.read_text())
    except (OSError, ValueError):
        return f"There is no process number in {named}."
    found = _process(proc / str(number))
    return "" if found is not None and found[1] not in _DEAD else f"Process {number} of {named} does not run."


def _processes(proc: Path) -> Iterator[tuple[bytes, str]]:
    for entry in proc.iterdir():
        if entry.name.isdigit() and (found := _process(entry)) is not None:
            yield found


def _process(folder: Path) -> tuple[bytes, str] | None:
    """Return a process's command and state; nothing when it is gone."""
    try:
        line = (folder / "stat").read_bytes()
    except OSError:
        return None
    # A command may have brackets and blanks in its name: it ends at the last bracket.
    end = line.rfind(b")")
    return line[line.find(b"(") + 1 : end], line[end + 2 : end + 3].decode("ascii", "replace")


def ask_unit(probe: UnitProbe, folder: Path, run: RunCommand) -> str:
    """Say what is wrong with a systemd unit."""
    wrong = run(["systemctl", "is-active", "--quiet", "--", probe.unit], folder, probe.timeout_s)
    return f"The unit {probe.unit} is not active: {wrong}" if wrong else ""


def ask_command(probe: CommandProbe, folder: Path, run: RunCommand) -> str:
    """Say what is wrong with a command."""
    return run(probe.command, folder, probe.timeout_s)


def run_command(command: Sequence[str], folder: Path, timeout_s: float) -> str:
    """Run a command to its end; one that takes too long is killed, with whatever it started."""
    words = " ".join(command)
    try:
        # A group of its own, so that what the command started ends with it.
        process = subprocess.Popen(
            command,
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
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return f"The command '{words}' took longer than {timeout_s:g} s."
    return "" if status == 0 else f"The command '{words}' exited with status {status}."


def ask_disk(probe: DiskProbe, folder: Path) -> str:
    """Say what a disk lacks."""
    try:
        found = os.statvfs(folder / probe.path)
    except OSError as error:
        return f"The disk of {probe.path} cannot be looked at: {error.strerror}."
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < probe.free_bytes:
        return f"The disk of {probe.path} has {free_bytes} bytes left and not {probe.free_bytes}."
    # File systems that make inodes as they go say that they have none.
    if found.f_files and found.f_favail < probe.free_inodes:
        return f"The disk of {probe.path} has {found.f_favail} inodes left and not {probe.free_inodes}."
    return ""


def ask_memory(probe: MemoryProbe, proc: Path = PROC) -> str:
    """Say what memory lacks."""
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        (kibibytes,) = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        return "How much memory is available cannot be told."
    available = kibibytes * 1024
    return "" if available >= probe.available_bytes else f"{available} bytes of memory are available and not {probe.available_bytes}."
