# SPDX-License-Identifier: Apache-2.0
"""Tests of what a plan says of time, on a real database: its windows and its deadline stand in the orders of its devices."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs
from tuf.api.metadata import Targets

from surefoot.fleet.attempt import Attempt
from surefoot.model.assignment import DeviceId, Order
from surefoot.model.digest import digest_of
from surefoot.model.record import from_plain, parse_utc, utc_text
from surefoot.model.window import Window
from surefoot.rollout.decide import decide
from surefoot.rollout.plan import Gates, Plan, Security, Stage
from surefoot.rollout.urgency import raised
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.server.services.rollouts import Verb
from surefoot.trust.metadata import read
from tests.server.campaign import Campaign
from tests.server.office import open_office
from tests.server.test_default_rollouts import add_devices
from tests.server.test_windows import put

NIGHT = Window(start="02:00", length="3h")
NOON = Window(start="12:00", length="2h", zone="UTC")


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", b"new image")
        add_devices(office, "eu", 2)
        yield Campaign(office=office)


def begin(campaign: Campaign, **changes: object) -> list[Attempt]:
    plan = Plan(release="thermostat 1.1.0", stages=[Stage(name="all")], gate=Gates(), windows=[NIGHT], install_time="9m")
    campaign.begin(structs.replace(plan, **changes))
    campaign.advance()
    return campaign.open_attempts()


def order_of(campaign: Campaign, attempt: Attempt) -> Order:
    """Return the order that the device reads."""
    campaign.office.poll(device_id=attempt.device_id)
    stored = campaign.office.ledger.view(attempt.device_id)
    assert stored is not None
    (entry,) = read(stored.view.targets, Targets, name="targets.json").signed.targets.values()
    return from_plain(entry.custom, Order, what="order")


def test_the_plans_windows_stand_in_the_order_unless_a_nearer_level_has_its_own(campaign: Campaign) -> None:
    put(campaign.office, Level.FLEET, "-", WindowSetting(windows=[NOON], timezone="Europe/Berlin"))
    put(campaign.office, Level.DEVICE, "eu-01", WindowSetting(windows=[NOON]))
    orders = {attempt.device_id: order_of(campaign, attempt) for attempt in begin(campaign)}
    assert orders[DeviceId("eu-00")].windows == [structs.replace(NIGHT, zone="Europe/Berlin")]
    assert orders[DeviceId("eu-01")].windows == [NOON]
    assert {order.install_s for order in orders.values()} == {540}


def test_without_a_deadline_windows_are_never_ignored(campaign: Campaign) -> None:
    assert [order_of(campaign, attempt).ignore_windows_from for attempt in begin(campaign)] == ["", ""]


@pytest.mark.parametrize("deadline_in", [timedelta(days=-3), timedelta(days=5)])
def test_windows_are_ignored_from_the_deadline_on_but_not_within_the_grace_of_a_device(campaign: Campaign, deadline_in: timedelta) -> None:
    deadline = campaign.office.now + deadline_in
    local = deadline.isoformat()
    attempts = begin(campaign, security=Security(deadline=local, grace="2d"))
    earliest = max(deadline, campaign.office.now + timedelta(days=2))
    for attempt in attempts:
        order = order_of(campaign, attempt)
        assert order.deadline_at == utc_text(deadline)
        assert earliest <= parse_utc(order.ignore_windows_from) < earliest + timedelta(days=2)


def test_a_pause_withdraws_orders_whose_deadline_has_passed_too(campaign: Campaign) -> None:
    (attempt, _) = begin(campaign, security=Security(deadline=utc_text(campaign.office.now), grace="0s"))
    order_of(campaign, attempt)
    campaign.steer(Verb.PAUSE, "wait")
    assert not campaign.office.ledger.is_ordered(attempt.device_id, digest_of(b"new image"))
    campaign.advance(days=3)
    assert campaign.open_attempts() == []


def test_a_pause_past_the_deadline_is_told_once_as_a_decision_and_an_act_and_shown_until_it_ends(campaign: Campaign) -> None:
    begin(campaign, security=Security(deadline=utc_text(campaign.office.now + timedelta(hours=1))))
    campaign.steer(Verb.PAUSE, "wait")
    campaign.advance(minutes=59)
    before = len(campaign.decisions())
    assert alarms_of(campaign) == ([], [])
    for _ in range(3):
        campaign.advance(minutes=1)
    (told,) = campaign.decisions()[before:]
    shown, acts = alarms_of(campaign)
    assert (told.decision.cause, told.decision.warnings, len(shown), len(acts)) == ("paused", shown, 1, 1)
    assert "it is paused: nothing starts until a person resumes it" in shown[0]
    assert decide(told.rollout, told.evidence, parse_utc(told.at)) == told.decision, "made again from what was stored of it"
    campaign.steer(Verb.RESUME, "go on")
    campaign.advance(minutes=1)
    assert (alarms_of(campaign)[0], len(alarms_of(campaign)[1])) == ([], 1)
    campaign.steer(Verb.PAUSE, "again")
    campaign.advance(minutes=1)
    assert len(alarms_of(campaign)[1]) == 2


def alarms_of(campaign: Campaign) -> tuple[list[str], list[str]]:
    """Return the alarms that the rollout's page shows, and all that were written down."""
    acts = campaign.connection.execute("SELECT subject FROM act WHERE what = 'rollout.alarm'").fetchall()
    return raised(campaign.stored.rollout), [subject for (subject,) in acts]
