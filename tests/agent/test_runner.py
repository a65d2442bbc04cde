# SPDX-License-Identifier: Apache-2.0
"""The agent at work on simulated flash, in virtual time, at a server that is as bad as a test likes."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from msgspec import structs

from surefoot.agent import runner as runners
from surefoot.agent.admission import Board
from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.file import FileStore, file_control
from surefoot.agent.boot.store import StoredBootControl
from surefoot.agent.download import Response
from surefoot.agent.home import JOURNAL, open_journal
from surefoot.agent.installer import SLOTS
from surefoot.agent.journal import Emitted, Journal
from surefoot.agent.runner import Runner
from surefoot.agent.signals import Event
from surefoot.agent.state import Phase, Policy, State
from surefoot.agent.storage import read_file, replace_file
from surefoot.agent.transport import Polled
from surefoot.model.digest import digest_of
from surefoot.model.errors import BootError, ClockError, DeviceError, SpaceError, TransportError
from surefoot.model.event import MAX_BATCH, Acknowledgement, DeploymentEvent, EventBatch, EventType, Position
from surefoot.model.record import utc_text
from surefoot.model.slot import SlotName, SlotState
from surefoot.model.window import Window
from surefoot.model.wire import ArtifactHint, PollAnswer, PollMetadata
from surefoot.simulator.board import Behaviour, Rebooting, SketchedProgram, image
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from surefoot.trust.repository import refresh
from tests.powerfail.pocket import CAPACITY, FACTORY, IMAGE_BYTES, Plan, PocketServer, PocketWorld
from tests.trust.repositories import DEVICE, NOW, Repositories, manifest, order_for

PLANS = {behaviour: Plan.to(behaviour) for behaviour in (Behaviour.GOOD, Behaviour.UNHEALTHY)}
WINDOWS = [Window(start="09:02", length="1h", zone="Europe/Berlin")]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
A, B = SlotName.A, SlotName.B


class Watch(VirtualClock):
    """A virtual clock that remembers how long it was asked to wait."""

    def __init__(self, start: datetime = NOW) -> None:
        super().__init__(start)
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        super().sleep(seconds)


@dataclass
class Fickle:
    """A pocket server that breaks lines, goes away, loses answers, and spoils what it sends.

    Attributes:
        server: What it is when it behaves.
        clock: By which it is away.
        away: From when to when it cannot be reached, in seconds of the clock.
        breaks_after: For each download in turn, after how many bytes the line breaks; then it holds.
        spoiled: How many downloads come with a wrong byte.
        lost_answers: Numbers of the reports whose answer never arrives.
    """

    server: PocketServer
    clock: VirtualClock
    away: tuple[float, float] = (0, 0)
    breaks_after: list[int] = field(default_factory=list)
    spoiled: int = 0
    lost_answers: frozenset[int] = frozenset()
    polls: int = 0
    opened: list[int] = field(default_factory=list)
    sent: list[EventBatch] = field(default_factory=list)
    acknowledge: Callable[[EventBatch, Acknowledgement], Acknowledgement] = field(default=lambda _batch, honest: honest)

    def poll(self, etag: str) -> Polled:
        self._reach()
        self.polls += 1
        return self.server.poll(etag)

    def send(self, batch: EventBatch) -> Acknowledgement:
        self._reach()
        self.sent.append(batch)
        assert len(self.sent) < 1_000, "the agent sends without end"
        answer = self.server.send(batch)
        if len(self.sent) in self.lost_answers:
            raise TransportError("The line broke before the answer was here.")
        return self.acknowledge(batch, answer)

    def open(self, url: str, offset: int) -> Response:
        self._reach()
        self.opened.append(offset)
        response = self.server.open(url, offset)
        return replace(response, chunks=self._chunks(response.chunks))

    def _chunks(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        left = self.breaks_after.pop(0) if self.breaks_after else None
        is_spoiled, self.spoiled = self.spoiled > 0, self.spoiled - 1
        for chunk in chunks:
            self._reach()
            if left is not None:
                left -= len(chunk)
            if left is not None and left < 0:
                raise TransportError("The line broke.")
            yield chunk[:-1] + b"!" if is_spoiled else chunk

    def _reach(self) -> None:
        if self.away[0] < self.clock.monotonic() < self.away[1]:
            raise TransportError("Nobody answers.")


@dataclass
class Story:
    """A small world whose server is fickle and whose clock remembers."""

    world: PocketWorld
    server: Fickle
    clock: Watch

    def run(self) -> None:
        self.world.run_to_the_end()

    def events(self, kind: EventType) -> list[DeploymentEvent]:
        found = self.world.server.events
        return [found[key] for key in sorted(found) if found[key].type is kind]

    def only(self, kind: EventType) -> dict[str, Any]:
        (event,) = self.events(kind)
        return event.data

    def boot_control(self) -> BootControl:
        return file_control(self.world.board.flash)

    def runner(self, slot: SlotName = A, **parts: Any) -> Runner:  # noqa: ANN401  # whatever part of the agent
        content = FACTORY if slot is A else self.world.plan.content
        behaviour = Behaviour(content.split(b"\n", 1)[0].split()[1].decode())
        return Runner(replace(self.world.board.parts(SketchedProgram(behaviour), slot), **parts), slot)

    def state(self) -> State:
        state = open_journal(self.world.board.flash).state
        assert state is not None
        return state


def story(plan: Plan = PLANS[Behaviour.GOOD], flash: SimulatedFlash | None = None, start: datetime = NOW, **server: Any) -> Story:  # noqa: ANN401  # fields of Fickle
    world = plan.world(flash)
    clock = Watch(start)
    fickle = Fickle(server=world.server, clock=clock, **server)
    world.board.server, world.board.clock = fickle, clock
    journal = open_journal(world.board.flash)
    assert journal.state is not None
    journal.append(structs.replace(journal.state, time_floor=utc_text(start)))
    return Story(world, fickle, clock)


def drive(runner: Runner, is_over: Callable[[Runner], bool], steps: int = 300) -> None:
    event: Event = runner.booted()
    for _ in range(steps):
        event = runner.advance(event)
        if is_over(runner):
            return
    raise AssertionError(f"it does not get out of {runner.state.phase}")


def in_phase(phase: Phase) -> Callable[[Runner], bool]:
    return lambda runner: runner.state.phase is phase


# --- downloads that go wrong ------------------------------------------------------------------------------------------------


def test_a_corrupt_image_is_tried_three_times_with_growing_pauses_and_then_given_up() -> None:
    it = story(spoiled=3)
    it.run()
    failed = it.only(EventType.DOWNLOAD_FAILED)
    assert (failed["code"], failed["tries"]) == ("corrupt_download", 3)
    assert it.server.opened == [0, 0, 0]
    assert it.clock.waits[1:3] == [1, 2], "the first is the boot"
    assert read_file(it.world.board.flash, SLOTS[B]) == b""
    assert it.boot_control().get_state(B) is SlotState.BAD
    assert it.world.server.reports[-1].version == "1.0.0"


def test_a_corrupt_image_that_comes_right_at_the_third_try_is_installed() -> None:
    it = story(spoiled=2)
    it.run()
    it.world.check(commits=True)
    assert it.only(EventType.DOWNLOAD_COMPLETED)["tries"] == 3


def test_a_server_that_is_away_for_an_hour_in_the_middle_of_a_download_costs_time_and_no_try() -> None:
    it = story(away=(5.5, 3600), breaks_after=[50_000])
    it.run()
    it.world.check(commits=True)
    assert it.only(EventType.DOWNLOAD_COMPLETED)["tries"] == 1
    assert it.clock.monotonic() > 3600
    assert it.clock.waits[1:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert it.server.opened == [0, 50_000], "it goes on where the line broke"


def test_a_line_that_breaks_again_and_again_is_taken_up_where_it_broke() -> None:
    it = story(breaks_after=[10_000] * 10)
    it.run()
    it.world.check(commits=True)
    assert it.server.opened == [10_000 * count for count in range(11)]


def test_an_image_that_changes_in_its_slot_after_the_download_is_never_activated() -> None:
    it = story()
    spoiled: list[bool] = []

    def spoil_once(runner: Runner) -> bool:
        if not spoiled and runner.state.attempt is not None and runner.state.attempt.received > IMAGE_BYTES * 0.85:
            spoiled.append(True)
            it.world.board.flash.open(SLOTS[B]).write_at(100, b"rot")
        return it.world.is_over(runner)

    it.world.board.run(spoil_once)
    assert it.server.opened == [0, 0]
    assert it.world.server.reports[-1].version == "1.1.0"


def test_an_image_that_always_changes_in_its_slot_is_given_up_and_leaves_the_slot_empty() -> None:
    it = story()
    file = it.world.board.flash.open(SLOTS[B], create=True)

    def spoil(runner: Runner) -> bool:
        attempt = runner.state.attempt
        if runner.state.phase is Phase.DOWNLOADING and attempt is not None and attempt.received > IMAGE_BYTES * 0.85:
            file.write_at(100, b"rot")
        return bool(it.events(EventType.DOWNLOAD_FAILED))

    it.world.board.run(spoil)
    assert it.only(EventType.DOWNLOAD_FAILED)["code"] == "bad_digest"
    assert file.size() == 0


@pytest.mark.parametrize("capacity", range(200 * 1024, 240 * 1024, 4096))
def test_without_room_the_download_fails_and_the_server_hears_of_it(capacity: int) -> None:
    it = story(flash=SimulatedFlash(capacity_bytes=capacity))
    it.run()
    assert it.only(EventType.DOWNLOAD_FAILED)["code"] == "no_space"
    assert it.world.server.reports[-1].version == "1.0.0"


# --- orders that this device may not follow ---------------------------------------------------------------------------------


def foreign_plan() -> Plan:
    repositories = Repositories()
    content = image(Behaviour.GOOD, IMAGE_BYTES)
    wanted = manifest("1.1.0", content, hardware="fridge-v1")
    repositories.release(wanted)
    repositories.order(wanted)
    return Plan(repositories=repositories, wanted=wanted, content=content)


@pytest.mark.parametrize(
    ("plan", "capacity", "code"), [(PLANS[Behaviour.GOOD], 100_000, "no_space"), (foreign_plan(), CAPACITY, "wrong_hardware")]
)
def test_an_order_that_does_not_fit_is_rejected_once_and_touches_nothing(plan: Plan, capacity: int, code: str) -> None:
    it = story(plan)
    it.world.board.board = Board(hardware="thermostat-v1", bootloader_version="2.0.0", slot_capacity_bytes=capacity)
    it.run()
    completed = it.events(EventType.CHECK_COMPLETED)
    assert [(event.assignment_id, event.data["refused"]) for event in completed] == [(1, code)]
    assert it.server.opened == []
    assert read_file(it.world.board.flash, SLOTS[B]) is None


def test_an_answer_that_does_not_verify_is_reported_once_however_often_it_comes() -> None:
    it = story()
    answer = it.world.server.answer
    spoiled = {name: data.replace(b'"version":1', b'"version":2', 1) for name, data in answer.metadata.director.items()}
    it.world.server.answer = structs.replace(answer, metadata=structs.replace(answer.metadata, director=spoiled))
    it.world.board.run(lambda _: it.server.polls == 12)
    assert [event.data["refused"] for event in it.events(EventType.CHECK_COMPLETED)] == ["bad_signature"]
    assert it.clock.waits[1:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    it.world.server.answer = answer
    it.run()
    assert it.world.server.reports[-1].version == "1.1.0"


def test_an_empty_view_is_believed_and_asked_about_no_more() -> None:
    plan = Plan.to(Behaviour.GOOD)
    plan.repositories.order(None)
    it = story(plan)
    it.world.board.run(lambda _: it.server.polls == 3)
    assert it.state().etag == "1"
    assert it.world.server.events == {}


# --- clocks -----------------------------------------------------------------------------------------------------------------


def test_a_board_without_a_clock_is_updated_though_the_line_breaks() -> None:
    it = story(start=EPOCH, breaks_after=[50_000])
    it.run()
    it.world.check(commits=True)
    assert it.state().time_floor == utc_text(NOW), "time has reached what the director's timestamp says"
    assert it.only(EventType.HEALTH_OK)["seconds"] < 3600
    assert {event.clock for event in it.world.server.events.values()} == {"unsynced"}


def test_an_order_that_is_void_by_the_directors_own_time_is_rejected_without_a_clock() -> None:
    repositories = Repositories()
    content = image(Behaviour.GOOD, IMAGE_BYTES)
    wanted = manifest("1.1.0", content)
    repositories.release(wanted)
    repositories.now = NOW + timedelta(hours=25)
    repositories.image |= refresh(repositories.image, repositories.online, repositories.now)
    repositories.order(wanted, order=order_for(DEVICE, wanted, 1, NOW))
    it = story(Plan(repositories=repositories, wanted=wanted, content=content), start=EPOCH)
    it.run()
    assert it.events(EventType.CHECK_COMPLETED)[-1].data["refused"] == "order_void"


# --- reports ----------------------------------------------------------------------------------------------------------------


def test_answers_that_are_lost_double_no_event_and_lose_none() -> None:
    it = story(lost_answers=frozenset(range(1, 40, 2)))
    it.run()
    it.world.check(commits=True)
    seqs = [event.seq for batch in it.server.sent for event in batch.events]
    assert len(seqs) > len(set(seqs)), "what was not acknowledged was sent again"


def of_another_journal(batch: EventBatch, _honest: Acknowledgement) -> Acknowledgement:
    return Acknowledgement(acknowledged=Position(journal="0" * 16, seq=batch.events[-1].seq if batch.events else 0))


def of_nothing(batch: EventBatch, _honest: Acknowledgement) -> Acknowledgement:
    return Acknowledgement(acknowledged=Position(journal=batch.journal, seq=0))


@pytest.mark.parametrize("acknowledge", [of_another_journal, of_nothing])
def test_a_wrong_acknowledgement_forgets_nothing(acknowledge: Callable[[EventBatch, Acknowledgement], Acknowledgement]) -> None:
    it = story(acknowledge=acknowledge, spoiled=3)
    runner = it.runner()
    drive(runner, lambda _: it.state().finished is not None)
    drive(it.runner(), lambda _: it.clock.monotonic() > 100)
    assert [event.seq for event in open_journal(it.world.board.flash).pending] == list(range(1, len(it.world.server.events) + 1))
    it.server.acknowledge = lambda _batch, honest: honest
    it.run()
    assert open_journal(it.world.board.flash).pending == ()


def test_an_acknowledgement_of_something_else_is_no_proof_that_the_server_was_reached() -> None:
    it = on_trial(PLANS[Behaviour.GOOD])
    it.server.acknowledge = of_another_journal
    with pytest.raises(Rebooting):
        drive(it.runner(B), in_phase(Phase.COMMITTED))
    it.server.acknowledge = lambda _batch, honest: honest
    it.run()
    assert it.only(EventType.HEALTH_FAILED)["reason"] == "server_lost"


def test_an_acknowledgement_beyond_what_was_sent_forgets_only_what_was_sent() -> None:
    it = story(acknowledge=lambda batch, _: Acknowledgement(acknowledged=Position(journal=batch.journal, seq=10_000)))
    it.run()
    it.world.check(commits=True)


def test_what_is_acknowledged_in_part_is_sent_again_from_there() -> None:
    def one_at_a_time(batch: EventBatch, honest: Acknowledgement) -> Acknowledgement:
        seq = batch.events[0].seq if batch.events else honest.acknowledged.seq
        return Acknowledgement(acknowledged=Position(journal=batch.journal, seq=seq))

    it = story(acknowledge=one_at_a_time)
    it.run()
    it.world.check(commits=True)


def test_a_long_queue_goes_up_in_order_and_in_batches() -> None:
    it = story()
    journal = open_journal(it.world.board.flash)
    assert journal.state is not None
    journal.append(journal.state, [Emitted(type=EventType.CHECK_STARTED, at=utc_text(NOW)) for _ in range(450)])
    drive(it.runner(), lambda _: it.server.polls == 1)
    assert [len(batch.events) for batch in it.server.sent] == [MAX_BATCH, MAX_BATCH, 50]
    assert [event.seq for batch in it.server.sent for event in batch.events] == list(range(1, 451))


def test_the_first_thing_a_server_hears_of_a_boot_is_what_runs() -> None:
    it = story()
    drive(it.runner(), lambda _: it.server.polls == 1)
    first = it.server.sent[0]
    assert first.events == []
    assert first.report is not None
    assert (first.report.version, first.report.slot, first.report.hash) == ("1.0.0", A, digest_of(FACTORY))


def test_every_report_says_what_the_board_says_of_itself() -> None:
    it = story()
    drive(it.runner(attributes={"site": "berlin"}), lambda _: it.server.polls == 1)
    assert [batch.report.attributes for batch in it.server.sent if batch.report is not None] == [{"site": "berlin"}]


# --- boards that refuse -----------------------------------------------------------------------------------------------------


@dataclass
class Stubborn:
    """A bootloader that refuses to change anything a few times."""

    boot: BootControl
    refusals: int

    def get_primary(self) -> SlotName:
        return self.boot.get_primary()

    def get_state(self, slot: SlotName) -> SlotState:
        return self.boot.get_state(slot)

    def set_primary(self, slot: SlotName) -> None:
        self._refuse()
        self.boot.set_primary(slot)

    def set_state(self, slot: SlotName, state: SlotState) -> None:
        self._refuse()
        self.boot.set_state(slot, state)

    def _refuse(self) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise BootError("The chip does not answer.")


def test_a_bootloader_that_refuses_before_the_download_ends_the_attempt() -> None:
    it = story()
    drive(it.runner(boot=Stubborn(it.boot_control(), 1)), it.world.is_over)
    assert it.only(EventType.DOWNLOAD_FAILED)["code"] == "boot"


def test_a_bootloader_that_refuses_to_activate_ends_the_attempt() -> None:
    it = story()
    stubborn = Stubborn(it.boot_control(), 0)

    def is_over(runner: Runner) -> bool:
        if runner.state.attempt is not None and runner.state.attempt.received > IMAGE_BYTES * 0.85:
            stubborn.refusals = 2
        return it.world.is_over(runner)

    drive(it.runner(boot=stubborn), is_over)
    assert it.only(EventType.INSTALL_FAILED)["code"] == "boot"


def on_trial(plan: Plan) -> Story:
    it = story(plan)
    it.world.board.run(in_phase(Phase.TRIAL))
    return it


def test_a_commit_that_the_bootloader_refuses_is_tried_until_it_takes_it() -> None:
    it = on_trial(PLANS[Behaviour.GOOD])
    drive(it.runner(B, boot=Stubborn(it.boot_control(), 3)), it.world.is_over)
    it.world.check(commits=True)
    assert it.boot_control().get_state(B) is SlotState.GOOD


def test_a_roll_back_that_the_bootloader_refuses_is_tried_until_it_takes_it() -> None:
    it = on_trial(PLANS[Behaviour.UNHEALTHY])
    with pytest.raises(Rebooting):
        drive(it.runner(B, boot=Stubborn(it.boot_control(), 3), policy=Policy(trial_s=-1)), it.world.is_over)
    assert it.clock.waits[-3:] == [1, 2, 4]
    it.run()
    it.world.check(commits=False)


def test_a_board_that_does_not_reboot_is_asked_again() -> None:
    it = story()
    asked: list[float] = []
    runner = it.runner(reboot=lambda: asked.append(it.clock.monotonic()))
    drive(runner, lambda _: len(asked) == 4)
    assert [round(later - earlier) for earlier, later in pairwise(asked)] == [61, 62, 64]


class NoRoom(SimulatedFlash):
    """Flash that has no room for the files whose names begin so."""

    full = "-"

    def write(self, path: str, inode: int, offset: int, data: bytes) -> None:
        if path.startswith(self.full):
            raise SpaceError("There is no room.")
        super().write(path, inode, offset, data)


def test_a_full_disk_while_verifying_is_waited_out() -> None:
    flash = NoRoom()
    it = story(flash=flash)
    flash.full = "data/trusted"
    drive(it.runner(), lambda _: it.clock.monotonic() > 100)
    assert it.clock.waits[:4] == [1, 2, 4, 8]
    assert it.state().attempt is None
    flash.full = "-"
    it.run()
    it.world.check(commits=True)


def test_without_room_for_the_journal_the_agent_does_nothing_but_poll() -> None:
    flash = NoRoom()
    it = story(flash=flash)
    flash.full = "data/journal"
    drive(it.runner(), lambda _: it.clock.monotonic() > 1_000)
    assert (it.server.opened, it.server.polls > 5) == ([], True)
    flash.full = "-"
    it.run()
    it.world.check(commits=True)


@pytest.mark.parametrize("error", [TransportError("nobody there"), SpaceError("no room")])
def test_a_certificate_that_cannot_be_renewed_keeps_nothing_from_polling(error: Exception) -> None:
    it = story()

    def renew() -> None:
        raise error

    drive(it.runner(renew=renew), lambda _: it.server.polls == 1)


def test_a_slot_in_which_nothing_verified_lies_is_not_run() -> None:
    with pytest.raises(BootError, match="booted slot b"):
        story().runner(B)


def test_a_clock_in_doubt_is_told_once_whatever_comes_between_and_is_over_when_time_is_right() -> None:
    it = story()
    right = it.clock.now() + timedelta(hours=5)

    def reach() -> None:
        if it.clock.now() < right:
            raise ClockError("The certificate had ended, and it is 2040 here.")

    it.server._reach = reach  # type: ignore[method-assign]  # a server behind TLS
    it.world.board.run(lambda runner: runner.state.failures > 20)
    assert it.clock.waits[1:12] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert it.state().refused == "clock"
    it.run()
    it.world.check(commits=True)
    refusals = [event.data["refused"] for event in it.world.server.events.values() if "refused" in event.data]
    assert (refusals, it.state().refused) == (["clock"], "")


def test_a_floor_that_rises_is_handed_to_the_clock() -> None:
    it = story(start=EPOCH)
    told: list[datetime] = []
    drive(it.runner(lift_clock=told.append), lambda runner: bool(runner.state.attempt))
    assert told == [NOW]


def test_a_clock_behind_the_time_floor_is_not_believed() -> None:
    it = story()
    it.clock.jump(-timedelta(days=365).total_seconds())
    assert it.runner().booted().now == NOW


def test_a_director_that_spoke_earlier_does_not_lower_the_time_floor() -> None:
    later = NOW + timedelta(hours=2)
    it = story(start=later)
    drive(it.runner(), in_phase(Phase.DOWNLOADING))
    assert it.state().time_floor == utc_text(later)


def test_a_report_names_the_bytes_that_lie_in_the_slot_and_not_those_that_should() -> None:
    it = story()
    flash = it.world.board.flash
    with_damage = flash.open(SLOTS[A])
    with_damage.write_at(100, b"?")
    with_damage.sync()
    with_damage.close()
    drive(it.runner(), lambda _: bool(it.server.sent))
    found = it.server.sent[0].report
    assert found is not None
    assert found.hash == digest_of(FACTORY[:100] + b"?" + FACTORY[101:]) != it.state().running.hash


def test_a_report_says_the_highest_counter_and_not_that_of_what_runs() -> None:
    it = story()
    journal = open_journal(it.world.board.flash)
    journal.append(structs.replace(it.state(), release_counter=7))
    drive(it.runner(), lambda _: bool(it.server.sent))
    found = it.server.sent[0].report
    assert found is not None
    assert found.release_counter == 7 != it.state().running.release_counter


def test_a_journal_without_a_state_is_refused() -> None:
    empty: Journal[State] = Journal(SimulatedFlash(), JOURNAL, State, new_id=lambda: "0" * 32)
    with pytest.raises(DeviceError, match="holds no state"):
        story().runner(journal=empty)


def test_damaged_trust_stops_updates_and_not_the_board() -> None:
    it = story()
    replace_file(it.world.board.flash, "data/trusted/director.json", b"{")
    drive(it.runner(), lambda _: it.clock.monotonic() > 1000)
    assert it.state().attempt is None
    assert it.server.polls > 5


# --- an agent that is killed ------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The agent is gone; the board goes on."""


