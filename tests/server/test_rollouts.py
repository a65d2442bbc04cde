# SPDX-License-Identifier: Apache-2.0
"""Tests of rollouts through the verbs, on a real database: offers, counters, pauses, silence and the end."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.errors import ConflictError, FilterError, InvalidInput, UnknownError
from surefoot.model.event import EventType
from surefoot.rollout.evidence import Counts
from surefoot.rollout.plan import Gates, Limits, Plan, Stage, Status
from surefoot.server.db.groups import add
from surefoot.server.db.recount import counters_off, versions_off
from surefoot.server.services import offering
from surefoot.server.services.recount import RECOUNT, Segment, recount_all
from surefoot.server.services.rollout_store import MOST_OFFERS
from surefoot.server.services.rollouts import Verb
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import open_office, statement

IMAGE = b"new image"


PLAIN = Plan(release="thermostat 1.1.0", gate=Gates(), watch="0s")
"""Under plain percentages; ends as soon as everybody has."""


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", IMAGE)
        for number in range(20):
            device_id = office.add_device(DeviceId(f"t-{number:02}"))
            office.ledger.put_report(device_id, statement(OLD_IMAGE))
        for number in range(2):
            add(office.connection, "canary", DeviceId(f"t-{number:02}"))
        yield Campaign(office=office)


def test_a_good_release_reaches_everybody_stage_by_stage(campaign: Campaign) -> None:
    campaign.begin()
    campaign.advance()
    assert {attempt.device_id for attempt in campaign.open_attempts()} == {"t-00", "t-01"}
    reached = []
    for _ in range(30):
        reached.append(len(campaign.open_attempts()))
        for attempt in campaign.open_attempts():
            campaign.succeed(attempt)
        campaign.advance(seconds=11)
        if campaign.status is Status.FINISHED:
            break
    assert [number for number in reached if number] == [2, 5, 13]
    assert campaign.counts() == Counts(offered=20, started=20, succeeded=20) == campaign.recounted()


def test_harm_pauses_and_withdraws_what_nobody_started(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all", soak="10s")]))
    campaign.advance()
    first, second, *others = campaign.open_attempts()
    campaign.fail(first)
    campaign.fail(second)
    campaign.advance(seconds=1)
    assert campaign.status is Status.PAUSED
    assert campaign.open_attempts() == []
    assert campaign.counts() == Counts(offered=20, started=2, rolled_back=2, cancelled=len(others)) == campaign.recounted()
    campaign.advance(hours=2)
    assert campaign.open_attempts() == []


def test_a_withdrawn_order_is_gone_at_the_next_poll(campaign: Campaign) -> None:
    campaign.begin()
    campaign.advance()
    device_id = campaign.open_attempts()[0].device_id
    etag, answer = campaign.office.poll(device_id=device_id)
    assert answer.artifacts
    campaign.steer(Verb.PAUSE, "the weather is bad")
    assert not campaign.office.ledger.is_ordered(device_id, digest_of(IMAGE))
    assert campaign.office.poll(etag, device_id)[1].artifacts == []


def test_who_resumes_has_seen_the_harm_and_withdrawn_devices_are_offered_again(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all", soak="10s")]))
    campaign.advance()
    for attempt in campaign.open_attempts()[:2]:
        campaign.fail(attempt)
    campaign.advance(seconds=1)
    campaign.steer(Verb.RESUME, "those two had a bad cable")
    campaign.advance(seconds=1)
    assert campaign.status is Status.RUNNING
    assert len(campaign.open_attempts()) == 18


def test_a_halt_holds(campaign: Campaign) -> None:
    campaign.begin()
    campaign.advance()
    campaign.steer(Verb.HALT, "wrong release")
    campaign.advance(days=2)
    assert campaign.open_attempts() == []
    for verb in Verb:
        with pytest.raises(ConflictError):
            campaign.steer(verb)


def test_a_silent_device_is_counted_when_its_deadline_passes_and_named(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, deadline="10m", stages=[Stage(name="all", soak="10s")]))
    campaign.advance()
    silent, *others = campaign.open_attempts()
    for attempt in others:
        campaign.succeed(attempt)
    campaign.tell(silent, EventType.DOWNLOAD_STARTED)
    campaign.advance(minutes=9)
    assert campaign.office.attempt(silent).outcome is None
    campaign.advance(minutes=2)
    assert campaign.office.attempt(silent).outcome is Outcome.SILENT
    campaign.advance(seconds=11)
    assert campaign.status is Status.FINISHED
    campaign.tell(silent, EventType.HEALTH_OK, running=silent.hash)
    assert campaign.counts() == Counts(offered=20, started=20, succeeded=19, silent=1, late_good=1, due=20) == campaign.recounted()


def test_no_more_devices_are_offered_it_in_a_minute_than_the_limit(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all")], limits=Limits(per_minute=6)))
    campaign.advance()
    assert len(campaign.open_attempts()) == 6
    campaign.advance(seconds=59)
    assert len(campaign.open_attempts()) == 6
    campaign.advance(seconds=2)
    assert len(campaign.open_attempts()) == 12


def test_every_decision_of_the_engine_can_be_made_again_from_what_is_stored(campaign: Campaign) -> None:
    campaign.begin()
    for _ in range(8):
        for attempt in campaign.open_attempts():
            campaign.succeed(attempt)
        campaign.advance(seconds=11)
    assert campaign.made_again() > 5


def test_counters_that_contradict_each_other_hold_the_rollout(campaign: Campaign) -> None:
    campaign.begin()
    campaign.advance()
    campaign.connection.execute("UPDATE counter SET succeeded = 99")
    campaign.advance(seconds=1)
    assert campaign.decisions()[-1].decision.cause == "gate_unreadable"
    assert campaign.status is Status.RUNNING


def test_a_filter_and_groups_say_whom_a_rollout_is_for(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, audience="device_id=in=(t-03,t-04)", stages=[Stage(name="all")]))
    campaign.advance()
    assert {attempt.device_id for attempt in campaign.open_attempts()} == {"t-03", "t-04"}


def test_a_filter_may_ask_for_groups_versions_and_how_long_ago_a_device_was_seen(campaign: Campaign) -> None:
    office = campaign.office
    for name in ("t-03", "t-04", "t-05"):
        office.ledger.add_member("pilot", DeviceId(name), office.now)
    office.ledger.put_presence(
        {DeviceId("t-03"): (int(office.now.timestamp()) - 7_200, 1), DeviceId("t-04"): (int(office.now.timestamp()), 1)}
    )
    audience = "group==pilot and version=range='>=1.0.0 <1.1.0' and (seen_within==1h or device_id==t-05)"
    campaign.begin(structs.replace(PLAIN, audience=audience, stages=[Stage(name="all")]))
    campaign.advance()
    assert {attempt.device_id for attempt in campaign.open_attempts()} == {"t-04", "t-05"}


def test_a_device_that_comes_later_is_found_by_a_later_pass(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all")]))
    campaign.advance()
    late = campaign.office.add_device(DeviceId("t-99"))
    campaign.office.ledger.put_report(late, statement(OLD_IMAGE))
    campaign.advance(seconds=61)
    assert late in {attempt.device_id for attempt in campaign.open_attempts()}


def test_the_next_pass_waits_longer_the_more_devices_the_last_one_passed(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offering, "_PASSED_A_SECOND", 0.1)
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all")]))
    campaign.advance()
    assert campaign.stored.walk.passed == 20
    late = campaign.office.add_device(DeviceId("t-99"))
    campaign.office.ledger.put_report(late, statement(OLD_IMAGE))
    campaign.advance(seconds=150)
    assert late not in {attempt.device_id for attempt in campaign.open_attempts()}
    campaign.advance(seconds=60)
    assert late in {attempt.device_id for attempt in campaign.open_attempts()}


def test_devices_that_run_it_already_are_left_alone(campaign: Campaign) -> None:
    campaign.office.ledger.put_report(DeviceId("t-05"), statement(digest_of(IMAGE)))
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all")]))
    campaign.advance()
    assert len(campaign.open_attempts()) == 19


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        (Plan(release="thermostat 9.9.9"), UnknownError),
        (structs.replace(PLAIN, variant="debug"), InvalidInput),
        (structs.replace(PLAIN, audience="colour==red"), FilterError),
        (structs.replace(PLAIN, audience="hardware=="), FilterError),
        (structs.replace(PLAIN, stages=[Stage(name="a", group="nobody")]), UnknownError),
        (structs.replace(PLAIN, stages=[Stage(name="a", batches=["50%", "10%"])]), InvalidInput),
    ],
)
def test_a_plan_that_cannot_end_well_is_refused_whole(campaign: Campaign, plan: Plan, error: type[Exception]) -> None:
    with pytest.raises(error):
        campaign.begin(plan)
    assert campaign.connection.execute("SELECT count(*) FROM rollout").fetchone() == (0,)


def test_the_walk_goes_along_an_index(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all")]))
    queries: list[str] = []
    campaign.connection.set_trace_callback(queries.append)
    campaign.office.ledger.rollouts.walk(campaign.stored, 10)
    campaign.connection.set_trace_callback(None)
    for query in queries:
        plan = " ".join(row[3] for row in campaign.connection.execute(f"EXPLAIN QUERY PLAN {query}"))
        assert "SCAN" not in plan
        assert "TEMP B-TREE" not in plan


def test_an_offer_that_nobody_takes_is_void_in_time(campaign: Campaign) -> None:
    campaign.begin()
    campaign.advance()
    attempt = campaign.open_attempts()[0]
    campaign.advance(hours=2)
    assert campaign.office.attempt(attempt).outcome is Outcome.CANCELLED


def recount(campaign: Campaign) -> list[str]:
    async def counters(rollout_id: int) -> dict[Segment, Counts]:
        return counters_off(campaign.connection, rollout_id)

    async def versions() -> dict[tuple[str, str], int]:
        return versions_off(campaign.connection)

    return asyncio.run(recount_all(campaign.office.do, counters, versions, campaign.office.now))


def test_a_recount_of_counters_that_are_right_changes_nothing(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all", soak="10s")]))
    campaign.advance()
    first, second, third, *_ = campaign.open_attempts()
    campaign.succeed(first)
    campaign.tell(second, EventType.DOWNLOAD_STARTED)
    campaign.tell(third, EventType.DOWNLOAD_STARTED, EventType.HEALTH_FAILED)
    campaign.steer(Verb.PAUSE)
    before, decisions = campaign.stored, campaign.decisions()
    assert recount(campaign) == []
    assert (campaign.stored, campaign.decisions()) == (before, decisions)


def test_counters_that_somebody_changed_are_put_right_and_pause_the_rollout(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all", soak="10s")]))
    campaign.advance()
    campaign.succeed(campaign.open_attempts()[0])
    campaign.connection.execute("UPDATE counter SET succeeded = 19, offered = offered + 2")
    campaign.connection.execute("UPDATE version_count SET devices = devices + 3")
    (of_rollout, of_versions) = recount(campaign)
    assert "stage 1, thermostat-v1: offered -2, succeeded -18" in of_rollout
    assert "3 versions" in of_versions
    assert (campaign.counts(), versions_off(campaign.connection)) == (campaign.recounted(), {})
    assert (campaign.status, campaign.decisions()[-1].decision.reason) == (Status.PAUSED, of_rollout.removeprefix("Rollout 1: "))
    assert recount(campaign) == []


def test_a_paused_rollout_that_was_put_right_says_so_and_stays_paused(campaign: Campaign) -> None:
    campaign.begin()
    campaign.advance()
    campaign.steer(Verb.PAUSE)
    campaign.connection.execute("DELETE FROM counter")
    recount(campaign)
    assert (campaign.status, campaign.decisions()[-1].decision.cause, campaign.counts()) == (Status.PAUSED, RECOUNT, campaign.recounted())


def test_a_device_that_never_starts_is_offered_a_few_times_and_does_not_hold_the_rollout_for_ever(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAIN, stages=[Stage(name="all", soak="10s")], start_within="1h"))
    for _ in range(16):
        campaign.advance(minutes=30)
        for attempt in campaign.open_attempts():
            if attempt.device_id != "t-07":
                campaign.succeed(attempt)
    assert campaign.status is Status.FINISHED
    offers = [attempt.outcome for attempt in campaign.attempts() if attempt.device_id == "t-07"]
    assert offers == [Outcome.CANCELLED] * MOST_OFFERS
    assert campaign.decisions()[-1].decision.reason.endswith("5 offers were never taken up.")
