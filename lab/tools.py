# SPDX-License-Identifier: Apache-2.0
"""Other programs, run to their end; what they say is kept for the case that they fail."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

_MOST_LINES = 15


class LabError(Exception):
    """The lab cannot go on: a tool failed, or the machine does not do what every machine must."""


def run(command: Sequence[str | Path], *, folder: Path | None = None) -> str:
    """Run a command to its end and return what it printed.

    Args:
        command: The program and its arguments.
        folder: Where it runs; where the lab does, by default.

    Raises:
        LabError: It cannot be started, or ends with another status than 0; the last lines of what it said are in the message.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            # Tools of file systems and modules lie where a user's path does not lead.
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise LabError(f"{words[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_MOST_LINES:])
        raise LabError(f"'{' '.join(words)}' ended with status {done.returncode}:\n{said}")
    return done.stdout
