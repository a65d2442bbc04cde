# SPDX-License-Identifier: Apache-2.0
"""Stories of boards: what the journal and the bootloader say, whatever the agent has forgotten since."""

from pathlib import Path

import pytest

from surefoot.agent.home import JOURNAL, open_journal
from surefoot.agent.journal import COMPACT_IDLE_ABOVE_BYTES, Emitted
from surefoot.agent.posix import PosixStorage
from surefoot.agent.state import Attempt, Phase, State
from surefoot.agent.storage import read_file
from surefoot.model.assignment import AssignmentId
from surefoot.model.digest import digest_of
from surefoot.model.errors import UnknownError
from surefoot.model.event import EventType
from surefoot.model.slot import Installed, SlotName
from surefoot.simulator.board import Behaviour
from surefoot.simulator.flash import SimulatedFlash
from surefoot.simulator.recorder import FolderRecorder, follow_flash, story_of
from surefoot.simulator.story import AttemptStory, BoardStory, Ending
from tests.powerfail.pocket import Plan
from tests.trust.repositories import DEVICE, NOW, manifest, order_for

OLD, NEW = b"old", b"new"
RUNNING = Installed(product="thermostat", version="1.0.0", build_id="b", release_counter=1, hash=digest_of(OLD), size=len(OLD))
IDLE = State(slot=SlotName.A, running=RUNNING, release_counter=1, time_floor="2026-01-01T00:00:00Z")
ORDER = order_for(DEVICE, manifest("1.1.0", NEW), 7, NOW)
ATTEMPT = Attempt(order=ORDER, size=len(NEW), hash=digest_of(NEW), slot=SlotName.B, urls=[], started_at="2026-11-23T08:00:00Z")
TRYING = State(phase=Phase.REBOOTING, slot=SlotName.A, running=RUNNING, release_counter=1, time_floor=IDLE.time_floor, attempt=ATTEMPT)


def ended(kind: EventType, **data: str) -> Emitted:
    return Emitted(type=kind, at="2026-11-23T08:00:09Z", assignment_id=AssignmentId(7), data=data)


def started(*, folder: Path) -> FolderRecorder:
    (folder / "slots").mkdir()
    recorder = FolderRecorder(folder)
    recorder.booted(SlotName.A, digest_of(OLD))
    return recorder


@pytest.mark.parametrize(
    ("behaviour", "ending", "boots"),
    [
        (Behaviour.GOOD, Ending.COMMITTED, 1),
        (Behaviour.CRASHES, Ending.ROLLED_BACK, 3),
        (Behaviour.UNHEALTHY, Ending.ROLLED_BACK, 1),
    ],
)
def test_a_board_remembers_how_its_attempt_ended_and_how_often_the_release_was_started(
    behaviour: Behaviour, ending: Ending, boots: int
) -> None:
    world = Plan.to(behaviour).world()
    recorder = follow_flash(world.board.flash)
    world.board.at_boot = recorder.booted
    world.run_to_the_end()
    recorder.look()
    slot, found = world.board.boots[-1]
    version = "1.1.0" if ending is Ending.COMMITTED else "1.0.0"
    attempts = [AttemptStory(assignment_id=AssignmentId(1), version="1.1.0", ended=ending, boots=boots)]
    assert recorder.story == BoardStory(version=version, hash=found, slot=slot, attempts=attempts)


@pytest.mark.parametrize(
    ("kind", "data", "ending"),
    [
        (EventType.HEALTH_OK, {}, Ending.COMMITTED),
        (EventType.ROLLBACK_COMPLETED, {}, Ending.ROLLED_BACK),
        (EventType.DOWNLOAD_FAILED, {}, Ending.FAILED),
        (EventType.INSTALL_FAILED, {}, Ending.FAILED),
        (EventType.CHECK_COMPLETED, {"refused": "version_regression"}, Ending.REJECTED),
        (EventType.CHECK_COMPLETED, {"offered": "1.1.0"}, Ending.OPEN),
    ],
)
def test_the_first_ending_in_the_journal_is_the_ending(kind: EventType, data: dict[str, str], ending: Ending) -> None:
    flash = SimulatedFlash()
    journal, recorder = open_journal(flash), follow_flash(flash)
    journal.append(TRYING)
    journal.append(IDLE, [ended(kind, **data)])
    if ending is not Ending.OPEN:
        journal.append(IDLE, [ended(EventType.ROLLBACK_COMPLETED, reason="bootloader_fallback")])
    recorder.look()
    assert [attempt.ended for attempt in recorder.story.attempts] == [ending]


