# SPDX-License-Identifier: Apache-2.0
"""Tests of a plan's limits, on a real database: offers an hour, and downloads at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from surefoot.model.event import EventType
from surefoot.rollout.plan import Gates, Limits, Plan, Stage
from tests.server.campaign import Campaign
from tests.server.office import open_office
from tests.server.test_default_rollouts import add_devices, plans_of


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", b"new image")
        add_devices(office, "eu", 12)
        yield Campaign(office=office)


def begin(campaign: Campaign, limits: Limits) -> None:
    campaign.begin(Plan(release="thermostat 1.1.0", stages=[Stage(name="all")], gate=Gates(), limits=limits))
    campaign.advance()


def test_no_more_devices_are_offered_it_in_an_hour_than_the_limit(campaign: Campaign) -> None:
    begin(campaign, Limits(per_hour=5))
    reached = [len(campaign.open_attempts())]
    for minutes in (30, 29, 2):
        campaign.advance(minutes=minutes)
        reached.append(len(campaign.open_attempts()))
    assert reached == [5, 5, 5, 10]


def test_as_many_are_offered_it_as_have_fetched_it(campaign: Campaign) -> None:
    begin(campaign, Limits(concurrent_downloads=4))
    first, second, *others = campaign.open_attempts()
    assert len(others) == 2
    campaign.tell(first, EventType.DOWNLOAD_STARTED)
    campaign.tell(second, EventType.DOWNLOAD_STARTED, EventType.DOWNLOAD_COMPLETED)
    campaign.advance(minutes=1)
    assert len(campaign.open_attempts()) == 5
    assert campaign.office.ledger.rollouts.fetching(campaign.rollout_id) == 1
    campaign.fail(first)
    campaign.advance(minutes=1)
    assert campaign.office.ledger.rollouts.fetching(campaign.rollout_id) == 0


def test_who_fetches_is_counted_along_an_index(campaign: Campaign) -> None:
    begin(campaign, Limits(concurrent_downloads=4))
    queries: list[str] = []
    campaign.connection.set_trace_callback(queries.append)
    campaign.office.ledger.rollouts.fetching(campaign.rollout_id)
    campaign.connection.set_trace_callback(None)
    (plan,) = plans_of(campaign.connection, queries)
    assert "fetching_of_rollout" in plan
