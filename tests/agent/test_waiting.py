# SPDX-License-Identifier: Apache-2.0
"""An agent before its window, on simulated flash and in virtual time: it decides offline, by the clock on its own wall."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from surefoot.agent import consent
from surefoot.agent.home import DATA
from surefoot.agent.runner import Runner
from surefoot.agent.state import Phase
from surefoot.agent.storage import replace_file
from surefoot.agent.window import require_readable, weigh
from surefoot.model.assignment import Order
from surefoot.model.errors import InvalidInput, TransportError
from surefoot.model.event import DeploymentEvent, EventType
from surefoot.model.record import parse_utc, utc_text
from surefoot.model.window import Window
from surefoot.model.wire import PollAnswer, PollMetadata
from surefoot.schedule.permission import Reason
from surefoot.simulator.board import Behaviour
from tests.agent.moments import windowed
from tests.powerfail.pocket import Plan, PocketServer, PocketWorld
from tests.trust.repositories import DEVICE, NOW, order_for

SOON = [Window(start="10:00", length="1h", zone="Europe/Berlin")]
"""An hour from the beginning of these stories on, 09:00 in Berlin."""

OPENS_AT = NOW + timedelta(hours=1)


def waiting(windows: Sequence[Window] = tuple(SOON)) -> PocketWorld:
    world = Plan.to(Behaviour.GOOD, windows).world()
    world.board.run(lambda runner: runner.state.phase is Phase.WAITING and bool(runner.state.attempt and runner.state.attempt.waits))
    return world


def sign(world: PocketWorld, order: Order | None) -> None:
    """Let the server sign another view, to be found at the next poll."""
    repositories = world.plan.repositories
    repositories.order(None if order is None else world.plan.wanted, order=order)
    answer = PollAnswer(next_poll_s=300, metadata=PollMetadata(director=repositories.director_answer(), image=repositories.image_answer()))
    anew = PocketServer(answer=structs.replace(answer, artifacts=world.server.answer.artifacts), images=world.server.images)
    anew.events, anew.reports = world.server.events, world.server.reports
    anew.etag = "2"
    world.server = world.board.server = anew


def events(world: PocketWorld, kind: EventType) -> list[DeploymentEvent]:
    return [world.server.events[key] for key in sorted(world.server.events) if world.server.events[key].type == kind]


def cut_off(world: PocketWorld) -> None:
    """Let nobody answer a poll any more, until the release on trial asks."""
    honest = world.server.poll

    def poll(etag: str) -> object:
        if world.board.clock.now() < OPENS_AT + timedelta(hours=1):
            raise TransportError("Nobody answers.")
        return honest(etag)

    world.server.poll = poll  # type: ignore[assignment,method-assign]  # a server that goes away


def test_the_image_is_fetched_at_once_and_installed_when_the_window_opens() -> None:
    world = waiting()
    world.run_to_the_end()
    world.check(commits=True)
    (downloaded,), (started,) = events(world, EventType.DOWNLOAD_COMPLETED), events(world, EventType.INSTALL_STARTED)
    assert parse_utc(downloaded.at) < NOW + timedelta(minutes=1)
    assert OPENS_AT <= parse_utc(started.at) <= OPENS_AT + timedelta(minutes=30), "in the first half of what is left for starts"


def test_what_it_waits_for_is_told_in_the_devices_own_time() -> None:
    world = waiting()
    world.run_to_the_end()
    first, *_ = events(world, EventType.INSTALL_WAITING)
    assert first.data["reason"] == "window_closed"
    assert first.data["detail"] == "window opens Mon 10:00 local (Europe/Berlin)"
    assert OPENS_AT <= parse_utc(first.data["until"]) < OPENS_AT + timedelta(hours=1)


def test_a_device_without_a_server_installs_in_its_window_by_the_signed_order() -> None:
    world = waiting()
    cut_off(world)
    world.board.run(lambda runner: runner.state.phase is Phase.INSTALLING)
    assert OPENS_AT <= world.board.clock.now() < OPENS_AT + timedelta(hours=1)


def test_an_order_that_was_taken_back_is_not_installed() -> None:
    world = waiting()
    sign(world, None)
    world.board.run(lambda runner: runner.state.phase is Phase.IDLE and not runner.parts.journal.pending)
    assert world.board.clock.now() < OPENS_AT
    assert events(world, EventType.INSTALL_STARTED) == []
    assert events(world, EventType.CHECK_COMPLETED)[-1].data == {"withdrawn": True}


def test_an_order_void_before_its_window_holds_until_the_server_renews_it() -> None:
    world = waiting()
    order = structs.replace(order_for(DEVICE, world.plan.wanted, 1, NOW), windows=SOON)
    sign(world, structs.replace(order, start_before=utc_text(NOW + timedelta(minutes=30))))
    world.board.run(lambda _: world.board.clock.now() > OPENS_AT + timedelta(minutes=40))
    assert events(world, EventType.INSTALL_WAITING)[-1].data["reason"] == "void"
    assert events(world, EventType.INSTALL_STARTED) == []
    world.server.etag = "1"
    sign(world, structs.replace(order, start_before=utc_text(NOW + timedelta(days=2))))
    world.server.etag = "3"
    world.run_to_the_end()
    world.check(commits=True)


def test_windows_that_are_set_anew_are_obeyed_at_the_next_poll() -> None:
    world = waiting()
    order = order_for(DEVICE, world.plan.wanted, 1, NOW)
    sign(world, structs.replace(order, windows=[Window(start="12:00", length="1h", zone="Europe/Berlin")]))
    world.run_to_the_end()
    (started,) = events(world, EventType.INSTALL_STARTED)
    assert parse_utc(started.at) >= NOW + timedelta(hours=3)
    assert any("was" in event.data for event in events(world, EventType.INSTALL_WAITING)), "old and new are told"


def test_a_deadline_that_passes_ends_the_wait() -> None:
    world = waiting([Window(start="03:00", length="1h", zone="Europe/Berlin")])
    order = structs.replace(
        order_for(DEVICE, world.plan.wanted, 1, NOW), windows=[Window(start="03:00", length="1h", zone="Europe/Berlin")]
    )
    forced_at = NOW + timedelta(hours=2)
    sign(world, structs.replace(order, ignore_windows_from=utc_text(forced_at)))
    world.run_to_the_end()
    (started,) = events(world, EventType.INSTALL_STARTED)
    assert forced_at <= parse_utc(started.at) < forced_at + timedelta(minutes=1)


def test_an_order_whose_zone_the_device_does_not_know_is_rejected_before_anything_is_fetched() -> None:
    world = Plan.to(Behaviour.GOOD, [Window(start="10:00", length="1h", zone="Mars/Base")]).world()
    world.run_to_the_end()
    refused = events(world, EventType.CHECK_COMPLETED)[-1].data
    assert (refused["refused"], refused["detail"]) == ("invalid_input", "There is no time zone 'Mars/Base'.")
    assert events(world, EventType.DOWNLOAD_STARTED) == []


def test_what_an_order_cannot_be_weighed_by_is_found_when_it_is_admitted() -> None:
    require_readable(windowed())
    with pytest.raises(InvalidInput):
        require_readable(structs.replace(windowed(), ignore_windows_from="tomorrow"))


def test_a_zone_that_went_away_holds_the_install() -> None:
    lost = structs.replace(windowed(), windows=[Window(start="10:00", length="1h", zone="Mars/Base")])
    permission = weigh(lost, datetime(2026, 11, 23, tzinfo=UTC))
    assert (permission.may_start, permission.reason) == (False, Reason.UNKNOWN_ZONE)


def test_an_agent_killed_while_it_waits_still_waits() -> None:
    world = waiting()
    world.board.off()
    seen: list[Phase] = []

    def until(runner: Runner) -> bool:
        seen.append(runner.state.phase)
        return runner.state.phase is Phase.INSTALLING

    world.board.run(until)
    assert set(seen) == {Phase.WAITING, Phase.INSTALLING}
    assert world.board.clock.now() >= OPENS_AT


def put_off_world(*, windows: Sequence[Window] = (), until: datetime, consent_until: datetime | None = None) -> PocketWorld:
    """Return a board whose people have put updates off, and an order that waits there."""
    plan = Plan.to(Behaviour.GOOD, windows)
    order = structs.replace(order_for(DEVICE, plan.wanted, 1, NOW), windows=list(windows), start_before=utc_text(NOW + timedelta(days=9)))
    plan.repositories.order(
        plan.wanted, order=structs.replace(order, consent_until="" if consent_until is None else utc_text(consent_until))
    )
    world = plan.world()
    consent.put_off(world.board.flash, DATA, until, NOW)
    return world


@pytest.mark.parametrize("windows", [[], SOON])
def test_what_people_put_off_starts_when_they_said_and_says_so_until_then(windows: Sequence[Window]) -> None:
    until = OPENS_AT + timedelta(minutes=20) if windows else NOW + timedelta(hours=5)
    world = put_off_world(windows=windows, until=until)
    world.run_to_the_end()
    world.check(commits=True)
    (started,) = events(world, EventType.INSTALL_STARTED)
    assert until <= parse_utc(started.at) < until + timedelta(minutes=15)
    told = [event.data for event in events(world, EventType.INSTALL_WAITING) if event.data["reason"] == "interlock"]
    assert told == [{"reason": "interlock", "detail": f"its user put it off until {utc_text(until)}", "until": utc_text(until)}]


def test_without_windows_nothing_is_fetched_before_that() -> None:
    world = put_off_world(until=NOW + timedelta(hours=5))
    world.run_to_the_end()
    (started,) = events(world, EventType.DOWNLOAD_STARTED)
    assert parse_utc(started.at) >= NOW + timedelta(hours=5)


def test_a_release_that_is_required_is_put_off_no_longer_than_its_grace() -> None:
    world = put_off_world(until=NOW + timedelta(days=8), consent_until=NOW + timedelta(hours=24))
    world.run_to_the_end()
    (started,) = events(world, EventType.INSTALL_STARTED)
    assert NOW + timedelta(hours=24) <= parse_utc(started.at) < NOW + timedelta(hours=25)


def test_people_who_change_their_mind_are_heard_at_the_next_poll() -> None:
    world = put_off_world(until=NOW + timedelta(days=8))
    world.board.run(lambda runner: runner.state.attempt is not None and runner.state.attempt.waits == "interlock")
    consent.end(world.board.flash, DATA)
    world.run_to_the_end()
    (started,) = events(world, EventType.INSTALL_STARTED)
    assert parse_utc(started.at) < NOW + timedelta(minutes=10)


def test_a_damaged_file_is_nobodys_word() -> None:
    world = put_off_world(until=NOW + timedelta(hours=5))
    assert consent.put_off_until(world.board.flash, DATA) == NOW + timedelta(hours=5)
    for damaged in (b"", b"{", b'{"until":"tomorrow"}', b'{"till":1}'):
        replace_file(world.board.flash, f"{DATA}/deferral.json", damaged)
        assert consent.put_off_until(world.board.flash, DATA) is None
    world.run_to_the_end()
    world.check(commits=True)


@pytest.mark.parametrize(("days", "said"), [(0, "has passed"), (-1, "has passed"), (31, "more than 30 days away")])
def test_updates_are_put_off_for_a_time_that_can_be(days: int, said: str) -> None:
    world = put_off_world(until=NOW + timedelta(hours=5))
    with pytest.raises(InvalidInput, match=said):
        consent.put_off(world.board.flash, DATA, NOW + timedelta(days=days), NOW)
    assert consent.put_off_until(world.board.flash, DATA) == NOW + timedelta(hours=5), "what was said before still counts"
