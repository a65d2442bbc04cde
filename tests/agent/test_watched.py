# SPDX-License-Identifier: Apache-2.0
"""Boards in virtual time whose release turns out bad: the four triggers, with reboots in between and without a clock on the wall."""

from dataclasses import replace
from types import SimpleNamespace
from typing import NoReturn, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.agent.boot.file import FileStore
from surefoot.agent.boot.store import StoredBootControl
from surefoot.agent.network import Patience
from surefoot.agent.pulse import Unheard
from surefoot.agent.state import Phase, Policy
from surefoot.agent.transport import Server
from surefoot.agent.vitals import Reset
from surefoot.model.errors import BootError, TransportError
from surefoot.model.event import EventType
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.board import ProgramHealth
from surefoot.simulator.clock import VirtualClock
from tests.agent.mains import PLAN, Site, kept, site

A, B = SlotName.A, SlotName.B
DAY_S = 86_400
BOOT_S = 5.0


def is_back(it: Site, reason: str) -> None:
    """Assert that the board runs what it ran before, and that the server knows why."""
    it.live(60)
    assert (it.slot, it.state.slot, it.state.running.version) == (A, A, "1.0.0")
    assert it.reasons() == [reason]
    events = it.world.server.events
    triggered = [event for event in events.values() if event.type is EventType.ROLLBACK_TRIGGERED]
    assert [(event.data["reason"], event.assignment_id) for event in triggered] == [(reason, 1)]
    report = it.world.server.reports[-1]
    assert (report.version, report.release_counter) == ("1.0.0", it.state.release_counter)
    assert it.state.result is not None
    assert it.state.result.reason == reason


def test_a_release_is_left_though_the_reboot_fails_again_and_again_and_hears_of_no_order_before() -> None:
    it = kept()
    begun_s = it.clock.monotonic()
    it.is_well = lambda now_s: now_s < begun_s + 100
    board = it.world.board
    assert board.runner is not None
    goes_down = board.runner.parts.reboot

    def fail() -> None:
        raise BootError("The reboot command failed.")

    board.runner.parts = replace(board.runner.parts, reboot=fail)
    it.live(2 * 3600)
    assert board.runner is not None
    assert (board.runner.state.phase, board.runner.slot) == (Phase.ROLLING_BACK, B)
    assert board.runner.parts.boot.get_primary() is A, "the next boot leaves it, whoever asks for that"
    board.runner.parts = replace(board.runner.parts, reboot=goes_down)
    it.live(600)
    is_back(it, "unhealthy")


def test_a_bootloader_that_cannot_be_asked_for_a_while_ends_no_watch() -> None:
    it = kept()
    begun_s = it.clock.monotonic()
    it.is_well = lambda now_s: now_s < begun_s + 100
    board = it.world.board
    assert board.runner is not None
    boot = board.runner.parts.boot

    class Mute(StoredBootControl):
        def get_state(self, slot: SlotName) -> SlotState:
            if it.clock.monotonic() < begun_s + 2000:
                raise BootError("The bootloader's tool does not answer.")
            return boot.get_state(slot)

    board.runner.parts = replace(board.runner.parts, boot=Mute(FileStore(board.flash)))
    steps = 0
    while it.clock.monotonic() < begun_s + 1900:
        board.step()
        steps += 1
        assert steps < 500, "and is not asked without a pause"
    stays(it)
    it.live(600)
    is_back(it, "unhealthy")


def stays(it: Site) -> None:
    """Assert that the board keeps what it has."""
    assert (it.slot, it.state.running.version) == (B, "1.1.0")
    assert it.reasons() == []


@pytest.mark.parametrize("has_rtc", [True, False])
def test_a_kept_release_that_reboots_again_and_again_is_left(*, has_rtc: bool) -> None:
    it = kept(has_rtc=has_rtc)
    it.reset_every(50, 3)
    stays(it)
    it.reset_every(50, 1)
    is_back(it, "reboot_loop")
    assert it.state.failed == PLAN.wanted.image.hash


@pytest.mark.parametrize("has_rtc", [True, False])
def test_reboots_that_are_far_apart_are_none(*, has_rtc: bool) -> None:
    it = kept(has_rtc=has_rtc)
    it.reset_every(200, 40)
    stays(it)


@pytest.mark.parametrize("has_rtc", [True, False])
@pytest.mark.parametrize("reset", [Reset.WATCHDOG, Reset.UNKNOWN])
def test_a_kept_release_that_the_watchdog_resets_again_and_again_is_left(reset: Reset, *, has_rtc: bool) -> None:
    it = kept(has_rtc=has_rtc, reset=reset)
    it.reset_every(140, 5)
    stays(it)
    it.reset_every(140, 1)
    is_back(it, "watchdog")


