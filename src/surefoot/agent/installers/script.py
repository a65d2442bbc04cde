# SPDX-License-Identifier: Apache-2.0
"""Whatever else an image may be, installed by an executable of the integrator's.

==================  ================================================================================================
``install SLOT``    read the image from standard input and write what it makes to the slot ``a`` or ``b``, durably;
                    print ``{"sha256": "…"}``: the digest of what was read
``digest SLOT``     read what lies in the slot, and print ``{"content": "…"}``: a SHA-256 of all of it that matters
==================  ================================================================================================

Status 0 means done. It is given an image only once all of it is verified, and it is not believed:

- It must have read exactly the signed bytes.
- What lies in the slot is what it says just after installing, noted with the image; it is asked again before the slot is put on
  trial, and at each start. It sees neither image nor note when it is asked, so that it has nothing to repeat but what it reads.
- It says at most ``MOST_BYTES``, takes no longer than it may, and what it leaves running is killed. Its environment is empty but
  for ``PATH``, ``LC_ALL`` and ``SUREFOOT_INSTALL=1``; memory, open files and core dumps are limited.

A slot without a note was filled in the factory: its image is what the script says of its content.
"""

import resource
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

from msgspec import Meta

from surefoot.agent.boot.tool import run_tool
from surefoot.agent.installers.files import pieces
from surefoot.agent.installers.port import whole_slot_s
from surefoot.agent.installers.settings import ScriptInstall
from surefoot.agent.installers.staging import Staging
from surefoot.agent.storage import File, Storage, read_file, replace_file
from surefoot.model.digest import Digest, from_hex
from surefoot.model.errors import BootError, DigestError, FormatError, InstallerError
from surefoot.model.record import Record, Size, from_json, to_json
from surefoot.model.slot import SlotName

MOST_BYTES = 4096
"""How much an answer may have."""

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SUREFOOT_INSTALL": "1"}
_MOST_FILES = 256

Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="a SHA-256 as 64 lower-case hexadecimal digits")]


_R = TypeVar("_R", bound=Record)


class Took(Record, frozen=True, kw_only=True):
    """What a script has read: bytes with that digest."""

    sha256: Hex


class Lies(Record, frozen=True, kw_only=True):
    """What a script finds in a slot."""

    content: Hex


class Scripted(Record, frozen=True, kw_only=True):
    """What was installed: an image of ``size`` bytes with the digest ``image``, and what the script found in the slot afterwards."""

    image: Digest
    size: Size
    content: Digest


class Script(Protocol):
    """An executable."""

    def run(self, words: Sequence[str], stdin: Iterable[bytes], timeout_s: float) -> str:
        """Run it with these arguments, and return what it prints; ``InstallerError`` when it fails, is late or says too much."""
        ...


class Executable:
    """A real executable, held to its limits."""

    def __init__(self, command: Sequence[str], folder: Path, memory_bytes: int) -> None:
        """Run ``command`` in ``folder``; each of its processes may ask for ``memory_bytes``."""
        self._command = tuple(command)
        self._folder = folder
        self._limits = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_NOFILE: _MOST_FILES, resource.RLIMIT_CORE: 0}

    def run(self, words: Sequence[str], stdin: Iterable[bytes], timeout_s: float) -> str:
        """Run it with these arguments, and return what it prints; ``InstallerError`` when it fails, is late or says too much."""
        try:
            return run_tool(
                [*self._command, *words],
                timeout_s=timeout_s,
                stdin=stdin,
                folder=self._folder,
                environment=_ENVIRONMENT,
                limits=self._limits,
            )
        except BootError as error:
            raise InstallerError(error.message, hint=error.hint) from error


