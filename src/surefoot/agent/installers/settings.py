# SPDX-License-Identifier: Apache-2.0
"""The table ``[install]`` of ``agent.toml``: what fills the slots, and where they lie."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from surefoot.agent.boot.settings import LoaderNames, Seconds
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


class ArchiveInstall(Record, frozen=True, kw_only=True, tag_field="kind", tag="archive"):
    """An application's files as a tar.

    Attributes:
        folder: Where the trees ``a`` and ``b`` are made, and the link ``current`` to one of them lies; it must exist.
    """

    folder: str


class RaucInstall(Record, frozen=True, kw_only=True, tag_field="kind", tag="rauc"):
    """Bundles that RAUC installs.

    Attributes:
        names: The ``bootname`` of each slot in RAUC's ``system.conf``.
        timeout_s: How long RAUC may take to answer.
        install_timeout_s: How long one installation may take.
        check: What says that a slot is as it was installed; ``status`` for root file systems that are mounted writable.
    """

    names: LoaderNames = LoaderNames()
    timeout_s: Seconds = 30.0
    install_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 1800.0
    check: Literal["bytes", "status"] = "bytes"


class ScriptInstall(Record, frozen=True, kw_only=True, tag_field="kind", tag="script"):
    """An executable of the integrator's; ``command`` runs in the folder of agent.toml.

    Attributes:
        command: The program and its first arguments.
        timeout_s: How long it may take to say what lies in a slot.
        install_timeout_s: How long one installation may take.
        memory_bytes: How much memory each of its processes may ask for.
    """

    command: Annotated[list[str], Meta(min_length=1)]
    timeout_s: Seconds = 60.0
    install_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 1800.0
    memory_bytes: Annotated[int, Meta(ge=16 * 2**20, lt=2**53)] = 256 * 2**20


Install = RawInstall | ArchiveInstall | RaucInstall | ScriptInstall
