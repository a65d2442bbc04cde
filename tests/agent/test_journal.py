# SPDX-License-Identifier: Apache-2.0
"""The journal: what an append returned survives everything, and nothing is numbered twice."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.agent.journal import COMPACT_ABOVE_BYTES, COMPACT_IDLE_ABOVE_BYTES, MAX_PENDING, Emitted, Journal
from surefoot.agent.storage import read_file, replace_file
from surefoot.model.errors import ConflictError, DeviceError, SpaceError
from surefoot.model.event import EventType
from surefoot.model.record import Record
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash

PATH = "data/journal"
AT = "2026-01-01T00:00:00Z"
ID = "0123456789abcdef0123456789abcdef"


class Note(Record, frozen=True, kw_only=True):
    """A state as small as can be."""

    step: int
    text: str = ""


def opened(flash: SimulatedFlash, new_id: Callable[[], str] = lambda: ID) -> Journal[Note]:
    return Journal(flash, PATH, Note, new_id=new_id)


def emitted(kind: EventType = EventType.HEALTH_OK, **data: object) -> Emitted:
    return Emitted(type=kind, at=AT, data=data)


def sequence(journal: Journal[Note]) -> list[int]:
    return [event.seq for event in journal.pending]


def test_a_new_journal_is_empty_and_keeps_its_id() -> None:
    flash = SimulatedFlash()
    journal = opened(flash)
    again = opened(flash.power_cycle(Damage.LOST), new_id=lambda: "f" * 32)
    assert (journal.id, again.id) == (ID, ID)
    assert (again.state, again.pending, again.next_seq) == (None, (), 1)


def test_what_was_appended_is_read_again() -> None:
    flash = SimulatedFlash()
    journal = opened(flash)
    journal.append(Note(step=1), [emitted(slot="b"), emitted(EventType.REBOOT_STARTED)])
    journal.append(Note(step=2))
    again = opened(flash.power_cycle(Damage.LOST))
    assert again.state == Note(step=2)
    assert again.pending == journal.pending
    assert [(event.seq, event.type, event.data) for event in again.pending] == [
        (1, EventType.HEALTH_OK, {"slot": "b"}),
        (2, EventType.REBOOT_STARTED, {}),
    ]


def test_an_append_is_one_write_and_one_sync() -> None:
    flash = SimulatedFlash()
    journal = opened(flash)
    before = flash.operations
    journal.append(Note(step=1), [emitted(), emitted()])
    assert [line.split()[1] for line in flash.log[before:]] == ["write", "sync"]


def test_acknowledged_events_are_forgotten_durably() -> None:
    flash = SimulatedFlash()
    journal = opened(flash)
    journal.append(Note(step=1), [emitted(), emitted(), emitted()])
    journal.acknowledge(2)
    journal.acknowledge(1)
    again = opened(flash.power_cycle(Damage.LOST))
    assert sequence(again) == sequence(journal) == [3]
    assert again.next_seq == 4
    assert again.state == Note(step=1)


def test_an_event_that_does_not_exist_cannot_be_acknowledged() -> None:
    journal = opened(SimulatedFlash())
    journal.append(Note(step=1), [emitted()])
    with pytest.raises(ConflictError, match="ends before event 2"):
        journal.acknowledge(2)
    assert sequence(journal) == [1]


@pytest.mark.parametrize("tail", [b"0", b"00000000 {", b"\0" * 700, b"00000000 {}\n", b"\0" * 512 + b'"x"}\n'])
def test_a_torn_tail_is_dropped_for_good(tail: bytes) -> None:
    flash = SimulatedFlash()
    opened(flash).append(Note(step=1), [emitted()])
    whole = read_file(flash, PATH) or b""
    replace_file(flash, PATH, whole + tail)
    assert opened(flash).state == Note(step=1)
    assert read_file(flash.power_cycle(Damage.LOST), PATH) == whole


def test_damage_before_the_tail_is_reported_by_line() -> None:
    flash = SimulatedFlash()
    journal = opened(flash)
    for step in range(3):
        journal.append(Note(step=step))
    lines = (read_file(flash, PATH) or b"").splitlines(keepends=True)
    replace_file(flash, PATH, lines[0] + lines[1].replace(b"0", b"1") + lines[2] + lines[3])
    with pytest.raises(DeviceError, match="Line 2 of the journal data/journal is damaged: its checksum"):
        opened(flash)


@pytest.mark.parametrize("content", [b"", b"xx", b"00000000 {}\n", b"\0" * 4096])
def test_a_damaged_first_line_is_reported_and_not_taken_for_a_new_journal(content: bytes) -> None:
    flash = SimulatedFlash()
    replace_file(flash, PATH, content)
    with pytest.raises(DeviceError, match="Line 1 "):
        opened(flash)


def test_a_state_of_another_form_is_reported() -> None:
    class Other(Record, frozen=True, kw_only=True):
        name: str

    flash = SimulatedFlash()
    Journal(flash, PATH, Other, new_id=lambda: ID).append(Other(name="x"))
    with pytest.raises(DeviceError, match=r"Line 2 .*its content is wrong"):
        opened(flash)


def test_without_room_nothing_is_appended_and_the_next_append_is_whole() -> None:
    flash = SimulatedFlash(capacity_bytes=8192)
    journal = opened(flash)
    with pytest.raises(SpaceError):
        journal.append(Note(step=1, text="x" * 9000), [emitted()])
    assert (journal.state, journal.pending, journal.next_seq) == (None, (), 1)
    journal.append(Note(step=2), [emitted()])
    assert len((read_file(flash, PATH) or b"").splitlines()) == 2
    again = opened(flash.power_cycle(Damage.LOST))
    assert (again.state, sequence(again)) == (Note(step=2), [1])


def test_a_long_journal_is_compacted_and_nothing_is_lost() -> None:
    flash = SimulatedFlash()
    journal = opened(flash)
    for step in range(200):
        journal.append(Note(step=step, text="x" * 2000), [emitted(step=step)])
    after = flash.power_cycle(Damage.LOST)
    again = opened(after, new_id=lambda: "f" * 32)
    assert len(read_file(after, PATH) or b"") < COMPACT_ABOVE_BYTES + 3000
    assert (again.id, again.state, again.next_seq) == (ID, Note(step=199, text="x" * 2000), 201)
    assert sequence(again) == list(range(1, 201))


def test_an_idle_journal_is_kept_short_and_goes_on_counting() -> None:
    flash = SimulatedFlash()
    journal = opened(flash)
    for step in range(1, 101):
        journal.append(Note(step=step, text="x" * 2000), [emitted()])
        journal.acknowledge(step)
    assert len(read_file(flash, PATH) or b"") < COMPACT_IDLE_ABOVE_BYTES + 3000
    assert opened(flash).next_seq == 101


def test_without_room_to_compact_the_journal_goes_on() -> None:
    flash = SimulatedFlash(capacity_bytes=COMPACT_IDLE_ABOVE_BYTES + 3 * 4096)
    replace_file(flash, "ballast", bytes(2 * 4096))
    journal = opened(flash)
    for step in range(33):
        journal.append(Note(step=step, text="x" * 2000))
    assert len(read_file(flash, PATH) or b"") > COMPACT_IDLE_ABOVE_BYTES
    assert opened(flash).state == Note(step=32, text="x" * 2000)
    flash.remove("ballast")
    journal.append(Note(step=33))
    assert len(read_file(flash, PATH) or b"") < 4096


class Flawed(SimulatedFlash):
    """Flash that refuses some operations."""

    refuses: Callable[[str], bool] = staticmethod(lambda _description: False)

    def count(self, description: str) -> None:
        super().count(description)
        if self.refuses(description):
            raise DeviceError(f"It refuses to {description}.")


def long_one(flash: Flawed) -> Journal[Note]:
    """Return a journal that is compacted with the next line that is appended."""
    journal = opened(flash)
    journal.append(Note(step=0), [emitted()])
    while len(read_file(flash, PATH) or b"") < COMPACT_ABOVE_BYTES - 4200:
        journal.append(Note(step=0, text="x" * 4000))
    return journal


def compacting() -> list[str]:
    """Return the operations of an append that compacts."""
    flash = Flawed(keeps_log=True)
    journal = long_one(flash)
    begun = len(flash.log)
    journal.append(Note(step=1, text="x" * 5000), [emitted(step=1)])
    found = [line.split(maxsplit=1)[1] if line[0].isdigit() else line for line in flash.log[begun:]]
    assert any(line.startswith("rename") for line in found)
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("damage", Damage)
@pytest.mark.parametrize("refused", compacting())
def test_whatever_is_refused_while_compacting_what_was_appended_is_there_and_nothing_else_is(refused: str, damage: Damage) -> None:
    flash = Flawed()
    journal = long_one(flash)
    told = [0]
    for step in range(1, 9):
        flash.refuses = (lambda description: description == refused) if step < 5 else (lambda _description: False)
        with suppress(DeviceError):
            journal.append(Note(step=step, text="x" * 5000), [emitted(step=step)])
            told.append(step)
        flash.refuses = lambda _description: False
        again = opened(flash.fork().power_cycle(damage))
        assert journal.state is not None
        assert again.state is not None
        assert journal.state.step == told[-1]
        assert told[-1] <= again.state.step <= step
        assert [event.seq for event in journal.pending] == list(range(1, len(told) + 1)), "an append that raised has appended"
    assert told[-4:] == [5, 6, 7, 8]


def test_of_too_many_events_progress_goes_first_and_outcomes_never() -> None:
    flash = SimulatedFlash()
    journal = opened(flash)
    kinds = [EventType.DOWNLOAD_PROGRESS, EventType.CHECK_STARTED, EventType.INSTALL_COMPLETED]
    journal.append(Note(step=1), [emitted(kind) for kind in kinds for _ in range(MAX_PENDING // 2)])
    by_kind = [sum(event.type is kind for event in journal.pending) for kind in kinds]
    assert by_kind == [0, MAX_PENDING // 2, MAX_PENDING // 2]
    journal.append(Note(step=2), [emitted(EventType.INSTALL_COMPLETED) for _ in range(MAX_PENDING)])
    assert {event.type for event in journal.pending} == {EventType.INSTALL_COMPLETED}
    assert len(journal.pending) == MAX_PENDING + MAX_PENDING // 2
    assert opened(flash).pending == journal.pending


def test_the_oldest_progress_goes_first() -> None:
    journal = opened(SimulatedFlash())
    journal.append(Note(step=1), [emitted(EventType.DOWNLOAD_PROGRESS) for _ in range(MAX_PENDING + 5)])
    assert sequence(journal) == list(range(6, MAX_PENDING + 6))


Act = Callable[[Journal[Note]], None]
Standing = tuple[Note | None, int, list[int]]


def appending(step: int, size: int, events: int) -> Act:
    return lambda journal: journal.append(Note(step=step, text="x" * size), [emitted(step=step)] * events)


def acknowledging(behind: int) -> Act:
    return lambda journal: journal.acknowledge(max(journal.next_seq - 1 - behind, 0))


ACTS = st.one_of(
    st.builds(appending, st.integers(1, 50), st.integers(0, 3000), st.integers(0, 3)),
    st.builds(acknowledging, st.integers(0, 2)),
)


def standing(journal: Journal[Note]) -> Standing:
    return journal.state, journal.next_seq, sequence(journal)


def play(flash: SimulatedFlash, script: Sequence[Act]) -> list[Standing]:
    """Perform ``script`` until the power goes; return how the journal stood after each step that returned."""
    stood: list[Standing] = []
    with suppress(PowerCut):
        journal = opened(flash)
        stood.append(standing(journal))
        for perform in script:
            perform(journal)
            stood.append(standing(journal))
    return stood


def check_every_cut(script: Sequence[Act], *, half: bool, start: SimulatedFlash) -> SimulatedFlash:
    """Cut ``script`` at every operation, with every damage; return the flash of a run that was not cut."""
    whole = start.fork()
    full = play(whole, script)
    for cut_at in range(start.operations + 1, whole.operations + 1):
        flash = start.fork()
        flash.cut_at, flash.cut_in_half = cut_at, half
        returned = len(play(flash, script))
        for damage in Damage:
            after = flash.power_cycle(damage, seed=cut_at)
            journal = opened(after)
            # What returned is there; at most the step that was cut may be there as well.
            assert standing(journal) in full[max(returned - 1, 0) : returned + 1], after.log
            journal.append(Note(step=99), [emitted()])
            again = opened(after.power_cycle(Damage.LOST))
            assert standing(again) == standing(journal), after.log
    return whole


@settings(max_examples=50, deadline=None)
@given(script=st.lists(ACTS, min_size=1, max_size=8), half=st.booleans())
def test_a_cut_anywhere_keeps_what_returned_and_nothing_but_a_prefix(script: list[Act], *, half: bool) -> None:
    check_every_cut(script, half=half, start=SimulatedFlash())


@pytest.mark.parametrize("half", [False, True])
def test_a_cut_while_compacting_loses_nothing(*, half: bool) -> None:
    start = SimulatedFlash()
    journal = opened(start)
    step = 0
    while len(read_file(start, PATH) or b"") < COMPACT_ABOVE_BYTES - 4000:
        step += 1
        journal.append(Note(step=step, text="x" * 3000), [emitted()])
    whole = check_every_cut([appending(step + more, 3000, 1) for more in range(1, 5)], half=half, start=start)
    assert any("rename" in line for line in whole.log[start.operations :])
