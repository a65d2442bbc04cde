# SPDX-License-Identifier: Apache-2.0
"""Where the journals lie that recorders follow: on a simulated board's flash, or in a real board's folder.

A board in a folder keeps its story beside its other files, in ``story.json``. The supervisor writes it, after each line of the
journal that changes it and at each boot; ``story_of`` reads it and adds what the journal has said since.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from surefoot.agent.home import JOURNAL
from surefoot.model.digest import Digest
from surefoot.model.errors import InvalidInput, UnknownError
from surefoot.model.record import from_json, to_pretty_json
from surefoot.model.slot import SlotName
from surefoot.simulator.flash import SimulatedFile, SimulatedFlash
from surefoot.simulator.story import BoardStory, JournalFile, Recorder

STORY = "story.json"


def story_of(folder: Path) -> BoardStory:
    """Return what the board in ``folder`` remembers; it may be running.

    Raises:
        UnknownError: No board was ever switched on in the folder.
        InvalidInput: Its story cannot be read.
        DeviceError: Its journal is damaged.
    """
    story = read_story(folder)
    if story is None:
        raise UnknownError(f"No board was switched on in {folder}.", hint="Run it with 'surefoot simulate board'.")
    recorder = Recorder(lambda: _open_in_folder(folder / JOURNAL), story)
    recorder.look()
    recorder.close()
    return recorder.story


def read_story(folder: Path) -> BoardStory | None:
    """Return the story as it was last written; ``None`` when there is none, ``InvalidInput`` when it cannot be read."""
    try:
        data = (folder / STORY).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"{folder / STORY} cannot be read: {error.strerror}.", hint="Name a folder that holds a board.") from error
    return from_json(data, BoardStory, what=str(folder / STORY))


class FolderRecorder:
    """Keeps the story of a board that lies in a folder."""

    def __init__(self, folder: Path) -> None:
        """Go on where the last one stopped."""
        self._path = folder / STORY
        self._written = read_story(folder)
        self._recorder = Recorder(lambda: _open_in_folder(folder / JOURNAL), self._written)

    def booted(self, slot: SlotName, found: Digest) -> None:
        """Note that ``slot`` is started, in which ``found`` lies."""
        self._recorder.booted(slot, found)
        self._write()

    def look(self) -> None:
        """Read what the agent has written, and write down what that changes; cheap when there is nothing."""
        self._recorder.look()
        self._write()

    def close(self) -> None:
        """Look once more, and give the journal back."""
        self.look()
        self._recorder.close()

    def _write(self) -> None:
        story = self._recorder.story
        if story == self._written:
            return
        replace_text(self._path, to_pretty_json(story))
        self._written = story


def follow_flash(flash: SimulatedFlash) -> Recorder:
    """Return a recorder of the board that lives on ``flash``."""
    return Recorder(lambda: _open_on_flash(flash))


def replace_text(path: Path, data: bytes) -> None:
    """Write a file so that nobody reads half of it."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_bytes(data)
    draft.replace(path)


@dataclass(frozen=True, slots=True)
class _FlashJournal:
    flash: SimulatedFlash
    file: SimulatedFile

    def is_current(self) -> bool:
        return self.flash.is_at(self.file, JOURNAL)

    def read_from(self, offset: int) -> bytes:
        return self.file.read_at(offset, self.file.size() - offset)

    def close(self) -> None:
        self.file.close()


def _open_on_flash(flash: SimulatedFlash) -> JournalFile | None:
    return _FlashJournal(flash, flash.open(JOURNAL)) if flash.exists(JOURNAL) else None


@dataclass(frozen=True, slots=True)
class _FolderJournal:
    path: Path
    descriptor: int

    def is_current(self) -> bool:
        try:
            # While it is open, no other file can get its number.
            return os.path.samestat(self.path.stat(), os.fstat(self.descriptor))
        except FileNotFoundError:
            return False

    def read_from(self, offset: int) -> bytes:
        return os.pread(self.descriptor, max(os.fstat(self.descriptor).st_size - offset, 0), offset)

    def close(self) -> None:
        os.close(self.descriptor)


def _open_in_folder(path: Path) -> JournalFile | None:
    try:
        return _FolderJournal(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
    except FileNotFoundError:
        return None
