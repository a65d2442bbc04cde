# SPDX-License-Identifier: Apache-2.0
"""The state machine before a window: it waits, asks, obeys the server and the clock, and says so once."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from msgspec import structs

from surefoot.agent.machine import step
from surefoot.agent.signals import Download, Effect, Emit, Install, Poll, Report, Wait, Weigh, Weighed
from surefoot.agent.state import Attempt, Phase, State, in_slot, kept
from surefoot.model.event import EventType
from surefoot.model.record import utc_text
from surefoot.model.window import DownloadTime
from surefoot.schedule.permission import Reason
from tests.agent.moments import (
    CHECK_FAILED,
    MAY_START,
    NOTHING,
    NOW,
    POLICY,
    REFUSED,
    SIZE,
    UNCHANGED,
    WOKE,
    B,
    accepted,
    at_work,
    attempt,
    booted,
    held,
    received,
    rejected,
    release,
    state,
    windowed,
)

P = Phase
WAITING = at_work(P.WAITING, order=windowed(), received=SIZE)
METERED = windowed(download=DownloadTime.WINDOW)
TONIGHT = NOW + timedelta(hours=17)


def told(effects: tuple[Effect, ...]) -> list[tuple[EventType, dict[str, object]]]:
    return [(effect.type, dict(effect.data)) for effect in effects if isinstance(effect, Emit)]


def attempt_of(state: State) -> Attempt:
    assert state.attempt is not None
    return state.attempt


def test_what_has_windows_is_downloaded_and_then_weighed_and_not_installed() -> None:
    after, effects = step(at_work(P.DOWNLOADING, order=windowed()), received(SIZE), POLICY)
    assert after.phase is P.WAITING
    assert [kind for kind, _ in told(effects)] == [EventType.DOWNLOAD_COMPLETED]
    assert effects[-1] == Weigh(order=windowed())


def test_what_has_no_windows_is_installed_at_once() -> None:
    after, effects = step(at_work(P.DOWNLOADING), received(SIZE), POLICY)
    assert after.phase is P.INSTALLING
    assert isinstance(effects[-1], Install)


def test_what_has_no_windows_and_is_put_off_is_not_even_fetched_until_it_may_start() -> None:
    waits, effects = step(state(P.VERIFYING), accepted(is_put_off=True), POLICY)
    assert (waits.phase, effects[-1]) == (P.WAITING, Weigh(order=accepted().order))
    assert EventType.DOWNLOAD_STARTED not in [kind for kind, _ in told(effects)]
    after, effects = step(waits, replace(MAY_START, now=TONIGHT), POLICY)
    assert (after.phase, [kind for kind, _ in told(effects)]) == (P.DOWNLOADING, [EventType.DOWNLOAD_STARTED])


def test_what_has_windows_is_fetched_while_it_is_put_off() -> None:
    after, _ = step(state(P.VERIFYING), accepted(order=windowed(), is_put_off=True), POLICY)
    assert after.phase is P.DOWNLOADING


def test_what_is_ordered_anew_while_it_is_put_off_goes_on_waiting() -> None:
    waits, _ = step(state(P.VERIFYING), accepted(is_put_off=True), POLICY)
    again, _ = step(waits, accepted(is_put_off=True, etag="3"), POLICY)
    assert again.phase is P.WAITING
    freed, _ = step(waits, accepted(etag="3"), POLICY)
    assert freed.phase is P.DOWNLOADING


def test_the_server_is_asked_before_a_window_is_used() -> None:
    for event in (WOKE, booted()):
        assert step(WAITING, event, POLICY) == (WAITING, (Poll(etag=WAITING.etag),))


@pytest.mark.parametrize("event", [UNCHANGED, CHECK_FAILED], ids=["asked", "offline"])
def test_with_or_without_a_server_the_signed_windows_decide(event: object) -> None:
    assert step(WAITING, event, POLICY) == (WAITING, (Weigh(order=windowed()),))  # type: ignore[arg-type]  # two kinds of event


def test_a_wait_is_told_once_with_its_reason_and_its_end() -> None:
    after, effects = step(WAITING, held(TONIGHT), POLICY)
    assert told(effects) == [
        (
            EventType.INSTALL_WAITING,
            {"reason": "window_closed", "detail": "window opens Tue 02:00 local", "until": "2026-11-24T01:00:00Z"},
        )
    ]
    assert effects[-1] == Wait(seconds=300), "it asks as often as ever"
    again, effects = step(after, held(TONIGHT), POLICY)
    assert (again, effects) == (after, (Wait(seconds=300),)), "and writes nothing"


def test_it_wakes_when_the_wait_is_over_and_not_at_the_next_poll() -> None:
    soon = NOW + timedelta(seconds=40)
    assert step(WAITING, held(soon), POLICY)[1][-1] == Wait(seconds=40)
    assert step(WAITING, held(NOW), POLICY)[1][-1] == Wait(seconds=1), "and never spins"
    assert step(WAITING, held(None), POLICY)[1][-1] == Wait(seconds=300)


def test_an_opening_that_moves_is_told_with_what_it_was() -> None:
    before, _ = step(WAITING, held(TONIGHT), POLICY)
    _, effects = step(before, held(TONIGHT + timedelta(hours=1)), POLICY)
    assert told(effects)[0][1]["was"] == "2026-11-24T01:00:00Z"
    later = TONIGHT + timedelta(minutes=1)
    _, effects = step(before, held(TONIGHT + timedelta(days=1), now=later), POLICY)
    assert "was" not in told(effects)[0][1], "an opening that has passed has not moved"


def test_when_it_may_start_it_does_and_the_deadline_counts_from_there() -> None:
    waits, _ = step(WAITING, held(TONIGHT), POLICY)
    after, effects = step(waits, replace(MAY_START, now=TONIGHT), POLICY)
    assert [kind for kind, _ in told(effects)] == [EventType.INSTALL_STARTED]
    assert isinstance(effects[-1], Install)
    attempt = attempt_of(after)
    assert (attempt.started_at, attempt.waits, attempt.waits_for, attempt.waits_until) == (utc_text(TONIGHT), "", "", "")


def test_an_order_taken_back_ends_the_wait_and_may_come_again() -> None:
    after, effects = step(WAITING, NOTHING, POLICY)
    assert (after.phase, after.attempt, after.finished) == (P.IDLE, None, None)
    assert told(effects)[-1] == (EventType.CHECK_COMPLETED, {"withdrawn": True})


def test_a_renewed_order_changes_the_windows_and_keeps_the_image() -> None:
    later = structs.replace(windowed(), start_before=utc_text(NOW + timedelta(days=2)))
    after, effects = step(WAITING, accepted(order=later, urls=["https://other/x"]), POLICY)
    assert effects == (Weigh(order=later),)
    assert (attempt_of(after).order, attempt_of(after).urls, attempt_of(after).received) == (later, ["https://other/x"], SIZE)


def test_an_order_whose_windows_were_taken_away_starts() -> None:
    waits, _ = step(WAITING, held(TONIGHT), POLICY)
    after, effects = step(waits, accepted(now=TONIGHT), POLICY)
    assert (after.phase, attempt_of(after).started_at, attempt_of(after).waits) == (P.INSTALLING, utc_text(TONIGHT), "")
    assert [kind for kind, _ in told(effects)] == [EventType.INSTALL_STARTED]


def test_the_deadline_of_an_order_that_people_had_put_off_counts_from_its_start() -> None:
    waits, _ = step(state(P.VERIFYING), accepted(is_put_off=True), POLICY)
    late = NOW + timedelta(hours=10)
    begun, _ = step(waits, accepted(now=late), POLICY)
    assert (begun.phase, attempt_of(begun).started_at) == (P.DOWNLOADING, utc_text(late))
    assert step(begun, replace(received(100), now=late + timedelta(seconds=5)), POLICY)[0].phase is P.DOWNLOADING


def test_another_order_for_the_same_bytes_fetches_nothing() -> None:
    after, effects = step(WAITING, accepted(2, order=windowed(2)), POLICY)
    assert after.phase is P.WAITING
    assert attempt_of(after).received == SIZE
    assert attempt_of(after).order.assignment_id == 2
    assert effects[-1] == Weigh(order=windowed(2))


def test_another_order_for_other_bytes_takes_the_place_of_this_one() -> None:
    after, _ = step(WAITING, accepted(2, hash=release("1.2.0").hash), POLICY)
    assert after.phase is P.DOWNLOADING
    assert attempt_of(after).received == 0


def test_where_a_line_is_paid_by_the_byte_the_download_waits_too() -> None:
    kept = release("0.9.0")
    waits, effects = step(state(P.VERIFYING, fallback=kept), accepted(order=METERED), POLICY)
    assert (waits.phase, effects[-1], waits.fallback) == (P.WAITING, Weigh(order=METERED), kept)
    assert EventType.DOWNLOAD_STARTED not in dict(told(effects))
    begun, effects = step(waits, MAY_START, POLICY)
    assert (begun.phase, begun.fallback) == (P.DOWNLOADING, None), "what is overwritten is forgotten only now"
    assert dict(told(effects))[EventType.DOWNLOAD_STARTED]["size"] == SIZE
    assert isinstance(effects[-1], Download)
    here, effects = step(begun, received(SIZE), POLICY)
    assert (here.phase, effects[-1]) == (P.WAITING, Weigh(order=METERED)), "and the install once more"
    assert step(here, MAY_START, POLICY)[0].phase is P.INSTALLING


def test_a_renewed_order_before_the_download_still_fetches() -> None:
    waits = at_work(P.WAITING, order=METERED)
    assert step(waits, accepted(order=METERED), POLICY)[0].phase is P.WAITING
    assert step(waits, accepted(order=windowed()), POLICY)[0].phase is P.DOWNLOADING
    assert step(waits, accepted(), POLICY)[0].phase is P.DOWNLOADING
    assert step(waits, accepted(2), POLICY)[0].phase is P.DOWNLOADING


def test_without_windows_a_download_has_none_to_wait_for() -> None:
    nothing = structs.replace(METERED, windows=[])
    assert step(state(P.VERIFYING), accepted(order=nothing), POLICY)[0].phase is P.DOWNLOADING


def test_a_slot_that_was_not_yet_overwritten_is_known_for_what_lies_there() -> None:
    waits = state(P.WAITING, fallback=release("0.9.0"), attempt=attempt(order=METERED))
    assert in_slot(waits, B) == release("0.9.0")
    back, effects = step(waits, booted(B), POLICY)
    assert (back.phase, back.running, back.slot, back.attempt) == (P.REPORTING, release("0.9.0"), B, None)
    assert dict(told(effects))[EventType.ROLLBACK_TRIGGERED]["reason"] == "bootloader_fallback"


def test_an_order_that_is_refused_now_is_over() -> None:
    after, effects = step(WAITING, rejected(), POLICY)
    assert (after.phase, after.attempt, after.finished) == (P.REPORTING, None, 1)
    assert effects[-1] == Report()


def test_an_answer_that_does_not_verify_neither_starts_nor_stops_the_wait() -> None:
    after, effects = step(WAITING, REFUSED, POLICY)
    assert after.phase is P.WAITING
    assert told(effects)[1][1]["refused"] == "bad_signature"
    assert effects[-1] == Weigh(order=windowed())
    assert told(step(after, REFUSED, POLICY)[1]) == [], "and is told once"


def test_nothing_new_for_ever_is_told_as_expired_while_the_signed_order_holds() -> None:
    stale = structs.replace(WAITING, fresh_until=utc_text(NOW), etag="7")
    after, effects = step(stale, UNCHANGED, POLICY)
    assert (after.etag, after.refused) == ("", "expired")
    assert effects[-1] == Weigh(order=windowed())


def test_a_device_that_waits_writes_nothing_however_often_it_asks() -> None:
    before, _ = step(WAITING, held(TONIGHT), POLICY)
    state: State = before
    for minutes in range(0, 600, 5):
        now: datetime = NOW + timedelta(minutes=minutes)
        waits = Weighed(now=now, permission=held(TONIGHT, reason=Reason.CLOSED).permission)
        for event in (replace(WOKE, now=now), replace(UNCHANGED, now=now), waits):
            state, effects = step(state, event, POLICY)
            assert told(effects) == []
            assert kept(state) == kept(before)
