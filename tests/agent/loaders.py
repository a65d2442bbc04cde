# SPDX-License-Identifier: Apache-2.0
"""Models of other people's loaders: what their scripts do to the bytes that their tools and ours write as well.

They work on an open file of any storage, so that the power can fail under them too.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from surefoot.agent.boot.state import BootState
from surefoot.agent.boot.variables import from_variables, to_variables
from surefoot.agent.storage import File
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName

GRUBENV_BYTES = 1024
_GRUB_HEAD = b"# GRUB Environment Block\n"


class UBootEnvironment:
    """A redundant environment as U-Boot itself loads and saves it (``env/common.c``: CRC-32, flag byte, strings).

    The valid copy with the higher flag is the current one; 0 comes after 255. Saving overwrites the other one.
    """

    def __init__(self, open_file: Callable[[], File], offsets: tuple[int, int], size: int) -> None:
        self._open = open_file
        self._offsets = offsets
        self._size = size

    def load(self) -> tuple[int, int, dict[str, str]]:
        """Return index and flag of the current copy, and its variables; ``BootError`` when both are damaged."""
        with self._open() as file:
            copies = [file.read_at(offset, self._size) for offset in self._offsets]
        flags = {index: copy[4] for index, copy in enumerate(copies) if self._is_valid(copy)}
        if not flags:
            raise BootError("*** Warning - bad CRC", hint="U-Boot would go on with its default environment.")
        current = max(flags, key=flags.__getitem__)
        if set(flags.values()) == {0, 255}:
            current = next(index for index, flag in flags.items() if flag == 0)
        return current, flags[current], _strings(copies[current][5:])

    def save(self, variables: Mapping[str, str]) -> None:
        """Be ``saveenv``."""
        current, flag, _ = self.load()
        data = (b"".join(f"{name}={variables[name]}\0".encode() for name in sorted(variables)) + b"\0").ljust(self._size - 5, b"\0")
        with self._open() as file:
            file.write_at(self._offsets[1 - current], self.sealed(data, (flag + 1) % 256))
            file.sync()

    @staticmethod
    def sealed(data: bytes, flag: int) -> bytes:
        """Return a copy: checksum, flag, strings."""
        return zlib.crc32(data).to_bytes(4, "little") + bytes([flag]) + data

    def read(self) -> BootState:
        """Be a ``StateStore`` for the boot script."""
        return from_variables(self.load()[2], "the environment")

    def write(self, state: BootState) -> None:
        """Be a ``StateStore`` for the boot script."""
        self.save({**self.load()[2], **to_variables(state)})

    def _is_valid(self, copy: bytes) -> bool:
        return len(copy) == self._size and int.from_bytes(copy[:4], "little") == zlib.crc32(copy[5:])


class GrubEnvironment:
    """An environment block as GRUB's ``load_env`` and ``save_env`` treat it: one copy, overwritten in place."""

    def __init__(self, open_file: Callable[[], File]) -> None:
        self._open = open_file

    def read(self) -> BootState:
        """Be a ``StateStore`` for the boot script."""
        return from_variables(self._load(), "grubenv")

    def write(self, state: BootState) -> None:
        """Be a ``StateStore`` for the boot script."""
        variables = {**self._load(), **to_variables(state)}
        data = _GRUB_HEAD + "".join(f"{name}={value}\n" for name, value in variables.items()).encode()
        with self._open() as file:
            file.write_at(0, data.ljust(GRUBENV_BYTES, b"#"))

    def _load(self) -> dict[str, str]:
        with self._open() as file:
            data = file.read_at(0, GRUBENV_BYTES + 1)
        if len(data) != GRUBENV_BYTES or not data.startswith(_GRUB_HEAD):
            raise BootError("error: invalid environment block.", hint="GRUB would go on without its variables.")
        lines = data.decode("utf-8", "replace").splitlines()
        return dict(line.partition("=")[::2] for line in lines if "=" in line and not line.startswith("#"))


@dataclass(frozen=True, kw_only=True)
class CountingScript:
    """A boot script as RAUC's manual gives them: every start of every slot is counted down, whether or not it is on trial.

    Attributes:
        read: Loads the variables.
        write: Saves some of them.
        order: The slots in the order in which they are tried.
        left: The variable that counts for a slot.
    """

    read: Callable[[], Mapping[str, str]]
    write: Callable[[Mapping[str, str]], object]
    order: Callable[[Mapping[str, str]], list[str]]
    left: str

    def boot(self) -> SlotName:
        """Start the first slot that has starts left; ``BootError`` when there is none, or the variables cannot be read."""
        state = self.read()
        try:
            for name in self.order(state):
                if (left := int(state[self.left.format(name)], 16)) > 0:
                    self.write({self.left.format(name): f"{left - 1:x}"})
                    return SlotName(name.lower())
        except (KeyError, ValueError) as error:
            raise BootError(f"The boot script finds {dict(state)}.", hint="It stops.") from error
        raise BootError("No slot is left to start.", hint="The script would give all tries back.")


def _strings(data: bytes) -> dict[str, str]:
    text, _, _ = data.partition(b"\0\0")
    return dict(line.decode("utf-8", "replace").partition("=")[::2] for line in text.split(b"\0"))