def test_the_same_resets_by_anything_else_are_not_the_watchdogs() -> None:
    it = kept(reset=Reset.OTHER)
    it.reset_every(140, 30)
    stays(it)


@pytest.mark.parametrize("has_rtc", [True, False])
def test_a_kept_release_whose_health_fails_for_two_minutes_is_left(*, has_rtc: bool) -> None:
    it = kept(has_rtc=has_rtc)
    begun_s = it.clock.monotonic()
    it.is_well = lambda now_s: now_s < begun_s + 1000
    it.live(1000)
    stays(it)
    it.live(100)
    stays(it)
    it.live(100)
    is_back(it, "unhealthy")
    assert it.state.failed == PLAN.wanted.image.hash


@pytest.mark.parametrize(("up_s", "is_kept"), [(800, True), (1000, False)])
def test_a_release_on_trial_may_take_as_long_to_come_up_as_the_trial_says(up_s: float, *, is_kept: bool) -> None:
    it = site()
    it.world.board.policy = Policy(settle_s=30, trial_s=900)
    it.is_well = lambda now_s: now_s > up_s
    it.live(1200)
    assert (it.slot, it.reasons()) == ((B, []) if is_kept else (A, ["unhealthy"]))
    if is_kept:
        it.is_well = lambda _now_s: False
        it.live(200)
        is_back(it, "unhealthy")


def test_a_release_on_trial_that_came_up_and_fails_for_two_minutes_is_taken_back_before_the_trial_is_over() -> None:
    it = site()
    it.world.board.policy = Policy(settle_s=300, trial_s=900)
    it.is_well = lambda now_s: now_s < 100
    it.live(300)
    assert (it.slot, it.reasons()) == (A, ["unhealthy"])


@pytest.mark.parametrize("has_rtc", [True, False])
def test_health_that_fails_goes_on_failing_through_reboots(*, has_rtc: bool) -> None:
    it = kept(has_rtc=has_rtc)
    it.is_well = lambda _now_s: False
    it.reset_every(70, 3)
    is_back(it, "unhealthy")


def test_health_that_fails_for_a_minute_now_and_then_is_borne() -> None:
    it = kept()
    it.is_well = lambda now_s: now_s % 600 > 60
    it.live(20_000)
    stays(it)


@pytest.mark.parametrize("has_rtc", [True, False])
def test_a_release_on_trial_that_loses_the_broker_is_taken_back(*, has_rtc: bool) -> None:
    it = site(has_rtc=has_rtc)
    it.has_broker = lambda _now_s, slot: slot is A
    it.live(400)
    assert (it.slot, it.reasons()) == (A, ["broker_lost"])
    assert it.state.failed is None, "it may have been the broker's doing"


@pytest.mark.parametrize("has_rtc", [True, False])
def test_a_broker_that_is_not_required_gives_no_release_up(*, has_rtc: bool) -> None:
    it = site(has_rtc=has_rtc, needs_brokers=False)
    it.has_broker = lambda _now_s, slot: slot is A
    it.live(200)
    stays(it)
    assert it.state.phase is Phase.IDLE
    it.reset_every(130, 2)
    it.live(1000)
    stays(it)


@pytest.mark.parametrize("becomes", ["another", "optional", "none"])
def test_a_release_is_not_owed_a_broker_that_it_does_not_require_any_longer(becomes: str) -> None:
    """The new release's agent.toml names another one, or the same as optional, or none; the former is gone since the update."""
    it = site()
    board, former = it.world.board, it.world.board.brokers

    def read_config(slot: SlotName, _found: object) -> None:
        board.needs_brokers = slot is A or becomes != "optional"
        board.brokers = former if slot is A or becomes == "optional" else {"the broker new.site:1883": lambda: True}
        if slot is B and becomes == "none":
            board.brokers = {}

    board.at_boot = read_config
    it.has_broker = lambda _now_s, slot: slot is A
    it.live(1000)
    stays(it)
    assert it.state.vitals is not None
    assert it.state.vitals.brokers == []


