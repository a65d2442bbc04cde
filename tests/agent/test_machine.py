# SPDX-License-Identifier: Apache-2.0
"""The state machine: its table row by row, and what holds whatever happens in whatever order."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.agent import machine
from surefoot.agent.machine import RULES, backoff_s, step
from surefoot.agent.signals import (
    Accepted,
    Booted,
    CheckFailed,
    Download,
    Effect,
    Emit,
    Event,
    Install,
    MarkGood,
    Poll,
    Probe,
    Reboot,
    Refused,
    Rejected,
    Report,
    Revert,
    Sensed,
    Shut,
    Unchanged,
    Verify,
    Wait,
    Weigh,
    Woke,
)
from surefoot.agent.state import Phase, Policy, State, in_slot, kept
from surefoot.model.assignment import AssignmentId
from surefoot.model.event import EventType
from surefoot.model.record import from_json, to_json, utc_text
from surefoot.model.slot import SlotState
from surefoot.model.window import DownloadTime
from tests.agent.moments import (
    ACTIVATED,
    ANSWERED,
    CHECK_FAILED,
    CORRUPT,
    FAILED,
    MARKED,
    MAY_START,
    NOTHING,
    NOW,
    POLICY,
    REFUSED,
    REPORTED,
    SIZE,
    UNCHANGED,
    WANTED,
    WOKE,
    A,
    B,
    accepted,
    at_work,
    attempt,
    booted,
    held,
    interrupted,
    order,
    probed,
    received,
    rejected,
    release,
    sensed,
    state,
    stayed,
    vitals,
    windowed,
)

P = Phase
FELL_BACK = state(P.IDLE, slot=B, running=release("1.1.0"), fallback=release("1.0.0"))
RUNAWAY = vitals(reboots=4)
LEAVING = structs.replace(FELL_BACK, phase=P.ROLLING_BACK, leaving="reboot_loop")
WAITING_WATCHED = structs.replace(FELL_BACK, phase=P.WAITING, attempt=attempt(order=windowed(), slot=A))
LATE = NOW + timedelta(hours=5)
SETTLED = probed(healthy_s=POLICY.settle_s, trial_s=POLICY.settle_s)
METERED = windowed(download=DownloadTime.WINDOW)
WAITING = at_work(P.WAITING, order=windowed(), received=SIZE)
EXHAUSTED = probed(failing="It does not answer.", trial_s=POLICY.trial_s)


def anew(before: State, phase: Phase) -> State:
    return structs.replace(before, phase=phase)


EXAMPLES: list[tuple[State, Event, Phase]] = [
    (state(P.IDLE), booted(), P.CHECKING),
    (FELL_BACK, booted(A), P.REPORTING),
    (FELL_BACK, booted(B, other=SlotState.GOOD, vitals=RUNAWAY), P.ROLLING_BACK),
    (state(P.IDLE), WOKE, P.CHECKING),
    (FELL_BACK, sensed(), P.IDLE),
    (FELL_BACK, sensed(vitals=RUNAWAY), P.ROLLING_BACK),
    (state(P.CHECKING), booted(), P.CHECKING),
    (anew(FELL_BACK, P.CHECKING), booted(A), P.REPORTING),
    (anew(FELL_BACK, P.CHECKING), booted(B, other=SlotState.GOOD, vitals=RUNAWAY), P.ROLLING_BACK),
    (state(P.CHECKING), UNCHANGED, P.IDLE),
    (state(P.CHECKING), CHECK_FAILED, P.IDLE),
    (state(P.CHECKING), REFUSED, P.IDLE),
    (state(P.CHECKING), ANSWERED, P.VERIFYING),
    (state(P.VERIFYING), booted(), P.CHECKING),
    (anew(FELL_BACK, P.VERIFYING), booted(A), P.REPORTING),
    (anew(FELL_BACK, P.VERIFYING), booted(B, other=SlotState.GOOD, vitals=RUNAWAY), P.ROLLING_BACK),
    (state(P.VERIFYING), NOTHING, P.IDLE),
    (state(P.VERIFYING), REFUSED, P.IDLE),
    (state(P.VERIFYING), FAILED, P.IDLE),
    (state(P.VERIFYING), rejected(), P.REPORTING),
    (state(P.VERIFYING, finished=1), rejected(), P.IDLE),
    (state(P.VERIFYING), accepted(), P.DOWNLOADING),
    (state(P.VERIFYING, finished=1), accepted(), P.IDLE),
    (at_work(P.DOWNLOADING), booted(), P.DOWNLOADING),
    (at_work(P.DOWNLOADING), booted(now=LATE), P.REPORTING),
    (at_work(P.DOWNLOADING), WOKE, P.DOWNLOADING),
    (at_work(P.DOWNLOADING), replace(WOKE, now=LATE), P.REPORTING),
    (at_work(P.DOWNLOADING), received(SIZE - 1), P.DOWNLOADING),
    (at_work(P.DOWNLOADING), replace(received(SIZE - 1), now=LATE), P.REPORTING),
    (at_work(P.DOWNLOADING), received(SIZE), P.INSTALLING),
    (at_work(P.DOWNLOADING), interrupted(10), P.DOWNLOADING),
    (at_work(P.DOWNLOADING), CORRUPT, P.DOWNLOADING),
    (at_work(P.DOWNLOADING, tries=2), CORRUPT, P.REPORTING),
    (at_work(P.DOWNLOADING), FAILED, P.REPORTING),
    (at_work(P.DOWNLOADING, order=windowed()), received(SIZE), P.WAITING),
    (WAITING, booted(), P.WAITING),
    (WAITING, WOKE, P.WAITING),
    (WAITING, UNCHANGED, P.WAITING),
    (structs.replace(WAITING, fresh_until=""), UNCHANGED, P.WAITING),
    (WAITING, CHECK_FAILED, P.WAITING),
    (WAITING, FAILED, P.WAITING),
    (WAITING, ANSWERED, P.WAITING),
    (WAITING, REFUSED, P.WAITING),
    (WAITING, NOTHING, P.IDLE),
    (WAITING, rejected(), P.REPORTING),
    (structs.replace(WAITING, finished=3), rejected(3), P.IDLE),
    (WAITING, accepted(order=windowed()), P.WAITING),
    (WAITING, accepted(), P.INSTALLING),
    (WAITING, accepted(2, order=windowed(2)), P.WAITING),
    (WAITING, accepted(2), P.INSTALLING),
    (WAITING, accepted(2, hash=release("1.2.0").hash), P.DOWNLOADING),
    (structs.replace(WAITING, finished=3), accepted(3), P.IDLE),
    (state(P.VERIFYING), accepted(order=METERED), P.WAITING),
    (at_work(P.WAITING, order=METERED), MAY_START, P.DOWNLOADING),
    (structs.replace(FELL_BACK, phase=P.WAITING, attempt=attempt(order=METERED, slot=A)), booted(A), P.REPORTING),
    (WAITING_WATCHED, booted(B, other=SlotState.GOOD, vitals=RUNAWAY), P.ROLLING_BACK),
    (WAITING_WATCHED, sensed(), P.WAITING),
    (WAITING_WATCHED, sensed(vitals=RUNAWAY), P.ROLLING_BACK),
    (WAITING, held(LATE), P.WAITING),
    (WAITING, MAY_START, P.INSTALLING),
    (at_work(P.INSTALLING), booted(), P.INSTALLING),
    (at_work(P.INSTALLING, installs=POLICY.max_installs - 1), booted(), P.REPORTING),
    (at_work(P.INSTALLING), booted(B), P.TRIAL),
    (at_work(P.INSTALLING), booted(B, is_wanted=False), P.ROLLING_BACK),
    (at_work(P.INSTALLING), ACTIVATED, P.REBOOTING),
    (at_work(P.INSTALLING), CORRUPT, P.DOWNLOADING),
    (at_work(P.INSTALLING, tries=2), CORRUPT, P.REPORTING),
    (at_work(P.INSTALLING), FAILED, P.REPORTING),
    (at_work(P.REBOOTING), booted(B), P.TRIAL),
    (at_work(P.REBOOTING), booted(B, is_wanted=False), P.ROLLING_BACK),
    (at_work(P.REBOOTING), booted(A), P.REPORTING),
    (at_work(P.REBOOTING), booted(A, primary=B, other=SlotState.TRYING), P.REBOOTING),
    (at_work(P.REBOOTING), booted(A, other=SlotState.TRYING), P.INSTALLING),
    (at_work(P.REBOOTING), stayed(B, other=SlotState.TRYING), P.REBOOTING),
    (at_work(P.REBOOTING), stayed(), P.REBOOTING),
    (at_work(P.REBOOTING), stayed(A), P.REPORTING),
    (at_work(P.REBOOTING), WOKE, P.REBOOTING),
    (at_work(P.TRIAL, boots=1), booted(B), P.TRIAL),
    (at_work(P.TRIAL, boots=1), booted(A), P.REPORTING),
    (at_work(P.TRIAL, boots=POLICY.max_boots), booted(B), P.ROLLING_BACK),
    (at_work(P.TRIAL, boots=1), WOKE, P.TRIAL),
    (at_work(P.TRIAL, boots=1), probed(), P.TRIAL),
    (at_work(P.TRIAL, boots=1), SETTLED, P.COMMITTED),
    (at_work(P.TRIAL, boots=1), EXHAUSTED, P.ROLLING_BACK),
    (at_work(P.COMMITTED, boots=1), booted(B), P.COMMITTED),
    (at_work(P.COMMITTED, boots=1), booted(A), P.REPORTING),
    (at_work(P.COMMITTED, boots=1), WOKE, P.COMMITTED),
    (at_work(P.COMMITTED, boots=1), MARKED, P.REPORTING),
    (at_work(P.COMMITTED, boots=1), FAILED, P.COMMITTED),
    (at_work(P.ROLLING_BACK, boots=1), booted(B), P.ROLLING_BACK),
    (at_work(P.ROLLING_BACK, boots=1), booted(A), P.REPORTING),
    (at_work(P.ROLLING_BACK, boots=1), WOKE, P.ROLLING_BACK),
    (at_work(P.ROLLING_BACK, boots=1), stayed(B), P.ROLLING_BACK),
    (LEAVING, booted(B), P.ROLLING_BACK),
    (LEAVING, booted(A), P.REPORTING),
    (LEAVING, WOKE, P.ROLLING_BACK),
    (LEAVING, stayed(B), P.ROLLING_BACK),
    (structs.replace(LEAVING, failures=2), stayed(B), P.REPORTING),
    (state(P.REPORTING), booted(), P.REPORTING),
    (state(P.REPORTING), WOKE, P.REPORTING),
    (state(P.REPORTING), FAILED, P.REPORTING),
    (state(P.REPORTING), REPORTED, P.CHECKING),
    (anew(FELL_BACK, P.REPORTING), booted(B, other=SlotState.GOOD, vitals=RUNAWAY), P.ROLLING_BACK),
    (anew(FELL_BACK, P.REPORTING), sensed(), P.REPORTING),
    (anew(FELL_BACK, P.REPORTING), sensed(vitals=RUNAWAY), P.ROLLING_BACK),
]


def name_of(example: tuple[State, Event, Phase]) -> str:
    before, event, after = example
    return f"{before.phase}-{type(event).__name__}-{after}"


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_each_row_lands_where_the_table_says(example: tuple[State, Event, Phase]) -> None:
    before, event, expected = example
    after, effects = step(before, event, POLICY)
    assert after.phase is expected
    assert isinstance(effects[-1], Poll | Verify | Download | Install | Reboot | Probe | MarkGood | Report | Wait | Weigh), (
        "nothing would answer"
    )


def test_every_arrow_of_the_table_can_be_walked() -> None:
    walked = {(before.phase, type(event), after) for before, event, after in EXAMPLES}
    assert walked == {(rule.phase, rule.event, to) for rule in RULES for to in rule.to}


def test_the_table_has_one_row_for_a_phase_and_an_event_and_uses_every_event() -> None:
    assert max(Counter((rule.phase, rule.event) for rule in RULES).values()) == 1
    assert {rule.event for rule in RULES} == set(get_args(Event))


def test_a_device_can_boot_in_any_phase() -> None:
    assert {rule.phase for rule in RULES if rule.event is Booted} == set(Phase)


def test_an_event_without_a_row_is_a_programming_mistake() -> None:
    with pytest.raises(LookupError):
        step(state(P.IDLE), MARKED, POLICY)


def test_an_attempt_that_is_not_there_is_a_programming_mistake() -> None:
    with pytest.raises(LookupError, match="downloading without an attempt"):
        step(state(P.DOWNLOADING), WOKE, POLICY)


def test_a_row_that_goes_where_it_does_not_say_is_a_programming_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = machine.Rule(P.IDLE, Woke, (P.REPORTING,), "wrong", lambda s, _e, _p: (s, ()))
    monkeypatch.setitem(machine._ROWS, (P.IDLE, Woke), wrong)
    with pytest.raises(LookupError, match="does not allow"):
        step(state(P.IDLE), WOKE, POLICY)


# --- what single rows say ---------------------------------------------------------------------------------------------------


def told(effects: tuple[Effect, ...]) -> list[tuple[EventType, dict[str, object]]]:
    return [(effect.type, dict(effect.data)) for effect in effects if isinstance(effect, Emit)]


def test_an_order_goes_to_the_slot_that_does_not_run_and_forgets_what_lay_there() -> None:
    after, _ = step(state(P.VERIFYING, slot=B, fallback=release("0.9.0")), accepted(), POLICY)
    assert after.attempt is not None
    assert after.attempt.slot is A
    assert after.fallback is None


def test_an_attempt_that_is_over_is_not_begun_again() -> None:
    after, effects = step(state(P.VERIFYING, finished=1), accepted(1), POLICY)
    assert after.attempt is None
    assert effects == (Wait(seconds=300),)


def test_a_refusal_is_told_once_and_another_one_again() -> None:
    before = state(P.VERIFYING)
    after, effects = step(before, REFUSED, POLICY)
    assert told(effects)[1] == (EventType.CHECK_COMPLETED, {"refused": "bad_signature", "detail": "It is not signed."})
    again, effects = step(anew(after, P.VERIFYING), REFUSED, POLICY)
    assert told(effects) == []
    _, effects = step(anew(again, P.VERIFYING), replace(REFUSED, code="expired"), POLICY)
    assert told(effects)[1][1]["refused"] == "expired"


def test_after_a_refusal_the_next_poll_asks_for_everything() -> None:
    held = structs.replace(state(P.VERIFYING), etag='"what the server takes for held"')
    refused, _ = step(held, REFUSED, POLICY)
    _, effects = step(anew(refused, P.IDLE), Woke(now=NOW), POLICY)
    assert Poll(etag="") in effects


def test_a_refusal_is_forgotten_when_an_answer_verifies() -> None:
    refused, _ = step(state(P.VERIFYING), REFUSED, POLICY)
    believed, _ = step(anew(refused, P.VERIFYING), NOTHING, POLICY)
    _, effects = step(anew(believed, P.VERIFYING), REFUSED, POLICY)
    assert len(told(effects)) == 2


def test_the_first_check_that_fails_is_told_and_the_others_of_the_row_are_not() -> None:
    after, effects = step(state(P.CHECKING), CHECK_FAILED, POLICY)
    assert [kind for kind, _ in told(effects)] == [EventType.CHECK_STARTED, EventType.CHECK_COMPLETED]
    _, effects = step(anew(after, P.CHECKING), CHECK_FAILED, POLICY)
    assert told(effects) == []


def test_an_install_that_a_start_always_cuts_off_is_given_up_and_its_slot_shut() -> None:
    now, installs = at_work(P.INSTALLING), 1
    while True:
        now, effects = step(now, booted(A, other=SlotState.TRYING), POLICY)
        if now.phase is not P.INSTALLING:
            break
        assert effects == (Install(attempt=now.attempt or attempt()),)
        # Activated, and something else took the slot's turn away: that is an install that came to nothing too.
        now, effects = step(now, ACTIVATED, POLICY)
        installs += 1
    assert installs == POLICY.max_installs
    assert told(effects)[0][0] is EventType.INSTALL_FAILED
    assert told(effects)[0][1]["code"] == "install_loop"
    assert effects[1:] == (Shut(slot=B), Report())
    assert (now.attempt, now.finished) == (None, 1)


def test_an_install_that_is_found_after_the_deadline_is_not_begun_again() -> None:
    after, effects = step(at_work(P.INSTALLING), booted(A, now=LATE), POLICY)
    assert told(effects)[0] == (EventType.INSTALL_FAILED, told(effects)[0][1] | {"code": "deadline"})
    assert (after.phase, effects[1]) == (P.REPORTING, Shut(slot=B))
    assert step(at_work(P.INSTALLING), booted(B, now=LATE), POLICY)[0].phase is P.TRIAL, "it is installed already"


def test_a_rejection_is_told_once() -> None:
    after, effects = step(state(P.VERIFYING), rejected(), POLICY)
    assert told(effects)[-1] == (EventType.CHECK_COMPLETED, {"refused": "no_space", "detail": "It is too large."})
    _, effects = step(anew(after, P.VERIFYING), rejected(), POLICY)
    assert told(effects) == []


def test_progress_is_told_at_each_tenth() -> None:
    before = at_work(P.DOWNLOADING)
    marks = []
    for tenth in range(1, 10):
        before, effects = step(before, received(tenth * SIZE // 10), Policy(part_bytes=SIZE // 10))
        marks += [data["percent"] for _, data in told(effects)]
        assert effects[-1] == Download(attempt=before.attempt or attempt(), until=(tenth + 1) * SIZE // 10)
    assert marks == [10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_no_part_of_an_image_is_smaller_than_a_block_of_the_flash() -> None:
    before, effects = step(state(P.VERIFYING), accepted(size=10_000), POLICY)
    asked = []
    while isinstance(effects[-1], Download):
        asked.append(effects[-1].until)
        before, effects = step(before, received(effects[-1].until), POLICY)
    assert asked == [5_000, 10_000]


def test_an_image_of_a_few_bytes_is_downloaded_too() -> None:
    before, effects = step(state(P.VERIFYING), accepted(size=3), POLICY)
    while isinstance(effects[-1], Download):
        before, effects = step(before, received(effects[-1].until), POLICY)
    assert before.phase is P.INSTALLING


def test_a_line_that_breaks_without_a_byte_waits_longer_each_time_and_uses_no_try() -> None:
    before, pauses = at_work(P.DOWNLOADING), []
    for _ in range(4):
        before, effects = step(before, interrupted(0), POLICY)
        pauses.append(effects[-1])
    assert pauses == [Wait(seconds=1), Wait(seconds=2), Wait(seconds=4), Wait(seconds=8)]
    after, effects = step(before, interrupted(100), POLICY)
    assert effects == (Wait(seconds=1),)
    assert after.attempt == attempt(received=100, interruptions=1, tries=0)


@pytest.mark.parametrize("is_untouched", [False, True])
def test_a_slot_that_was_not_written_still_holds_its_release(*, is_untouched: bool) -> None:
    kept = at_work(P.DOWNLOADING).running
    before = at_work(P.DOWNLOADING, over=kept)
    after, effects = step(before, replace(FAILED, is_untouched=is_untouched), POLICY)
    assert (after.phase, after.fallback) == (P.REPORTING, kept if is_untouched else None)
    assert [kind for kind, _ in told(effects)] == [EventType.DOWNLOAD_FAILED]


def test_wrong_bytes_are_tried_three_times_with_growing_pauses() -> None:
    before, pauses = at_work(P.DOWNLOADING, received=500), []
    for _ in range(2):
        before, effects = step(before, CORRUPT, POLICY)
        assert before.attempt is not None
        assert before.attempt.received == 0
        pauses.append(effects[-1])
    after, effects = step(before, CORRUPT, POLICY)
    assert pauses == [Wait(seconds=1), Wait(seconds=2)]
    assert told(effects) == [(EventType.DOWNLOAD_FAILED, {"code": "corrupt_download", "detail": "Other bytes.", "tries": 3})]
    assert (after.attempt, after.finished) == (None, 1)


def test_the_deadline_ends_a_download_and_says_so() -> None:
    on_time, _ = step(at_work(P.DOWNLOADING), replace(WOKE, now=NOW + timedelta(hours=4)), POLICY)
    assert on_time.phase is P.DOWNLOADING
    _, effects = step(at_work(P.DOWNLOADING), replace(WOKE, now=NOW + timedelta(hours=4, seconds=1)), POLICY)
    assert told(effects)[0][1]["code"] == "deadline"


def test_a_commit_remembers_what_runs_what_is_kept_and_the_highest_counter() -> None:
    after, effects = step(at_work(P.COMMITTED, boots=1), MARKED, POLICY)
    assert (after.slot, after.running.version, after.running.hash, after.fallback) == (B, "1.1.0", WANTED, release("1.0.0"))
    assert (after.release_counter, after.finished, after.attempt) == (2, 1, None)
    assert [kind for kind, _ in told(effects)] == [EventType.HEALTH_OK]
    lower = state(P.COMMITTED, release_counter=7, attempt=attempt(boots=1))
    assert step(lower, MARKED, POLICY)[0].release_counter == 7


@pytest.mark.parametrize(
    ("event", "policy", "phase", "reason"),
    [
        (probed(healthy_s=30, trial_s=30), POLICY, P.COMMITTED, ""),
        (probed(healthy_s=29.9, trial_s=30), POLICY, P.TRIAL, ""),
        (probed(healthy_s=30, trial_s=30, is_reported=False), POLICY, P.TRIAL, ""),
        (probed(healthy_s=30, trial_s=30, is_reported=False), Policy(needs_server=False), P.COMMITTED, ""),
        (probed(healthy_s=30, trial_s=30, failing="It hangs."), POLICY, P.TRIAL, ""),
        (probed(trial_s=300, failing="It hangs."), POLICY, P.ROLLING_BACK, "unhealthy"),
        (probed(trial_s=300, healthy_s=29), POLICY, P.ROLLING_BACK, "unhealthy"),
        (probed(trial_s=300, healthy_s=299, is_reported=False), POLICY, P.ROLLING_BACK, "server_lost"),
        (probed(trial_s=300, healthy_s=29, is_reported=False), Policy(needs_server=False), P.ROLLING_BACK, "unhealthy"),
    ],
)
def test_a_trial_ends_by_health_report_and_time(event: Event, policy: Policy, phase: Phase, reason: str) -> None:
    after, effects = step(at_work(P.TRIAL, boots=1), event, policy)
    assert after.phase is phase
    assert [data["reason"] for _, data in told(effects)] == ([reason, reason] if reason else [])
    if phase is P.ROLLING_BACK:
        assert effects[-2:] == (Revert(bad=B, to=A), Reboot())


def test_each_roll_back_says_why_in_words() -> None:
    silent = step(at_work(P.TRIAL, boots=1), probed(trial_s=300, healthy_s=299, is_reported=False), POLICY)[1]
    shaky = step(at_work(P.TRIAL, boots=1), probed(trial_s=300, healthy_s=1), POLICY)[1]
    assert told(silent)[0][1]["detail"] == "no report of the new release was accepted by the server"
    assert told(shaky)[0][1]["detail"] == "health did not hold long enough"


@pytest.mark.parametrize(("boots", "reason"), [(0, "did_not_boot"), (2, "boot_loop")])
def test_a_release_that_the_bootloader_gave_up_is_told_with_its_reason(boots: int, reason: str) -> None:
    _, effects = step(at_work(P.TRIAL if boots else P.REBOOTING, boots=boots), booted(A), POLICY)
    assert told(effects) == [
        (EventType.ROLLBACK_TRIGGERED, {"reason": reason, "by": "bootloader"}),
        (EventType.ROLLBACK_COMPLETED, {"reason": reason, "slot": A, "to": "1.0.0"}),
    ]


def test_the_first_boot_of_a_trial_is_told_and_the_others_are_not() -> None:
    after, effects = step(at_work(P.REBOOTING), booted(B), POLICY)
    assert [kind for kind, _ in told(effects)] == [EventType.REBOOT_COMPLETED]
    assert told(step(after, booted(B), POLICY)[1]) == []


def test_a_cut_between_activation_and_its_record_loses_no_event() -> None:
    _, effects = step(at_work(P.INSTALLING), booted(B), POLICY)
    assert [kind for kind, _ in told(effects)] == [EventType.INSTALL_COMPLETED, EventType.REBOOT_STARTED, EventType.REBOOT_COMPLETED]
    assert effects[-1] == Probe()


@pytest.mark.parametrize("phase", [P.IDLE, P.CHECKING, P.VERIFYING, P.REPORTING])
def test_a_committed_release_that_the_bootloader_gave_up_is_noticed_in_any_phase_of_rest(phase: Phase) -> None:
    after, effects = step(anew(FELL_BACK, phase), booted(A), POLICY)
    assert (after.slot, after.running, after.fallback) == (A, release("1.0.0"), None)
    assert [kind for kind, _ in told(effects)] == [EventType.ROLLBACK_TRIGGERED, EventType.ROLLBACK_COMPLETED]


def test_what_lies_in_a_slot_is_known_or_said_to_be_unknown() -> None:
    fresh = state()
    assert (in_slot(fresh, A), in_slot(fresh, B)) == (release("1.0.0"), None)
    assert in_slot(FELL_BACK, A) == release("1.0.0")
    wanted = in_slot(at_work(P.TRIAL), B)
    assert wanted is not None
    assert (wanted.version, wanted.hash, wanted.size) == ("1.1.0", WANTED, SIZE)


# --- laws -------------------------------------------------------------------------------------------------------------------


@given(failures=st.integers(0, 10_000), cap=st.integers(1, 10_000))
def test_pauses_double_up_to_the_cap(failures: int, cap: int) -> None:
    expected = 1.0
    for _ in range(min(failures, 40) - 1):
        expected *= 2
    assert backoff_s(failures, Policy(backoff_cap_s=cap)) == min(expected, cap)


def test_the_first_pauses_are_one_two_and_four_seconds() -> None:
    assert [backoff_s(count, POLICY) for count in range(1, 12)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(st.lists(st.sampled_from([UNCHANGED, CHECK_FAILED, WOKE, booted()]), max_size=60))
def test_an_idle_device_keeps_the_same_state_however_often_it_polls(events: list[Event]) -> None:
    now = before = state(etag="1", fallback=release("0.9.0"))
    for event in events:
        is_answer = isinstance(event, Unchanged | CheckFailed)
        if isinstance(event, Booted) or is_answer == (now.phase is P.CHECKING):
            now, _ = step(now, event, POLICY)
        assert kept(now) == kept(before)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_what_is_kept_survives_the_journal(example: tuple[State, Event, Phase]) -> None:
    after, _ = step(example[0], example[1], POLICY)
    assert from_json(to_json(kept(after)), State, what="state") == kept(after)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_every_event_of_an_attempt_names_it(example: tuple[State, Event, Phase]) -> None:
    before, event, _ = example
    _, effects = step(before, event, POLICY)
    for effect in effects:
        if isinstance(effect, Emit) and before.attempt is not None:
            assert effect.assignment_id in {order().assignment_id, *spoken_of(event, before)}


def spoken_of(event: Event, before: State) -> set[AssignmentId | None]:
    """Return which attempt an event speaks of while another one waits: a refusal of none, a fallback of the one before."""
    match event:
        case Accepted(order=other):
            return {other.assignment_id}
        case Rejected(assignment_id=other_id):
            return {other_id}
        case Refused() | Unchanged():
            return {None}
        case Booted() | Sensed():
            return {before.finished}
        case _:
            return set()


def test_nothing_new_is_believed_only_while_what_the_director_signed_is_fresh() -> None:
    fresh = state(P.CHECKING, etag="7")
    assert step(fresh, UNCHANGED, POLICY) == (anew(fresh, P.IDLE), (Wait(seconds=300),))
    for frozen in (structs.replace(fresh, fresh_until=utc_text(NOW)), structs.replace(fresh, fresh_until="")):
        after, effects = step(frozen, UNCHANGED, POLICY)
        assert (after.etag, after.refused) == ("", "expired"), "the next poll asks for everything"
        assert [effect.data.get("refused") for effect in effects if isinstance(effect, Emit)] == [None, "expired"]
        again, effects = step(anew(after, P.CHECKING), UNCHANGED, POLICY)
        assert effects == (Wait(seconds=2),), "it is told once"
        assert kept(again) == kept(after), "and written once"
