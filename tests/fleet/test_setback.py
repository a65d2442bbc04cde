# SPDX-License-Identifier: Apache-2.0
"""Tests of setbacks: how often and when a device that failed is tried again, and when it is not tried any more."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.fleet.attempt import Attempt, end
from surefoot.fleet.setback import LONGEST_WAIT_S, Setback, next_setback, quarantined
from surefoot.model.assignment import AssignmentId, DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.record import parse_utc, utc_text
from tests.strategies import NOON

OPEN = Attempt(
    assignment_id=AssignmentId(1),
    device_id=DeviceId("t-1"),
    product="thermostat",
    version="1.1.0",
    variant="release",
    hardware="thermostat-v1",
    path="x",
    hash=digest_of(b"x"),
    size=1,
    issued_at=utc_text(NOON),
    start_before=utc_text(NOON),
    deadline_s=60,
    rollout_id=1,
    is_started=True,
)
BAD = st.sampled_from([Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.SILENT])


def after(known: Setback | None, outcome: Outcome, most: int = 2, backoff_s: int = 3_600) -> Setback | None:
    return next_setback(known, OPEN, end(OPEN, outcome, utc_text(NOON)), most=most, backoff_s=backoff_s)


def waits(known: Setback | None) -> int:
    assert known is not None
    return int((parse_utc(known.retry_at) - NOON).total_seconds())


@given(st.lists(BAD, min_size=1, max_size=14), st.integers(0, 10), st.integers(60, 30 * 86_400))
def test_a_device_is_tried_again_as_often_as_the_plan_says_and_then_quarantined(outcomes: list[Outcome], most: int, backoff_s: int) -> None:
    known: Setback | None = None
    for number, outcome in enumerate(outcomes):
        known = after(known, outcome, most, backoff_s)
        assert known is not None
        assert known.failures == number + 1
        assert bool(known.retry_at) != bool(known.quarantined_at)
        assert bool(known.quarantined_at) == (number + 1 > most)
        if known.retry_at:
            assert waits(known) == min(LONGEST_WAIT_S, backoff_s * 2**number)


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.SUPERSEDED, Outcome.CANCELLED])
def test_what_says_nothing_of_the_release_is_no_setback(outcome: Outcome) -> None:
    assert after(None, outcome) is None


def test_a_device_that_runs_it_well_after_all_is_forgiven() -> None:
    silent = end(OPEN, Outcome.SILENT, utc_text(NOON))
    known = next_setback(None, OPEN, silent, most=0, backoff_s=60)
    assert known is not None
    assert known.quarantined_at
    assert next_setback(known, silent, structs.replace(silent, is_late_good=True), most=0, backoff_s=60) is None
    assert after(known, Outcome.SUCCEEDED) is None


def test_a_withdrawn_offer_that_failed_all_the_same_is_a_failure_once() -> None:
    withdrawn = end(OPEN, Outcome.CANCELLED, utc_text(NOON))
    failed = structs.replace(withdrawn, is_late_bad=True)
    known = next_setback(None, withdrawn, failed, most=3, backoff_s=60)
    assert known is not None
    assert known.failures == 1
    assert next_setback(known, failed, failed, most=3, backoff_s=60) == known


def test_a_silent_attempt_that_turns_out_bad_is_not_counted_twice() -> None:
    silent = end(OPEN, Outcome.SILENT, utc_text(NOON))
    known = next_setback(None, OPEN, silent, most=3, backoff_s=60)
    assert next_setback(known, silent, structs.replace(silent, is_late_bad=True), most=3, backoff_s=60) == known


def test_another_try_that_was_withdrawn_unstarted_is_made_again() -> None:
    known = after(None, Outcome.FAILED)
    again = structs.replace(OPEN, retry=1, is_started=False)
    offered = next_setback(known, None, again, most=2, backoff_s=60)
    assert offered is not None
    assert offered.retry_at == ""
    later = utc_text(NOON + timedelta(hours=5))
    withdrawn = next_setback(offered, again, end(again, Outcome.CANCELLED, later), most=2, backoff_s=60)
    assert withdrawn is not None
    assert (withdrawn.retry_at, withdrawn.failures) == (later, 1)


def test_orders_of_people_are_no_setbacks_and_quarantine_nobody() -> None:
    by_hand = structs.replace(OPEN, rollout_id=None)
    assert next_setback(None, by_hand, end(by_hand, Outcome.FAILED, utc_text(NOON)), most=0, backoff_s=60) is None
    assert quarantined(None, by_hand, "ann", utc_text(NOON)) is None
    held = quarantined(None, OPEN, "ann", utc_text(NOON))
    assert held is not None
    assert (held.quarantined_by, held.quarantined_at) == ("ann", utc_text(NOON))