class ScriptInstaller:
    """The installer behind an executable."""

    def __init__(self, script: Script, storage: Storage, staging: Staging, notes: str, settings: ScriptInstall) -> None:
        """Let ``script`` install what ``staging`` holds, and keep a note of each slot in the folder ``notes`` of ``storage``."""
        self._script = script
        self._storage = storage
        self._staging = staging
        self._notes = notes
        self._settings = settings

    @property
    def capacity_bytes(self) -> int:
        """How large an image may be."""
        return self._staging.capacity_bytes

    def writer(self, slot: SlotName) -> File:  # noqa: ARG002  # one file serves both
        """Return the open file that a download waits in."""
        return self._staging.file()

    def install(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Let the script install what was downloaded, unless the slot holds that already.

        Raises:
            DigestError: What was downloaded is not what was signed.
            InstallerError: The script fails, takes too long, says nonsense, or has read other bytes.
            DeviceError: The download or the note cannot be read or written.
        """
        if not self._holds(slot, size, digest):
            file = self._staging.verified(size, digest)
            if self._storage.exists(self._note(slot)):
                self._storage.remove(self._note(slot))
                self._storage.sync_folder(self._note(slot))
            said = self._script.run(["install", slot], pieces(file, size), self._settings.install_timeout_s)
            took = _answer(said, Took, "install")
            if from_hex(took.sha256) != digest:
                raise InstallerError("The install script has read other bytes than it was given.", hint=_READ)
            note = Scripted(image=digest, size=size, content=self._content(slot))
            replace_file(self._storage, self._note(slot), to_json(note))
        self._staging.empty()

    def verify(self, slot: SlotName, size: int, digest: Digest) -> None:
        """Ask what lies in the slot, and compare it with what lay there just after the signed image was installed.

        Raises:
            DigestError: It is something else.
            InstallerError: The script fails, takes too long, or says nonsense.
        """
        if self.running_digest(slot, size) != digest:
            raise DigestError(f"Slot {slot} does not hold what the install script made of the signed {digest}.", hint="Download it again.")

    def running_digest(self, slot: SlotName, size: int) -> Digest:
        """Return the digest of the image that the slot's content came from; that of the content when that is not what was noted."""
        note, content = self._read(slot), self._content(slot)
        return note.image if note is not None and (note.content, note.size) == (content, size) else content

    def install_s(self, size: int) -> float:
        """Implement ``Installer``: the script says what lies in the slot, installs, and says it again."""
        return self._settings.install_timeout_s + 2 * self._settings.timeout_s + whole_slot_s(size)

    def read_s(self, size: int) -> float:  # noqa: ARG002  # how much there is, is the script's business
        """Implement ``Installer``: the script reads, in its own time."""
        return self._settings.timeout_s

    def close(self) -> None:
        """Give the descriptor back."""
        self._staging.close()

    def _holds(self, slot: SlotName, size: int, digest: Digest) -> bool:
        note = self._read(slot)
        return note is not None and note.image == digest and self.running_digest(slot, size) == digest

    def _content(self, slot: SlotName) -> Digest:
        said = self._script.run(["digest", slot], (), self._settings.timeout_s)
        return from_hex(_answer(said, Lies, "digest").content)

    def _read(self, slot: SlotName) -> Scripted | None:
        data = read_file(self._storage, self._note(slot))
        try:
            return None if data is None else from_json(data, Scripted, what=self._note(slot))
        except FormatError:
            # Nobody knows what lies there: it is installed again.
            return None

    def _note(self, slot: SlotName) -> str:
        return f"{self._notes}/{slot}.json"


_READ = "Let it read standard input to its end before it answers."


def _answer(said: str, kind: type[_R], verb: str) -> _R:
    if len(said) > MOST_BYTES:
        raise InstallerError(f"The install script says more than {MOST_BYTES} bytes to '{verb}'.", hint=_SAY)
    try:
        return from_json(said.encode(), kind, what=f"What the install script says to '{verb}'")
    except FormatError as error:
        raise InstallerError(error.message, hint=_SAY) from error


_SAY = "Let it print one line of JSON, as docs/formats.md has it, and its log on standard error."