@settings(max_examples=60, deadline=None)
@given(
    begins_s=st.integers(-10_000, DAY_S),
    lasts_s=st.integers(0, DAY_S),
    needs=st.booleans(),
    resets=st.lists(st.integers(400, DAY_S), max_size=3),
)
def test_an_outage_of_the_sites_broker_rolls_nothing_back(begins_s: int, lasts_s: int, resets: list[int], *, needs: bool) -> None:
    """Whenever it begins: before the update, in its middle, or after; but for the seconds in which the board reboots into the release."""
    it = site(needs_brokers=needs)
    # The board looks at the broker as it activates the release, and again after the boot: nobody can tell what happened between.
    blind_s = range(int(BOOT_S), int(2 * BOOT_S) + 1)
    begins_s += len(blind_s) if begins_s in blind_s else 0
    it.has_broker = lambda now_s, _slot: not begins_s <= now_s < begins_s + lasts_s
    it.clock.resets = [float(at_s) for at_s in sorted(set(resets))]
    it.live(DAY_S)
    stays(it)


class Longest(Unheard):
    """A pulse that remembers the longest time between two beats."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.last_s, self.longest_s = clock, clock.monotonic(), 0.0

    def beat(self, within_s: float = 0.0) -> None:  # noqa: ARG002  # the port's
        self.longest_s = max(self.longest_s, self.clock.monotonic() - self.last_s)
        self.last_s = self.clock.monotonic()

    def rest_s(self) -> float:
        return 60.0


def test_a_server_that_drips_its_answers_is_not_taken_for_an_agent_that_hangs() -> None:
    """A poll is three requests or more, each of which may take as long as an answer may: the agent beats before each."""
    it = kept()
    board = it.world.board
    assert board.runner is not None
    slow_s = Patience().answer_s

    def drips(*_: object) -> NoReturn:
        it.clock.sleep(slow_s)
        raise TransportError("too slow")

    pulse, server = Longest(it.clock), SimpleNamespace(poll=drips, send=drips, open=drips)
    board.runner.parts = replace(board.runner.parts, server=cast("Server", server), pulse=pulse, renew=drips)
    board.runner.is_reported = False
    it.live(2000)
    assert pulse.longest_s == slow_s


@pytest.mark.parametrize("reason", ["reboot_loop", "unhealthy"])
def test_after_a_day_of_uptime_a_release_is_trusted(reason: str) -> None:
    it = kept()
    it.live(DAY_S + 1800)
    assert it.state.vitals is None
    size = it.world.board.flash.open("data/journal").size()
    if reason == "unhealthy":
        it.is_well = lambda _now_s: False
        it.live(3000)
    else:
        it.reset_every(20, 10)
    stays(it)
    assert it.world.board.flash.open("data/journal").size() == size, "and nothing is written to the flash"


def test_a_watch_writes_seldom() -> None:
    it = kept()
    before = len(it.world.board.flash.log)
    it.live(DAY_S)
    notes = [line for line in it.world.board.flash.log[before:] if line.endswith(" sync data/journal")]
    assert len(notes) <= DAY_S / 1800 + 2, "one each half hour, and the end of the update"


def test_where_the_other_slot_is_not_good_the_release_stays() -> None:
    it = kept()
    it.live(10)
    assert it.world.board.runner is not None
    it.world.board.runner.parts.boot.set_state(A, SlotState.BAD)
    it.is_well = lambda _now_s: False
    it.live(1000)
    stays(it)
    assert it.state.vitals is None


def test_where_the_release_before_has_rotted_the_board_stays() -> None:
    it = kept()
    it.world.board.flash.open("slots/a.img").write_at(100, b"rot")
    it.is_well = lambda _now_s: False
    it.live(1000)
    stays(it)
    assert (it.state.phase, it.state.leaving) == (Phase.IDLE, "")
    failed = [event.data["detail"] for event in it.world.server.events.values() if event.type is EventType.HEALTH_FAILED]
    assert "does not hold 1.0.0 any longer" in str(failed[-1])


def test_an_agent_that_is_stopped_in_order_is_not_held_against_the_release() -> None:
    it = kept()
    for _ in range(10):
        it.live(10)
        assert it.world.board.runner is not None
        it.world.board.runner.stop()
        it.world.board.off()
    it.live(100)
    stays(it)
    it.reset_every(50, 4)
    is_back(it, "reboot_loop")


def test_what_was_counted_before_a_stop_is_not_lost() -> None:
    it = kept()
    it.live(1000)
    assert it.world.board.runner is not None
    it.world.board.runner.stop()
    assert it.state.vitals is not None
    assert it.state.vitals.is_stopped
    assert it.state.vitals.lived_s >= 1000 - 300, "a wait may not have been looked at to its end"


def test_a_monitor_that_says_nothing_of_brokers_has_none() -> None:
    it = kept()
    program = it.world.board.load(PLAN.content)
    assert ProgramHealth(program, it.clock).reached() == frozenset()
