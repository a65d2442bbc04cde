# SPDX-License-Identifier: Apache-2.0
"""Tests of what a poll carries, and when it carries nothing."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surefoot.model.assignment import DeviceId
from surefoot.model.event import EventType
from surefoot.model.manifest import ReleaseNotes
from surefoot.model.wire import PollAnswer
from tests.server.office import Office, event


def test_a_first_poll_gets_a_signed_order_to_stay(office: Office) -> None:
    etag, answer = office.poll()
    assert set(answer.metadata.director) == {"timestamp.json", "1.snapshot.json", "1.targets.json"}
    assert answer.metadata.image == {}
    assert json.loads(answer.metadata.director["1.targets.json"])["signed"]["targets"] == {}
    assert office.is_idle(etag)


def test_nothing_new_is_idle_and_polling_again_signs_nothing(office: Office) -> None:
    etag, _ = office.poll()
    office.pass_time(hours=1)
    assert office.poll()[0] == etag


def test_an_order_brings_what_the_device_lacks_of_both_repositories(office: Office) -> None:
    etag, _ = office.poll()
    wanted = office.add_release("1.1.0")
    office.order("1.1.0")
    assert not office.is_idle(etag)
    _, answer = office.poll(etag)
    assert set(answer.metadata.director) == {"timestamp.json", "2.snapshot.json", "2.targets.json"}
    assert set(answer.metadata.image) == {"timestamp.json", "2.snapshot.json", "1.targets.json", "2.thermostat.json"}
    assert [(hint.hash, hint.size) for hint in answer.artifacts] == [(wanted.image.hash, wanted.image.size)]
    assert answer.artifacts[0].urls == [f"https://server:8443/v1/artifacts/{wanted.image.hash[7:]}"]


def test_only_the_files_that_changed_are_sent_again(office: Office) -> None:
    office.add_release("1.1.0")
    office.order("1.1.0")
    etag, _ = office.poll()
    office.add_release("1.2.0", b"other")
    assert not office.is_idle(etag)
    _, answer = office.poll(etag)
    assert answer.metadata.director == {}
    assert set(answer.metadata.image) == {"timestamp.json", "3.snapshot.json", "3.thermostat.json"}


def test_a_release_that_is_not_ordered_does_not_wake_a_device(office: Office) -> None:
    etag, _ = office.poll()
    office.add_release("1.1.0")
    assert office.is_idle(etag)


def test_what_a_device_knows_of_the_image_repository_outlives_the_order(office: Office) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    etag, _ = office.poll()
    office.report(event(1, EventType.DOWNLOAD_FAILED, attempt))
    etag, _ = office.poll(etag)
    office.order("1.1.0")
    assert office.poll(etag)[1].metadata.image == {}


def test_a_view_past_half_the_life_of_its_timestamp_gets_a_new_one_alone(office: Office) -> None:
    etag, _ = office.poll()
    office.pass_time(hours=13)
    assert not office.is_idle(etag)
    renewed, answer = office.poll(etag)
    assert set(answer.metadata.director) == {"timestamp.json"}
    assert office.is_idle(renewed)


def test_a_view_past_half_its_life_is_signed_anew(office: Office) -> None:
    etag, _ = office.poll()
    office.pass_time(days=4)
    assert set(office.poll(etag)[1].metadata.director) == {"timestamp.json", "2.snapshot.json", "2.targets.json"}


def test_an_order_that_was_not_started_is_renewed_when_half_its_life_is_gone(office: Office) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    etag, _ = office.poll()
    office.pass_time(hours=12, minutes=1)
    _, answer = office.poll(etag)
    assert "2.targets.json" in answer.metadata.director
    assert office.attempt(attempt).start_before > attempt.start_before


def consent_until(answer: PollAnswer) -> str | None:
    targets = next(data for name, data in answer.metadata.director.items() if name.endswith("targets.json"))
    [entry] = json.loads(targets)["signed"]["targets"].values()
    found: str | None = entry["custom"].get("consent_until")
    return found


def test_a_required_release_can_be_put_off_for_a_day_from_the_first_order_however_often_that_is_renewed(office: Office) -> None:
    office.add_release("1.1.0", rules={"metadata": ReleaseNotes(required=True)})
    office.order("1.1.0")
    etag, answer = office.poll()
    assert consent_until(answer) == "2026-11-24T08:00:00Z"
    for _ in range(3):
        office.pass_time(hours=12, minutes=1)
        etag, answer = office.poll(etag)
        assert consent_until(answer) == "2026-11-24T08:00:00Z"


def test_any_other_release_may_be_put_off_for_as_long_as_people_like(office: Office) -> None:
    office.add_release("1.1.0")
    office.order("1.1.0")
    assert consent_until(office.poll()[1]) is None


def test_an_order_that_was_started_is_not_renewed(office: Office) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    etag, _ = office.poll()
    office.report(event(1, EventType.DOWNLOAD_STARTED, attempt))
    office.pass_time(hours=20)
    _, answer = office.poll(etag)
    assert set(answer.metadata.director) == {"timestamp.json"}
    assert office.attempt(attempt).start_before == attempt.start_before


def test_every_root_after_the_one_the_device_holds_is_sent(office: Office) -> None:
    etag, _ = office.poll()
    root = office.repositories.director_root
    for version in (2, 3):
        office.ledger.put_metadata("director", {"root.json": root}, {"root.json": version})
    office.poll_verb.reload()
    assert not office.is_idle(etag)
    renewed, answer = office.poll(etag)
    view = {"timestamp.json", "2.snapshot.json", "2.targets.json"}
    assert set(answer.metadata.director) == {"2.root.json", "3.root.json"} | view
    assert office.is_idle(renewed)
    assert {"2.root.json", "3.root.json"} < set(office.poll()[1].metadata.director)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60) | st.from_regex(r"\A[0-9.]{0,9}\|[0-9:a-z]{0,20}\Z"))
def test_an_etag_that_is_not_ours_never_hides_a_change(office: Office, etag: str) -> None:
    if office.ledger.release("thermostat", "1.1.0") is None:
        office.add_release("1.1.0")
        office.order("1.1.0")
    current, _ = office.poll()
    assert office.is_idle(etag) == (etag == current)
    office.poll(etag)


def test_an_etag_that_cannot_be_read_means_everything(office: Office) -> None:
    office.add_release("1.1.0")
    office.order("1.1.0")
    everything = office.poll()[1].metadata
    for etag in ("x", "1.1.1|", "1.1.1.x|1:1:1:1:thermostat=x", "1.1.1.1.1|1:1", "\u0661.1.1.1|", "9" * 40):
        assert office.poll(etag)[1].metadata.image == everything.image


@pytest.mark.parametrize("n", range(20))
def test_devices_are_told_to_poll_within_a_tenth_of_the_interval(office: Office, n: int) -> None:
    told = office.poll_verb.next_poll_s(DeviceId(f"d-{n}"))
    assert 270 <= told <= 330
    assert told == office.poll_verb.next_poll_s(DeviceId(f"d-{n}"))


def test_devices_are_spread(office: Office) -> None:
    assert len({office.poll_verb.next_poll_s(DeviceId(f"d-{n}")) for n in range(300)}) > 40


def test_an_idle_poll_is_one_statement_that_reads_no_large_row(office: Office) -> None:
    etag, _ = office.poll()
    statements = list[str]()
    office.ledger._connection.set_trace_callback(statements.append)
    assert office.is_idle(etag)
    office.ledger._connection.set_trace_callback(None)
    assert len(statements) == 1
    plan = office.ledger._connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}").fetchall()
    assert [step[3].partition(" USING ")[2].partition(" (")[0] for step in plan] == [
        "PRIMARY KEY",
        "COVERING INDEX device_check_in",
        "COVERING INDEX view_check_in",
    ]