def die() -> None:
    raise Killed


def test_an_agent_runs_until_its_board_goes_down() -> None:
    it = story()
    with pytest.raises(Killed):
        it.runner(reboot=die).run()
    assert it.state().phase is Phase.REBOOTING


def kill_in(it: Story, phase: Phase) -> None:
    """Run until the agent is in ``phase`` and kill it there: at the latest when it asks for a reboot."""
    if phase in {Phase.TRIAL, Phase.COMMITTED, Phase.ROLLING_BACK}:
        it.world.board.run(in_phase(Phase.TRIAL))
    if phase in {Phase.REPORTING, Phase.IDLE}:
        it.world.board.run(in_phase(phase))
    else:
        with suppress(Killed):
            drive(it.runner(B if it.world.board.boots else A, reboot=die), in_phase(phase))
    assert it.state().phase is phase or phase in {Phase.CHECKING, Phase.VERIFYING}


@pytest.mark.parametrize("phase", Phase)
def test_an_agent_that_is_started_again_in_any_phase_comes_to_the_same_end(phase: Phase) -> None:
    behaviour = Behaviour.UNHEALTHY if phase is Phase.ROLLING_BACK else Behaviour.GOOD
    it = story(Plan.to(behaviour, WINDOWS) if phase is Phase.WAITING else PLANS[behaviour])
    kill_in(it, phase)
    with suppress(Rebooting):
        drive(it.runner(it.world.board.boots[-1][0] if it.world.board.boots else A), it.world.is_over)
    it.run()
    it.world.check(commits=behaviour is Behaviour.GOOD)


