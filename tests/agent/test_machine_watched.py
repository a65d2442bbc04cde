# SPDX-License-Identifier: Apache-2.0
"""The state machine while a release is watched: on trial, and for a while after it was kept."""

import pytest
from msgspec import structs

from surefoot.agent.admission import Board, admit
from surefoot.agent.machine import step
from surefoot.agent.signals import Activated, Booted, Emit, MarkGood, Probe, Reboot, Report, Revert, Sensed, Wait
from surefoot.agent.state import Phase, Policy, State, kept
from surefoot.agent.vitals import Start, Vitals
from surefoot.model.digest import digest_of
from surefoot.model.errors import VersionRegressionError
from surefoot.model.event import EventType
from surefoot.model.slot import SlotName, SlotState
from surefoot.trust.verify import Ordered
from tests.agent.moments import (
    MARKED,
    NOW,
    POLICY,
    WOKE,
    A,
    B,
    accepted,
    at_work,
    attempt,
    block,
    booted,
    order,
    probed,
    rejected,
    release,
    sensed,
    state,
    stayed,
    vitals,
    windowed,
)

P = Phase
KEPT = state(P.IDLE, slot=B, running=release("1.1.0"), fallback=release("1.0.0"), release_counter=2, kept_by=1, finished=1, vitals=vitals())
HARM = {
    "reboot_loop": vitals(reboots=4),
    "watchdog": vitals(lived_s=600.0, starts=[Start(at_s=120.0 * n, may_be_watchdog=True) for n in range(6)]),
    "unhealthy": vitals(failing_s=121.0),
    "broker_lost": vitals(lived_s=301.0, brokers=["the broker"]),
}


def told(effects: object) -> list[tuple[EventType, int | None, object]]:
    assert isinstance(effects, tuple)
    return [(effect.type, effect.assignment_id, effect.data.get("reason")) for effect in effects if isinstance(effect, Emit)]


@pytest.mark.parametrize("reason", HARM)
@pytest.mark.parametrize("phase", [P.IDLE, P.WAITING, P.REPORTING])
def test_each_trigger_leaves_a_kept_release_for_the_one_before(reason: str, phase: Phase) -> None:
    before = structs.replace(KEPT, phase=phase, attempt=attempt(order=windowed(), slot=A) if phase is P.WAITING else None)
    after, effects = step(before, sensed(vitals=HARM[reason], failing="It hangs."), POLICY)
    assert (after.phase, after.attempt, after.leaving, after.vitals) == (P.ROLLING_BACK, None, reason, None)
    assert told(effects) == [(EventType.HEALTH_FAILED, 1, reason), (EventType.ROLLBACK_TRIGGERED, 1, reason)]
    assert effects[2:] == (Revert(bad=B, to=A, release=release("1.0.0")), Reboot())


@pytest.mark.parametrize("reason", ["reboot_loop", "watchdog", "broker_lost"])
@pytest.mark.parametrize("phase", [P.IDLE, P.CHECKING, P.VERIFYING, P.REPORTING])
def test_each_trigger_counts_at_a_boot_too(reason: str, phase: Phase) -> None:
    event = booted(B, other=SlotState.GOOD, vitals=HARM[reason])
    after, _ = step(structs.replace(KEPT, phase=phase), event, POLICY)
    assert after.leaving == reason


@pytest.mark.parametrize("reason", HARM)
def test_each_trigger_takes_a_release_on_trial_back(reason: str) -> None:
    on_trial = structs.replace(at_work(P.TRIAL, boots=1), vitals=vitals())
    for event in (probed(vitals=HARM[reason], healthy_s=100.0), booted(B, vitals=HARM[reason])):
        after, effects = step(on_trial, event, POLICY)
        assert after.phase is P.ROLLING_BACK
        assert after.attempt is not None
        assert after.attempt.reason == reason
        assert effects[-2:] == (Revert(bad=B, to=A), Reboot())


@pytest.mark.parametrize("event", [sensed(vitals=HARM["reboot_loop"], other=SlotState.BAD), booted(B, vitals=HARM["reboot_loop"])])
def test_without_a_good_release_to_go_back_to_it_stays_says_so_and_is_watched_no_longer(event: Sensed | Booted) -> None:
    after, effects = step(KEPT, event, POLICY)
    assert (after.running, after.vitals, after.leaving) == (KEPT.running, None, "")
    assert told(effects) == [(EventType.HEALTH_FAILED, 1, "reboot_loop")]
    assert isinstance(effects[0], Emit)
    assert "no good release to go back to" in effects[0].data["detail"]


