# SPDX-License-Identifier: Apache-2.0
"""The agent's journal: its state and the events it still owes the server, in one append-only file.

- A line is ``<8 hex digits of CRC-32> <JSON>``; the first one, and so each compacted file, says where everything stands, and in
  which schema it is written.
- A newer minor schema only adds fields, which an older agent passes over and no longer has in what it writes; a newer major one
  it refuses to read, and leaves as it is.
- Appending is one write and one sync. A line cut short by a power loss was never returned to anybody and is dropped.
- Damage anywhere else is no power loss: it is reported, and the caller decides; ``salvage`` says what can still be read.
- The sequence number of an event is given here, grows by one, and is never used twice in a journal.
- When more than ``MAX_PENDING`` events wait, the oldest progress events go first, then the oldest check events; no other
  event is ever dropped, whatever it costs.
"""

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from surefoot.agent.storage import File, Storage, read_file, replace_file
from surefoot.model.assignment import AssignmentId
from surefoot.model.errors import ConflictError, DeviceError, FormatError, JournalLostError
from surefoot.model.event import DeploymentEvent, EventType, JournalId
from surefoot.model.record import Hint, Record, from_newer_json, to_json

S = TypeVar("S", bound=Record)

SCHEMA = "1.0"
"""Of what this agent writes: a new optional field raises the minor number, whatever an older agent would read wrongly the major one."""

_MAJOR = SCHEMA.partition(".")[0]

MAX_PENDING = 2_000
"""Events that may wait before the dispensable ones are dropped."""

COMPACT_ABOVE_BYTES = 256 * 1024
COMPACT_IDLE_ABOVE_BYTES = 64 * 1024

