# SPDX-License-Identifier: Apache-2.0
"""Updates of an application that is restarted while the agent goes on: the machine sees no difference to a reboot."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from surefoot.agent.download import Response
from surefoot.agent.pulse import Stopping
from surefoot.agent.runner import Restarted, Runner
from surefoot.agent.signals import Event
from surefoot.agent.starting import restart_application, start_application
from surefoot.agent.transport import Polled, Server
from surefoot.model.errors import BootError, TransportError
from surefoot.model.event import Acknowledgement, EventBatch, EventType
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.board import Behaviour, ProgramHealth, load_sketch
from tests.agent.rigs import link_store
from tests.powerfail.worlds import ARCHIVE, LINK, Story

A, B = SlotName.A, SlotName.B
BOOT = "the one boot"
STORIES = {behaviour: Story.of(LINK, ARCHIVE, behaviour) for behaviour in (Behaviour.GOOD, Behaviour.UNHEALTHY)}


@dataclass
class Deaf:
    """A server that takes no reports while it is deaf."""

    server: Server
    is_deaf: bool = False

    def poll(self, etag: str) -> Polled:
        return self.server.poll(etag)

    def send(self, batch: EventBatch) -> Acknowledgement:
        if self.is_deaf:
            raise TransportError("Nobody listens.")
        return self.server.send(batch)

    def open(self, url: str, offset: int) -> Response:
        return self.server.open(url, offset)


@dataclass
class Application:
    """A board whose agent restarts an application.

    Attributes:
        story: The update.
        failures: How many restarts fail first.
        starts: The slot of each restart.
        before: Called before each of them.
        runs: The slot that the application was really started from.
    """

    story: Story
    failures: int = 0
    starts: list[SlotName] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    runs: SlotName = A

    def __post_init__(self) -> None:
        self.world = self.story.world()
        board = self.world.board
        self.server = Deaf(board.server)
        board.server = self.server
        self.start_agent()

    def start_agent(self) -> None:
        """Start the agent, and not the application: its probes see whatever runs."""
        board = self.world.board
        slot = start_application(link_store(board.flash), board.flash, BOOT, self._start_it)
        program = load_sketch(board.content(board.flash, self.runs)[0])
        self.runner = Runner(replace(board.parts(program, slot), reboot=self._restart), slot)

    def run(self, stop_at: int = -1) -> int:
        """Run to the end, and start the agent anew after so many steps; return how many it took."""
        event: Event = self.runner.booted()
        for number in range(2_000):
            try:
                event = self._advance(event, then_stops=number == stop_at)
            except Stopping:
                self.runner.stop()
                self.start_agent()
                event = self.runner.booted()
            assert self.runs is self.runner.slot, "the agent looks after something else than what runs"
            if self.world.is_over(self.runner):
                return number
        raise AssertionError(self.runner.state.phase)

    def _advance(self, event: Event, *, then_stops: bool) -> Event:
        after = self.runner.advance(event)
        if then_stops:
            raise Stopping
        return after

    def _restart(self) -> Restarted:
        self.before()
        board = self.world.board
        slot = restart_application(link_store(board.flash), board.flash, BOOT, self._start_it)
        return Restarted(slot=slot, monitor=ProgramHealth(load_sketch(board.content(board.flash, slot)[0]), board.clock))

    def _start_it(self) -> None:
        board = self.world.board
        self.failures -= 1
        if self.failures >= 0:
            raise BootError("The reboot command failed.")
        self.runs = link_store(board.flash).read().primary
        self.starts.append(self.runs)
        board.boots.append((self.runs, board.content(board.flash, self.runs)[1]))


def test_a_good_application_is_kept_by_the_agent_that_installed_it() -> None:
    it = Application(STORIES[Behaviour.GOOD])
    it.run()
    it.world.check(commits=True)
    assert (it.starts, it.runner.slot, it.runner.parts.boot.get_state(B)) == ([B], B, SlotState.GOOD)


def test_an_unhealthy_application_is_taken_back_by_another_restart() -> None:
    it = Application(STORIES[Behaviour.UNHEALTHY])
    it.run()
    it.world.check(commits=False)
    assert (it.starts, it.runner.slot, it.runner.parts.boot.get_state(B)) == ([B, A], A, SlotState.BAD)
    assert it.world.server.reports[-1].version == "1.0.0"


def test_a_tree_that_was_changed_before_the_restart_is_not_kept() -> None:
    it = Application(STORIES[Behaviour.GOOD])

    def spoil() -> None:
        it.world.board.flash.open("trees/b/share+notes").write_at(4000, b"evil")

    it.before = spoil
    it.run()
    (back,) = [event for event in it.world.server.events.values() if event.type == EventType.ROLLBACK_COMPLETED]
    assert back.data["reason"] == "wrong_image"
    assert it.starts == [B, A]


def test_what_was_started_must_get_a_report_of_its_own_through() -> None:
    it = Application(STORIES[Behaviour.GOOD])

    def turn_deaf() -> None:
        it.server.is_deaf = not it.server.is_deaf

    it.before = turn_deaf
    it.run()
    (back,) = [event for event in it.world.server.events.values() if event.type == EventType.ROLLBACK_COMPLETED]
    assert back.data["reason"] == "server_lost"
    assert it.starts == [B, A]


def test_a_restart_that_fails_each_time_ends_the_attempt_with_the_old_application_to_start() -> None:
    it = Application(STORIES[Behaviour.GOOD], failures=10**6)
    it.run()
    (back,) = [event for event in it.world.server.events.values() if event.type == EventType.ROLLBACK_COMPLETED]
    assert (back.data["reason"], it.starts) == ("did_not_boot", [])
    assert (it.runner.slot, it.runner.state.slot, link_store(it.world.board.flash).read().primary) == (A, A, A)


@pytest.mark.parametrize(("failures", "starts"), [(2, [B]), (3, [A])])
def test_a_restart_that_fails_is_tried_again_as_often_as_a_slot_is_started(failures: int, starts: list[SlotName]) -> None:
    it = Application(STORIES[Behaviour.GOOD], failures=failures)
    it.run()
    assert it.starts == starts
    it.world.check(commits=starts == [B])


@pytest.mark.parametrize("behaviour", STORIES)
def test_an_agent_that_is_started_anew_looks_after_what_runs(behaviour: Behaviour) -> None:
    steps = Application(STORIES[behaviour]).run()
    for stop_at in range(steps):
        it = Application(STORIES[behaviour])
        it.run(stop_at)
        it.world.check(commits=behaviour is Behaviour.GOOD)
        assert it.starts == ([B] if behaviour is Behaviour.GOOD else [B, A]), stop_at


@pytest.mark.parametrize("nth", [1, 2])
def test_an_agent_that_is_stopped_between_the_link_and_the_restart_restarts_it_as_it_comes_up(nth: int) -> None:
    it = Application(STORIES[Behaviour.UNHEALTHY])
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise Stopping

    it.before = stop
    it.run()
    it.world.check(commits=False)
    assert it.starts == [B, A]
