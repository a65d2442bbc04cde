# SPDX-License-Identifier: Apache-2.0
"""The table ``[boot]`` of ``agent.toml``: which bootloader a board has, and where its state lies."""

from typing import Annotated

from msgspec import Meta

from surefoot.agent.boot.block import COPY_BYTES
from surefoot.agent.boot.efi import ENTRIES
from surefoot.agent.boot.file import DEFAULT_PATH
from surefoot.model.record import Name, Record
from surefoot.model.slot import SlotName

Seconds = Annotated[float, Meta(gt=0, le=600)]

Word = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z", description="letters, digits, underscores, dots and hyphens")]
"""A slot's name at the bootloader: safe on a command line."""

Offset = Annotated[int, Meta(ge=0, lt=2**53, multiple_of=512)]

TIMEOUT_S = 10.0
"""How long a tool may take; reading and writing an environment takes some milliseconds."""


class FileBoot(Record, frozen=True, kw_only=True, tag_field="backend", tag="file"):
    """A file in the agent's storage, as simulated boards have."""

    path: str = DEFAULT_PATH


class BlockBoot(Record, frozen=True, kw_only=True, tag_field="backend", tag="block"):
    """A two-copy state block.

    Attributes:
        device: The block device or file, from the folder of agent.toml.
        offsets: Where the two copies begin, in bytes.
    """

    device: str
    offsets: tuple[Offset, Offset] = (0, COPY_BYTES)

    def __post_init__(self) -> None:
        """Refuse copies that overlap; the decoder turns this into ``FormatError``."""
        if abs(self.offsets[0] - self.offsets[1]) < COPY_BYTES:
            raise ValueError(f"the two copies overlap: their offsets must be {COPY_BYTES} bytes apart or more")


class UBootBoot(Record, frozen=True, kw_only=True, tag_field="backend", tag="uboot"):
    """U-Boot's environment; ``config`` is the file that says where it lies, for libubootenv."""

    config: str = "/etc/fw_env.config"
    timeout_s: Seconds = TIMEOUT_S


class GrubBoot(Record, frozen=True, kw_only=True, tag_field="backend", tag="grub"):
    """GRUB's environment block ``path``."""

    path: str = "/boot/grub/grubenv"
    timeout_s: Seconds = TIMEOUT_S


class EfiBoot(Record, frozen=True, kw_only=True, tag_field="backend", tag="efi"):
    """Entries with boot counting.

    Attributes:
        esp: Where the EFI system partition is mounted.
        entries: The folder of the entries on it.
        prefix: What the names of the two entries begin with.
    """

    esp: str = "/boot/efi"
    entries: str = ENTRIES
    prefix: Name = "surefoot"


class LoaderNames(Record, frozen=True, kw_only=True):
    """What the loader calls the slots."""

    a: Word = "A"
    b: Word = "B"

    def __post_init__(self) -> None:
        """Refuse one name for both slots; the decoder turns this into ``FormatError``."""
        if self.a == self.b:
            raise ValueError("both slots have one name")

    def by_slot(self) -> dict[SlotName, str]:
        """Return the name of each slot."""
        return {SlotName.A: self.a, SlotName.B: self.b}


class RaucBoot(Record, frozen=True, kw_only=True, tag_field="backend", tag="rauc"):
    """Whatever RAUC drives; ``names`` are the bootnames in its ``system.conf``."""

    names: LoaderNames = LoaderNames()
    timeout_s: Seconds = 30.0


class CustomBoot(Record, frozen=True, kw_only=True, tag_field="backend", tag="custom"):
    """An executable with RAUC's custom-backend protocol; ``command`` runs in the folder of agent.toml."""

    command: Annotated[list[str], Meta(min_length=1)]
    names: LoaderNames = LoaderNames()
    timeout_s: Seconds = TIMEOUT_S


class LinkBoot(Record, frozen=True, kw_only=True, tag_field="backend", tag="link"):
    """Trees of an application and a link to the one that is started.

    Attributes:
        folder: Where the link and the trees lie, from the folder of agent.toml: the ``install.folder``.
    """

    folder: str


Boot = FileBoot | BlockBoot | UBootBoot | GrubBoot | EfiBoot | RaucBoot | CustomBoot | LinkBoot