def test_an_attempt_refused_unseen_is_remembered_by_its_number_alone() -> None:
    flash = SimulatedFlash()
    open_journal(flash).append(IDLE, [ended(EventType.CHECK_COMPLETED, refused="wrong_hardware")])
    recorder = follow_flash(flash)
    recorder.look()
    assert recorder.story.attempts == [AttemptStory(assignment_id=AssignmentId(7), ended=Ending.REJECTED)]


def test_a_board_in_a_folder_remembers_what_its_journal_has_forgotten(tmp_path: Path) -> None:
    recorder = started(folder=tmp_path)
    journal = open_journal(PosixStorage(tmp_path))
    journal.append(TRYING)
    recorder.look()
    journal.append(IDLE, [ended(EventType.HEALTH_OK)])
    journal.acknowledge(1)
    before = (tmp_path / JOURNAL).stat().st_ino
    while (tmp_path / JOURNAL).stat().st_ino == before:
        journal.append(IDLE)
    journal.close()
    assert b"health.ok" not in (tmp_path / JOURNAL).read_bytes()
    recorder.close()
    (attempt,) = story_of(tmp_path).attempts
    assert attempt.ended is Ending.COMMITTED
    assert (tmp_path / JOURNAL).stat().st_size < COMPACT_IDLE_ABOVE_BYTES


def test_a_board_on_flash_remembers_what_its_journal_has_forgotten() -> None:
    flash = SimulatedFlash(keeps_log=False)
    journal, recorder = open_journal(flash), follow_flash(flash)
    journal.append(TRYING)
    recorder.look()
    journal.append(IDLE, [ended(EventType.ROLLBACK_COMPLETED)])
    journal.acknowledge(1)
    with flash.open(JOURNAL) as before:
        while flash.is_at(before, JOURNAL):
            journal.append(IDLE)
    assert b"rollback" not in (read_file(flash, JOURNAL) or b"")
    recorder.look()
    assert [attempt.ended for attempt in recorder.story.attempts] == [Ending.ROLLED_BACK]


def test_a_recorder_that_is_started_anew_counts_nothing_twice(tmp_path: Path) -> None:
    recorder = started(folder=tmp_path)
    journal = open_journal(PosixStorage(tmp_path))
    journal.append(TRYING, [ended(EventType.REBOOT_STARTED)])
    recorder.booted(SlotName.B, digest_of(NEW))
    recorder.close()
    again = FolderRecorder(tmp_path)
    again.booted(SlotName.B, digest_of(NEW))
    again.close()
    journal.close()
    (attempt,) = story_of(tmp_path).attempts
    assert (attempt.version, attempt.boots, story_of(tmp_path).version) == ("1.1.0", 2, "1.1.0")


def test_bytes_that_the_journal_does_not_know_have_no_version(tmp_path: Path) -> None:
    journal = open_journal(PosixStorage(tmp_path))
    journal.append(IDLE)
    journal.close()
    recorder = FolderRecorder(tmp_path)
    recorder.booted(SlotName.A, digest_of(b"other"))
    recorder.close()
    assert (story_of(tmp_path).version, story_of(tmp_path).hash) == ("", digest_of(b"other"))


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    recorder = started(folder=tmp_path)
    journal = open_journal(PosixStorage(tmp_path))
    journal.append(TRYING)
    journal.close()
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole[:-40])
    recorder.look()
    assert story_of(tmp_path).attempts == []
    (tmp_path / JOURNAL).write_bytes(whole)
    recorder.close()
    assert [attempt.version for attempt in story_of(tmp_path).attempts] == ["1.1.0"]


def test_a_folder_in_which_no_board_ran_has_no_story(tmp_path: Path) -> None:
    with pytest.raises(UnknownError):
        story_of(tmp_path)
