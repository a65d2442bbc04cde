# SPDX-License-Identifier: Apache-2.0
"""Tests of reports: stored once, and one outcome an attempt."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.errors import FormatError
from surefoot.model.event import EventType
from surefoot.model.record import utc_text
from tests.server.office import DEVICE, JOURNAL, Office, event, statement

OLD = digest_of(b"old image")


def count(office: Office) -> int:
    return int(office.ledger._connection.execute("SELECT count(*) FROM event").fetchone()[0])


def test_the_last_event_of_a_batch_is_acknowledged(office: Office) -> None:
    said = office.report(event(41, EventType.CHECK_STARTED), event(42, EventType.CHECK_COMPLETED))
    assert (said.acknowledged.journal, said.acknowledged.seq) == (JOURNAL, 42)


def test_an_event_sent_again_is_stored_once(office: Office) -> None:
    for _ in range(3):
        office.report(event(1, EventType.CHECK_STARTED), event(2, EventType.CHECK_COMPLETED))
    assert count(office) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.sets(st.integers(1, 30), min_size=1), min_size=1, max_size=5))
def test_batches_that_overlap_store_each_event_once(office: Office, batches: list[set[int]]) -> None:
    office.ledger._connection.execute("DELETE FROM event")
    for batch in batches:
        office.report(*(event(seq, EventType.DOWNLOAD_PROGRESS) for seq in sorted(batch)))
    assert count(office) == len(set.union(*batches))


def test_events_out_of_order_are_refused_and_nothing_is_stored(office: Office) -> None:
    with pytest.raises(FormatError, match="order"):
        office.report(event(2, EventType.CHECK_STARTED), event(1, EventType.CHECK_STARTED))
    assert count(office) == 0


def test_events_from_the_future_are_kept_as_said_and_dated_by_the_server(office: Office) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    said = [event(1, EventType.DOWNLOAD_STARTED, attempt), event(2, EventType.INSTALL_FAILED, attempt)]
    office.report(*(structs.replace(one, at="2099-01-01T00:00:00Z") for one in said), running=OLD)
    found = office.attempt(attempt)
    assert (found.outcome, found.started_at, found.ended_at) == (Outcome.FAILED, utc_text(office.now), utc_text(office.now))
    seen = office.ledger._connection.execute("SELECT last_seen FROM presence WHERE device_id = ?", (DEVICE,)).fetchone()
    assert seen == (int(office.now.timestamp()),)


def test_success_needs_the_report_to_name_the_ordered_image(office: Office) -> None:
    wanted = office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    office.report(event(1, EventType.HEALTH_OK, attempt), running=OLD)
    assert office.attempt(attempt).outcome is None
    office.report(running=wanted.image.hash)
    assert office.attempt(attempt).outcome is Outcome.SUCCEEDED


def test_the_report_is_kept_as_the_device_said_it(office: Office) -> None:
    office.report(event(1, EventType.CHECK_STARTED), running=OLD)
    device = office.ledger.device(DEVICE)
    assert device is not None
    assert device.report == statement(OLD)


def test_a_batch_sent_again_does_not_bring_an_old_report_back(office: Office) -> None:
    office.report(event(1, EventType.CHECK_STARTED), running=OLD)
    office.report(event(2, EventType.CHECK_STARTED), running=digest_of(b"new"))
    office.report(event(1, EventType.CHECK_STARTED), running=OLD)
    device = office.ledger.device(DEVICE)
    assert device is not None
    assert device.report == statement(digest_of(b"new"))


def test_an_attempt_that_ended_leaves_the_device_with_an_order_to_stay(office: Office) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    etag, _ = office.poll()
    office.report(event(1, EventType.ROLLBACK_COMPLETED, attempt), running=OLD)
    assert office.attempt(attempt).outcome is Outcome.ROLLED_BACK
    assert not office.is_idle(etag)
    assert office.poll(etag)[1].artifacts == []


def test_late_and_repeated_final_events_change_nothing(office: Office) -> None:
    wanted = office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    office.report(event(1, EventType.INSTALL_FAILED, attempt), running=OLD)
    ended, view = office.attempt(attempt), office.ledger.view(DEVICE)
    office.report(event(2, EventType.HEALTH_OK, attempt), event(3, EventType.ROLLBACK_COMPLETED, attempt), running=wanted.image.hash)
    assert office.attempt(attempt) == ended
    assert office.ledger.view(DEVICE) == view


def test_events_of_another_devices_attempt_are_stored_without_effect(office: Office) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    stranger = office.add_device(DeviceId("t-2"))
    office.report(event(1, EventType.INSTALL_FAILED, attempt), device_id=stranger)
    assert count(office) == 1
    assert office.attempt(attempt).outcome is None


def test_events_of_a_superseded_attempt_do_not_touch_the_one_that_came_after(office: Office) -> None:
    office.add_release("1.1.0")
    office.add_release("1.2.0", b"newer")
    first = office.order("1.1.0")
    second = office.order("1.2.0")
    office.report(event(1, EventType.INSTALL_FAILED, first), running=OLD)
    assert office.attempt(first).outcome is Outcome.SUPERSEDED
    assert office.attempt(second).outcome is None
    assert [hint.hash for hint in office.poll()[1].artifacts] == [second.hash]


def test_an_unknown_attempt_is_no_obstacle(office: Office) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    office.ledger._connection.execute("DELETE FROM director_view")
    office.ledger._connection.execute("DELETE FROM assignment")
    office.report(event(1, EventType.INSTALL_FAILED, attempt))
    assert count(office) == 1
