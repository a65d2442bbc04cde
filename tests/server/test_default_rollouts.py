# SPDX-License-Identifier: Apache-2.0
"""Rollouts under the default gate on a real database: what is counted, surveyed and learned, and what people override."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.fleet.device import Device, DeviceState
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.model.event import EventType
from surefoot.model.record import utc_text
from surefoot.rollout.cohort import RING, origin, place
from surefoot.rollout.control import Region
from surefoot.rollout.decision import Hold
from surefoot.rollout.evidence import Baseline, Control, Counts, Share
from surefoot.rollout.plan import Gates, Plan, Stage, Status
from surefoot.server.db.recount import counters_off
from surefoot.server.db.survey import census, watch
from surefoot.server.services import offering
from surefoot.server.services.rollout_store import Walk
from surefoot.server.services.rollouts import Verb
from surefoot.server.services.usual import baselines
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import Office, open_office, statement

IMAGE = b"new image"
PLAN = Plan(release="thermostat 1.1.0", stages=[Stage(name="all", soak="0s")], watch="0s", deadline="10m", start_within="1h")
PLAIN = structs.replace(PLAN, gate=Gates())
V1, V2 = "thermostat-v1", "thermostat-v2"


def add_devices(office: Office, prefix: str, number: int, hardware: str = V1, region: str = "eu") -> None:
    given = {"region": region} if region else {}
    for index in range(number):
        device_id = DeviceId(f"{prefix}-{index:02}")
        office.ledger.put_device(
            Device(device_id=device_id, hardware=hardware, state=DeviceState.ACTIVE, enrolled_at=utc_text(office.now), given=given)
        )
        office.ledger.put_report(device_id, structs.replace(statement(OLD_IMAGE), hardware=hardware))


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", IMAGE)
        add_devices(office, "e", 12)
        add_devices(office, "u", 8, region="us")
        yield Campaign(office=office)


def run(campaign: Campaign, times: int = 60) -> None:
    for _ in range(times):
        for attempt in campaign.open_attempts():
            campaign.succeed(attempt)
        campaign.advance(minutes=11)
        if campaign.status is not Status.RUNNING:
            return


def off(campaign: Campaign) -> object:
    return counters_off(campaign.connection, campaign.rollout_id)


def test_a_good_release_reaches_everybody_and_never_more_at_once_than_the_budget(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    assert len(campaign.open_attempts()) == 1
    run(campaign)
    assert campaign.status is Status.FINISHED
    assert campaign.counts() == Counts(offered=20, started=20, succeeded=20, due=campaign.counts().due) == campaign.recounted()
    assert campaign.made_again() > 20


def test_passed_deadlines_and_later_harm_are_counted_and_a_recount_agrees(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    (first,) = campaign.open_attempts()
    campaign.succeed(first)
    assert campaign.counts() == Counts(offered=1, started=1, succeeded=1)
    campaign.advance(minutes=9)
    assert campaign.counts().due == 0
    campaign.advance(minutes=2)
    assert campaign.counts().due == 1
    campaign.tell(first, EventType.ROLLBACK_COMPLETED, running=OLD_IMAGE)
    campaign.tell(first, EventType.ROLLBACK_COMPLETED, running=OLD_IMAGE)
    assert (campaign.counts().relapsed, campaign.office.attempt(first).is_relapsed) == (1, True)
    assert campaign.counts() == campaign.recounted()
    assert off(campaign) == {}


def test_a_pause_of_the_gate_is_looked_at_two_hours_later_and_halts_when_nobody_is_to_blame(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAN, stages=[Stage(name="all", soak="1h")]))
    campaign.advance()
    for _ in range(2):
        for attempt in campaign.open_attempts():
            campaign.fail(attempt)
        campaign.advance(minutes=1)
    assert (campaign.status, campaign.decisions()[-1].decision.cause) == (Status.PAUSED, "evidence_failed")
    assert (campaign.open_attempts(), campaign.office.ledger.rollouts.live()) == ([], [campaign.rollout_id])
    campaign.advance(hours=2)
    assert (campaign.status, campaign.decisions()[-1].decision.cause) == (Status.HALTED, "not_localised")
    assert campaign.office.ledger.rollouts.live() == []
    with pytest.raises(InvalidInput, match="needs a reason"):
        campaign.steer(Verb.RESUME)
    campaign.steer(Verb.RESUME, "they are lab devices")
    assert campaign.status is Status.RUNNING


def test_the_audience_is_counted_by_hardware_and_region(campaign: Campaign) -> None:
    add_devices(campaign.office, "x", 3, hardware=V2, region="")
    campaign.begin(PLAN)
    counted = census(campaign.connection, campaign.stored, lambda _candidate, _stage: True, step=4)
    shares = [Share(hardware=V1, region="eu", devices=12), Share(hardware=V1, region="us", devices=8), Share(hardware=V2, devices=3)]
    assert (counted.population, list(counted.audience)) == (23, shares)


def saw(campaign: Campaign, **ages_s: int) -> None:
    now = int(campaign.office.now.timestamp())
    campaign.office.ledger.put_presence({DeviceId(name.replace("_", "-")): (now - age, 1) for name, age in ages_s.items()})


def test_control_is_who_was_heard_of_today_and_not_offered_it(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    (offered,) = campaign.open_attempts()
    saw(campaign, e_00=10, e_01=10, e_02=2_000, e_03=90_000, u_00=10, u_01=899, **{offered.device_id.replace("-", "_"): 2_000})
    seen = {control.region: control for control in watch(campaign.connection, campaign.stored, campaign.office.now, 900)}
    eu = {"e-00", "e-01", "e-02"} - {offered.device_id}
    us = {"u-00", "u-01"} - {offered.device_id}
    assert seen["eu"] == Control(region="eu", devices=len(eu), unreachable=int("e-02" in eu))
    assert seen["us"] == Control(region="us", devices=len(us), unreachable=0)


def test_who_runs_it_well_for_more_than_a_day_stands_in(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAN, watch="30d"))
    run(campaign, 30)
    campaign.office.pass_time(days=2)
    saw(campaign, e_00=10, e_01=2_000, e_02=90_000)
    campaign.tell(next(a for a in campaign.attempts() if a.device_id == "e-00"), EventType.ROLLBACK_COMPLETED, running=OLD_IMAGE)
    (eu,) = (one for one in watch(campaign.connection, campaign.stored, campaign.office.now, 900) if one.region == "eu")
    assert eu == Control(region="eu", devices=0, unreachable=0, settled=1, settled_unreachable=1)


def plans_of(connection: sqlite3.Connection, queries: list[str]) -> list[str]:
    return [" | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")) for query in queries]


def test_a_look_at_control_reads_along_indexes_and_no_more_of_a_larger_fleet(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    run(campaign, 12)
    queries: list[str] = []
    campaign.connection.set_trace_callback(queries.append)
    watch(campaign.connection, campaign.stored, campaign.office.now, 900)
    campaign.connection.set_trace_callback(None)
    looks = [query for query in queries if "LIMIT" in query]
    assert len(looks) == 3
    for plan in plans_of(campaign.connection, looks):
        assert "TEMP B-TREE" not in plan
        assert "SCAN device" not in plan
        assert "SCAN assignment" not in plan
        assert "SCAN p" not in plan


def test_a_walk_of_one_hardware_uses_its_index_and_misses_nobody(campaign: Campaign) -> None:
    add_devices(campaign.office, "x", 5, hardware=V2)
    campaign.begin(PLAN)
    found, walk, rollouts = list[str](), Walk(), campaign.office.ledger.rollouts
    queries: list[str] = []
    campaign.connection.set_trace_callback(queries.append)
    while piece := rollouts.walk(replace(campaign.stored, walk=walk), 2, hardware=V2):
        found += [candidate.device_id for candidate in piece]
        walk = Walk(place=piece[-1].place, device_id=piece[-1].device_id)
    campaign.connection.set_trace_callback(None)
    assert sorted(found) == [f"x-{number:02}" for number in range(5)]
    walks = [query for query in queries if "INDEXED BY" in query]
    assert walks
    assert all("device_by_kind (product=? AND hardware=?" in plan for plan in plans_of(campaign.connection, walks))


def test_a_finished_rollout_teaches_what_is_usual(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    run(campaign)
    known = {(one.hardware, one.region): one for one in campaign.office.ledger.rollouts.baselines("thermostat")}
    assert {key: (one.reported, one.failed, one.silent) for key, one in known.items()} == {(V1, "eu"): (12, 0, 0), (V1, "us"): (8, 0, 0)}
    assert baselines(campaign.office.ledger, "thermostat") == [Baseline(hardware=V1, region=region) for region in ("eu", "us")]


def test_a_rollout_that_was_paused_teaches_nothing(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    campaign.steer(Verb.PAUSE, "lunch")
    campaign.steer(Verb.RESUME, "back")
    run(campaign)
    assert campaign.status is Status.FINISHED
    assert campaign.office.ledger.rollouts.baselines("thermostat") == []


def put(campaign: Campaign, **changes: object) -> None:
    stored = campaign.stored
    assert campaign.office.ledger.rollouts.put(replace(stored, rollout=structs.replace(stored.rollout, **changes)))


def test_people_include_hardware_and_release_regions_with_their_names_and_reasons(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    put(campaign, excluded=[V1], regions=[Region(region="eu", is_held=True, holds=3, needs_person=True)])
    with pytest.raises(InvalidInput):
        campaign.steer(Verb.INCLUDE, "", V1)
    with pytest.raises(ConflictError):
        campaign.steer(Verb.RELEASE, "why not", "us")
    campaign.steer(Verb.INCLUDE, "bad cables", V1)
    campaign.steer(Verb.RELEASE, "the provider is back", "eu")
    assert [stored.decision.reason for stored in campaign.decisions()[-2:]] == [
        f"Hardware {V1} included again by ann: bad cables.",
        "Region eu released by ann: the provider is back.",
    ]
    assert (campaign.stored.rollout.excluded, campaign.stored.rollout.held_regions) == ([], [])


def test_nobody_in_a_held_region_is_offered_it_and_nobody_there_is_lost(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    put(campaign, regions=[Region(region="eu", is_held=True, holds=3, needs_person=True)])
    run(campaign, 30)
    assert {attempt.device_id[0] for attempt in campaign.attempts()} == {"u"}
    assert campaign.decisions()[-1].decision.cause == "region_held"
    campaign.steer(Verb.RELEASE, "the provider is back", "eu")
    run(campaign)
    assert (campaign.status, campaign.counts().succeeded) == (Status.FINISHED, 20)


def test_a_region_that_is_held_loses_its_offers_that_nobody_started_and_has_them_again_once_it_is_released(campaign: Campaign) -> None:
    add_devices(campaign.office, "f", 40)
    campaign.begin(structs.replace(PLAN, stages=[Stage(name="all", soak="0s")]))
    while len(regions := {attempt.region for attempt in campaign.open_attempts()}) < 2 or len(campaign.open_attempts()) < 6:
        for attempt in campaign.open_attempts():
            campaign.succeed(attempt)
        campaign.advance(minutes=11)
    assert regions == {"eu", "us"}
    offered = campaign.open_attempts()
    at_work = next(attempt for attempt in offered if attempt.region == "eu")
    campaign.tell(at_work, EventType.DOWNLOAD_STARTED)
    vanished = [DeviceId(f"f-{number:02}") for number in range(40)]
    now = int(campaign.office.now.timestamp())
    campaign.office.ledger.put_presence(dict.fromkeys(vanished, (now - 2_000, 1)))
    campaign.advance(seconds=1)
    (held,) = (stored.decision for stored in campaign.decisions() if stored.decision.cause == "region_unreachable")
    assert isinstance(held, Hold)
    assert held.regions == ["eu"]
    left = {attempt.assignment_id for attempt in campaign.open_attempts()}
    kept = {one.assignment_id for one in offered if one.region == "us" or one.assignment_id == at_work.assignment_id}
    assert kept <= left
    assert left.isdisjoint({one.assignment_id for one in offered} - kept)
    # Heard of so long ago that they are no control any more.
    campaign.office.ledger.put_presence(dict.fromkeys(vanished, (now - 2 * 86_400, 1)))
    campaign.steer(Verb.RELEASE, "the provider is back", "eu")
    run(campaign)
    assert (campaign.status, campaign.counts().succeeded) == (Status.FINISHED, 60)


def test_a_recount_that_lowers_counts_holds_nobody_for_ever(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    run(campaign, 3)
    campaign.connection.execute("UPDATE counter SET succeeded = succeeded - 1, cancelled = cancelled + 1")
    campaign.advance(minutes=1)
    assert campaign.decisions()[-1].decision.cause == "gate_unreadable"
    campaign.steer(Verb.PAUSE, "looking")
    campaign.steer(Verb.RESUME, "counted by hand")
    campaign.advance(minutes=1)
    assert campaign.decisions()[-1].decision.cause != "gate_unreadable"


def test_canaries_are_found_however_far_along_the_ring_they_are(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offering, "_STRIDE", 1)
    start = origin("salt")
    last = sorted((DeviceId(f"e-{n:02}") for n in range(12)), key=lambda device_id: (place(device_id) - start) % RING)[-2:]
    campaign.begin(structs.replace(PLAN, audience=f"device_id=in=({','.join(last)})"))
    run(campaign)
    assert campaign.status is Status.FINISHED
    assert sorted(attempt.device_id for attempt in campaign.attempts()) == sorted(last)


def test_a_region_that_goes_on_is_offered_it_before_the_rollout_ends_even_without_a_soak(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    put(campaign, regions=[Region(region="eu", is_held=True, holds=3, needs_person=True)])
    run(campaign, 10)
    assert (campaign.counts().succeeded, campaign.decisions()[-1].decision.cause) == (8, "region_held")
    campaign.steer(Verb.RELEASE, "the provider is back", "eu")
    campaign.advance(seconds=1)
    assert {attempt.region for attempt in campaign.open_attempts()} == {"eu"}
    run(campaign)
    assert (campaign.status, campaign.counts().succeeded) == (Status.FINISHED, 20)
