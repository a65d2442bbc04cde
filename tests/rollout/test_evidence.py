# SPDX-License-Identifier: Apache-2.0
"""Evidence: counters that are moved by differences are what counting anew gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.assignment import Outcome
from surefoot.model.errors import FormatError
from surefoot.model.record import from_json, to_json
from surefoot.rollout.evidence import FIELDS, Counts, Evidence, Facts, Tally, counts_of, total
from surefoot.rollout.simple_gate import contradiction
from tests.strategies import counts, evidences, facts


@given(st.lists(st.tuples(facts(), facts()), max_size=20), st.data())
def test_a_counter_moved_by_what_each_event_changes_is_what_counting_anew_gives(
    changes: list[tuple[Facts, Facts]], data: st.DataObject
) -> None:
    counter = total(counts_of(before) for before, _ in changes)
    for before, now in data.draw(st.permutations(changes)):
        counter = counter.plus(counts_of(now).minus(counts_of(before)))
    assert counter == total(counts_of(now) for _, now in changes)


@given(counts(), counts())
def test_taking_away_what_was_added_leaves_what_was_there(one: Counts, other: Counts) -> None:
    assert one.plus(other).minus(other) == one


@given(counts())
def test_three_times_as_much_is_what_three_alike_add_up_to(one: Counts) -> None:
    assert one.times(3) == one.plus(one).plus(one)


@given(facts())
def test_an_attempt_is_offered_once_and_either_open_or_ended(attempt: Facts) -> None:
    one = counts_of(attempt)
    assert (one.offered, one.open, one.ended) == (1, int(attempt.outcome is None), int(attempt.outcome is not None))


@given(counts())
def test_counts_of_attempts_never_contradict_one_another(value: Counts) -> None:
    assert contradiction(value) == ""


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_says_something_of_the_release_unless_people_or_rules_ended_it(outcome: Outcome) -> None:
    says_something = outcome not in (Outcome.CANCELLED, Outcome.SUPERSEDED, Outcome.REJECTED)
    assert counts_of(Facts(outcome=outcome)).resolved == int(says_something)


@pytest.mark.parametrize("outcome", Outcome)
def test_harm_is_a_failure_a_rollback_or_silence(outcome: Outcome) -> None:
    assert counts_of(Facts(outcome=outcome)).harmed == int(outcome in (Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.SILENT))


def test_a_withdrawn_offer_that_was_carried_out_and_failed_is_harm() -> None:
    assert counts_of(Facts(outcome=Outcome.CANCELLED, is_late_bad=True)).harmed == 1


@pytest.mark.parametrize("outcome", Outcome)
def test_a_place_in_the_batch_is_free_again_when_the_offer_was_withdrawn_refused_or_replaced(outcome: Outcome) -> None:
    freed = (Outcome.CANCELLED, Outcome.REJECTED, Outcome.SUPERSEDED)
    assert counts_of(Facts(outcome=outcome)).taken == int(outcome not in freed)


def test_every_outcome_has_a_counter() -> None:
    assert [outcome for outcome in Outcome if outcome.value not in FIELDS] == []


def test_a_stage_is_all_its_segments_and_no_other_stage() -> None:
    places = [(0, "v1", ""), (0, "v2", "eu"), (1, "v1", "")]
    tallies = [Tally(stage=stage, hardware=board, region=region, counts=Counts(offered=3)) for stage, board, region in places]
    assert Evidence(tallies=tallies).of_stage(0) == Counts(offered=6)


@given(evidences(3))
def test_evidence_survives_being_stored(evidence: Evidence) -> None:
    assert from_json(to_json(evidence), Evidence, what="evidence") == evidence


@pytest.mark.parametrize(
    "text", ['{"population":-1}', '{"offered_last_minute":-1}', '{"tallies":[{"stage":-1,"hardware":"v1","counts":{}}]}']
)
def test_evidence_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="evidence"):
        from_json(text.encode(), Evidence, what="evidence")
