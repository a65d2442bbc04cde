# SPDX-License-Identifier: Apache-2.0
"""The bootloader port: four verbs, as RAUC and mcuboot need them and no more."""

from typing import Protocol

from surefoot.model.slot import SlotName, SlotState


class BootControl(Protocol):
    """What the agent may ask of a bootloader. Each call is durable when it returns and may safely be repeated.

    Every verb raises ``BootError`` when the bootloader's state cannot be read or changed.
    """

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first."""
        ...

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first."""
        ...

    def get_state(self, slot: SlotName) -> SlotState:
        """Return what the bootloader may do with ``slot``."""
        ...

    def set_state(self, slot: SlotName, state: SlotState) -> None:
        """Set what the bootloader may do with ``slot``; ``TRYING`` also gives it a full number of tries."""
        ...
