# SPDX-License-Identifier: Apache-2.0
"""A release that starts and then waits for ever: no watchdog, no agent."""

import threading


def at_start(serial: str) -> None:  # noqa: ARG001  # every release is told the serial number
    """Do what this release does first, before it starts the agent."""
    threading.Event().wait()


def is_healthy() -> bool:
    """Say whether this release finds itself in order."""
    return True


def agent_environment() -> dict[str, str]:
    """Return what this release adds to the agent's environment."""
    return {}
