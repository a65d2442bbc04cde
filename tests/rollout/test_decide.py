# SPDX-License-Identifier: Apache-2.0
"""The engine: each rule by an example, and what holds for every plan, evidence and time."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.model.record import Record, from_json, to_json, utc_text
from surefoot.rollout.acts import approve, halt, pause, resume, schedule, start
from surefoot.rollout.ceiling import ceiling, next_batch
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Decision, Exclude, Halt, Hold, Pause, Resume
from surefoot.rollout.evidence import Counts, Evidence, Tally
from surefoot.rollout.ledger import Cell, Ledger
from surefoot.rollout.plan import Gates, Limits, Mark, Plan, Rollout, Stage, Status
from surefoot.rollout.standing import after
from tests.strategies import NOON, standings

STAGES = [Stage(name="canary", soak="1h"), Stage(name="general", batches=["1%", "50%", "100%"], soak="0s")]
PLAN = Plan(release="thermostat 1.2.3", stages=STAGES, gate=Gates(), watch="0s", limits=Limits(per_minute=100))
CANARY = Rollout(plan=PLAN, status=Status.RUNNING)
GENERAL = structs.replace(CANARY, stage=1)
AT = int(NOON.timestamp())
RUNNING = st.just(Status.RUNNING)
AT_REST = st.sampled_from([status for status in Status if status is not Status.RUNNING])
Standing = tuple[Rollout, Evidence, datetime]


class Stored(Record, frozen=True, kw_only=True):
    decision: Decision


def heard(stage: int = 0, population: int | None = 50, *, exhausted: bool = True, last_minute: int = 0, **counts: int) -> Evidence:
    return of(Counts(**counts), stage, population, exhausted=exhausted, last_minute=last_minute)


def of(counts: Counts, stage: int = 0, population: int | None = 50, *, exhausted: bool = True, last_minute: int = 0) -> Evidence:
    tallies = [Tally(stage=stage, hardware="v1", counts=counts)] if counts != Counts() else []
    return Evidence(tallies=tallies, population=population, is_exhausted=exhausted, offered_last_minute=last_minute)


def good(number: int) -> Counts:
    return Counts(offered=number, started=number, succeeded=number)


@pytest.mark.parametrize(
    ("rollout", "evidence", "cause", "says"),
    [
        (CANARY, heard(population=None), "counting", "The devices of stage canary are being counted."),
        (CANARY, heard(population=0), "empty_stage", "No device fits stage canary: put devices into it"),
        (CANARY, heard(exhausted=False), "offer", "Offer it to up to 50 more devices of stage canary."),
        (CANARY, heard(exhausted=False, last_minute=99), "limit", "Within a minute it was offered to 99 devices; the limit is 100."),
        (GENERAL, heard(1, 100, exhausted=False), "offer", "up to 1 more device of stage general, batch 1 of 3 (1%)."),
        (CANARY, heard(offered=5, rejected=5), "all_refused", "Nothing was learnt in stage canary: 5 devices refused it."),
        (
            CANARY,
            heard(offered=5, cancelled=5),
            "nothing_learnt",
            "Nothing was learnt in stage canary: 5 devices had another order, or did not",
        ),
        (CANARY, heard(offered=5, rejected=4), "evidence", "Stage canary: 0 of at least 1 attempts have ended."),
        (CANARY, heard(offered=30, succeeded=19, started=19), "evidence", "Stage canary: 19 of at least 20 attempts have ended."),
        (CANARY, heard(offered=50, succeeded=40, started=50), "unresolved", "10 of 50 devices that started have not ended yet."),
        (CANARY, of(good(50)), "soak", "Stage canary soaks until nine of ten good installs have run for 1h, at 2026-11-24T13:00:00Z."),
        (GENERAL, of(good(1), 1), "batch", "1 of 1 attempts in stage general went well: open stage general, batch 2 of 3 (50%)."),
    ],
)
def test_a_running_rollout_says_what_it_does_and_why(rollout: Rollout, evidence: Evidence, cause: str, says: str) -> None:
    decision = decide(rollout, evidence, NOON)
    assert (decision.cause, says in decision.reason) == (cause, True), decision.reason


def test_the_next_stage_opens_when_the_last_batch_has_soaked() -> None:
    soaked = structs.replace(CANARY, settled_at="2026-11-24T11:00:00Z", marks=[Mark(at=AT - 3_600, good=50)])
    decision = decide(soaked, of(good(50)), NOON)
    assert decision == Advance(
        cause="stage", reason="50 of 50 attempts in stage canary went well: open stage general, batch 1 of 3 (1%).", stage=1
    )


def test_a_batch_soaks_to_the_second() -> None:
    soaking = structs.replace(CANARY, settled_at="2026-11-24T11:00:01Z", marks=[Mark(at=AT - 3_599, good=50)])
    assert [decide(soaking, of(good(50)), NOON + timedelta(seconds=later)).cause for later in (0, 1)] == ["soak", "stage"]


def test_attempts_that_were_replaced_after_their_start_do_not_hold_a_batch_for_ever() -> None:
    assert decide(CANARY, heard(offered=30, started=30, succeeded=20, superseded=10), NOON).cause == "soak"


def test_a_rollout_ends_when_everybody_was_offered_it_and_has_ended() -> None:
    last = structs.replace(GENERAL, batch=2)
    decision = decide(last, heard(1, offered=200, started=200, succeeded=197, silent=3), NOON)
    assert decision.reason == "Finished: 197 of 200 attempts went well. 3 went silent."


@pytest.mark.parametrize(("still", "says"), [(1, "1 attempt is still open"), (2, "2 attempts are still open")])
def test_a_rollout_does_not_end_while_an_attempt_of_any_stage_is_open(still: int, says: str) -> None:
    last = structs.replace(GENERAL, batch=2)
    early = Tally(stage=0, hardware="v1", counts=Counts(offered=100, started=100, succeeded=100 - still))
    evidence = of(good(100), 1)
    decision = decide(last, structs.replace(evidence, tallies=[*evidence.tallies, early]), NOON)
    assert (decision.cause, says in decision.reason) == ("open_attempts", True)


def test_harm_in_a_stage_that_is_done_pauses_the_one_that_is_open() -> None:
    decision = decide(GENERAL, heard(0, offered=50, started=50, succeeded=40, failed=10), NOON)
    assert decision == Pause(
        cause="rollback_rate",
        reason="Paused: in stage canary, 10 of 50 devices failed, rolled back or went silent: 20%; the limit is 5%.",
    )


def test_a_gate_that_cannot_be_evaluated_holds() -> None:
    assert decide(CANARY, heard(offered=1, succeeded=2), NOON).cause == "gate_unreadable"


def test_a_decision_to_go_on_carries_the_warnings() -> None:
    assert decide(CANARY, heard(offered=50, started=50, succeeded=49, failed=1), NOON).warnings == [
        "In stage canary, 1 of 50 devices failed, rolled back or went silent: 2%; people are warned above 1%."
    ]


def test_evidence_of_a_stage_that_the_plan_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match="names stage 2; the plan has 2"):
        decide(CANARY, of(good(1), 2), NOON)


@pytest.mark.parametrize(("population", "most"), [(1, 1), (99, 1), (100, 1), (101, 2), (20_000, 200)])
def test_a_batch_is_rounded_up_to_whole_devices(population: int, most: int) -> None:
    assert ceiling(GENERAL, Evidence(population=population)) == most


def test_a_batch_that_adds_nobody_is_passed_over() -> None:
    stage = Stage(name="all", batches=["1%", "5%", "10%", "50%", "75%", "100%"], soak="6h")
    small = Rollout(plan=structs.replace(PLAN, stages=[stage]), status=Status.RUNNING)
    for population, opened in [(2, 4), (4, 3), (1_000, 1)]:
        first = ceiling(small, Evidence(population=population)) or 0
        done = good(first)
        rollout = structs.replace(small, marks=[Mark(at=AT, good=first)], settled_at=utc_text(NOON))
        decision = decide(rollout, of(done, population=population, exhausted=False), NOON + timedelta(hours=6))
        assert isinstance(decision, Advance)
        assert (decision.cause, decision.batch) == ("batch", opened)


@given(standings(RUNNING))
def test_no_batch_with_room_is_passed_over(standing: Standing) -> None:
    rollout, evidence, _ = standing
    taken, following = evidence.of_stage(rollout.stage).taken, next_batch(rollout, evidence)
    last = len(rollout.open_stage.batches) - 1
    for batch in range(rollout.batch + 1, last + 1 if following is None else following):
        most = ceiling(structs.replace(rollout, batch=batch), evidence)
        assert most is not None
        assert most <= taken
    assert (following is None) == (rollout.batch == last)


def test_the_whole_stage_has_no_ceiling_since_devices_may_join() -> None:
    assert ceiling(CANARY, Evidence(population=20)) is None


@pytest.mark.parametrize(
    ("act", "allowed"),
    [
        (lambda rollout: approve(rollout, "ada", "", "bob"), set()),
        (lambda rollout: schedule(rollout, "ada", "", "2030-01-01T00:00:00Z", NOON), {Status.DRAFT, Status.APPROVED, Status.SCHEDULED}),
        (lambda rollout: start(rollout, "ada"), {Status.DRAFT, Status.APPROVED, Status.SCHEDULED}),
        (lambda rollout: pause(rollout, "ada", ""), {Status.RUNNING}),
        (lambda rollout: resume(rollout, "ada", ""), {Status.PAUSED}),
        (lambda rollout: halt(rollout, "ada", ""), set(Status) - {Status.HALTED, Status.FINISHED}),
    ],
    ids=["approve", "schedule", "start", "pause", "resume", "halt"],
)
def test_people_may_do_what_the_status_allows(act: Callable[[Rollout], Decision], allowed: set[Status]) -> None:
    assert {status for status in Status if _is_allowed(act, structs.replace(CANARY, status=status, is_final=True))} == allowed


def _is_allowed(act: Callable[[Rollout], Decision], rollout: Rollout) -> bool:
    try:
        act(rollout)
    except ConflictError:
        return False
    return True


@pytest.mark.parametrize(("status", "does"), [(Status.PAUSED, "resume"), (Status.RUNNING, "show")])
def test_who_starts_twice_is_told_what_to_do_instead(status: Status, does: str) -> None:
    with pytest.raises(ConflictError) as refused:
        start(structs.replace(CANARY, status=status), "ada")
    assert f"'surefoot rollout {does} ROLLOUT'" in refused.value.hint


def test_a_decision_of_a_person_names_who_and_why() -> None:
    reasons = [
        start(structs.replace(CANARY, status=Status.DRAFT), "ada").reason,
        pause(CANARY, "ada", "the line is down. ").reason,
        resume(structs.replace(CANARY, status=Status.PAUSED), "bob", "").reason,
        halt(CANARY, "bob", "wrong build").reason,
    ]
    assert reasons == ["Started by ada.", "Paused by ada: the line is down.", "Resumed by bob.", "Halted by bob: wrong build."]


def test_a_halt_cannot_be_resumed_and_says_what_to_do() -> None:
    with pytest.raises(ConflictError, match="create a new rollout"):
        resume(structs.replace(CANARY, status=Status.HALTED, is_final=True), "ada", "")


@pytest.mark.parametrize(
    ("decision", "changes"),
    [
        (Advance(cause="offer", reason="", offers=3), {}),
        (Advance(cause="batch", reason="", stage=1, batch=2), {"stage": 1, "batch": 2, "settled_at": "", "opened_at": AT}),
        (Advance(cause="end", reason="", is_end=True), {"status": Status.FINISHED}),
        (Hold(cause="evidence", reason=""), {}),
        (Hold(cause="soak", reason="", is_settled=True), {}),
        (Pause(cause="person", reason=""), {"status": Status.PAUSED, "was_paused": True}),
        (
            Resume(cause="person", reason="", by="ada"),
            {"acknowledged": [Counts(offered=4)], "ledger": Ledger(at=AT, cells=[Cell(hardware="v1")])},
        ),
        (Halt(cause="person", reason="", by="ada"), {"status": Status.HALTED, "is_final": True}),
        (Halt(cause="not_localised", reason=""), {"status": Status.HALTED}),
        (Exclude(cause="localised", reason="", hardware=["v1"]), {"excluded": ["v1"]}),
    ],
)
def test_a_decision_changes_where_the_rollout_stands(decision: Decision, changes: dict[str, object]) -> None:
    standing = structs.replace(CANARY, settled_at="2026-11-24T11:00:00Z")
    assert after(standing, decision, heard(offered=4), NOON) == structs.replace(standing, **changes)


def test_a_batch_soaks_from_the_first_decision_that_found_it_settled() -> None:
    assert after(CANARY, Hold(cause="soak", reason="", is_settled=True), heard(), NOON).settled_at == "2026-11-24T12:00:00Z"


def test_a_batch_is_not_settled_by_what_earlier_batches_told() -> None:
    first = structs.replace(GENERAL, settled_at="2026-11-24T11:00:00Z")
    told = of(good(30), stage=1, population=3_000, exhausted=False)
    second = after(first, decide(first, told, NOON), told, NOON)
    offered = of(Counts(offered=60, started=30, succeeded=30), stage=1, population=60)
    assert (second.batch, decide(second, offered, NOON).cause) == (1, "evidence")


@given(standings())
def test_deciding_twice_gives_the_same_answer(standing: Standing) -> None:
    assert decide(*standing) == decide(*standing)


@given(standings())
def test_a_decision_can_be_made_again_from_what_was_stored_of_it(standing: Standing) -> None:
    rollout, evidence, now = standing
    again = decide(from_json(to_json(rollout), Rollout, what="it"), from_json(to_json(evidence), Evidence, what="it"), now)
    assert from_json(to_json(Stored(decision=decide(*standing))), Stored, what="it").decision == again


@given(standings())
def test_where_a_rollout_stands_after_a_decision_survives_being_stored(standing: Standing) -> None:
    following = after(standing[0], decide(*standing), *standing[1:])
    assert from_json(to_json(following), Rollout, what="it") == following


@given(standings())
def test_offers_stay_within_batch_and_limit(standing: Standing) -> None:
    rollout, evidence, _ = standing
    decision = decide(*standing)
    offers = decision.offers if isinstance(decision, Advance) else 0
    most = ceiling(rollout, evidence)
    taken = evidence.of_stage(rollout.stage).taken
    assert offers == 0 or (
        evidence.offered_last_minute + offers <= rollout.plan.limits.per_minute and (most is None or taken + offers <= most)
    )


@given(standings(AT_REST))
def test_a_rollout_that_does_not_run_only_holds(standing: Standing) -> None:
    decision = decide(*standing)
    assert (type(decision), after(standing[0], decision, *standing[1:])) == (Hold, standing[0])


@given(standings(RUNNING), st.data())
def test_counts_that_contradict_one_another_hold_whatever_else_is_there(standing: Standing, data: st.DataObject) -> None:
    rollout, evidence, now = standing
    name = data.draw(st.sampled_from(["succeeded", "failed", "cancelled", "started", "unhealthy"]))
    wrong = evidence.of_stage(0).offered + 1
    tally = Tally(stage=0, hardware="v9", counts=Counts(**{name: data.draw(st.sampled_from([wrong, -wrong]))}))
    decision = decide(rollout, structs.replace(evidence, tallies=[tally, *evidence.tallies]), now)
    assert (type(decision), decision.cause) == (Hold, "gate_unreadable")


@given(standings(RUNNING))
def test_a_running_rollout_goes_forward_and_never_back(standing: Standing) -> None:
    following = after(standing[0], decide(*standing), *standing[1:])
    assert (following.stage, following.batch) >= (standing[0].stage, standing[0].batch)


@given(standings(st.just(Status.PAUSED)))
def test_a_person_who_resumes_is_not_told_the_same_again(standing: Standing) -> None:
    rollout, evidence, now = standing
    resumed = after(rollout, resume(rollout, "ada", "seen"), evidence, now)
    assert not isinstance(decide(resumed, evidence, now), Pause)