@pytest.mark.parametrize("reason", HARM)
def test_the_release_before_is_reported_with_the_reason_and_the_counter_stays(reason: str) -> None:
    leaving = structs.replace(KEPT, phase=P.ROLLING_BACK, leaving=reason, vitals=None)
    after, effects = step(leaving, booted(A), POLICY)
    assert (after.phase, after.slot, after.running, after.fallback) == (P.REPORTING, A, release("1.0.0"), None)
    assert told(effects) == [(EventType.ROLLBACK_COMPLETED, 1, reason)]
    assert after.result is not None
    assert (after.result.outcome, after.result.reason, after.result.version) == ("rolled back", reason, "1.1.0")
    assert (after.release_counter, after.leaving, after.etag) == (2, "", "")
    is_spoiled = after.failed == release("1.1.0").hash
    assert is_spoiled == (reason != "broker_lost"), "a broker may be lost by its own doing"


def test_a_bootloader_that_cannot_say_where_to_go_back_to_is_asked_again() -> None:
    after, effects = step(KEPT, sensed(vitals=HARM["unhealthy"], other=None), POLICY)
    assert (after.phase, after.vitals, effects) == (P.IDLE, HARM["unhealthy"], (Wait(seconds=20.0),))
    again, _ = step(after, sensed(vitals=HARM["unhealthy"]), POLICY)
    assert (again.phase, again.leaving) == (P.ROLLING_BACK, "unhealthy")


def test_a_relapse_is_told_of_the_order_that_brought_the_release_whatever_was_refused_since() -> None:
    on_trial = structs.replace(at_work(P.COMMITTED, boots=1), vitals=vitals())
    reported, _ = step(on_trial, MARKED, POLICY)
    refused, _ = step(structs.replace(reported, phase=P.VERIFYING), rejected(2), POLICY)
    assert refused.finished == 2
    leaving, effects = step(refused, sensed(vitals=HARM["unhealthy"]), POLICY)
    assert told(effects) == [(EventType.HEALTH_FAILED, 1, "unhealthy"), (EventType.ROLLBACK_TRIGGERED, 1, "unhealthy")]
    for before in (leaving, refused):
        back, effects = step(before, booted(A), POLICY)
        assert {assignment for _, assignment, _ in told(effects)} == {1}
        assert back.result is not None
        assert (back.result.assignment_id, back.finished, back.kept_by) == (1, 2, None)


def test_after_that_the_next_honest_update_is_admitted_and_an_older_one_is_not() -> None:
    back, _ = step(structs.replace(KEPT, phase=P.ROLLING_BACK, leaving="unhealthy", vitals=None), booted(A), POLICY)
    board = Board(hardware="thermostat-v1", bootloader_version="2.0.0", slot_capacity_bytes=10_000)

    def ordered(version: str, counter: int) -> Ordered:
        wanted = block(version=version, release_counter=counter)
        return Ordered(
            path=f"thermostat/{version}", order=structs.replace(order(2), must_match=wanted), size=100, hash=digest_of(version.encode())
        )

    admit(ordered("1.2.0", 2), board, back, NOW)
    with pytest.raises(VersionRegressionError):
        admit(ordered("1.2.0", 1), board, back, NOW)


def test_a_release_that_cannot_be_left_is_kept_after_three_tries() -> None:
    now = structs.replace(KEPT, phase=P.ROLLING_BACK, leaving="unhealthy", vitals=None)
    for _ in range(2):
        now, effects = step(now, stayed(B), POLICY)
        assert (now.phase, type(effects[-1])) == (P.ROLLING_BACK, Wait)
        again, effects = step(now, WOKE, POLICY)
        assert effects == (Revert(bad=B, to=A, release=release("1.0.0")), Reboot())
        assert again == now
    after, effects = step(now, stayed(B), POLICY)
    assert (after.phase, after.running, after.leaving) == (P.REPORTING, KEPT.running, "")
    assert told(effects) == [(EventType.HEALTH_FAILED, 1, "unhealthy")]
    assert effects[-1] == Report()


