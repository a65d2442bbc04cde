# SPDX-License-Identifier: Apache-2.0
"""Tests of what people say before a rollout runs: approval by a second person, a time to start at, one rollout of a release at once."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.model.assignment import DeviceId
from surefoot.model.errors import ConflictError, DeniedError, InvalidInput
from surefoot.model.record import utc_text
from surefoot.rollout.decision import Approve, Hold, Resume, Schedule
from surefoot.rollout.plan import Gates, Plan, PlanApproval, Stage, Status
from surefoot.server.services.rollouts import Verb
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import open_office, statement

PLAIN = Plan(release="thermostat 1.1.0", gate=Gates(), watch="0s", stages=[Stage(name="all", soak="10s")])
CAREFUL = structs.replace(PLAIN, approval=PlanApproval(required=True))


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", b"new image")
        for number in range(4):
            office.ledger.put_report(office.add_device(DeviceId(f"t-{number}")), statement(OLD_IMAGE))
        yield Campaign(office=office)


def status(campaign: Campaign) -> Status:
    return campaign.status


def later(campaign: Campaign, **duration: float) -> str:
    return utc_text(campaign.office.now + timedelta(**duration))


def test_nothing_runs_that_its_plan_wants_approved_until_a_second_person_has(campaign: Campaign) -> None:
    campaign.draft(CAREFUL)
    for verb in (Verb.START, Verb.SCHEDULE):
        with pytest.raises(ConflictError, match="not been approved"):
            campaign.steer(verb, at=later(campaign, hours=1))
    with pytest.raises(DeniedError, match="second person"):
        campaign.steer(Verb.APPROVE)
    campaign.advance(hours=1)
    assert (status(campaign), campaign.open_attempts()) == (Status.DRAFT, [])
    campaign.steer(Verb.APPROVE, "tried it on the bench", by="bob")
    campaign.advance(hours=1)
    assert (status(campaign), campaign.open_attempts()) == (Status.APPROVED, [])
    campaign.steer(Verb.START)
    campaign.advance()
    assert len(campaign.open_attempts()) == 4


def test_what_to_do_instead_is_said_with_the_number_of_the_rollout(campaign: Campaign) -> None:
    campaign.draft(CAREFUL)
    with pytest.raises(ConflictError) as refused:
        campaign.steer(Verb.START)
    assert refused.value.hint == f"Let a second person say 'surefoot rollout approve {campaign.rollout_id}'."


def test_an_approval_is_kept_with_its_name_and_reason(campaign: Campaign) -> None:
    campaign.draft(CAREFUL)
    campaign.steer(Verb.APPROVE, "tried it on the bench", by="bob")
    assert campaign.stored.rollout.approved_by == "bob"
    assert campaign.decisions()[-1].decision == Approve(cause="approved", reason="Approved by bob: tried it on the bench.", by="bob")
    acts = campaign.connection.execute("SELECT by, what FROM act ORDER BY act_id DESC LIMIT 1").fetchone()
    assert acts == ("bob", "rollout.approve")


def test_a_plan_may_let_its_writer_approve(campaign: Campaign) -> None:
    campaign.draft(structs.replace(PLAIN, approval=PlanApproval(required=True, second_person=False)))
    campaign.steer(Verb.APPROVE)
    assert status(campaign) is Status.APPROVED


def test_what_asks_for_no_approval_or_has_it_is_not_approved(campaign: Campaign) -> None:
    campaign.draft(PLAIN)
    with pytest.raises(ConflictError, match="asks for no approval"):
        campaign.steer(Verb.APPROVE, by="bob")


def test_a_scheduled_rollout_starts_when_its_time_comes_and_not_before(campaign: Campaign) -> None:
    campaign.draft(PLAIN)
    at = later(campaign, hours=2)
    campaign.steer(Verb.SCHEDULE, at=at)
    assert campaign.decisions()[-1].decision == Schedule(cause="scheduled", reason=f"Scheduled by ann to start at {at}.", by="ann", at=at)
    campaign.advance(hours=2, seconds=-1)
    assert (status(campaign), campaign.open_attempts()) == (Status.SCHEDULED, [])
    campaign.advance(seconds=1)
    campaign.advance(seconds=1)
    assert (status(campaign), len(campaign.open_attempts())) == (Status.RUNNING, 4)
    assert campaign.made_again() >= 2


def test_a_person_may_start_a_scheduled_rollout_now_or_say_another_time(campaign: Campaign) -> None:
    campaign.draft(PLAIN)
    campaign.steer(Verb.SCHEDULE, at=later(campaign, hours=1))
    campaign.steer(Verb.SCHEDULE, at=later(campaign, hours=3))
    campaign.advance(hours=2)
    assert status(campaign) is Status.SCHEDULED
    campaign.steer(Verb.START)
    assert status(campaign) is Status.RUNNING


def test_a_plan_with_a_time_is_scheduled_as_it_is_created(campaign: Campaign) -> None:
    campaign.draft(structs.replace(PLAIN, start_at=later(campaign, hours=1)))
    assert status(campaign) is Status.SCHEDULED
    campaign.advance(hours=1)
    assert status(campaign) is Status.RUNNING


def test_a_plan_with_a_time_that_wants_approval_is_scheduled_by_it(campaign: Campaign) -> None:
    campaign.draft(structs.replace(CAREFUL, start_at=later(campaign, hours=1)))
    campaign.advance(minutes=30)
    assert status(campaign) is Status.DRAFT
    campaign.steer(Verb.APPROVE, by="bob")
    assert status(campaign) is Status.SCHEDULED


def test_an_approval_that_comes_after_the_planned_time_leaves_the_start_to_a_person(campaign: Campaign) -> None:
    campaign.draft(structs.replace(CAREFUL, start_at=later(campaign, hours=1)))
    campaign.advance(hours=2)
    campaign.steer(Verb.APPROVE, by="bob")
    campaign.advance(hours=2)
    assert status(campaign) is Status.APPROVED


@pytest.mark.parametrize("at", ["tomorrow", "2026-02-30T00:00:00Z", "", "2020-01-01T00:00:00Z"])
def test_a_time_that_is_none_or_has_passed_is_refused(campaign: Campaign, at: str) -> None:
    campaign.draft(PLAIN)
    with pytest.raises(InvalidInput):
        campaign.steer(Verb.SCHEDULE, at=at)
    assert status(campaign) is Status.DRAFT


def test_a_plan_whose_time_has_passed_is_refused_whole(campaign: Campaign) -> None:
    with pytest.raises(InvalidInput, match="has passed"):
        campaign.draft(structs.replace(PLAIN, start_at=later(campaign, hours=-1)))
    assert campaign.connection.execute("SELECT count(*) FROM rollout").fetchone() == (0,)


def test_of_two_rollouts_of_one_release_only_one_is_under_way(campaign: Campaign) -> None:
    campaign.begin(PLAIN)
    campaign.draft(PLAIN)
    with pytest.raises(ConflictError) as refused:
        campaign.steer(Verb.START)
    assert "surefoot rollout halt 1" in refused.value.hint
    campaign.steer(Verb.SCHEDULE, at=later(campaign, minutes=1))
    campaign.advance(minutes=2)
    decision = campaign.decisions()[-1].decision
    assert isinstance(decision, Hold)
    assert (status(campaign), decision.cause) == (Status.SCHEDULED, "same_release")
    first, campaign.rollout_id = campaign.rollout_id, 1
    campaign.steer(Verb.HALT, "the other plan is better")
    campaign.rollout_id = first
    campaign.advance(seconds=1)
    assert isinstance(campaign.decisions()[-1].decision, Resume)
    assert status(campaign) is Status.RUNNING


def test_a_release_that_was_retired_meanwhile_does_not_start(campaign: Campaign) -> None:
    campaign.draft(PLAIN)
    campaign.steer(Verb.SCHEDULE, at=later(campaign, minutes=1))
    campaign.office.ledger.set_retired("thermostat", "1.1.0", is_retired=True)
    campaign.advance(minutes=2)
    assert status(campaign) is Status.SCHEDULED
    assert "is retired" in campaign.decisions()[-1].decision.reason
    with pytest.raises(ConflictError, match="retired"):
        campaign.steer(Verb.START)
