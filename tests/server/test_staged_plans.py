# SPDX-License-Identifier: Apache-2.0
"""Tests of plans whose stages are filters, on a real database: region by region, each device in the first stage that it fits."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.cli.plan_file import read_plan
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import FilterError, InvalidInput
from surefoot.model.window import Window
from surefoot.rollout.evidence import Share
from surefoot.rollout.plan import Gates, Plan, Stage, Status
from surefoot.server.db.groups import add
from surefoot.server.db.survey import census
from surefoot.server.services.audience import audience_of
from tests.docs.pages import ROOT
from tests.server.campaign import Campaign
from tests.server.office import open_office
from tests.server.test_default_rollouts import V1, add_devices

AROUND_THE_WORLD = ROOT / "examples" / "plans" / "by-region.yaml"
REGIONS = ("apac", "eu", "na", "sa")


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", b"new image")
        for region in REGIONS:
            add_devices(office, region, 3, region=region)
        add(office.connection, "canary", DeviceId("na-00"))
        yield Campaign(office=office)


def world_plan(**changes: object) -> Plan:
    """Return the example as a test of seconds has it."""
    plan = structs.replace(read_plan(AROUND_THE_WORLD), release="thermostat 1.1.0", gate=Gates(), watch="0s", windows=[])
    stages = [structs.replace(stage, batches=["100%"], soak="10s") for stage in plan.stages]
    return structs.replace(structs.replace(plan, stages=stages), **changes)


def reached(campaign: Campaign) -> list[list[str]]:
    """Let every device do well, and return whom each stage reached, in order."""
    found: list[list[str]] = []
    for _ in range(40):
        campaign.advance(seconds=61)
        if attempts := campaign.open_attempts():
            found.append(sorted(attempt.device_id for attempt in attempts))
        for attempt in attempts:
            campaign.succeed(attempt)
        if campaign.status is Status.FINISHED:
            return found
    raise AssertionError(campaign.decisions()[-1])


def test_europe_comes_before_north_america_before_asia_and_nobody_is_left_out(campaign: Campaign) -> None:
    campaign.begin(world_plan())
    assert reached(campaign) == [
        ["na-00"],
        ["eu-00", "eu-01", "eu-02"],
        ["na-01", "na-02"],
        ["apac-00", "apac-01", "apac-02"],
        ["sa-00", "sa-01", "sa-02"],
    ]
    assert [stage.name for stage in campaign.stored.rollout.written] == ["canary", "general"]
    assert campaign.counts() == campaign.recounted()


def test_a_region_without_devices_holds_nobody_up(campaign: Campaign) -> None:
    stages = [
        Stage(name="general", order_by=[{"region": ["eu", "nowhere", "na"]}], batches=["50%", "100%"], soak="10s", audience="region!=sa")
    ]
    campaign.begin(world_plan(stages=stages))
    assert sorted(chain(*reached(campaign))) == [f"{region}-{number:02}" for region in ("apac", "eu", "na") for number in range(3)]


def test_a_stage_by_filter_reaches_those_that_fit_it_and_the_plan(campaign: Campaign) -> None:
    stages = [Stage(name="west", audience="region=in=(eu,na)", soak="10s"), Stage(name="rest", soak="10s")]
    campaign.begin(world_plan(audience="region!=na", stages=stages))
    assert reached(campaign) == [["eu-00", "eu-01", "eu-02"], [f"{region}-{number:02}" for region in ("apac", "sa") for number in range(3)]]


@pytest.mark.parametrize(
    ("stages", "population", "everywhere"),
    [
        ([Stage(name="a", audience="region==eu"), Stage(name="b", audience="region==na")], 3, {"eu": 3, "na": 3}),
        ([Stage(name="a", group="canary"), Stage(name="b", audience="region==eu")], 1, {"eu": 3, "na": 1}),
        ([Stage(name="a", group="canary"), Stage(name="b")], 1, dict.fromkeys(REGIONS, 3)),
        ([Stage(name="a", group="canary", audience="region==eu"), Stage(name="b", group="canary")], 0, {"na": 1}),
        ([Stage(name="a"), Stage(name="b", group="canary")], 12, dict.fromkeys(REGIONS, 3)),
    ],
)
def test_the_open_stage_and_all_stages_are_counted_each_device_once(
    campaign: Campaign, stages: list[Stage], population: int, everywhere: dict[str, int]
) -> None:
    campaign.begin(world_plan())
    plan = structs.replace(campaign.stored.rollout.plan, stages=stages)
    at = replace(campaign.stored, rollout=structs.replace(campaign.stored.rollout, plan=plan))
    audience = audience_of(campaign.office.ledger, at, campaign.office.now)
    counted = census(campaign.connection, at, lambda candidate, stage: audience.image_for(candidate, stage) is not None, step=4)
    shares = [Share(hardware=V1, region=region, devices=devices) for region, devices in sorted(everywhere.items())]
    assert (counted.population, list(counted.audience)) == (population, shares)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"stages": [Stage(name="a", audience="regoin==eu")]}, FilterError, "no device has an attribute 'regoin'"),
        ({"stages": [Stage(name="a", order_by=[{"regoin": ["eu"]}])]}, FilterError, "no device has an attribute 'regoin'"),
        ({"stages": [Stage(name="a", audience="region==")]}, FilterError, "region=="),
        ({"stages": [Stage(name="a"), Stage(name="b")]}, InvalidInput, "no device is ever left for stage b"),
        ({"windows": [Window(start="02:00", length="3h", zone="Mars/Olympus")]}, InvalidInput, "there is no time zone 'Mars/Olympus'"),
        ({"windows": [Window(start="02:00", length="0s")]}, InvalidInput, "it never opens"),
    ],
)
def test_a_plan_that_cannot_end_well_is_refused(campaign: Campaign, changes: dict[str, object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        campaign.begin(world_plan(**changes))
