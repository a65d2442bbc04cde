# SPDX-License-Identifier: Apache-2.0
"""A release that crashes on about a third of the boards as it starts, before the agent runs.

The boards are those whose sensor comes from the third supplier, which this release has forgotten. Sensors were fitted by the
serial number: a board has a sensor of the third supplier when the CRC-32 of its serial number leaves 2 when divided by 3.
"""

import zlib

SUPPLIERS = 3
FORGOTTEN = 2


def at_start(serial: str) -> None:
    """Do what this release does first, before it starts the agent."""
    if zlib.crc32(serial.encode()) % SUPPLIERS == FORGOTTEN:
        message = f"the calibration of the sensor of board {serial} is missing"
        raise RuntimeError(message)


def is_healthy() -> bool:
    """Say whether this release finds itself in order."""
    return True


def agent_environment() -> dict[str, str]:
    """Return what this release adds to the agent's environment."""
    return {}
