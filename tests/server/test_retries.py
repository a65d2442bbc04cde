# SPDX-License-Identifier: Apache-2.0
"""Tests of tries after a failure, of quarantine, and of what rollouts leave to one another, through the verbs."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.fleet.attempt import Attempt
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.errors import ConflictError, UnknownError
from surefoot.model.event import EventType
from surefoot.rollout.acts import pause
from surefoot.rollout.decision import Hold
from surefoot.rollout.evidence import Counts
from surefoot.rollout.plan import Bounds, Gates, Plan, Retries, SimpleGate, Stage, Status
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.recount import counters_off
from surefoot.server.db.sqlite import connect
from surefoot.server.services.conduct import carry_out, evidence_of
from surefoot.server.services.groups import OptRequest, opt
from surefoot.server.services.quarantine import WhyRequest, cancel, unquarantine
from surefoot.server.services.rollouts import Verb
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import open_office, statement

LAX = Gates(simple=SimpleGate(rollback_rate=Bounds(warn="99.99%", pause="99.99%"), min_resolved=1))
PLAN = Plan(
    release="thermostat 1.1.0",
    gate=LAX,
    watch="0s",
    stages=[Stage(name="all", soak="0s")],
    retries=Retries(max=2, backoff="1h"),
    deadline="10m",
)


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", b"new image")
        office.add_release("1.2.0", b"newer image")
        for number in range(4):
            office.ledger.put_report(office.add_device(DeviceId(f"t-{number}")), statement(OLD_IMAGE))
        yield Campaign(office=office)


def settle(campaign: Campaign, bad: str = "t-0") -> None:
    """Let every open attempt end: that of ``bad`` with a rollback, the others well."""
    for attempt in campaign.open_attempts():
        (campaign.fail if attempt.device_id == bad else campaign.succeed)(attempt)


def of(campaign: Campaign, device_id: str) -> list[Attempt]:
    return [attempt for attempt in campaign.attempts() if attempt.device_id == device_id]


def setback(campaign: Campaign, version: str = "1.1.0") -> tuple[int, bool]:
    found = campaign.office.ledger.rollouts.setback(DeviceId("t-0"), "thermostat", version)
    return (0, False) if found is None else (found.failures, bool(found.quarantined_at))


def test_a_device_that_failed_is_tried_again_after_waits_that_double_and_then_quarantined(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    settle(campaign)
    for wait_h, failures in ((1, 1), (2, 2)):
        campaign.advance(hours=wait_h, seconds=-1)
        assert (len(of(campaign, "t-0")), setback(campaign)) == (failures, (failures, False))
        campaign.advance(seconds=1)
        assert [attempt.retry for attempt in campaign.open_attempts()] == [failures]
        settle(campaign)
    assert setback(campaign) == (3, True)
    campaign.advance(days=3)
    campaign.advance(seconds=1)
    assert campaign.status is Status.FINISHED
    assert campaign.counts() == Counts(offered=6, started=6, succeeded=3, rolled_back=3, due=6, retried=2) == campaign.recounted()
    assert counters_off(campaign.connection, campaign.rollout_id) == {}
    assert campaign.made_again() > 3


def test_a_rollout_is_not_over_while_a_device_waits_for_another_try(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    settle(campaign)
    campaign.advance(minutes=30)
    decision = campaign.decisions()[-1].decision
    assert isinstance(decision, Hold)
    assert (decision.cause, campaign.status) == ("retries", Status.RUNNING)


def test_a_device_that_went_well_at_last_is_forgiven(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    settle(campaign)
    campaign.advance(hours=1)
    settle(campaign, bad="nobody")
    assert setback(campaign) == (0, False)
    campaign.advance(seconds=1)
    assert campaign.status is Status.FINISHED


def test_another_try_is_no_second_device_of_the_batch(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAN, stages=[Stage(name="all", batches=["50%", "100%"], soak="3h")]))
    campaign.advance()
    first = {attempt.device_id for attempt in campaign.open_attempts()}
    bad = min(first)
    settle(campaign, bad=bad)
    campaign.advance(hours=1)
    assert {attempt.device_id for attempt in campaign.open_attempts()} == {bad}
    assert (campaign.counts().offered, campaign.counts().taken) == (3, 2)


def test_a_pause_takes_back_another_try_and_a_resume_makes_it_again(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    settle(campaign)
    campaign.advance(hours=1)
    campaign.steer(Verb.PAUSE)
    assert campaign.open_attempts() == []
    campaign.advance(hours=5)
    campaign.steer(Verb.RESUME)
    campaign.advance(seconds=1)
    assert [(attempt.device_id, attempt.retry) for attempt in campaign.open_attempts()] == [("t-0", 1)]
    assert setback(campaign) == (1, False)


def test_a_silent_device_is_tried_again_unless_it_is_heard_of(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    silent = of(campaign, "t-0")[0]
    campaign.tell(silent, EventType.DOWNLOAD_STARTED)
    campaign.advance(minutes=11)
    assert setback(campaign) == (1, False)
    campaign.tell(silent, EventType.HEALTH_OK, running=silent.hash)
    assert setback(campaign) == (0, False)
    campaign.advance(days=1)
    assert len(of(campaign, "t-0")) == 1


def test_a_quarantined_device_is_offered_that_release_by_no_rollout_and_others_all_the_same(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAN, retries=Retries()))
    campaign.advance()
    settle(campaign)
    campaign.advance(minutes=11)
    assert (campaign.status, setback(campaign)) == (Status.FINISHED, (1, True))
    campaign.begin(structs.replace(PLAN, name="again"))
    campaign.advance(seconds=1)
    assert of(campaign, "t-0") == []
    campaign.begin(structs.replace(PLAN, release="thermostat 1.2.0"))
    campaign.advance(seconds=1)
    assert len(of(campaign, "t-0")) == 1


def test_a_device_that_has_another_order_when_it_is_to_be_tried_again_is_tried_after_that(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    settle(campaign)
    by_hand = campaign.office.order("1.2.0", DeviceId("t-0"))
    campaign.advance(hours=1)
    assert len(of(campaign, "t-0")) == 1
    campaign.tell(by_hand, EventType.DOWNLOAD_STARTED)
    campaign.tell(by_hand, EventType.ROLLBACK_COMPLETED, running=OLD_IMAGE)
    campaign.advance(minutes=1)
    assert [attempt.retry for attempt in of(campaign, "t-0")] == [0, 1]


def cancel_it(campaign: Campaign, device_id: str) -> None:
    office = campaign.office
    asyncio.run(cancel(DeviceId(device_id), WhyRequest(why="it burns"), by="ann", write=office.do, now=office.now))


def free(campaign: Campaign, device_id: str) -> list[str]:
    office = campaign.office
    return asyncio.run(unquarantine(DeviceId(device_id), WhyRequest(), by="ann", write=office.do, now=office.now)).releases


def test_a_quarantine_ends_by_a_person_and_a_rollout_under_way_tries_again_at_once(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAN, retries=Retries(), stages=[Stage(name="all", soak="1d")]))
    campaign.advance()
    settle(campaign)
    campaign.advance(hours=12)
    assert free(campaign, "t-0") == ["thermostat 1.1.0"]
    campaign.advance(seconds=1)
    assert [attempt.device_id for attempt in campaign.open_attempts()] == ["t-0"]
    with pytest.raises(ConflictError, match="quarantined for no release"):
        free(campaign, "t-0")


def test_a_quarantine_of_a_rollout_that_is_over_is_forgotten(campaign: Campaign) -> None:
    campaign.begin(structs.replace(PLAN, retries=Retries()))
    campaign.advance()
    settle(campaign)
    campaign.advance(minutes=11)
    free(campaign, "t-0")
    campaign.begin(PLAN)
    campaign.advance(seconds=1)
    assert len(of(campaign, "t-0")) == 1


def test_an_offer_that_a_person_withdrew_is_not_made_again(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    cancel_it(campaign, "t-0")
    assert of(campaign, "t-0")[0].outcome is Outcome.CANCELLED
    campaign.advance(hours=2)
    assert (len(of(campaign, "t-0")), setback(campaign)) == (1, (0, True))
    act = campaign.connection.execute("SELECT by, what, subject FROM act ORDER BY act_id DESC LIMIT 1").fetchone()
    assert act == ("ann", "device.cancel", "t-0 thermostat 1.1.0: it burns")


def test_an_order_of_a_person_is_withdrawn_and_nobody_quarantined(campaign: Campaign) -> None:
    order = campaign.office.order("1.1.0", DeviceId("t-0"))
    etag, _ = campaign.office.poll(device_id=DeviceId("t-0"))
    cancel_it(campaign, "t-0")
    assert (campaign.office.attempt(order).outcome, setback(campaign)) == (Outcome.CANCELLED, (0, False))
    assert campaign.office.poll(etag, DeviceId("t-0"))[1].artifacts == []


def test_what_has_started_or_was_never_ordered_is_not_withdrawn(campaign: Campaign) -> None:
    with pytest.raises(ConflictError, match="no open order"):
        cancel_it(campaign, "t-0")
    campaign.tell(campaign.office.order("1.1.0", DeviceId("t-0")), EventType.DOWNLOAD_STARTED)
    with pytest.raises(ConflictError, match="what has started finishes"):
        cancel_it(campaign, "t-0")
    with pytest.raises(UnknownError):
        cancel_it(campaign, "t-9")


def two(campaign: Campaign, first: Plan, second: Plan) -> tuple[Campaign, Campaign]:
    campaign.begin(first)
    other = replace(campaign, rollout_id=0)
    other.begin(second)
    return campaign, other


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [({}, {}, 0), ({}, {"precedence": 1}, 1), ({}, {"kind": "security"}, 1), ({"precedence": 1}, {"kind": "security"}, 0)],
    ids=["the older", "the higher precedence", "security", "precedence before security"],
)
def test_a_device_that_two_rollouts_want_goes_to_one_and_then_to_the_other(
    campaign: Campaign, first: dict[str, int | str], second: dict[str, int | str], winner: int
) -> None:
    older = structs.replace(PLAN, **first)
    younger = structs.replace(PLAN, release="thermostat 1.2.0", **second)
    rollouts = two(campaign, older, younger)
    campaign.advance()
    assert {attempt.rollout_id for attempt in campaign.open_attempts()} == {rollouts[winner].rollout_id}
    assert len(campaign.open_attempts()) == 4
    loser = rollouts[1 - winner]
    decision = loser.decisions()[-1].decision
    assert isinstance(decision, Hold)
    assert (decision.cause, loser.status) == ("precedence", Status.RUNNING)


def test_a_rollout_with_precedence_keeps_devices_that_it_has_not_come_to(campaign: Campaign) -> None:
    slow = structs.replace(PLAN, stages=[Stage(name="all", batches=["25%", "100%"], soak="3h")])
    two(campaign, slow, structs.replace(PLAN, release="thermostat 1.2.0"))
    campaign.advance()
    assert [attempt.version for attempt in campaign.open_attempts()] == ["1.1.0"]
    campaign.steer(Verb.PAUSE)
    campaign.advance(minutes=2)
    assert [attempt.version for attempt in campaign.open_attempts()] == ["1.2.0"] * 4


def test_an_attempt_ends_for_one_rollout_alone(campaign: Campaign) -> None:
    first, second = two(campaign, PLAN, structs.replace(PLAN, release="thermostat 1.2.0"))
    for _ in range(4):
        campaign.advance(minutes=2)
        settle(campaign, bad="nobody")
    assert {attempt.outcome for attempt in first.attempts()} == {Outcome.SUCCEEDED}
    assert second.status is Status.RUNNING or second.attempts()


def test_of_two_servers_on_one_database_that_read_the_same_only_one_decides(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    campaign.advance()
    settle(campaign, bad="nobody")
    database = Path(campaign.connection.execute("PRAGMA database_list").fetchone()[2])
    with closing(connect(database)) as connection:
        other = SqliteLedger(connection)
        read = other.rollouts.rollout(campaign.rollout_id)
        assert read is not None
        campaign.advance(seconds=1)
        decisions, attempts = campaign.decisions(), campaign.attempts()
        connection.execute("BEGIN")
        with pytest.raises(ConflictError, match="at the same moment"):
            carry_out(other, read, evidence_of(other, read, campaign.office.now), pause(read.rollout, "bob", ""), campaign.office.now)
        connection.execute("ROLLBACK")
    assert (campaign.decisions(), campaign.attempts()) == (decisions, attempts)


def test_who_is_to_be_tried_again_is_found_along_an_index(campaign: Campaign) -> None:
    campaign.begin(PLAN)
    queries: list[str] = []
    campaign.connection.set_trace_callback(queries.append)
    campaign.office.ledger.rollouts.to_retry(campaign.stored, campaign.office.now, 10)
    campaign.office.ledger.rollouts.waiting(campaign.stored, campaign.office.now)
    campaign.connection.set_trace_callback(None)
    plans = [
        " ".join(row[3] for row in campaign.connection.execute(f"EXPLAIN QUERY PLAN {query}")) for query in queries if "setback" in query
    ]
    assert len(plans) == 3
    assert all("setback_to_retry (rollout_id=? AND retry_at" in plan and "SCAN setback" not in plan for plan in plans)


def test_who_opted_out_after_a_failure_is_not_tried_again(campaign: Campaign) -> None:
    office = campaign.office
    for number in range(4):
        office.ledger.add_member("pilots", DeviceId(f"t-{number}"), office.now)
    campaign.begin(structs.replace(PLAN, stages=[Stage(name="all", group="pilots", soak="0s")]))
    campaign.advance()
    settle(campaign)
    asyncio.run(opt("pilots", DeviceId("t-0"), OptRequest(is_in=False, who="its owner"), by="ann", write=office.do, now=office.now))
    for _ in range(3):
        campaign.advance(hours=1)
    assert (campaign.status, len(of(campaign, "t-0"))) == (Status.FINISHED, 1)
