# SPDX-License-Identifier: Apache-2.0
"""Limits of regions and sites, on a real database: what is full is passed over, the rest goes on, and nobody is lost."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, DeviceState
from surefoot.model.assignment import DeviceId
from surefoot.model.event import EventType
from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout.decision import Advance, Hold
from surefoot.rollout.plan import Gates, Limits, NetworkLimits, Plan, Retries, Stage, Status
from surefoot.server.db.groups import add as join
from surefoot.server.services.answer import Code
from surefoot.server.services.rollout_store import Candidate, Walk
from surefoot.server.services.rollouts import Verb, create
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import Office, open_office, statement
from tests.server.test_default_rollouts import plans_of
from tests.server.test_why import ask

IMAGE = b"new image"
LEAST = NetworkLimits(per_hour=1)


def add(office: Office, number: int, hardware: str = "thermostat-v1", **given: str) -> None:
    first = office.connection.execute("SELECT count(*) FROM device").fetchone()[0]
    for index in range(first, first + number):
        device_id = DeviceId(f"d-{index:03}")
        device = Device(
            device_id=device_id, hardware=hardware, state=DeviceState.ACTIVE, enrolled_at=utc_text(office.now), given=dict(given)
        )
        office.ledger.put_device(device)
        office.ledger.put_report(device_id, structs.replace(statement(OLD_IMAGE), hardware=hardware))


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", IMAGE)
        for site in ("berlin", "paris", "rome"):
            add(office, 8, region="eu", site=site)
        add(office, 6, region="us")
        yield Campaign(office=office)


def plain() -> Plan:
    return Plan(release="thermostat 1.1.0", stages=[Stage(name="all", soak="0s")], gate=Gates(), watch="0s", deadline="10m")


def begin(campaign: Campaign, plan: Plan | None = None, **limits: dict[str, NetworkLimits]) -> None:
    campaign.begin(structs.replace(plan or plain(), limits=Limits(**limits)))  # type: ignore[arg-type]  # both are networks
    campaign.advance()


def by(campaign: Campaign, name: str, attempts: list[Attempt] | None = None) -> dict[str, int]:
    seen = campaign.open_attempts() if attempts is None else attempts
    sql = "SELECT coalesce(attributes ->> ?, '') FROM device WHERE device_id = ?"
    return dict(Counter(campaign.connection.execute(sql, (f"$.{name}", one.device_id)).fetchone()[0] for one in seen))


def newest(campaign: Campaign) -> object:
    return campaign.decisions()[-1].decision


def test_a_site_is_offered_no_more_at_once_than_it_bears_and_the_rest_goes_on(campaign: Campaign) -> None:
    begin(campaign, sites={"*": NetworkLimits(concurrent_downloads=3), "rome": NetworkLimits(concurrent_downloads=1)})
    assert by(campaign, "site") == {"berlin": 3, "paris": 3, "rome": 1, "": 6}


def test_one_who_has_fetched_makes_room_for_the_next(campaign: Campaign) -> None:
    begin(campaign, sites={"*": NetworkLimits(concurrent_downloads=3)})
    one = next(attempt for attempt in campaign.open_attempts() if "site:berlin" in attempt.networks)
    campaign.tell(one, EventType.DOWNLOAD_STARTED)
    campaign.advance(seconds=1)
    assert by(campaign, "site")["berlin"] == 3
    campaign.tell(one, EventType.DOWNLOAD_COMPLETED)
    campaign.advance(seconds=1)
    assert by(campaign, "site") == {"berlin": 4, "paris": 3, "rome": 3, "": 6}


def test_who_does_not_fetch_within_the_hour_holds_nobody_up(campaign: Campaign) -> None:
    begin(campaign, sites={"berlin": NetworkLimits(concurrent_downloads=3)})
    campaign.advance(minutes=59)
    assert by(campaign, "site")["berlin"] == 3
    campaign.advance(minutes=1)
    assert by(campaign, "site")["berlin"] == 6


def test_a_region_is_offered_no_more_in_a_minute_and_an_hour_than_it_bears(campaign: Campaign) -> None:
    begin(campaign, regions={"eu": NetworkLimits(per_minute=2, per_hour=5)})
    reached = [by(campaign, "region")["eu"]]
    for seconds in (30, 30, 60, 60, 3_419, 1):
        campaign.advance(seconds=seconds)
        reached.append(by(campaign, "region")["eu"])
    assert reached == [2, 2, 4, 5, 5, 5, 7]
    assert by(campaign, "region")["us"] == 6


def test_bytes_a_second_are_an_average_over_a_minute(campaign: Campaign) -> None:
    campaign.office.add_release("1.2.0", b"x" * 60)
    plan = Plan(release="thermostat 1.2.0", stages=[Stage(name="all")], gate=Gates())
    begin(campaign, plan, regions={"eu": NetworkLimits(bytes_per_second=3)})
    reached = [by(campaign, "region")["eu"]]
    for seconds in (59, 1, 60):
        campaign.advance(seconds=seconds)
        reached.append(by(campaign, "region")["eu"])
    assert reached == [3, 3, 6, 9]


def test_of_an_image_that_takes_longer_than_a_minute_one_is_offered_in_its_time(campaign: Campaign) -> None:
    campaign.office.add_release("1.2.0", b"x" * 200)
    plan = Plan(release="thermostat 1.2.0", stages=[Stage(name="all")], gate=Gates())
    begin(campaign, plan, sites={"berlin": NetworkLimits(bytes_per_second=1)})
    reached = [by(campaign, "site")["berlin"]]
    for seconds in (199, 1, 200):
        campaign.advance(seconds=seconds)
        reached.append(by(campaign, "site")["berlin"])
    assert reached == [1, 1, 2, 3]


def test_a_hold_says_which_limit_how_much_is_used_and_when_it_is_looked_at_again(campaign: Campaign) -> None:
    begin(campaign, sites={"berlin": NetworkLimits(concurrent_downloads=3), "rome": NetworkLimits(per_hour=8)})
    decision = newest(campaign)
    assert isinstance(decision, Hold)
    again = utc_text(campaign.office.now + timedelta(hours=1))
    assert decision.cause == "network_limit"
    assert decision.reason == (
        "Everybody else in stage all has been offered it. Devices in one network wait for room; in site berlin 3 devices may be fetching"
        f" it at once; the limit is 3, looked at again at {again}."
    )


def test_the_decision_that_lets_devices_in_has_a_quota_for_each_network(campaign: Campaign) -> None:
    begin(campaign, sites={"*": NetworkLimits(per_minute=3)})
    campaign.advance(minutes=1)
    let_in = [one for one in campaign.decisions() if isinstance(one.decision, Advance) and one.decision.cause == "room"]
    assert [(one.decision.quotas, one.offered) for one in let_in if isinstance(one.decision, Advance)] == [
        ({"site:berlin": 3, "site:paris": 3, "site:rome": 3}, 9)
    ]


def test_everybody_is_offered_it_in_the_end_and_every_decision_can_be_made_again(campaign: Campaign) -> None:
    begin(
        campaign,
        regions={"*": NetworkLimits(per_minute=5)},
        sites={"*": NetworkLimits(concurrent_downloads=2), "paris": NetworkLimits(per_hour=4)},
    )
    for _ in range(200):
        for attempt in campaign.open_attempts():
            campaign.succeed(attempt)
        campaign.advance(minutes=3)
        if campaign.status is Status.FINISHED:
            break
    assert (campaign.status, campaign.counts().succeeded) == (Status.FINISHED, 30)
    assert campaign.made_again() > 10


def test_another_try_waits_for_room_too(campaign: Campaign) -> None:
    plan = Plan(
        release="thermostat 1.1.0",
        stages=[Stage(name="all")],
        gate=Gates(),
        retries=Retries(max=1, backoff="1m"),
        deadline="10m",
    )
    begin(campaign, plan, sites={"berlin": NetworkLimits(per_hour=8)})
    assert by(campaign, "site")["berlin"] == 8
    one = next(attempt for attempt in campaign.open_attempts() if "site:berlin" in attempt.networks)
    elsewhere = [attempt for attempt in campaign.open_attempts() if attempt.device_id != one.device_id]
    campaign.fail(one)
    for attempt in elsewhere:
        campaign.succeed(attempt)
    campaign.advance(minutes=2)
    assert campaign.open_attempts() == []
    campaign.advance(minutes=58)
    assert [attempt.device_id for attempt in campaign.open_attempts()] == [one.device_id]


def test_canaries_wait_for_room_in_their_networks(campaign: Campaign) -> None:
    add(campaign.office, 20, hardware="thermostat-v2", site="oslo")
    campaign.office.add_release("1.2.0", b"newer", rules={"target_hardware": ["thermostat-v1", "thermostat-v2"]})
    plan = Plan(release="thermostat 1.2.0", stages=[Stage(name="all", batches=["1%", "100%"], soak="0s")], watch="0s", deadline="10m")
    begin(campaign, plan, sites={"oslo": NetworkLimits(per_hour=1)})
    offered_at = dict[str, datetime]()
    for _ in range(90):
        for attempt in campaign.open_attempts():
            offered_at |= {attempt.device_id: campaign.office.now} if attempt.hardware == "thermostat-v2" else {}
            campaign.succeed(attempt)
        campaign.advance(minutes=1)
    first, second, *_ = offered_at.values()
    assert second - first >= timedelta(hours=1)
    held = [one.decision.reason for one in campaign.decisions() if isinstance(one.decision, Hold) and one.decision.cause == "network_limit"]
    assert held[0].startswith("Hardware thermostat-v2 still lacks devices that try it first")
    assert all(parse_utc(stored.at) > second for stored in campaign.decisions() if stored.rollout.batch)


def test_a_pause_ends_the_queues_and_a_resume_meets_everybody_again(campaign: Campaign) -> None:
    begin(campaign, sites={"*": NetworkLimits(per_minute=3)})
    assert campaign.office.ledger.networks.count(campaign.rollout_id) == 3
    campaign.steer(Verb.PAUSE)
    assert (campaign.office.ledger.networks.count(campaign.rollout_id), campaign.stored.walk) == (0, Walk())
    campaign.office.pass_time(minutes=1)
    campaign.steer(Verb.RESUME)
    for _ in range(4):
        campaign.advance(minutes=1)
    assert by(campaign, "site") == {"berlin": 8, "paris": 8, "rome": 8, "": 6}


def test_a_full_region_costs_the_others_no_walk(campaign: Campaign) -> None:
    """Once the ring was walked, a look at what is full reads no device."""
    begin(campaign, regions={"eu": NetworkLimits(per_hour=3)})
    queries: list[str] = []
    campaign.connection.set_trace_callback(queries.append)
    campaign.advance(minutes=5)
    campaign.connection.set_trace_callback(None)
    assert not [query for query in queries if "FROM device d" in query]


@pytest.mark.parametrize("group", [None, "beta"])
def test_networks_are_read_along_their_indexes(campaign: Campaign, group: str | None) -> None:
    office = campaign.office
    if group:
        for (device_id,) in office.connection.execute("SELECT device_id FROM device").fetchall():
            join(office.connection, group, device_id)
    plan = Plan(release="thermostat 1.1.0", stages=[Stage(name="all", group=group)], gate=Gates())
    begin(
        campaign,
        plan,
        regions={"eu": NetworkLimits(per_minute=20), "": NetworkLimits(per_minute=1)},
        sites={"*": NetworkLimits(per_minute=3)},
    )
    queries: list[str] = []
    campaign.connection.set_trace_callback(queries.append)
    campaign.advance(minutes=1)
    campaign.connection.set_trace_callback(None)
    assert by(campaign, "site") == {"berlin": 6, "paris": 6, "rome": 6, "": 6}
    walks, traffic, queues = (_of(campaign.connection, queries, word) for word in ("INDEXED BY device_in_", "at_site", "FROM queue"))
    assert walks
    assert all("USING INDEX device_in_site (site=? AND product=?" in plan for plan in walks)
    assert traffic
    assert all("traffic_of_site (rollout_id=? AND at_site=? AND load=? AND offered_at>?)" in plan for plan in traffic)
    assert queues
    assert all("SCAN" not in plan and "TEMP B-TREE" not in plan for plan in queues)


def _of(connection: sqlite3.Connection, queries: list[str], word: str) -> list[str]:
    return plans_of(connection, [query for query in queries if word in query and query.lstrip().startswith("SELECT")])


def test_why_names_the_site_that_has_no_room_for_a_device(campaign: Campaign) -> None:
    begin(campaign, sites={"berlin": NetworkLimits(concurrent_downloads=3)})
    offered = {attempt.device_id for attempt in campaign.open_attempts()}
    berlin = campaign.connection.execute("SELECT device_id FROM device WHERE site = 'berlin'").fetchall()
    (line,) = ask(campaign.office, next(device_id for (device_id,) in berlin if device_id not in offered)).lines
    assert line.answer.code is Code.NETWORK_FULL
    assert line.answer.sentence.startswith("Its site berlin is at its limit: 3 devices may be fetching it at once; the limit is 3;")
    assert line.answer.evidence == {"site": "berlin"}


def test_who_creates_a_rollout_is_told_of_networks_that_no_device_is_in(campaign: Campaign) -> None:
    limits = Limits(regions={"eu": LEAST, "emea": LEAST, "*": LEAST}, sites={"": LEAST, "berlim": LEAST})
    plan = Plan(release="thermostat 1.1.0", limits=limits)
    answer = asyncio.run(
        create(plan, "salt", by="ann", write=campaign.office.do, kinds=campaign.office.catalogue().kinds, now=campaign.office.now)
    )
    assert answer.warnings == ["No device is in region emea, site berlim, which 'limits' names: is that how it is called?"]


def test_one_that_another_rollout_took_out_of_a_queue_is_waited_for(campaign: Campaign) -> None:
    begin(campaign, structs.replace(plain(), audience="site==rome;device_id=in=(d-017,d-018)"), sites={"rome": LEAST})
    (first,) = campaign.open_attempts()
    campaign.succeed(first)
    for _ in range(4):
        campaign.advance(minutes=14, seconds=59)
    # Between the last pass and the instant at which the site has room again.
    campaign.office.add_release("1.2.0", b"newer image")
    waits = "d-018" if first.device_id == "d-017" else "d-017"
    senior = Campaign(office=campaign.office)
    senior.begin(structs.replace(plain(), release="thermostat 1.2.0", audience=f"device_id=={waits}", start_within="2d", precedence=9))
    for _ in range(3):
        campaign.advance(seconds=5)
    assert (campaign.status, newest(campaign).cause) == (Status.RUNNING, "precedence")  # type: ignore[attr-defined]  # a hold


def test_a_piece_of_a_network_ends_however_few_of_its_devices_are_meant(campaign: Campaign) -> None:
    ring = [name for (name,) in campaign.connection.execute("SELECT device_id FROM device WHERE site = 'rome'")]
    join(campaign.connection, "pilots", ring[0])
    begin(campaign, structs.replace(plain(), stages=[Stage(name="all", group="pilots", soak="0s")]), sites={"rome": LEAST})
    campaign.steer(Verb.PAUSE, "let us see")
    begun, found, walk = campaign.stored, list[Candidate](), Walk()
    while piece := campaign.office.ledger.rollouts.walk(replace(begun, walk=walk), 3, network="site:rome"):
        assert len(piece) == min(3, len(ring) - len(found))
        found += piece
        walk = Walk(place=piece[-1].place, device_id=piece[-1].device_id)
    assert sorted(one.device_id for one in found) == sorted(ring)
    assert {one.device_id for one in found if one.is_fresh} == {ring[0]}
