# SPDX-License-Identifier: Apache-2.0
"""What a board itself remembers of its updates: its story, read from its journal and its slots and never from the server.

- The agent's journal forgets what the server has acknowledged, so a recorder reads each line of it before that: it keeps the
  journal open, and reads a journal that was replaced by a shorter one to its end before it turns to the new one.
- How an attempt ended is what the agent wrote into its journal first; what it writes about it later changes nothing.
- Which slot was started, with which bytes and how often, is what the bootloader did, noted as it does it. A release that
  crashes before its agent runs has boots in its story and none in the journal.
- Reading the same lines again changes nothing, so that a recorder may be started anew at any time.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import structs

from surefoot.agent.journal import Line, read_lines
from surefoot.agent.state import State, in_slot
from surefoot.model.assignment import AssignmentId
from surefoot.model.digest import Digest
from surefoot.model.event import DeploymentEvent, EventType
from surefoot.model.record import Record
from surefoot.model.slot import SlotName


class Ending(StrEnum):
    """How an attempt ended, as the board saw it."""

    OPEN = "open"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    REJECTED = "rejected"


_ENDINGS: dict[str, Ending] = {
    EventType.HEALTH_OK: Ending.COMMITTED,
    EventType.ROLLBACK_COMPLETED: Ending.ROLLED_BACK,
    EventType.DOWNLOAD_FAILED: Ending.FAILED,
    EventType.INSTALL_FAILED: Ending.FAILED,
}


class AttemptStory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One attempt that the board touched.

    Attributes:
        assignment_id: Its number.
        version: The release it was to bring; empty when the board refused it unseen.
        ended: How it ended.
        boots: How often the release was started while the attempt was open.
    """

    assignment_id: AssignmentId
    version: str = ""
    ended: Ending = Ending.OPEN
    boots: int = 0


class BoardStory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """All that a board remembers.

    Attributes:
        version: The release in the slot that was started last; empty while the board has no journal.
        hash: Digest of what lies in that slot; empty when nothing was started yet.
        slot: That slot, if any.
        attempts: Every attempt that the board touched, oldest first.
    """

    version: str = ""
    hash: Digest | None = None
    slot: SlotName | None = None
    attempts: list[AttemptStory] = []


class JournalFile(Protocol):
    """An open journal."""

    def is_current(self) -> bool:
        """Say whether this is still the file that has the journal's name."""
        ...

    def read_from(self, offset: int) -> bytes:
        """Return all bytes from ``offset`` on."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...


OpenJournal = Callable[[], JournalFile | None]
"""Opens the file that has the journal's name now; ``None`` while there is none."""


class Recorder:
    """Follows one board's journal and boots; ``story`` may be read by any thread, everything else is for one."""

    def __init__(self, open_journal: OpenJournal, story: BoardStory | None = None) -> None:
        """Go on from ``story``, or start an empty one; nothing is read yet."""
        self.story = story or BoardStory()
        self._open_journal = open_journal
        self._file: JournalFile | None = None
        self._offset = 0
        self._state: State | None = None

    def look(self) -> None:
        """Read what the agent has written since the last look.

        Raises:
            DeviceError: A line is whole, and yet none of a journal.
        """
        if self._file is None:
            self._open()
        while self._file is not None:
            # Asked first: whatever was written before the name went to another file is then read below.
            is_current = self._file.is_current()
            self._read(self._file)
            if is_current:
                return
            self._file.close()
            self._open()

    def booted(self, slot: SlotName, found: Digest) -> None:
        """Note that the bootloader starts ``slot``, in which bytes with the digest ``found`` lie."""
        self.look()
        attempts = self.story.attempts
        state = self._state
        if state is not None and state.attempt is not None and state.attempt.slot is slot:
            doing = state.attempt.order.assignment_id
            attempts = [_one_more_boot(attempt) if attempt.assignment_id == doing else attempt for attempt in attempts]
        self.story = structs.replace(self.story, slot=slot, hash=found, attempts=attempts)
        self._name_release()

    def close(self) -> None:
        """Give the journal back; the next look opens it anew."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self._file, self._offset = self._open_journal(), 0

    def _read(self, file: JournalFile) -> None:
        data = file.read_from(self._offset)
        if not data:
            return
        lines, length = read_lines(data, State)
        self._offset += length
        for line in lines:
            self._state = line.state or self._state
            self.story = structs.replace(self.story, attempts=after_line(self.story.attempts, line))
        self._name_release()

    def _name_release(self) -> None:
        slot = self.story.slot
        if self._state is None or slot is None:
            return
        installed = in_slot(self._state, slot)
        # Bytes that the journal does not know by their digest have no version.
        version = installed.version if installed is not None and installed.hash == self.story.hash else ""
        self.story = structs.replace(self.story, version=version)


def after_line(attempts: Sequence[AttemptStory], line: Line[State]) -> list[AttemptStory]:
    """Return the attempts as they stand after one more line of the journal; the same line twice changes nothing."""
    known = {attempt.assignment_id: attempt for attempt in attempts}
    if line.state is not None and line.state.attempt is not None:
        order = line.state.attempt.order
        known.setdefault(order.assignment_id, AttemptStory(assignment_id=order.assignment_id, version=order.must_match.version))
    for event in line.events:
        if event.assignment_id is not None:
            before = known.get(event.assignment_id, AttemptStory(assignment_id=event.assignment_id))
            known[event.assignment_id] = _after_event(before, event)
    return list(known.values())


def _after_event(attempt: AttemptStory, event: DeploymentEvent) -> AttemptStory:
    version = attempt.version or str(event.data.get("offered", ""))
    is_refusal = event.type == EventType.CHECK_COMPLETED and bool(event.data.get("refused"))
    ending = Ending.REJECTED if is_refusal else _ENDINGS.get(event.type, Ending.OPEN)
    return structs.replace(attempt, version=version, ended=ending if attempt.ended is Ending.OPEN else attempt.ended)


def _one_more_boot(attempt: AttemptStory) -> AttemptStory:
    return structs.replace(attempt, boots=attempt.boots + 1)
