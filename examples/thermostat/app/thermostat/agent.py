# SPDX-License-Identifier: Apache-2.0
"""The update agent as a child of the firmware: started, started again when it fails, stopped with it."""

import os
import shlex
import subprocess

PAUSE_S = 1.0
STOP_S = 5.0


class Agent:
    """The agent's process.

    An agent that ends with status 0 has finished on purpose and stays ended; another status starts it again after a pause.
    """

    def __init__(self, command: str, environment: dict[str, str]) -> None:
        """Remember the command, empty for a board without an agent, and what to add to its environment."""
        self.command = shlex.split(command)
        self.environment = {**os.environ, **environment}
        self.process: subprocess.Popen[bytes] | None = None
        self.pause_s = 0.0

    def keep_running(self, seconds: float) -> None:
        """Start the agent if it does not run; called every ``seconds``."""
        if not self.command or (self.process is not None and self.process.poll() in (None, 0)):
            return
        if self.process is not None and self.pause_s <= 0:
            print(f"agent ended with status {self.process.returncode}; starting it again in {PAUSE_S:g} s", flush=True)
            self.process, self.pause_s = None, PAUSE_S
        self.pause_s -= seconds
        if self.pause_s <= 0:
            self.process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        """Ask the agent to end, and end it when it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
