# SPDX-License-Identifier: Apache-2.0
"""Who inhibits updates at a device: what is noted, what a power cut or damage leaves of it, and what it holds back."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.agent.home import DATA
from surefoot.agent.interlock import Inhibitor, allow, inhibit, inhibitors
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import replace_file
from surefoot.agent.window import interlock_of, weigh
from surefoot.model.errors import InvalidInput
from surefoot.model.event import EventType
from surefoot.model.record import parse_utc, utc_text
from surefoot.model.window import Window
from surefoot.schedule.permission import Reason
from surefoot.simulator.board import Behaviour
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash
from tests.agent.moments import order, windowed
from tests.agent.test_waiting import OPENS_AT, SOON, events
from tests.powerfail.pocket import Plan, PocketWorld
from tests.trust.repositories import DEVICE, NOW, order_for

HOUR = timedelta(hours=1)
PUMP = Inhibitor(name="pump", reason="the pump runs")
SOMEBODY = st.builds(
    Inhibitor,
    name=st.sampled_from(["pump", "user", "ward"]),
    reason=st.sampled_from(["the pump runs", "a patient is connected"]),
    until=st.none() | st.integers(-5, 5).map(lambda hours: NOW + hours * HOUR),
)


# --- what counts ------------------------------------------------------------------------------------------------------------


@given(st.lists(SOMEBODY, max_size=4), st.none() | st.integers(-5, 5), st.sampled_from(["", utc_text(NOW - HOUR)]))
def test_nothing_starts_while_anybody_inhibits_it_even_past_its_deadline(
    several: list[Inhibitor], put_off: int | None, forced_from: str
) -> None:
    put_off_until = None if put_off is None else NOW + put_off * HOUR
    wanted = structs.replace(order(), ignore_windows_from=forced_from)
    found = weigh(wanted, NOW, put_off_until, several)
    ends: list[datetime | None] = [each.until for each in several if each.until is None or each.until > NOW]
    ends += [put_off_until] if put_off_until is not None and put_off_until > NOW else []
    assert found.may_start is (ends == [])
    if ends:
        known = [end for end in ends if end is not None]
        assert (found.reason, found.until) == (Reason.INTERLOCK, max(known) if len(known) == len(ends) else None)
        assert all(each.reason in found.detail for each in several if each.until is None)


def test_a_void_order_is_void_whoever_inhibits_it() -> None:
    late = structs.replace(order(), start_before=utc_text(NOW - HOUR))
    assert weigh(late, NOW, None, [PUMP]).reason is Reason.VOID


def test_a_required_release_is_held_by_who_inhibits_it_and_not_by_its_user() -> None:
    required = structs.replace(windowed(), consent_until=utc_text(NOW - HOUR))
    assert interlock_of(required, NOW, NOW + HOUR) is None
    held = interlock_of(required, NOW, NOW + HOUR, [PUMP])
    assert held is not None
    assert (held.words, held.until) == ("pump inhibits it: the pump runs", None)


# --- what is noted ----------------------------------------------------------------------------------------------------------


def test_each_name_has_a_word_of_its_own_and_takes_back_only_that() -> None:
    flash = SimulatedFlash()
    inhibit(flash, DATA, PUMP, NOW)
    inhibit(flash, DATA, Inhibitor(name="user", reason="a demonstration", until=NOW + HOUR), NOW)
    inhibit(flash, DATA, Inhibitor(name="user", reason="another one", until=NOW + 2 * HOUR), NOW)
    assert inhibitors(flash, DATA) == [PUMP, Inhibitor(name="user", reason="another one", until=NOW + 2 * HOUR)]
    assert (allow(flash, DATA, "user"), allow(flash, DATA, "user")) == (True, False)
    assert inhibitors(flash, DATA) == [PUMP]


@pytest.mark.parametrize(
    "wrong",
    [
        Inhibitor(name="../journal", reason="x"),
        Inhibitor(name="", reason="x"),
        Inhibitor(name="user", reason=" "),
        Inhibitor(name="user", reason="two\nlines"),
        Inhibitor(name="user", reason="x" * 201),
        Inhibitor(name="user", reason="x", until=NOW),
        Inhibitor(name="user", reason="x", until=NOW + timedelta(days=30, seconds=1)),
    ],
)
def test_what_cannot_be_said_is_refused_and_changes_nothing(wrong: Inhibitor) -> None:
    flash = SimulatedFlash()
    inhibit(flash, DATA, PUMP, NOW)
    with pytest.raises(InvalidInput):
        inhibit(flash, DATA, wrong, NOW)
    assert inhibitors(flash, DATA) == [PUMP]


@pytest.mark.parametrize("damaged", [b"", b"{", b'{"reason":"x","until":"tomorrow"}', b'{"why":1}'])
def test_a_damaged_word_still_holds_until_it_is_taken_away(damaged: bytes) -> None:
    flash = SimulatedFlash()
    inhibit(flash, DATA, PUMP, NOW)
    replace_file(flash, f"{DATA}/inhibitors/pump.json", damaged)
    assert inhibitors(flash, DATA) == [Inhibitor(name="pump", reason="its file cannot be read")]
    assert allow(flash, DATA, "pump")
    assert inhibitors(flash, DATA) == []


def test_a_folder_that_cannot_be_read_holds_too(tmp_path: Path) -> None:
    (tmp_path / DATA).mkdir()
    assert inhibitors(PosixStorage(tmp_path), DATA) == []
    (tmp_path / DATA / "inhibitors").symlink_to(tmp_path)
    assert inhibitors(PosixStorage(tmp_path), DATA) == [Inhibitor(name="unknown", reason="data/inhibitors cannot be read")]


ANOTHER = Inhibitor(name="pump", reason="it runs again", until=NOW + HOUR)
CHANGES: list[Callable[[SimulatedFlash], object]] = [
    lambda flash: inhibit(flash, DATA, ANOTHER, NOW),
    lambda flash: inhibit(flash, DATA, Inhibitor(name="user", reason="a demonstration"), NOW),
    lambda flash: allow(flash, DATA, "pump"),
]


@pytest.mark.parametrize("damage", Damage)
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_cut_at_any_operation_leaves_what_was_said_before_or_what_is_said_now(
    change: Callable[[SimulatedFlash], object], damage: Damage, *, half: bool
) -> None:
    flash = SimulatedFlash()
    inhibit(flash, DATA, PUMP, NOW)
    done = flash.fork()
    change(done)
    new = inhibitors(done.power_cycle(Damage.LOST), DATA)
    assert new != [PUMP], "what returned is durable"
    for cut_at in range(flash.operations + 1, done.operations + 1):
        cut = flash.fork()
        cut.cut_at, cut.cut_in_half = cut_at, half
        with pytest.raises(PowerCut):
            change(cut)
        assert all(inhibitors(cut.power_cycle(damage, seed=seed), DATA) in ([PUMP], new) for seed in range(8)), cut.log


# --- what it holds back -----------------------------------------------------------------------------------------------------


def inhibited_world(inhibitor: Inhibitor, windows: Sequence[Window] = ()) -> PocketWorld:
    """Return a board at which somebody inhibits updates, and an order for it."""
    plan = Plan.to(Behaviour.GOOD, windows)
    wanted = structs.replace(order_for(DEVICE, plan.wanted, 1, NOW), windows=list(windows), start_before=utc_text(NOW + timedelta(days=9)))
    plan.repositories.order(plan.wanted, order=wanted)
    world = plan.world()
    inhibit(world.board.flash, DATA, inhibitor, NOW)
    return world


@pytest.mark.parametrize("windows", [[], SOON])
def test_a_board_that_is_inhibited_says_why_and_starts_when_that_is_over(windows: Sequence[Window]) -> None:
    until = OPENS_AT + timedelta(minutes=20)
    world = inhibited_world(Inhibitor(name="pump", reason="the pump runs", until=until), windows)
    world.run_to_the_end()
    world.check(commits=True)
    (started,) = events(world, EventType.INSTALL_STARTED)
    assert until <= parse_utc(started.at) < until + timedelta(minutes=15)
    (downloaded,) = events(world, EventType.DOWNLOAD_STARTED)
    assert (parse_utc(downloaded.at) >= until) is (not windows), "with windows it is fetched at once"
    told = [event.data for event in events(world, EventType.INSTALL_WAITING) if event.data["reason"] == "interlock"]
    words = f"pump inhibits it until {utc_text(until)}: the pump runs"
    assert told == [{"reason": "interlock", "detail": words, "until": utc_text(until)}]


def test_a_board_that_is_inhibited_without_end_waits_until_it_is_allowed_and_tells_each_reason_once() -> None:
    world = inhibited_world(PUMP)
    world.board.run(lambda _: world.board.clock.now() > NOW + timedelta(hours=30))
    inhibit(world.board.flash, DATA, Inhibitor(name="pump", reason="it still runs"), NOW)
    world.board.run(lambda _: world.board.clock.now() > NOW + timedelta(hours=31))
    told = [event.data["detail"] for event in events(world, EventType.INSTALL_WAITING)]
    assert told == ["pump inhibits it: the pump runs", "pump inhibits it: it still runs"]
    assert events(world, EventType.DOWNLOAD_STARTED) == []
    allow(world.board.flash, DATA, "pump")
    world.run_to_the_end()
    world.check(commits=True)
    (started,) = events(world, EventType.DOWNLOAD_STARTED)
    assert parse_utc(started.at) < NOW + timedelta(hours=31, minutes=10)


def test_what_has_started_finishes() -> None:
    world = Plan.to(Behaviour.GOOD).world()
    world.board.run(lambda runner: runner.state.attempt is not None and runner.state.attempt.received > 0)
    inhibit(world.board.flash, DATA, PUMP, NOW)
    world.run_to_the_end()
    world.check(commits=True)
