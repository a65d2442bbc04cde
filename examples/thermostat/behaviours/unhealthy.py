# SPDX-License-Identifier: Apache-2.0
"""A release that runs and feeds the watchdog, but knows that it does not do its work."""


def at_start(serial: str) -> None:
    """Do what this release does first, before it starts the agent."""


def is_healthy() -> bool:
    """Say whether this release finds itself in order."""
    return False


def agent_environment() -> dict[str, str]:
    """Return what this release adds to the agent's environment."""
    return {}
