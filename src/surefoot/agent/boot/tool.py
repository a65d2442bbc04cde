# SPDX-License-Identifier: Apache-2.0
"""Running a bootloader's own tool, or an install script: it may be missing, fail, hang, or flood, and none of that may stop the agent."""

import resource
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import killpg
from pathlib import Path
from typing import IO

from surefoot.model.errors import BootError

MOST_BYTES = 64 * 1024
"""How much a tool may say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A program that came to its end by itself: its status, what it printed, and what it complained of."""

    status: int
    said: bytes
    complaint: bytes


def run_tool(
    command: Sequence[str],
    *,
    timeout_s: float,
    stdin: str | Iterable[bytes] = "",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limits: Mapping[int, int] | None = None,
) -> str:
    """Run a tool to its end and return what it printed.

    It runs in a process group of its own; when its time is over, all of the group is killed.

    Args:
        command: The program and its arguments.
        timeout_s: How long it may take.
        stdin: What it reads, whole or in pieces.
        folder: Where it runs; ``None`` is where the agent does.
        environment: Its environment variables; ``None`` is the agent's.
        limits: What it may use at most, by the numbers of ``resource.RLIMIT_…``; set before it is given anything to read.

    Raises:
        BootError: It cannot be started, takes too long, says more than ``MOST_BYTES``, says what is not UTF-8, or ends with
            another status than 0.
    """
    name = command[0]
    ended = run_to_end(command, timeout_s=timeout_s, stdin=stdin, folder=folder, environment=environment, limits=limits)
    if ended.status != 0:
        reason = ended.complaint.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it says nothing"]
        raise BootError(f"The tool {name} ended with status {ended.status}: {reason[0].rstrip('.'):.200}.", hint=_BY_HAND)
    try:
        return ended.said.decode()
    except UnicodeDecodeError as error:
        raise BootError(f"The tool {name} says what is not UTF-8.", hint=_BY_HAND) from error


def run_to_end(
    command: Sequence[str],
    *,
    timeout_s: float,
    stdin: str | Iterable[bytes] = "",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limits: Mapping[int, int] | None = None,
) -> Ended:
    """Run a program likewise, with the same arguments, whatever it ends with.

    Raises:
        BootError: It cannot be started, takes too long, or says more than ``MOST_BYTES``.
    """
    name = command[0]
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise BootError(
            f"The tool {name} cannot be started: {error.strerror}.", hint="Install it, or name it right in agent.toml."
        ) from error
    for limit, most in (limits or {}).items():
        # It may be over already.
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, limit, (most, most))
    said, errors, is_late = _converse(process, [stdin.encode()] if isinstance(stdin, str) else stdin, timeout_s)
    if is_late:
        raise BootError(f"The tool {name} took longer than {timeout_s:g} s and was ended.", hint=_BY_HAND)
    if len(said) > MOST_BYTES:
        raise BootError(f"The tool {name} says more than {MOST_BYTES} bytes and was ended.", hint=_BY_HAND)
    return Ended(status=process.returncode, said=said, complaint=errors)


_BY_HAND = "Run it by hand to see what is wrong."


def _converse(process: subprocess.Popen[bytes], stdin: Iterable[bytes], timeout_s: float) -> tuple[bytes, bytes, bool]:
    """Return what a process says and its complaints, each cut off behind ``MOST_BYTES``, and whether its time was over."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(process)

    alarm = threading.Timer(timeout_s, end)
    complaints: list[bytes] = []
    listener = threading.Thread(target=lambda: complaints.append(_read(process.stderr, process)), daemon=True)
    with process:
        alarm.start()
        listener.start()
        try:
            _tell(process.stdin, stdin)
            said = _read(process.stdout, process)
            process.wait()
            listener.join()
        finally:
            alarm.cancel()
            # What it left running in the background has no business there.
            _kill(process)
    return said, b"".join(complaints), late.is_set()


def _tell(pipe: IO[bytes] | None, pieces: Iterable[bytes]) -> None:
    if pipe is not None:
        # One that does not listen says by its status whether that is an error.
        with suppress(BrokenPipeError):
            for piece in pieces:
                pipe.write(piece)
            pipe.flush()
        with suppress(BrokenPipeError):
            pipe.close()


def _read(pipe: IO[bytes] | None, process: subprocess.Popen[bytes]) -> bytes:
    data = b"" if pipe is None else pipe.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        _kill(process)
    return data


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        killpg(process.pid, signal.SIGKILL)