_DISPENSABLE = (
    frozenset({EventType.DOWNLOAD_PROGRESS}),
    frozenset({EventType.CHECK_STARTED, EventType.CHECK_COMPLETED}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """An event that has no place in the journal yet; fields as in ``DeploymentEvent``."""

    type: EventType
    at: str
    clock: Literal["synced", "unsynced"] = "synced"
    assignment_id: AssignmentId | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance(Generic[S]):
    """A journal seen from outside: the last state, and how many events wait."""

    state: S
    pending: int


def peek(storage: Storage, path: str, kind: type[S]) -> Glance[S] | None:
    """Look into a journal that another process may be writing; nothing is changed.

    Returns:
        What it says, or ``None`` when there is no journal or no state in it yet.

    Raises:
        JournalLostError: It is damaged.
        DeviceError: A newer agent wrote it, or the disk refuses.
    """
    data = read_file(storage, path)
    if data is None:
        return None
    found = _fold(data, path, kind)
    return None if found.state is None else Glance(state=found.state, pending=len(found.pending))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Generic[S]):
    """What one line of a journal adds: events, and the state after them if it changed."""

    events: Sequence[DeploymentEvent]
    state: S | None


def read_lines(data: bytes, kind: type[S]) -> tuple[list[Line[S]], int]:
    """Read part of a journal that another is writing; ``data`` starts where a line does.

    Returns:
        The whole lines, oldest first, and how many bytes they take; what lies behind them is not whole yet.

    Raises:
        DeviceError: A line has its checksum, and yet it is none of a journal.
    """
    lines: list[Line[S]] = []
    length = 0
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        payload = _payload(line)
        if payload is None:
            break
        found = _decoded(payload, _AnyLine, "being read", number)
        state = None if found.state == _NO_STATE else _decoded(bytes(found.state), kind, "being read", number)
        lines.append(Line(events=tuple(found.events), state=state))
        length += len(line) + 1
    return lines, length


def salvage(storage: Storage, path: str, kind: type[S]) -> list[S]:
    """Return every state that can still be read in a journal, damaged or not, oldest first; none when there is no journal."""
    found: list[S] = []
    for line in (read_file(storage, path) or b"").split(b"\n"):
        payload = _payload(line)
        if payload is not None:
            with suppress(FormatError):
                state = from_newer_json(payload, _AnyLine, what=path).state
                if state != _NO_STATE:
                    found.append(from_newer_json(bytes(state), kind, what=path))
    return found


def begin(storage: Storage, path: str, journal: JournalId, state: Record, events: Sequence[Emitted] = ()) -> None:
    """Put a new journal, with that id, in the place of whatever lies at ``path``: durably, and all of it or nothing.

    Raises:
        SpaceError: There is no room; what lies there is untouched.
    """
    numbered = [_numbered(event, seq) for seq, event in enumerate(events, 1)]
    start = _Start(
        schema=SCHEMA,
        journal=journal,
        next_seq=len(numbered) + 1,
        acknowledged=0,
        events=numbered,
        state=msgspec.Raw(to_json(state)),
    )
    replace_file(storage, path, _line(start))


class Journal(Generic[S]):
    """The journal at one path, with one writer."""

    def __init__(self, storage: Storage, path: str, kind: type[S], *, new_id: Callable[[], str]) -> None:
        """Read the journal at ``path``, or start one durably when there is none.

        Args:
            storage: Where it lies.
            path: The journal's file.
            kind: The record that is the agent's state.
            new_id: Makes the id of a new journal, 16 random bytes in hex; not called for one that exists.

        Raises:
            JournalLostError: A line other than a cut-off last one is damaged, or the last state is not a ``kind``.
            DeviceError: A newer agent wrote it in a schema that this one does not read, or the disk refuses.
            SpaceError: There is no room for a new journal.
        """
        self._storage = storage
        self._path = path
        self._kind = kind
        if not storage.exists(path):
            start = _Start(schema=SCHEMA, journal=new_id(), next_seq=1, acknowledged=0)
            replace_file(storage, path, _line(start))
        self._file: File = storage.open(path)
        self._state: S | None = None
        self._is_settled = True
        self._read()

    @property
    def id(self) -> JournalId:
        """The journal's id, of which sequence numbers are counted."""
        return self._id

    @property
    def state(self) -> S | None:
        """The last state appended; ``None`` in a new journal."""
        return self._state

    @property
    def pending(self) -> Sequence[DeploymentEvent]:
        """Events that are not acknowledged, oldest first."""
        return tuple(self._pending)

    @property
    def next_seq(self) -> int:
        """The number that the next event will have."""
        return self._next_seq

    def append(self, state: S, events: Sequence[Emitted] = ()) -> None:
        """Make ``state`` and ``events`` durable, both or neither, in one write and one sync.

        Raises:
            SpaceError: There is no room; nothing was appended.
            DeviceError: The disk refused; nothing was appended, but what is read after a restart may have it.
        """
        numbered = [_numbered(event, seq) for seq, event in enumerate(events, self._next_seq)]
        self._write(_Entry(state=msgspec.Raw(to_json(state)), events=numbered))
        self._state = state
        self._take(numbered)
        self._compact_if_large()

    def acknowledge(self, seq: int) -> None:
        """Forget, durably, the events up to and with ``seq``; nothing happens when they are forgotten already.

        Raises:
            ConflictError: No event has that number yet; nothing is forgotten.
        """
        if seq >= self._next_seq:
            raise ConflictError(
                f"Event {seq} is acknowledged, but the journal {self._id} ends before event {self._next_seq}.",
                hint="Check that no other device uses this identity.",
            )
        if seq > self._acknowledged:
            self._write(_Entry(acknowledged=seq))
            self._forget(seq)
            self._compact_if_large()

    def close(self) -> None:
        """Give the descriptor back."""
        self._file.close()

    def _read(self) -> None:
        data = self._file.read_at(0, self._file.size())
        found = _fold(data, self._path, self._kind)
        self._id, self._next_seq, self._acknowledged = found.journal, found.next_seq, found.acknowledged
        self._pending, self._state = found.pending, found.state
        self._length, self._base_length = found.length, data.find(b"\n") + 1
        if found.length != len(data):
            self._cut_tail()
        if found.schema != SCHEMA:
            # What is written from now on is of this schema, and the first line has to say so.
            with suppress(DeviceError):
                self._compact()

    def _write(self, record: Record) -> None:
        line = _line(record)
        if not self._is_settled:
            self._settle()
        if self._file.size() != self._length:
            self._cut_tail()
        self._file.write_at(self._length, line)
        self._file.sync()
        self._length += len(line)

    def _cut_tail(self) -> None:
        self._file.truncate(self._length)
        self._file.sync()

    def _take(self, events: Sequence[DeploymentEvent]) -> None:
        if events:
            self._pending = _bounded([*self._pending, *events])
            self._next_seq = events[-1].seq + 1

    def _forget(self, seq: int) -> None:
        if seq > self._acknowledged:
            self._acknowledged = seq
            self._pending = [event for event in self._pending if event.seq > seq]

    def _compact_if_large(self) -> None:
        # Twice what the last compaction left, so that a long queue is not copied for each line added to it.
        limit = COMPACT_ABOVE_BYTES if self._pending else COMPACT_IDLE_ABOVE_BYTES
        if self._length <= max(limit, 2 * self._base_length):
            return
        try:
            self._compact()
        except DeviceError:
            # The line itself is durable; the long file serves as well, until there is room.
            with suppress(DeviceError):
                self._storage.remove(f"{self._path}.new")

    def _compact(self) -> None:
        start = _Start(
            schema=SCHEMA,
            journal=self._id,
            next_seq=self._next_seq,
            acknowledged=self._acknowledged,
            events=self._pending,
            state=_NO_STATE if self._state is None else msgspec.Raw(to_json(self._state)),
        )
        self._is_settled = False
        replace_file(self._storage, self._path, _line(start))
        self._reopen()

    def _settle(self) -> None:
        """Go on after a compaction that failed, whose file may have taken the name, and may lose it again with the power."""
        self._storage.sync_folder(self._path)
        self._reopen()

    def _reopen(self) -> None:
        file = self._storage.open(self._path)
        self._file.close()
        self._file = file
        length = file.size()
        if length != self._length:
            # The long file ends where it did, so this is the new one, which is one line.
            self._length = self._base_length = length
        self._is_settled = True


_R = TypeVar("_R", bound=msgspec.Struct)
_NO_STATE = msgspec.Raw(b"null")


class _Schema(Hint, frozen=True, kw_only=True):
    schema: Annotated[str, Meta(pattern=r"\A[1-9][0-9]{0,3}\.[0-9]{1,4}\Z")]


class _Start(Record, frozen=True, kw_only=True):
    schema: str
    journal: JournalId
    next_seq: int
    acknowledged: int
    events: list[DeploymentEvent] = []
    state: msgspec.Raw = _NO_STATE


class _Entry(Record, frozen=True, kw_only=True):
    events: list[DeploymentEvent] = []
    state: msgspec.Raw = _NO_STATE
    acknowledged: int = 0


class _AnyLine(Hint, frozen=True, kw_only=True):
    events: list[DeploymentEvent] = []
    state: msgspec.Raw = _NO_STATE


@dataclass(slots=True, kw_only=True)
class _Folded(Generic[S]):
    """What the lines of a journal amount to; ``length`` is where its last whole line ends."""

    schema: str
    journal: JournalId
    next_seq: int
    acknowledged: int
    pending: list[DeploymentEvent]
    state: S | None
    length: int


def _fold(data: bytes, path: str, kind: type[S]) -> _Folded[S]:
    *lines, tail = data.split(b"\n")
    if not tail and len(lines) > 1 and _payload(lines[-1]) is None:
        tail = lines.pop() + b"\n"
    first = _payload(lines[0]) if lines else None
    _require_readable(_decoded(first, _Schema, path, 1).schema, path)
    start = _decoded(first, _Start, path, 1)
    pending, next_seq, acknowledged = list(start.events), start.next_seq, start.acknowledged
    latest, latest_line = start.state, 1
    for number, line in enumerate(lines[1:], 2):
        entry = _decoded(_payload(line), _Entry, path, number)
        pending = _bounded([*pending, *entry.events]) if entry.events else pending
        next_seq = entry.events[-1].seq + 1 if entry.events else next_seq
        if entry.acknowledged > acknowledged:
            acknowledged = entry.acknowledged
            pending = [event for event in pending if event.seq > acknowledged]
        if entry.state != _NO_STATE:
            latest, latest_line = entry.state, number
    return _Folded(
        schema=start.schema,
        journal=start.journal,
        next_seq=next_seq,
        acknowledged=acknowledged,
        pending=pending,
        state=None if latest == _NO_STATE else _decoded(bytes(latest), kind, path, latest_line),
        length=len(data) - len(tail),
    )


def _require_readable(schema: str, path: str) -> None:
    if schema.partition(".")[0] != _MAJOR:
        message = f"The journal {path} is of schema {schema}; this agent reads {_MAJOR}.x."
        raise DeviceError(message, hint="Boot the release whose agent wrote it, or flash and enrol the board again.")


def _decoded(payload: bytes | None, kind: type["_R"], path: str, number: int) -> "_R":
    if payload is None:
        raise _damage(path, number, "its checksum is wrong.")
    try:
        return from_newer_json(payload, kind, what="its content is wrong")
    except FormatError as error:
        raise _damage(path, number, error.message) from error


def _damage(path: str, number: int, why: str) -> JournalLostError:
    message = f"Line {number} of the journal {path} is damaged: {why}"
    return JournalLostError(message, hint="The agent begins anew with what it can prove: run 'surefoot agent run'.")


def _numbered(event: Emitted, seq: int) -> DeploymentEvent:
    return DeploymentEvent(seq=seq, type=event.type, at=event.at, clock=event.clock, assignment_id=event.assignment_id, data=event.data)


def _line(record: Record) -> bytes:
    payload = to_json(record)
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def _payload(line: bytes) -> bytes | None:
    crc, _, payload = line.partition(b" ")
    return payload if crc == b"%08x" % zlib.crc32(payload) else None


def _bounded(events: list[DeploymentEvent]) -> list[DeploymentEvent]:
    for kinds in _DISPENSABLE:
        excess = len(events) - MAX_PENDING
        doomed = [event.seq for event in events if event.type in kinds][: max(excess, 0)]
        events = [event for event in events if event.seq not in set(doomed)]
    return events
