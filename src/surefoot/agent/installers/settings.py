# SPDX-License-Identifier: Apache-2.0
"""The table ``[install]`` of ``agent.toml``: what fills the slots, and where they lie."""

from pathlib import Path

from surefoot.model.record import Record
from surefoot.model.slot import SlotName


class Devices(Record, frozen=True, kw_only=True):
    """The block device of each slot, from the folder of agent.toml; links may lead there."""

    a: str
    b: str

    def __post_init__(self) -> None:
        """Refuse one device for both slots; the decoder turns this into ``FormatError``."""
        if self.a == self.b:
            raise ValueError("both slots have one device")

    def by_slot(self, folder: Path) -> dict[SlotName, Path]:
        """Return the path of each slot's device."""
        return {SlotName.A: folder / self.a, SlotName.B: folder / self.b}


class RawInstall(Record, frozen=True, kw_only=True, tag_field="kind", tag="raw"):
    """An image as it is: on block devices, or without ``devices`` in files of the agent's storage."""

    devices: Devices | None = None


Install = RawInstall
