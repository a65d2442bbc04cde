# SPDX-License-Identifier: Apache-2.0
"""Why a device went back to the release before: the words of its events, and what each says to people."""

from enum import StrEnum


class RollbackReason(StrEnum):
    """A reason that a device gives for going back; docs/formats.md has the same list."""

    DID_NOT_BOOT = "did_not_boot"
    BOOT_LOOP = "boot_loop"
    REBOOT_LOOP = "reboot_loop"
    WATCHDOG = "watchdog"
    UNHEALTHY = "unhealthy"
    BROKER_LOST = "broker_lost"
    SERVER_LOST = "server_lost"
    WRONG_IMAGE = "wrong_image"
    BOOTLOADER_FALLBACK = "bootloader_fallback"


MEANINGS: dict[RollbackReason, str] = {
    RollbackReason.DID_NOT_BOOT: "the new release never got as far as starting the agent",
    RollbackReason.BOOT_LOOP: "it started, again and again",
    RollbackReason.REBOOT_LOOP: "the board rebooted too often in a short time",
    RollbackReason.WATCHDOG: "the watchdog reset the board too often in a short time",
    RollbackReason.UNHEALTHY: "a health check did not hold in time, or failed for too long",
    RollbackReason.BROKER_LOST: "a message broker that was reached before the update was not reached after it",
    RollbackReason.SERVER_LOST: "it was healthy and could not reach the server",
    RollbackReason.WRONG_IMAGE: "the slot that booted does not hold the ordered bytes",
    RollbackReason.BOOTLOADER_FALLBACK: "the bootloader gave up a release that had been kept",
}
"""What each says, as half a sentence."""


def meaning(reason: str) -> str:
    """Return what a reason says to people; the word itself when it is one of an agent that is newer than the reader."""
    try:
        return MEANINGS[RollbackReason(reason)]
    except ValueError:
        return reason