@pytest.mark.parametrize("primary", [A, None])
def test_a_release_that_the_bootloader_may_have_been_told_to_leave_is_left_however_often_the_reboot_fails(primary: SlotName | None) -> None:
    now = structs.replace(KEPT, phase=P.ROLLING_BACK, leaving="unhealthy", vitals=None)
    for _ in range(50):
        now, effects = step(now, stayed(primary), POLICY)
        assert (now.phase, type(effects[-1])) == (P.ROLLING_BACK, Wait)
        assert step(now, WOKE, POLICY)[1][-1] == Reboot()


def test_a_trial_starts_to_count_with_a_boot_that_was_asked_for_and_what_was_reached_before() -> None:
    after, _ = step(at_work(P.INSTALLING), Activated(now=NOW, brokers=("one",)), POLICY)
    assert after.vitals == Vitals(is_stopped=True, brokers=["one"])


def test_a_commit_goes_on_counting_from_there() -> None:
    committed, effects = step(
        structs.replace(at_work(P.TRIAL, boots=1), vitals=Vitals()), probed(healthy_s=30.0, vitals=Vitals(lived_s=31.0)), POLICY
    )
    assert effects == (MarkGood(slot=B),)
    after, _ = step(committed, MARKED, POLICY)
    assert after.vitals == Vitals(lived_s=31.0, kept_s=31.0)


def test_a_broker_that_is_owed_holds_a_commit_back_and_is_named_when_time_is_over() -> None:
    on_trial = structs.replace(at_work(P.TRIAL, boots=1), vitals=Vitals(brokers=["one"]))
    waiting = probed(healthy_s=100.0, lost="It is not reached.", vitals=Vitals(lived_s=100.0, brokers=["one"]))
    assert step(on_trial, waiting, POLICY)[0].phase is P.TRIAL
    late = probed(healthy_s=100.0, trial_s=300.0, lost="It is not reached.", vitals=Vitals(lived_s=300.0, brokers=["one"]))
    after, effects = step(on_trial, late, POLICY)
    assert told(effects)[0] == (EventType.HEALTH_FAILED, 1, "broker_lost")
    assert after.attempt is not None
    assert after.attempt.reason == "broker_lost"


def test_what_is_not_required_holds_nothing_back_and_is_told() -> None:
    before = structs.replace(at_work(P.TRIAL, boots=1), vitals=Vitals())
    committed, _ = step(before, probed(healthy_s=30.0, ailing="The disk is nearly full.", vitals=Vitals()), POLICY)
    _, effects = step(committed, MARKED, POLICY)
    assert isinstance(effects[0], Emit)
    assert effects[0].data["ailing"] == "The disk is nearly full."


def test_the_other_slot_is_written_over_and_the_watch_ends() -> None:
    after, _ = step(structs.replace(KEPT, phase=P.VERIFYING), accepted(2), POLICY)
    assert (after.phase, after.vitals, after.fallback) == (P.DOWNLOADING, None, None)


def test_a_watch_that_is_over_is_forgotten_and_then_nothing_is_written() -> None:
    after, effects = step(KEPT, sensed(vitals=vitals(lived_s=86_441.0)), POLICY)
    assert (after.vitals, effects) == (None, (Wait(seconds=20.0),))
    again, _ = step(after, booted(B, other=SlotState.GOOD), POLICY)
    assert kept(again) == kept(after)


def test_a_look_in_a_trial_is_noted_only_when_it_is_worth_it() -> None:
    before = structs.replace(at_work(P.TRIAL, boots=1), vitals=Vitals(failing_s=0.0))
    policy = Policy(trial_s=1000)
    assert step(before, probed(failing="It hangs.", vitals=Vitals(lived_s=10.0, failing_s=10.0)), policy)[0] == before
    noted, effects = step(before, probed(failing="It hangs.", vitals=Vitals(lived_s=30.0, failing_s=30.0)), policy)
    assert noted.vitals == Vitals(lived_s=30.0, failing_s=30.0)
    assert effects == (Wait(seconds=1),)


def test_a_start_in_the_middle_of_a_commit_is_counted() -> None:
    before = structs.replace(at_work(P.COMMITTED, boots=1), vitals=Vitals())
    counted = Vitals(boot="2", starts=[Start(at_s=0.0, may_be_watchdog=True)])
    after, _ = step(before, booted(B, vitals=counted), POLICY)
    assert after.vitals == counted
    on_trial: State = structs.replace(at_work(P.TRIAL, boots=1), vitals=Vitals())
    after, effects = step(on_trial, booted(B, vitals=counted), POLICY)
    assert (after.vitals, effects) == (counted, (Probe(),))
