# SPDX-License-Identifier: Apache-2.0
"""Tests of reverts through the verbs, on a real database: who is taken back, to what, by whom, and who is left alone."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from surefoot.model.assignment import AssignmentId, DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.errors import ConflictError, Error, InvalidInput
from surefoot.model.event import EventType
from surefoot.rollout.decision import Halt, Resume, Revert, WayBack
from surefoot.rollout.plan import Bounds, Gates, Plan, PlanApproval, Retries, SimpleGate, Stage, Status
from surefoot.rollout.risk import PACES, Kind
from surefoot.server.db.clues import SqliteClues
from surefoot.server.db.recount import counters_off
from surefoot.server.services.answer import Answer, Code
from surefoot.server.services.revert import ENGINE
from surefoot.server.services.rollouts import Verb
from surefoot.server.services.why import Sources, why
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import Office, event, open_office

OLDEST, NEW, NEWER = b"oldest image", b"new image", b"newer image"
PLAN = Plan(
    release="thermostat 1.1.0",
    kind=Kind.FLAGS,
    stages=[Stage(name="all", soak="10s")],
    gate=Gates(),
    watch="0s",
    deadline="10m",
    start_within="1h",
)
DEVICES = [DeviceId(f"t-{number:02}") for number in range(20)]


def put_on(office: Office, device_id: DeviceId, image: bytes) -> None:
    office.ledger.put_report(device_id, office.said_by(digest_of(image)))


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("0.9.0", OLDEST)
        office.add_release("1.0.0", b"old image")
        office.add_release("1.1.0", NEW, rules={"revert_to": "minor"})
        for device_id in DEVICES:
            put_on(office, office.add_device(device_id), b"old image")
        yield Campaign(office=office)


def update(campaign: Campaign, number: int = 20, plan: Plan = PLAN) -> None:
    """Update that many devices of a rollout, and no more."""
    campaign.begin(plan)
    campaign.advance()
    for attempt in campaign.open_attempts()[:number]:
        campaign.succeed(attempt)


def revert(campaign: Campaign) -> Campaign:
    """Take back what a halted rollout updated from one version; return the rollout that does."""
    decision = campaign.steer(Verb.REVERT, "it drains batteries")
    assert isinstance(decision, Revert)
    (rollout_id,) = [way.rollout_id for way in decision.ways if way.rollout_id]
    return replace(campaign, rollout_id=rollout_id)


def finish(campaign: Campaign, times: int = 12) -> None:
    for _ in range(times):
        for attempt in campaign.open_attempts():
            campaign.succeed(attempt)
        campaign.advance(minutes=31)


def running(campaign: Campaign) -> Counter[str]:
    return Counter(str(version) for (version,) in campaign.connection.execute("SELECT version FROM device WHERE device_id LIKE 't-__'"))


def test_who_was_updated_goes_back_batch_by_batch_and_nobody_else_is_touched(campaign: Campaign) -> None:
    update(campaign, 12)
    campaign.steer(Verb.HALT, "it drains batteries")
    updated = {attempt.device_id for attempt in campaign.attempts() if attempt.outcome is Outcome.SUCCEEDED}
    assert len(updated) == 12
    back = revert(campaign)
    back.advance()
    # At the pace of its kind, whatever the stages of the plan were.
    assert len(back.open_attempts()) == 1
    finish(back)
    assert back.status is Status.FINISHED
    assert {attempt.device_id for attempt in back.attempts()} == updated
    assert running(campaign) == {"1.0.0": 20}
    assert (counters_off(back.connection, back.rollout_id), back.counts().succeeded) == ({}, 12)
    assert back.made_again() > 5


def test_a_revert_is_bound_by_what_the_plan_says_and_goes_as_one_stage(campaign: Campaign) -> None:
    plan = structs.replace(
        PLAN,
        retries=Retries(max=2),
        gate=Gates(default=True),
        on_halt="revert",
        precedence=7,
        stages=[Stage(name="a"), Stage(name="b", audience="site==x")],
    )
    campaign.office.ledger.attribute_names()
    campaign.connection.execute("INSERT INTO attribute_name (name) VALUES ('site')")
    update(campaign, 1, structs.replace(plan, stages=[Stage(name="a")]))
    campaign.steer(Verb.HALT, "no", keeps=True)
    stored = revert(campaign).stored.rollout
    pace = PACES[Kind.FLAGS]
    assert stored.reverts == campaign.rollout_id
    assert [(stage.name, stage.batches, stage.soak) for stage in stored.plan.stages] == [("general", [*pace.batches], [*pace.soaks])]
    assert stored.plan == structs.replace(
        plan,
        release="thermostat 1.0.0",
        name="takes back 1.1.0, rollout 1",
        audience="version=='1.1.0'",
        stages=stored.plan.stages,
        on_halt="hold",
    )


def test_each_version_that_devices_ran_before_gets_a_rollout_of_its_own(campaign: Campaign) -> None:
    campaign.office.add_release("1.2.0", NEWER, rules={"revert_to": ["1.0.0", "0.9.0"]})
    for device_id in DEVICES[:5]:
        put_on(campaign.office, device_id, OLDEST)
    update(campaign, plan=structs.replace(PLAN, release="thermostat 1.2.0", approve=["major"]))
    campaign.steer(Verb.HALT, "no")
    decision = campaign.steer(Verb.REVERT, "no")
    assert isinstance(decision, Revert)
    assert decision.ways == [WayBack(version="0.9.0", devices=5, rollout_id=2), WayBack(version="1.0.0", devices=15, rollout_id=3)]
    for _ in range(12):
        for attempt in campaign.open_attempts():
            assert attempt.rollout_id == (2 if attempt.device_id in DEVICES[:5] else 3)
            campaign.succeed(attempt)
        campaign.advance(minutes=31)
    assert running(campaign) == {"1.0.0": 15, "0.9.0": 5}


def test_devices_that_run_something_else_meanwhile_are_left_alone(campaign: Campaign) -> None:
    campaign.office.add_release("1.2.0", NEWER, rules={"revert_to": "minor"})
    update(campaign)
    put_on(campaign.office, DEVICES[3], NEWER)
    put_on(campaign.office, DEVICES[4], b"old image")
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    finish(back)
    assert back.status is Status.FINISHED
    assert {attempt.device_id for attempt in back.attempts()} == {*DEVICES} - {DEVICES[3], DEVICES[4]}
    assert running(campaign) == {"1.0.0": 19, "1.2.0": 1}


def test_who_was_still_at_it_when_the_rollout_was_halted_is_taken_back_after_that(campaign: Campaign) -> None:
    update(campaign, 0)
    late, later, *_ = campaign.open_attempts()
    for attempt in (late, later):
        campaign.tell(attempt, EventType.DOWNLOAD_STARTED)
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    for _ in range(6):
        back.advance(seconds=61)
    assert (back.attempts(), back.decisions()[-1].decision.cause) == ([], "precedence")
    campaign.succeed(late)
    campaign.tell(later, EventType.ROLLBACK_COMPLETED, running=OLD_IMAGE)
    finish(back)
    assert {attempt.device_id for attempt in back.attempts()} == {late.device_id}
    assert (back.status, running(campaign)) == (Status.FINISHED, {"1.0.0": 20})


def test_a_revert_of_devices_that_have_all_gone_elsewhere_ends(campaign: Campaign) -> None:
    update(campaign, 2)
    for attempt in campaign.attempts()[:2]:
        put_on(campaign.office, attempt.device_id, b"old image")
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    back.advance()
    back.advance(seconds=1)
    assert (back.status, back.attempts()) == (Status.FINISHED, [])


def test_a_device_that_comes_back_with_good_news_after_it_was_given_up_is_taken_back_too(campaign: Campaign) -> None:
    update(campaign, 0)
    silent = campaign.open_attempts()[0]
    campaign.tell(silent, EventType.DOWNLOAD_STARTED)
    campaign.advance(minutes=11)
    assert campaign.office.attempt(silent).outcome is Outcome.SILENT
    campaign.tell(silent, EventType.HEALTH_OK, running=silent.hash)
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    finish(back)
    assert [attempt.device_id for attempt in back.attempts()] == [silent.device_id]


def test_a_revert_that_fails_pauses_by_itself(campaign: Campaign) -> None:
    update(campaign)
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    for _ in range(3):
        back.advance(minutes=31)
        for attempt in back.open_attempts():
            back.tell(attempt, EventType.DOWNLOAD_STARTED)
            back.tell(attempt, EventType.ROLLBACK_COMPLETED, running=digest_of(NEW))
    back.advance(minutes=31)
    assert back.status is Status.PAUSED
    assert running(campaign) == {"1.1.0": 20}
    assert len(back.attempts()) < 5


def test_a_device_that_fails_to_go_back_is_tried_again_as_the_plan_says(campaign: Campaign) -> None:
    lax = Gates(simple=SimpleGate(rollback_rate=Bounds(warn="99.99%", pause="99.99%")))
    update(campaign, plan=structs.replace(PLAN, retries=Retries(max=1, backoff="5m"), gate=lax))
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    failed: list[DeviceId] = []
    for _ in range(10):
        for attempt in back.open_attempts():
            if failed or len(back.attempts()) < 10:
                back.succeed(attempt)
            else:
                failed.append(attempt.device_id)
                back.tell(attempt, EventType.DOWNLOAD_STARTED)
                back.tell(attempt, EventType.ROLLBACK_COMPLETED, running=digest_of(NEW))
        back.advance(minutes=31)
    assert failed
    assert [attempt.outcome for attempt in back.attempts() if attempt.device_id in failed] == [Outcome.ROLLED_BACK, Outcome.SUCCEEDED]
    assert (back.status, running(campaign)) == (Status.FINISHED, {"1.0.0": 20})


def test_a_halt_takes_devices_back_in_the_same_breath_when_its_plan_says_so(campaign: Campaign) -> None:
    update(campaign, 4, structs.replace(PLAN, on_halt="revert"))
    campaign.steer(Verb.HALT, "it drains batteries")
    halted, reverted = (stored.decision for stored in campaign.decisions()[-2:])
    assert isinstance(halted, Halt)
    assert halted.reason == "Halted by ann: it drains batteries. The devices that it updated are taken back, as its plan says."
    assert isinstance(reverted, Revert)
    assert reverted.reason == "Taken back, as the plan says. Rollout 2 takes 4 devices back to 1.0.0."
    back = replace(campaign, rollout_id=2)
    assert (back.status, back.stored.created_by) == (Status.RUNNING, "ann")
    finish(back)
    assert running(campaign) == {"1.0.0": 20}


def test_a_person_may_halt_and_let_devices_keep_it(campaign: Campaign) -> None:
    update(campaign, 4, structs.replace(PLAN, on_halt="revert"))
    campaign.steer(Verb.HALT, "1.2.0 is better", keeps=True)
    assert campaign.connection.execute("SELECT count(*) FROM rollout").fetchone() == (1,)
    assert campaign.decisions()[-1].decision.reason == "Halted by ann: 1.2.0 is better."


def test_a_halt_before_anybody_was_updated_takes_nobody_back(campaign: Campaign) -> None:
    campaign.draft(structs.replace(PLAN, on_halt="revert"))
    campaign.steer(Verb.HALT, "no")
    assert campaign.decisions()[-1].decision.reason == "Halted by ann: no."
    update(campaign, 0, structs.replace(PLAN, on_halt="revert"))
    campaign.steer(Verb.HALT, "no")
    assert isinstance(campaign.decisions()[-1].decision, Halt)
    assert campaign.connection.execute("SELECT count(*) FROM rollout").fetchone() == (2,)


def test_a_halt_of_the_gate_takes_back_what_it_can_and_is_for_good(campaign: Campaign) -> None:
    update(campaign, 0, structs.replace(PLAN, gate="default", on_halt="revert", stages=[Stage(name="all", soak="1h")]))
    for attempt in campaign.open_attempts():
        campaign.succeed(attempt)
    for _ in range(6):
        campaign.advance(minutes=1)
        for attempt in campaign.open_attempts():
            campaign.fail(attempt)
    campaign.advance(hours=2)
    assert campaign.status is Status.HALTED
    halted, reverted = campaign.decisions()[-2:]
    assert isinstance(halted.decision, Halt)
    assert halted.decision.reason.endswith(" The devices that it updated are taken back, as its plan says.")
    assert isinstance(reverted.decision, Revert)
    assert (reverted.decision.by, reverted.at) == (ENGINE, halted.at)
    assert campaign.made_again() > 2
    with pytest.raises(ConflictError):
        campaign.steer(Verb.RESUME, "I dare")
    back = replace(campaign, rollout_id=2)
    started = back.decisions()[0].decision
    assert isinstance(started, Resume)
    assert (started.by, back.stored.created_by) == (ENGINE, ENGINE)
    finish(back)
    assert (back.status, running(campaign)) == (Status.FINISHED, {"1.0.0": 20})
    # Nothing is learned from it: its devices ran a bad release.
    assert campaign.office.ledger.rollouts.baselines("thermostat") == []


def test_what_a_person_takes_back_cannot_be_resumed_though_the_gate_halted_it(campaign: Campaign) -> None:
    update(campaign, 0, structs.replace(PLAN, gate="default", stages=[Stage(name="all", soak="1h")]))
    for attempt in campaign.open_attempts():
        campaign.succeed(attempt)
    for _ in range(6):
        campaign.advance(minutes=1)
        for attempt in campaign.open_attempts():
            campaign.fail(attempt)
    campaign.advance(hours=2)
    assert (campaign.status, campaign.stored.rollout.is_final) == (Status.HALTED, False)
    revert(campaign)
    with pytest.raises(ConflictError):
        campaign.steer(Verb.RESUME, "I dare")


def test_a_withdrawn_order_that_was_carried_out_all_the_same_is_taken_back(campaign: Campaign) -> None:
    update(campaign, 0)
    first = campaign.open_attempts()[0]
    campaign.steer(Verb.HALT, "no")
    campaign.tell(first, EventType.HEALTH_OK, running=first.hash)
    back = revert(campaign)
    finish(back)
    assert [attempt.device_id for attempt in back.attempts()] == [first.device_id]


def test_a_revert_and_a_rollout_of_the_same_release_keep_nobody_from_starting(campaign: Campaign) -> None:
    update(campaign, 2, structs.replace(PLAN, approval=PlanApproval(second_person=False)))
    campaign.steer(Verb.HALT, "no")
    same = replace(campaign, rollout_id=0)
    same.begin(structs.replace(PLAN, release="thermostat 1.0.0"))
    back = revert(campaign)
    assert (same.status, back.status, campaign.office.ledger.rollouts.rival(back.stored)) == (Status.RUNNING, Status.RUNNING, None)
    same.steer(Verb.HALT, "no")
    same.begin(structs.replace(PLAN, release="thermostat 1.0.0"))
    assert same.status is Status.RUNNING


def test_a_release_that_was_retired_meanwhile_does_not_keep_a_rollout_from_being_halted(campaign: Campaign) -> None:
    update(campaign, 4, structs.replace(PLAN, on_halt="revert"))
    campaign.office.ledger.set_retired("thermostat", "1.0.0", is_retired=True)
    campaign.steer(Verb.HALT, "no")
    assert campaign.status is Status.HALTED
    decision = campaign.decisions()[-1].decision
    assert isinstance(decision, Revert)
    assert decision.reason == "Taken back, as the plan says. 4 devices from 1.0.0 cannot go back: thermostat 1.0.0 is retired."
    assert campaign.connection.execute("SELECT count(*) FROM rollout").fetchone() == (1,)


def test_a_revert_waits_for_approval_where_the_plan_asks_for_it(campaign: Campaign) -> None:
    campaign.draft(structs.replace(PLAN, approval=PlanApproval(required=True)))
    campaign.steer(Verb.APPROVE, by="bob")
    campaign.steer(Verb.START)
    campaign.advance()
    campaign.succeed(campaign.open_attempts()[0])
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    assert back.status is Status.DRAFT
    with pytest.raises(ConflictError):
        back.steer(Verb.START)
    back.steer(Verb.APPROVE, by="bob")
    back.steer(Verb.START)
    finish(back)
    assert running(campaign) == {"1.0.0": 20}


RULES: dict[str, tuple[Mapping[str, Any], str]] = {
    "revert_to": ({}, "4 devices from 1.0.0 cannot go back: The running release 1.1.1 does not allow going back to 1.0.0."),
    "release counter": ({"revert_to": "minor", "release_counter": 2}, "Release counter 1 is below 2"),
    "data format": ({"revert_to": "minor", "data_format": 4}, "Data format none is below the stored 4."),
    "another variant": ({"revert_to": "minor", "variant": "debug"}, "It has no image for the hardware of this release."),
    "other hardware": ({"revert_to": "minor", "target_hardware": ["thermostat-v1", "thermostat-v2"]}, ""),
}


@pytest.mark.parametrize("name", RULES)
def test_what_the_release_or_the_one_before_forbids_is_named_and_nobody_is_taken_back(campaign: Campaign, name: str) -> None:
    rules, reason = RULES[name]
    campaign.office.add_release("1.1.1", NEWER, rules=rules)
    variant = rules.get("variant", "release")
    update(campaign, 4, structs.replace(PLAN, release="thermostat 1.1.1", variant=variant))
    campaign.steer(Verb.HALT, "no")
    if not reason:
        assert revert(campaign).status is Status.RUNNING
        return
    with pytest.raises(ConflictError) as refused:
        campaign.steer(Verb.REVERT, "no")
    assert reason in refused.value.message
    # A plan that promises what cannot be done is refused before it starts.
    with pytest.raises(InvalidInput) as flaw:
        campaign.draft(structs.replace(PLAN, release="thermostat 1.1.1", variant=variant, on_halt="revert"))
    assert "'rollout.on_halt'" in flaw.value.message
    assert "16 of them run 1.0.0: " in flaw.value.message


def test_what_can_go_back_goes_and_the_rest_is_named(campaign: Campaign) -> None:
    campaign.office.add_release("1.2.0", NEWER, rules={"revert_to": ["1.0.0"]})
    for device_id in DEVICES[:5]:
        put_on(campaign.office, device_id, OLDEST)
    wide = structs.replace(PLAN, release="thermostat 1.2.0", approve=["major"])
    with pytest.raises(InvalidInput, match=r"5 of them run 0\.9\.0: The running release 1\.2\.0 does not"):
        campaign.draft(structs.replace(wide, on_halt="revert"))
    campaign.draft(structs.replace(wide, on_halt="revert", audience="version=ge=1.0.0"))
    update(campaign, plan=wide)
    campaign.steer(Verb.HALT, "no")
    decision = campaign.steer(Verb.REVERT, "no")
    assert isinstance(decision, Revert)
    assert decision.reason == (
        "Taken back by ann: no. 5 devices from 0.9.0 cannot go back: The running release 1.2.0 does not allow going back to 0.9.0."
        " Rollout 3 takes 15 devices back to 1.0.0."
    )


def test_stages_say_whose_way_back_a_plan_promises(campaign: Campaign) -> None:
    campaign.office.ledger.add_member("pilot", DEVICES[6], campaign.office.now)
    put_on(campaign.office, DEVICES[0], b"never published")
    campaign.office.ledger.put_report(DEVICES[0], structs.replace(campaign.office.said_by(OLD_IMAGE), version="0.5.0"))
    plan = structs.replace(PLAN, on_halt="revert", approve=["major"])
    with pytest.raises(InvalidInput, match=r"1 of them run 0\.5\.0: thermostat 0\.5\.0 is not on this server"):
        campaign.draft(plan)
    campaign.draft(structs.replace(plan, stages=[Stage(name="pilot", group="pilot"), Stage(name="rest", audience="version=='1.0.0'")]))


@pytest.mark.parametrize(
    ("verbs", "says"),
    [
        ((), "The rollout is running."),
        ((Verb.PAUSE,), "The rollout is paused."),
    ],
)
def test_what_is_not_over_is_halted_first(campaign: Campaign, verbs: tuple[Verb, ...], says: str) -> None:
    update(campaign, 4)
    for verb in verbs:
        campaign.steer(verb)
    with pytest.raises(ConflictError) as refused:
        campaign.steer(Verb.REVERT, "no")
    assert (refused.value.message, "surefoot rollout halt" in refused.value.hint) == (says, True)


def refusal(campaign: Campaign, why: str = "no") -> Error:
    with pytest.raises((ConflictError, InvalidInput)) as refused:
        campaign.steer(Verb.REVERT, why)
    return refused.value


def test_a_revert_is_said_once_with_a_reason_and_of_a_rollout_that_updated_somebody(campaign: Campaign) -> None:
    campaign.draft(PLAN)
    assert "it updated no device" in refusal(campaign).message
    campaign.steer(Verb.START)
    campaign.advance()
    campaign.steer(Verb.HALT, "no")
    assert refusal(campaign).message == "The rollout updated no device."
    update(campaign, 3)
    campaign.steer(Verb.HALT, "no")
    assert refusal(campaign, " ").message == "To take devices back needs a reason."
    back = revert(campaign)
    assert refusal(campaign).message == f"The rollout is being reverted already, by rollout {back.rollout_id}."
    back.steer(Verb.HALT, "no")
    assert refusal(back).message == "The rollout takes devices back itself."
    # Once that is over, what is left may be taken back again.
    assert revert(campaign).rollout_id == back.rollout_id + 1


def test_a_finished_rollout_may_be_reverted_and_acts_say_who_did(campaign: Campaign) -> None:
    update(campaign)
    campaign.advance(seconds=1)
    campaign.advance(seconds=11)
    assert campaign.status is Status.FINISHED
    revert(campaign)
    acts = campaign.connection.execute("SELECT by, what, subject FROM act ORDER BY act_id DESC LIMIT 1").fetchone()
    assert acts == ("ann", "rollout.revert", "1 by 2")


def test_a_revert_goes_before_every_other_rollout_and_waits_for_none_of_its_release(campaign: Campaign) -> None:
    campaign.office.add_release("1.2.0", NEWER)
    update(campaign)
    campaign.steer(Verb.HALT, "no")
    same = replace(campaign, rollout_id=0)
    same.begin(structs.replace(PLAN, release="thermostat 1.0.0", audience="device_id==nobody"))
    other = replace(campaign, rollout_id=0)
    other.draft(structs.replace(PLAN, release="thermostat 1.2.0", precedence=99))
    back = revert(campaign)
    other.steer(Verb.START)
    other.advance()
    assert {attempt.rollout_id for attempt in campaign.open_attempts()} == {back.rollout_id}
    finish(campaign, 16)
    assert back.counts().succeeded == 20
    assert (other.counts().succeeded, running(campaign)) == (20, {"1.2.0": 20})


def test_an_order_of_a_person_or_a_failure_makes_no_way_back(campaign: Campaign) -> None:
    update(campaign, 1)
    failed, ordered, *_ = campaign.open_attempts()
    campaign.fail(failed)
    campaign.tell(ordered, EventType.DOWNLOAD_STARTED)
    by_hand = [campaign.office.order("1.1.0", device_id) for device_id in (failed.device_id, ordered.device_id)]
    for attempt in by_hand:
        campaign.succeed(attempt)
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    finish(back)
    assert len(back.attempts()) == 1
    assert running(campaign) == {"1.0.0": 18, "1.1.0": 2}


def test_the_walk_of_a_revert_goes_along_an_index_and_comes_to_each_device_once(campaign: Campaign) -> None:
    update(campaign, plan=structs.replace(PLAN, retries=Retries(max=2, backoff="1m"), gate=Gates()))
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    # Second attempts of the same devices, as after tries that were given up too early.
    for number, attempt in enumerate(campaign.attempts()):
        campaign.office.ledger.put_attempt(structs.replace(attempt, assignment_id=AssignmentId(201 + number * 10)))
    rollouts, queries, stored = campaign.office.ledger.rollouts, list[str](), back.stored
    campaign.connection.set_trace_callback(queries.append)
    found = rollouts.walk(stored, 7)
    rest = rollouts.walk(replace(stored, walk=replace(stored.walk, place=found[-1].place, device_id=found[-1].device_id)), 100)
    assert rollouts.updated(campaign.rollout_id) == {"1.0.0": 20}
    campaign.connection.set_trace_callback(None)
    assert sorted(candidate.device_id for candidate in [*found, *rest]) == DEVICES
    for query in (query for query in queries if "assignment u" in query or "updated_from" in query):
        steps = [row[3] for row in campaign.connection.execute(f"EXPLAIN QUERY PLAN {query}")]
        assert any("updated_by_rollout (rollout_id=? AND updated_from" for step in steps), steps
        assert not any("SCAN" in step and "subquery" not in step for step in steps), steps
        assert not any("TEMP B-TREE" in step for step in steps), steps


@pytest.mark.parametrize(
    "breaks",
    [
        "INSERT ON rollout WHEN new.reverts IS NOT NULL",
        "INSERT ON decision WHEN new.rollout_id = 2",
        "UPDATE ON rollout WHEN new.rollout_id = 3",
        "INSERT ON act WHEN new.what = 'rollout.revert'",
    ],
)
def test_a_halt_that_cannot_take_devices_back_did_not_happen_and_is_made_again_whole(campaign: Campaign, breaks: str) -> None:
    for device_id in DEVICES[:5]:
        put_on(campaign.office, device_id, OLDEST)
    campaign.office.add_release("1.2.0", NEWER, rules={"revert_to": ["1.0.0", "0.9.0"]})
    update(campaign, 12, structs.replace(PLAN, release="thermostat 1.2.0", approve=["major"], on_halt="revert"))
    before = list(campaign.connection.iterdump())
    campaign.connection.execute(f"CREATE TEMP TRIGGER broken BEFORE {breaks} BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    with pytest.raises(sqlite3.IntegrityError, match="the disk is full"):
        campaign.steer(Verb.HALT, "no")
    assert list(campaign.connection.iterdump()) == before
    campaign.connection.execute("DROP TRIGGER broken")
    campaign.steer(Verb.HALT, "no")
    for verb in (Verb.HALT, Verb.REVERT):
        with pytest.raises(ConflictError):
            campaign.steer(verb, "no")
    assert campaign.connection.execute("SELECT rollout_id, reverts FROM rollout ORDER BY 1").fetchall() == [(1, None), (2, 1), (3, 1)]
    finish(campaign)
    assert running(campaign) == {"1.0.0": 15, "0.9.0": 5}


def told(campaign: Campaign, device_id: DeviceId, rollout_id: int) -> Answer:
    office = campaign.office
    sources = Sources(ledger=office.ledger, clues=SqliteClues(office.connection), live=office.live, offline_after=timedelta(hours=1))
    return why(sources, device_id, rollout_id, office.now).lines[0].answer


def test_why_says_who_is_taken_back_and_why_others_are_not(campaign: Campaign) -> None:
    update(campaign, 2)
    first, second = (attempt.device_id for attempt in campaign.attempts()[:2])
    other = next(device_id for device_id in DEVICES if device_id not in {first, second})
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    back.advance()
    (offered,) = (attempt.device_id for attempt in back.open_attempts())
    answers = {device_id: told(campaign, device_id, back.rollout_id) for device_id in (first, second, other)}
    (waiting,) = {first, second} - {offered}
    assert {device_id: answer.code for device_id, answer in answers.items()} == {
        offered: Code.OFFERED,
        waiting: Code.BATCH_AHEAD,
        other: Code.NOT_UPDATED,
    }
    assert answers[waiting].sentence.startswith("Rollout 1, which brought thermostat 1.1.0, is taken back. It comes in about batch")
    assert answers[other].sentence.startswith(
        "The rollout takes back only what rollout 1 updated to thermostat 1.1.0 from thermostat 1.0.0;"
    )


def test_a_stray_event_of_an_update_that_was_taken_back_changes_nothing(campaign: Campaign) -> None:
    update(campaign)
    campaign.steer(Verb.HALT, "no")
    back = revert(campaign)
    finish(back)
    first = campaign.attempts()[0]
    campaign.office.report(event(999, EventType.HEALTH_FAILED, first), device_id=first.device_id)
    back.advance(hours=2)
    assert (back.counts().succeeded, running(campaign)) == (20, {"1.0.0": 20})
