# SPDX-License-Identifier: Apache-2.0
"""Running a bootloader's own tool, or an install script: it may be missing, fail, hang, or flood, and none of that may stop the agent."""

import os
import resource
import selectors
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from surefoot.model.errors import BootError

MOST_BYTES = 64 * 1024
"""How much a tool may say."""

_DEATH_S = 1.0
"""How long one that was killed is waited for."""


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

    It runs in a process group of its own; when its time is over, all of the group is killed, and nothing is waited for any longer.

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
        raise BootError(f"The tool {name} ended with status {ended.status}: {reason[0]:.200}", hint=_BY_HAND)
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
    waking, wake = os.pipe()

    def end() -> None:
        late.set()
        _kill(process)
        os.write(wake, b"\0")

    alarm = threading.Timer(timeout_s, end)
    alarm.start()
    try:
        said, complaint = _exchange(process, stdin, waking)
        if not late.is_set():
            process.wait()
    finally:
        alarm.cancel()
        alarm.join()
        # What it left running in the background has no business there.
        _kill(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_DEATH_S)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        os.close(waking)
        os.close(wake)
    return said, complaint, late.is_set()


def _exchange(process: subprocess.Popen[bytes], stdin: Iterable[bytes], waking: int) -> tuple[bytes, bytes]:
    """Tell a process ``stdin`` and return what it says and complains of, until its pipes end, it says too much, or ``waking`` can be read.

    A pipe may have no end: a child that has left the process's group keeps it open, and is not killed with that.
    """
    ears = {pipe: bytearray() for pipe in (process.stdout, process.stderr) if pipe is not None}
    with selectors.DefaultSelector() as selector:
        selector.register(waking, selectors.EVENT_READ)
        for pipe in ears:
            selector.register(pipe, selectors.EVENT_READ)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, _Mouth(process.stdin, stdin))
        while len(selector.get_map()) > 1:
            for key, _ in selector.select():
                if key.fileobj is waking:
                    return _both(ears)
                if isinstance(key.data, _Mouth):
                    goes_on = key.data.speak()
                else:
                    piece = os.read(key.fd, MOST_BYTES)
                    goes_on = bool(piece)
                    ear = ears[cast("IO[bytes]", key.fileobj)]
                    ear += piece
                    if len(ear) > MOST_BYTES:
                        _kill(process)
                        return _both(ears)
                if not goes_on:
                    selector.unregister(key.fileobj)
                    cast("IO[bytes]", key.fileobj).close()
    return _both(ears)


class _Mouth:
    """What is still to be told to a process."""

    def __init__(self, pipe: IO[bytes], pieces: Iterable[bytes]) -> None:
        self._pipe = pipe
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def speak(self) -> bool:
        """Tell it a little, and say whether there is more to tell."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._rest = memoryview(piece)
        # One that does not listen says by its status whether that is an error.
        try:
            self._rest = self._rest[os.write(self._pipe.fileno(), self._rest) :]
        except BrokenPipeError:
            return False
        return True


def _both(ears: Mapping[IO[bytes], bytearray]) -> tuple[bytes, bytes]:
    said, complaint = (bytes(ear[: MOST_BYTES + 1]) for ear in ears.values())
    return said, complaint


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
