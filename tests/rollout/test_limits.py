# SPDX-License-Identifier: Apache-2.0
"""Limits: what is offered now stays within each of them, and what holds it up is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Hold
from surefoot.rollout.evidence import Counts, Evidence, Tally
from surefoot.rollout.limits import is_held, tightest
from surefoot.rollout.plan import Gates, Limits, Plan, Rollout, Stage, Status
from tests.strategies import NOON

LIMITS = st.builds(
    Limits,
    per_minute=st.integers(1, 2_000),
    per_hour=st.none() | st.integers(1, 20_000),
    concurrent_downloads=st.none() | st.integers(1, 5_000),
)
TRAFFIC = st.builds(
    Evidence,
    population=st.just(100_000),
    offered_last_minute=st.integers(0, 3_000),
    offered_last_hour=st.integers(0, 30_000),
    fetching=st.integers(0, 6_000),
    tallies=st.integers(0, 6_000).map(lambda number: [Tally(stage=0, hardware="v1", counts=Counts(offered=number))]),
)


def decided(limits: Limits, evidence: Evidence) -> object:
    plan = Plan(release="thermostat 1.2.3", stages=[Stage(name="all")], gate=Gates(), limits=limits)
    return decide(Rollout(plan=plan, status=Status.RUNNING), evidence, NOON)


@given(LIMITS, TRAFFIC)
def test_no_limit_is_ever_passed(limits: Limits, evidence: Evidence) -> None:
    decision = decided(limits, evidence)
    if isinstance(decision, Hold):
        assert (decision.cause, is_held(tightest(limits, evidence, 100_000), 100_000)) == ("limit", True)
        return
    assert isinstance(decision, Advance)
    assert decision.offers > 0
    assert evidence.offered_last_minute + decision.offers <= limits.per_minute
    assert limits.per_hour is None or evidence.offered_last_hour + decision.offers <= limits.per_hour
    waiting = sum(tally.counts.offered for tally in evidence.tallies)
    fetching = evidence.fetching + min(waiting, evidence.offered_last_hour)
    assert limits.concurrent_downloads is None or fetching + decision.offers <= limits.concurrent_downloads


@pytest.mark.parametrize(
    ("limits", "evidence", "says"),
    [
        (Limits(per_minute=6), Evidence(offered_last_minute=6), "Within a minute it was offered to 6 devices; the limit is 6."),
        (Limits(per_hour=40), Evidence(offered_last_hour=37), "Within an hour it was offered to 37 devices; the limit is 40."),
        (
            Limits(concurrent_downloads=10),
            Evidence(fetching=4, offered_last_hour=6, tallies=[Tally(stage=0, hardware="v1", counts=Counts(offered=6))]),
            "10 devices may be fetching it at once; the limit is 10.",
        ),
    ],
)
def test_what_holds_it_up_is_said(limits: Limits, evidence: Evidence, says: str) -> None:
    room = tightest(limits, evidence, 1_000)
    assert (is_held(room, 1_000), room.reason) == (True, says)


def test_what_is_left_is_dealt_out_in_portions_unless_fewer_are_wanted() -> None:
    limits, evidence = Limits(per_hour=40), Evidence(offered_last_hour=37)
    assert [is_held(tightest(limits, evidence, wanted), wanted) for wanted in (3, 4)] == [False, True]
