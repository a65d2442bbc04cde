# SPDX-License-Identifier: Apache-2.0
"""Tests of ``surefoot rollout show --follow``: each decision is said once, in its order, until nothing more is to come."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from surefoot.cli.rollout_show import follow, next_steps, say_standing
from surefoot.model.record import utc_text
from surefoot.rollout.acts import halt, pause, resume, start
from surefoot.rollout.control import Region
from surefoot.rollout.decision import Advance, Decision, WayBack
from surefoot.rollout.evidence import Counts, Evidence, Tally
from surefoot.rollout.plan import Plan, PlanApproval, Rollout, Security, Stage, Status
from surefoot.rollout.sequence import draft
from surefoot.rollout.standing import after
from surefoot.rollout.urgency import raised
from surefoot.rollout.way_back import reverted
from surefoot.server.services.catalogue import RolloutStory, StoredDecision
from tests.server.showroom import BEGIN

FINISHED = Advance(cause="end", reason="Finished: 3 of 3 attempts went well.", is_end=True)


class Past:
    """A rollout of which more is known each time somebody has waited."""

    def __init__(self) -> None:
        self.rollout = Rollout(plan=Plan(release="lamp 1.0.0"))
        self.evidence = Evidence()
        self.decisions: list[StoredDecision] = []
        self.to_come: list[Decision] = []

    def look(self) -> RolloutStory:
        return RolloutStory(
            rollout_id=1,
            created_at=utc_text(BEGIN),
            created_by="ada",
            rollout=self.rollout,
            evidence=self.evidence,
            decisions=self.decisions,
            alarms=raised(self.rollout),
        )

    def wait(self) -> None:
        self.decide(self.to_come.pop(0))

    def decide(self, decision: Decision) -> None:
        number, now = len(self.decisions) + 1, BEGIN + timedelta(seconds=len(self.decisions))
        stored = StoredDecision(number=number, at=utc_text(now), decision=decision, rollout=self.rollout, evidence=Evidence())
        self.decisions = [stored, *self.decisions]
        self.rollout = after(self.rollout, decision, Evidence(), now)


@pytest.fixture
def past() -> Past:
    past = Past()
    past.decide(start(past.rollout, "ada"))
    return past


def test_each_decision_is_said_once_until_the_end(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    offer = Advance(cause="offer", reason="Offer it to up to 3 more devices of stage general.", offers=3, warnings=["Mind the gap."])
    past.to_come = [offer, FINISHED]
    assert follow(past.look, past.wait).rollout.status is Status.FINISHED
    assert [line[22:] for line in capsys.readouterr().out.splitlines()] == [
        "start    Started by ada.",
        "advance  Offer it to up to 3 more devices of stage general.",
        "warning  Mind the gap.",
        "advance  Finished: 3 of 3 attempts went well.",
    ]


def test_a_pause_ends_it_and_so_does_a_halt(past: Past) -> None:
    past.to_come = [pause(past.rollout, "ada", "lunch"), FINISHED]
    assert follow(past.look, past.wait).rollout.status is Status.PAUSED
    past.decide(resume(past.rollout, "ada", ""))
    past.to_come = [halt(past.rollout, "ada", "it smells"), FINISHED]
    assert follow(past.look, past.wait).rollout.status is Status.HALTED
    assert past.to_come == [FINISHED]


def test_what_was_not_started_is_not_waited_for() -> None:
    assert follow(Past().look, pytest.fail).rollout.status is Status.DRAFT


def test_it_says_what_is_excluded_and_held_and_how_many_are_at_risk(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    regions = [Region(region="eu", is_held=True), Region(region="", is_held=True, needs_person=True), Region(region="us")]
    past.rollout = structs.replace(past.rollout, excluded=["rev-C"], regions=regions)
    past.evidence = Evidence(population=10_000, tallies=[Tally(stage=0, hardware="rev-B", counts=Counts(offered=7, started=2))])
    say_standing(past.look())
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()[2:]] == [
        "> general      7 offered, 0 succeeded, 7 open; at batch 1 of 6 (1%)",
        "  in all       7 offered, 0 succeeded, 7 open",
        "excluded   hardware rev-C; a person includes it: surefoot rollout include 1 rev-C --why REASON",
        "held       region eu; it goes on by itself after half an hour of calm",
        "held       region (none); a person ends it: surefoot rollout release 1 '' --why REASON",
        "at risk    7 devices, of at most 10",
    ]


def test_only_the_open_stage_has_a_batch_and_those_after_it_are_to_come(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    stages = [Stage(name="canary"), Stage(name="pilot", batches=["5%", "50%", "100%"]), Stage(name="rest", batches=["100%"])]
    past.rollout = Rollout(plan=Plan(release="lamp 1.0.0", stages=stages), status=Status.RUNNING, stage=1, batch=2)
    say_standing(past.look())
    assert [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()[2:5]] == [
        "0 offered, 0 succeeded",
        "pilot        0 offered, 0 succeeded; at batch 3 of 3 (100%)",
        "to come",
    ]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"status": Status.DRAFT}, ["Next: surefoot rollout start 1"]),
        (
            {"status": Status.DRAFT, "plan": Plan(release="lamp 1.0.0", approval=PlanApproval(required=True))},
            ["Next: another operator than ada says: surefoot rollout approve 1"],
        ),
        (
            {"status": Status.SCHEDULED, "starts_at": "2026-12-01T02:00:00Z"},
            ["Next: it starts by itself at 2026-12-01T02:00:00Z; to start it now: surefoot rollout start 1"],
        ),
        ({"status": Status.RUNNING}, ["Next: it goes on by itself; to follow it: surefoot rollout show 1 --follow"]),
        (
            {"status": Status.PAUSED, "localise_at": 1_800_000_000},
            [
                "Next: at 2027-01-15T08:00:00Z the gate looks for the culprit, by itself; to go on: surefoot rollout resume 1 --why REASON",
                "      to end it: surefoot rollout halt 1 --why REASON",
            ],
        ),
        (
            {"status": Status.HALTED},
            [
                "Next: a new rollout; to take back what it updated: surefoot rollout revert 1 --why REASON",
                "      against its gate: surefoot rollout resume 1 --why REASON",
            ],
        ),
        (
            {"status": Status.HALTED, "is_final": True},
            ["Next: a new rollout; to take back what it updated: surefoot rollout revert 1 --why REASON"],
        ),
        ({"status": Status.HALTED, "is_final": True, "reverts": 7}, []),
        (
            {"status": Status.HALTED, "reverts": 7},
            ["Next: a new rollout; against its gate: surefoot rollout resume 1 --why REASON"],
        ),
        ({"status": Status.FINISHED}, []),
    ],
)
def test_what_comes_next_is_said_with_the_number(past: Past, changes: dict[str, Any], lines: list[str]) -> None:
    past.rollout = structs.replace(past.rollout, **changes)
    assert next_steps(past.look()) == lines


def test_a_rollout_that_is_taken_back_names_the_one_that_does(past: Past) -> None:
    past.decide(halt(past.rollout, "ada", "crashes"))
    ways = [WayBack(version="0.8.0", devices=1, obstacle="It is retired."), WayBack(version="0.9.0", devices=3, rollout_id=9)]
    past.decide(reverted("person", "Taken back by ada.", "ada", ways))
    assert next_steps(past.look()) == ["Next: rollout 9 takes back what it updated: surefoot rollout show 9 --follow"]


def test_a_rollout_whose_counts_cannot_be_is_shown_without_a_budget(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    past.evidence = Evidence(population=10_000, tallies=[Tally(stage=0, hardware="rev-B", counts=Counts(started=2))])
    say_standing(past.look())
    assert "at risk" not in capsys.readouterr().out


def test_a_pause_past_the_security_deadline_is_an_alarm(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(release="lamp 1.0.0", security=Security(deadline="2026-01-01T00:00:00Z"))
    past.rollout = structs.replace(past.rollout, status=Status.PAUSED, plan=plan, is_alarmed=True)
    say_standing(past.look())
    assert "alarm      Its security deadline was 2026-01-01T00:00:00Z, and it is paused" in capsys.readouterr().out


def test_a_stage_by_region_is_said_as_people_wrote_it(past: Past, capsys: pytest.CaptureFixture[str]) -> None:
    written = Plan(release="lamp 1.0.0", stages=[Stage(name="general", order_by=[{"region": ["eu", "na"]}])])
    past.rollout = draft(written)
    say_standing(past.look())
    said = capsys.readouterr().out
    assert "order      general by region: eu, na, then the others" in said
    assert [line.split()[0] for line in said.splitlines()[2:6]] == [">", "general-na", "general-others", "in"]
