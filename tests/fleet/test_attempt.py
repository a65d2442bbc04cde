# SPDX-License-Identifier: Apache-2.0
"""Tests of how events end an attempt."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.fleet.attempt import Attempt, after_deadline, after_events, end
from surefoot.model.assignment import AssignmentId, DeviceId, Outcome
from surefoot.model.digest import Digest, digest_of
from surefoot.model.event import DeploymentEvent, EventType
from surefoot.model.record import parse_utc

NOW = "2026-11-23T08:00:00Z"
NEW, OLD = digest_of(b"new"), digest_of(b"old")
ATTEMPT = Attempt(
    assignment_id=AssignmentId(7),
    device_id=DeviceId("t-1"),
    product="thermostat",
    version="1.1.0",
    variant="release",
    hardware="thermostat-v1",
    path="thermostat/1.1.0/thermostat-v1-release",
    hash=NEW,
    size=3,
    issued_at=NOW,
    start_before="2026-11-24T08:00:00Z",
    deadline_s=14_400,
)


def event(kind: EventType, assignment: int | None = 7, seq: int = 1, **data: str) -> DeploymentEvent:
    assignment_id = None if assignment is None else AssignmentId(assignment)
    return DeploymentEvent(seq=seq, type=kind, at=NOW, assignment_id=assignment_id, data=data)


def outcome_of(*kinds: EventType, running: Digest | None = None) -> Outcome | None:
    return after_events(ATTEMPT, [event(kind) for kind in kinds], running, NOW).outcome


@pytest.mark.parametrize(
    ("kinds", "running", "outcome"),
    [
        ([EventType.HEALTH_OK], NEW, Outcome.SUCCEEDED),
        ([EventType.HEALTH_OK], OLD, None),
        ([EventType.HEALTH_OK], None, None),
        ([EventType.INSTALL_COMPLETED, EventType.REBOOT_COMPLETED], NEW, None),
        ([EventType.HEALTH_FAILED, EventType.ROLLBACK_TRIGGERED], OLD, None),
        ([EventType.ROLLBACK_COMPLETED], OLD, Outcome.ROLLED_BACK),
        ([EventType.DOWNLOAD_FAILED], OLD, Outcome.FAILED),
        ([EventType.INSTALL_FAILED], OLD, Outcome.FAILED),
        ([EventType.HEALTH_OK, EventType.ROLLBACK_COMPLETED], OLD, Outcome.ROLLED_BACK),
        ([EventType.HEALTH_OK, EventType.ROLLBACK_COMPLETED], NEW, Outcome.SUCCEEDED),
        ([EventType.CHECK_COMPLETED], OLD, None),
    ],
)
def test_events_and_report_together_decide(kinds: list[EventType], running: Digest | None, outcome: Outcome | None) -> None:
    assert outcome_of(*kinds, running=running) is outcome


def test_health_and_report_may_come_in_different_batches() -> None:
    healthy = after_events(ATTEMPT, [event(EventType.HEALTH_OK)], OLD, NOW)
    assert after_events(healthy, [], NEW, NOW).outcome is Outcome.SUCCEEDED


def test_a_refused_check_of_this_attempt_rejects_it() -> None:
    refused = event(EventType.CHECK_COMPLETED, refused="not_in_image_repo")
    assert after_events(ATTEMPT, [refused], OLD, NOW).outcome is Outcome.REJECTED


def test_a_refused_check_is_no_start() -> None:
    assert not after_events(ATTEMPT, [event(EventType.CHECK_COMPLETED, refused="expired")], OLD, NOW).is_started


def test_work_on_the_attempt_starts_it() -> None:
    assert after_events(ATTEMPT, [event(EventType.DOWNLOAD_STARTED)], OLD, NOW).is_started


@given(st.permutations([EventType.INSTALL_STARTED, EventType.HEALTH_OK, EventType.ROLLBACK_TRIGGERED, EventType.ROLLBACK_COMPLETED]))
def test_in_whatever_order_its_events_come_an_attempt_that_was_rolled_back_counts_as_harmed(kinds: list[EventType]) -> None:
    attempt = ATTEMPT
    for seq, kind in enumerate(kinds, start=1):
        attempt = after_events(attempt, [event(kind, seq=seq)], NEW if kind is EventType.HEALTH_OK else OLD, NOW)
    assert attempt.outcome is Outcome.ROLLED_BACK or attempt.is_relapsed


@pytest.mark.parametrize("assignment", [8, None])
def test_events_of_another_attempt_or_of_none_change_nothing(assignment: int | None) -> None:
    events = [event(kind, assignment) for kind in EventType]
    assert after_events(ATTEMPT, events, OLD, NOW) == ATTEMPT


@given(
    batches=st.lists(
        st.tuples(
            st.lists(st.builds(event, st.sampled_from(EventType), st.sampled_from([7, 8, None])), max_size=6),
            st.sampled_from([NEW, OLD, None]),
        ),
        max_size=8,
    ),
    first=st.sampled_from(Outcome),
)
def test_an_attempt_that_has_ended_keeps_its_outcome(batches: list[tuple[list[DeploymentEvent], Digest | None]], first: Outcome) -> None:
    attempt = end(ATTEMPT, first, NOW)
    for events, running in batches:
        attempt = after_events(attempt, events, running, "2027-01-01T00:00:00Z")
    assert (end(attempt, Outcome.CANCELLED, "2027-01-01T00:00:00Z").outcome, attempt.ended_at) == (first, NOW)


@pytest.mark.parametrize(
    ("outcome", "kind", "fact"),
    [
        (Outcome.SILENT, EventType.HEALTH_OK, {"is_late_good": True}),
        (Outcome.SILENT, EventType.ROLLBACK_COMPLETED, {"is_late_bad": True}),
        (Outcome.CANCELLED, EventType.INSTALL_FAILED, {"is_late_bad": True}),
        (Outcome.CANCELLED, EventType.HEALTH_OK, {"is_late_good": True}),
        (Outcome.CANCELLED, EventType.DOWNLOAD_STARTED, {}),
        (Outcome.ROLLED_BACK, EventType.HEALTH_OK, {}),
        (Outcome.SUPERSEDED, EventType.ROLLBACK_COMPLETED, {}),
    ],
)
def test_what_a_device_says_too_late_is_a_fact_beside_the_outcome(outcome: Outcome, kind: EventType, fact: dict[str, bool]) -> None:
    given_up = end(ATTEMPT, outcome, NOW)
    assert after_events(given_up, [event(kind)], NEW, "2027-01-01T00:00:00Z") == structs.replace(given_up, **fact)


def test_an_attempt_is_silent_a_deadline_after_it_was_first_heard_of() -> None:
    started = after_events(ATTEMPT, [event(EventType.DOWNLOAD_STARTED)], OLD, NOW)
    last = parse_utc(NOW) + timedelta(seconds=ATTEMPT.deadline_s)
    assert after_deadline(started, last - timedelta(seconds=1)) == started
    assert after_deadline(started, last).outcome is Outcome.SILENT


def test_an_offer_that_was_not_started_in_time_is_void() -> None:
    assert after_deadline(ATTEMPT, parse_utc(ATTEMPT.start_before)).outcome is Outcome.CANCELLED


@given(st.lists(st.builds(event, st.sampled_from(EventType)), max_size=8), st.sampled_from([NEW, OLD, None]))
def test_success_is_never_claimed_without_health_and_the_ordered_image(events: list[DeploymentEvent], running: Digest | None) -> None:
    after = after_events(ATTEMPT, events, running, NOW)
    if after.outcome is Outcome.SUCCEEDED:
        assert running == NEW
        assert EventType.HEALTH_OK in {event.type for event in events}