def test_an_agent_that_is_killed_in_every_install_gives_it_up_and_starts_nothing_of_it() -> None:
    it = story()

    class Deadly(StoredBootControl):
        def set_primary(self, slot: SlotName) -> None:
            super().set_primary(slot)
            if slot is B:
                raise Killed

    def start() -> bool:
        try:
            drive(it.runner(boot=Deadly(FileStore(it.world.board.flash))), it.world.is_over)
        except Killed:
            return False
        return True

    starts = 1
    while not start():
        starts += 1
        assert starts < 20
    assert it.only(EventType.INSTALL_FAILED)["code"] == "install_loop"
    assert starts == Policy().max_installs + 1
    assert (it.boot_control().get_state(B), it.boot_control().get_primary()) == (SlotState.BAD, A)


def test_an_agent_that_is_killed_in_every_trial_boot_is_taken_back_as_a_loop() -> None:
    it = on_trial(PLANS[Behaviour.GOOD])
    for _ in range(Policy().max_boots - 1):
        it.runner(B).advance(it.runner(B).booted())
    with pytest.raises(Rebooting):
        drive(it.runner(B), it.world.is_over)
    it.run()
    it.world.check(commits=False)
    assert it.only(EventType.HEALTH_FAILED)["reason"] == "boot_loop"


def test_what_a_peer_said_is_cut_before_it_becomes_an_event() -> None:
    cut = runners._short({"detail": "x" * 1_000_000, "tries": 3})
    assert (len(cut["detail"]), cut["tries"]) == (500, 3)


def test_of_a_thousand_addresses_a_few_are_kept_and_none_that_is_too_long() -> None:
    image = digest_of(b"image")
    urls = ["https://server/" + "x" * 2_100, *(f"https://server/{number}" for number in range(1_000))]
    answer = PollAnswer(
        next_poll_s=1, metadata=PollMetadata(director={}, image={}), artifacts=[ArtifactHint(hash=image, urls=urls, size=5)]
    )
    assert runners._urls(answer, image) == urls[1:9]


def test_a_batch_holds_what_one_call_takes_and_at_least_one_event() -> None:
    events = [DeploymentEvent(seq=seq, type="update.made.up", at="2026-11-23T08:00:00Z", data={"x": "y" * 300_000}) for seq in (1, 2, 3)]
    assert [event.seq for event in runners._batch(events)] == [1]
    assert [event.seq for event in runners._batch(events[:1])] == [1]
    assert runners._batch([]) == []
