# SPDX-License-Identifier: Apache-2.0
"""The terminals of somebody who follows a tutorial: one shell to type into, and others in which programs go on running."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.docs.compare import says

_PATIENCE_S = 60
_LOOK_S = 0.2


class Shell:
    """One shell for the whole tutorial, as a reader has one."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, text: str) -> str:
        """Run a block and return what it prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text}\nprintf '\\n:end\\n'\n")
        self._process.stdin.flush()
        lines = list(iter(self._process.stdout.readline, ":end\n"))
        return "".join(lines).removesuffix("\n")

    def close(self) -> None:
        """End what runs, and the shell."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


class Terminal:
    """Another terminal: a block that runs until Ctrl-C."""

    def __init__(self, text: str, folder: Path, environment: dict[str, str], log: Path) -> None:
        self.text = text
        self._log = log
        with log.open("wb") as file:
            # A session of its own, as a terminal has: Ctrl-C reaches all that was started in it, and nothing else.
            self._process = subprocess.Popen(
                ["bash", "-c", text], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def says(self) -> str:
        """Return what it has printed so far."""
        return self._log.read_text()

    def interrupt(self) -> int:
        """Press Ctrl-C, wait for the end, and return the exit status."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(30)


class Desk:
    """A shell and the other terminals, all in one folder."""

    def __init__(self, folder: Path, logs: Path, environment: dict[str, str]) -> None:
        self.terminals: list[Terminal] = []
        self._shell = Shell(folder, environment)
        self._folder, self._logs, self._environment = folder, logs, environment

    def run(self, text: str) -> str:
        """Run a block in the shell and return what it prints."""
        return self._shell.run(text)

    def run_until(self, text: str, expected: str) -> str:
        """Run a block again and again, until it prints what is expected or patience ends; return what it printed last."""
        return self._await(lambda: self._shell.run(text), expected)

    def start(self, text: str, expected: str) -> str:
        """Start a block in another terminal, and return what that says when it says what is expected, or patience ends."""
        self._logs.mkdir(exist_ok=True)
        terminal = Terminal(text, self._folder, self._environment, self._logs / f"{len(self.terminals)}.log")
        self.terminals.append(terminal)
        return self._await(terminal.says, expected)

    def look(self, command: str, expected: str) -> str:
        """Return what the terminal says in which a command was started, as ``start`` does."""
        found = next(terminal for terminal in self.terminals if command in terminal.text)
        return self._await(found.says, expected)

    def close(self) -> None:
        """End all terminals, the last started first, then the shell."""
        for terminal in reversed(self.terminals):
            terminal.interrupt()
        self._shell.close()

    @staticmethod
    def _await(look: Callable[[], str], expected: str) -> str:
        deadline = time.monotonic() + _PATIENCE_S
        while not says(said := look(), expected) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return said
