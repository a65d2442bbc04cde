# SPDX-License-Identifier: Apache-2.0
"""Tests of what the console offers to do with a rollout: all that the acts allow, and nothing else."""

from contextlib import nullcontext

import pytest

from surefoot.model.errors import ConflictError, DeniedError, InvalidInput
from surefoot.server.services.rollouts import SteerRequest, Verb
from surefoot.server.ui.deed import Asks, Deed, deeds, key_of, waits_for
from tests.server.showroom import APPROVABLE, CULPRIT, CULPRITS, FINISHED, GATE_HALTED, HELD, OWN, PAUSED, RUNNING, SCHEDULED, Showroom

BY = "ada"
ROLLOUTS = sorted(Showroom().shows)
ACTS = [
    *((verb, "") for verb in Verb if verb not in {Verb.INCLUDE, Verb.RELEASE}),
    *((Verb.INCLUDE, name) for name in CULPRITS),
    *((Verb.RELEASE, name) for name in HELD),
]


def shown(rollout_id: int, showroom: Showroom | None = None) -> dict[str, Deed]:
    return {deed.key: deed for deed in deeds((showroom or Showroom()).rollout(rollout_id), BY)}


def said(verb: Verb, of: str, why: str = "seen") -> SteerRequest:
    return SteerRequest(why=why, of=of, at="2026-12-24T02:00:00Z" if verb is Verb.SCHEDULE else "")


@pytest.mark.parametrize("rollout_id", ROLLOUTS)
@pytest.mark.parametrize(("verb", "of"), ACTS)
def test_an_act_is_offered_when_it_would_be_done_and_only_then(rollout_id: int, verb: Verb, of: str) -> None:
    showroom = Showroom()
    try:
        showroom.shows[rollout_id].steer(verb, BY, said(verb, of))
        is_done = True
    except (ConflictError, DeniedError):
        is_done = False
    assert (key_of(verb, of) in shown(rollout_id)) is is_done


@pytest.mark.parametrize("rollout_id", ROLLOUTS)
def test_a_reason_must_be_given_where_the_act_wants_one(rollout_id: int) -> None:
    # A halt without a reason is refused by the console and the command, not by the act.
    for deed in (deed for deed in shown(rollout_id).values() if deed.verb is not Verb.HALT):
        show = Showroom().shows[rollout_id]
        with pytest.raises(InvalidInput) if deed.asks is Asks.MUST else nullcontext():
            show.steer(deed.verb, BY, said(deed.verb, deed.of, ""))


@pytest.mark.parametrize(
    ("rollout_id", "keys"),
    [
        (RUNNING, ["pause", "halt"]),
        (PAUSED, ["resume", "halt"]),
        (APPROVABLE, ["approve", "halt"]),
        (OWN, ["halt"]),
        (SCHEDULED, ["start", "schedule", "halt"]),
        (CULPRIT, ["pause", "include-rev-C", "release", "release-eu", "halt"]),
        (GATE_HALTED, ["resume", "revert", "halt"]),
        (FINISHED, ["revert"]),
    ],
)
def test_the_likeliest_act_comes_first_and_the_gravest_last(rollout_id: int, keys: list[str]) -> None:
    assert list(shown(rollout_id)) == keys


def test_after_a_halt_by_a_person_there_is_only_the_way_back() -> None:
    showroom = Showroom()
    showroom.shows[CULPRIT].steer(Verb.HALT, BY, said(Verb.HALT, ""))
    assert list(shown(CULPRIT, showroom)) == ["revert"]


def test_only_who_wrote_the_rollout_is_told_that_it_waits_for_somebody_else() -> None:
    story = Showroom().rollout(OWN)
    assert "second person" in waits_for(story, BY)
    assert waits_for(story, "bob") == ""
