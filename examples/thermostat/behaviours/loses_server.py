# SPDX-License-Identifier: Apache-2.0
"""A release whose agent cannot reach the server any more."""


def at_start(serial: str) -> None:
    """Do what this release does first, before it starts the agent."""


def is_healthy() -> bool:
    """Say whether this release finds itself in order."""
    return True


def agent_environment() -> dict[str, str]:
    """Return what this release adds to the agent's environment."""
    return {"SUREFOOT_SERVER_OVERRIDE": "https://127.0.0.1:9"}
