# SPDX-License-Identifier: Apache-2.0
"""The device's state machine: ``step(state, event) → (state, effects)``, from one table.

- The runner journals the new state, together with every ``Emit``, before it performs the other effects.
- Every effect may safely be performed again; after a power cut the machine is told ``Booted`` and asks for what is missing.
- The effects are performed in order; the last one answers with the next event.
- Success is never inferred from the slot letter: the release on trial must be the ordered bytes, hold its health checks for
  a while, and have had a report accepted by the server.
- An order with windows waits, polling, until its install may start, and where a line is paid by the byte, its download; one without
  windows waits before its download while people at the device have put it off, or inhibit updates. What has started finishes.
- An attempt ends in ``REPORTING``, which is left only when the server has acknowledged every event.
- A committed release is watched for a while, and given up by the same triggers as one on trial, as long as the other slot is good.

``RULES`` is the whole table; the diagram in ``docs/agent-states.md`` is drawn from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import structs

from surefoot.agent.signals import (
    Accepted,
    Activated,
    Answered,
    Booted,
    CheckFailed,
    Corrupt,
    Download,
    Effect,
    Emit,
    Event,
    Failed,
    Install,
    Interrupted,
    Marked,
    MarkGood,
    Nothing,
    Poll,
    Probe,
    Probed,
    Reboot,
    Received,
    Refused,
    Rejected,
    Report,
    Reported,
    Revert,
    Sensed,
    Shut,
    Stayed,
    Unchanged,
    Verify,
    Wait,
    Weigh,
    Weighed,
    Woke,
)
from surefoot.agent.state import Attempt, Phase, Policy, Result, State, release_of
from surefoot.agent.triggers import Trigger, is_over, judge
from surefoot.agent.vitals import Vitals, is_worth_noting
from surefoot.model.assignment import AssignmentId
from surefoot.model.digest import Digest
from surefoot.model.errors import ExpiredError
from surefoot.model.event import EventType
from surefoot.model.record import parse_utc, utc_text
from surefoot.model.rollback import RollbackReason
from surefoot.model.slot import SlotState
from surefoot.model.window import DownloadTime

_OF_THE_IMAGE = {
    RollbackReason.BOOT_LOOP,
    RollbackReason.DID_NOT_BOOT,
    RollbackReason.REBOOT_LOOP,
    RollbackReason.WATCHDOG,
    RollbackReason.UNHEALTHY,
    RollbackReason.BOOTLOADER_FALLBACK,
}
"""Reasons of a rollback that the image itself gives; a lost server or broker may have been lost by its own doing."""

_MAX_DETAIL = 300

Step = tuple[State, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: in ``phase``, told ``event``, the machine goes to one of ``to``; ``why`` labels the arrow."""

    phase: Phase
    event: type[Event]
    to: tuple[Phase, ...]
    why: str
    then: Callable[[State, Any, Policy], Step]


def step(state: State, event: Event, policy: Policy) -> Step:
    """Say what the device does next.

    Args:
        state: What it remembers.
        event: What it is told.
        policy: The integrator's numbers.

    Returns:
        The state to journal, and the effects: every ``Emit`` first, then what to perform in order.

    Raises:
        LookupError: The table has no row for this event in this phase: a programming mistake.
    """
    rule = _ROWS[state.phase, type(event)]
    after, effects = rule.then(state, event, policy)
    if after.phase not in rule.to:
        raise LookupError(f"{state.phase} + {type(event).__name__} led to {after.phase}, which the table does not allow")
    return after, effects


def backoff_s(failures: int, policy: Policy) -> float:
    """Return the pause after the n-th failure in a row: 1, 2, 4 … seconds, capped."""
    return float(min(2 ** min(max(failures - 1, 0), 30), policy.backoff_cap_s))


def _check_in(state: State, event: Booted, policy: Policy) -> Step:
    if event.slot is not state.slot and state.fallback is not None:
        return _fell_back(state, event, policy)
    return _watched(state, event, policy, _check)


def _check(state: State, _event: Event, _policy: Policy) -> Step:
    return _in(state, Phase.CHECKING), (Poll(etag=state.etag),)


def _fell_back(state: State, _event: Booted, _policy: Policy) -> Step:
    # A committed release was given up, by the agent or by the bootloader: what runs now is what was kept in the other slot.
    assert state.fallback is not None  # noqa: S101  # the callers have looked
    reason = state.leaving or RollbackReason.BOOTLOADER_FALLBACK.value
    data = {"reason": reason, "from": state.running.version, "to": state.fallback.version}
    triggered = () if state.leaving else (Emit(type=EventType.ROLLBACK_TRIGGERED, assignment_id=state.kept_by, data=data),)
    before = _spoiled(state, state.running.hash) if reason in _OF_THE_IMAGE else state
    after = structs.replace(
        before,
        phase=Phase.REPORTING,
        slot=state.slot.other,
        running=state.fallback,
        fallback=None,
        kept_by=None,
        result=Result(assignment_id=state.kept_by, version=state.running.version, outcome="rolled back", reason=reason),
        # An order that waited was dropped with the release: ask for everything.
        etag="",
        failures=0,
        vitals=None,
        leaving="",
    )
    return after, (*triggered, Emit(type=EventType.ROLLBACK_COMPLETED, assignment_id=state.kept_by, data=data), Report())


def _watched(state: State, event: Booted | Sensed, policy: Policy, go_on: Callable[[State, Any, Policy], Step]) -> Step:
    """Note what was counted of a committed release; leave it when that is too much, else go on."""
    if event.vitals is None or state.fallback is None:
        return go_on(structs.replace(state, vitals=None), event, policy)
    harm = judge(event.vitals, policy.rollback)
    if harm is None:
        vitals = None if is_over(event.vitals, policy.rollback) else event.vitals
        return go_on(structs.replace(state, vitals=vitals), event, policy)
    other = event.states[state.slot.other] if isinstance(event, Booted) else event.other
    if other is None:
        return go_on(structs.replace(state, vitals=event.vitals), event, policy)
    if other is not SlotState.GOOD:
        after, effects = go_on(structs.replace(state, vitals=None), event, policy)
        return after, (_harmed(state, harm.reason, f"{harm.detail} There is no good release to go back to."), *effects)
    return _leave(state, harm, "" if isinstance(event, Booted) else event.failing)


def _leave(state: State, harm: Trigger, failing: str) -> Step:
    assert state.fallback is not None  # noqa: S101  # the only caller has looked
    data = {"reason": harm.reason.value, "from": state.running.version, "to": state.fallback.version}
    after = structs.replace(state, phase=Phase.ROLLING_BACK, attempt=None, leaving=harm.reason.value, vitals=None, failures=0)
    return after, (
        _harmed(state, harm.reason, f"{harm.detail} {failing}".rstrip()),
        Emit(type=EventType.ROLLBACK_TRIGGERED, assignment_id=state.kept_by, data=data),
        *_going_back(after),
    )


def _harmed(state: State, reason: str, detail: str) -> Emit:
    return Emit(type=EventType.HEALTH_FAILED, assignment_id=state.kept_by, data={"reason": str(reason), "detail": detail})


def _sensed(state: State, event: Sensed, policy: Policy) -> Step:
    return _watched(state, event, policy, lambda after, _event, _policy: (after, (Wait(seconds=event.left_s),)))


def _stay(state: State, event: Unchanged, policy: Policy) -> Step:
    if _is_stale(state, event.now):
        return _refuse(state, _frozen(state, event), policy)
    return structs.replace(state, phase=Phase.IDLE, failures=0), (Wait(seconds=event.next_poll_s),)


def _is_stale(state: State, now: datetime) -> bool:
    return not state.fresh_until or now >= parse_utc(state.fresh_until)


def _frozen(state: State, event: Unchanged) -> Refused:
    # "Nothing new" is not signed: who says so for ever would keep every update away (freeze attack). Ask for everything.
    message = f"The server says that nothing changed, but what the director signed last expired at {state.fresh_until or 'no time'}."
    return Refused(now=event.now, code=ExpiredError.code, message=message)


def _verify(state: State, event: Answered, _policy: Policy) -> Step:
    return _in(state, Phase.VERIFYING), (Verify(answer=event.answer, etag=event.etag),)


def _check_failed(state: State, event: CheckFailed | Failed, policy: Policy) -> Step:
    after = structs.replace(state, phase=Phase.IDLE, failures=state.failures + 1)
    # The first of a row is worth telling; a week without network is not a week of events.
    news = _checked(None, failed=event.code, detail=event.message) if state.failures == 0 else ()
    return after, (*news, Wait(seconds=backoff_s(after.failures, policy)))


def _nothing(state: State, event: Nothing, _policy: Policy) -> Step:
    after = structs.replace(_up_to_date(state, event), phase=Phase.IDLE)
    return after, (Wait(seconds=event.next_poll_s),)


def _accept(state: State, event: Accepted, policy: Policy) -> Step:
    if event.order.assignment_id == state.finished:
        return structs.replace(_up_to_date(state, event), phase=Phase.IDLE), (Wait(seconds=event.next_poll_s),)
    return _begin(state, event, _begun(state, event), policy)


def _begin(state: State, event: Accepted, attempt: Attempt, policy: Policy) -> Step:
    after, effects = _go_on(_up_to_date(state, event), attempt, policy, is_put_off=event.is_put_off)
    wanted = event.order.must_match
    return after, (*_checked(event.order.assignment_id, offered=wanted.version, build_id=wanted.build_id), *effects)


def _go_on(state: State, attempt: Attempt, policy: Policy, *, is_put_off: bool = False) -> Step:
    """Wait for what has a window to wait for, or is put off, else do it: the download, then the install."""
    if _waits(attempt, is_put_off=is_put_off):
        return structs.replace(state, phase=Phase.WAITING, attempt=attempt), (Weigh(order=attempt.order),)
    return _start(state, attempt, policy)


def _waits(attempt: Attempt, *, is_put_off: bool) -> bool:
    is_here, order = attempt.received == attempt.size, attempt.order
    # Without windows an order starts with its download, for the server too: what is put off must not begin it.
    return is_here or order.download is DownloadTime.WINDOW if order.windows else is_put_off


def _no_longer_waiting(attempt: Attempt, now: datetime) -> Attempt:
    """Return what waited as it is when the wait is over: its time counts from now."""
    return structs.replace(attempt, started_at=utc_text(now), waits="", waits_for="", waits_until="")


def _start(state: State, attempt: Attempt, policy: Policy) -> Step:
    if attempt.received == attempt.size:
        return structs.replace(state, phase=Phase.INSTALLING, attempt=attempt), (
            _emit(attempt, EventType.INSTALL_STARTED, slot=attempt.slot),
            Install(attempt=attempt),
        )
    attempt = structs.replace(attempt, over=state.fallback)
    return structs.replace(state, phase=Phase.DOWNLOADING, attempt=attempt, fallback=None, vitals=None), (
        _emit(attempt, EventType.DOWNLOAD_STARTED, size=attempt.size, hash=attempt.hash),
        _next_part(attempt, policy),
    )


def _reject(state: State, event: Rejected, _policy: Policy) -> Step:
    after = _up_to_date(state, event)
    if event.assignment_id == state.finished:
        return structs.replace(after, phase=Phase.IDLE), (Wait(seconds=event.next_poll_s),)
    news = _checked(event.assignment_id, refused=event.code, detail=event.message)
    result = Result(assignment_id=event.assignment_id, outcome="refused", reason=event.code, detail=event.message[:_MAX_DETAIL])
    return structs.replace(after, phase=Phase.REPORTING, finished=event.assignment_id, result=result), (*news, Report())


def _refuse(state: State, event: Refused, policy: Policy) -> Step:
    # What is held and what the server takes for held may differ (enrolled again, a server restored): ask for everything.
    after = structs.replace(state, phase=Phase.IDLE, failures=state.failures + 1, refused=event.code, etag="")
    news = _refusal(state, event)
    return after, (*news, Wait(seconds=backoff_s(after.failures, policy)))


def _refusal(state: State, event: Refused) -> tuple[Emit, ...]:
    return _checked(None, refused=event.code, detail=event.message) if state.refused != event.code else ()


def _download(state: State, event: Booted | Woke | Received, policy: Policy) -> Step:
    attempt = _attempt(state)
    if _is_late(attempt, event.now):
        return _give_up(state, EventType.DOWNLOAD_FAILED, "deadline", "The deadline of the attempt passed before the image was here.")
    return state, (_next_part(attempt, policy),)


def _is_late(attempt: Attempt, now: datetime) -> bool:
    return now > parse_utc(attempt.started_at) + timedelta(seconds=attempt.order.deadline_s)


def _received(state: State, event: Received, policy: Policy) -> Step:
    attempt = structs.replace(_attempt(state), received=event.received, interruptions=0)
    if event.received < attempt.size:
        news = _emit(attempt, EventType.DOWNLOAD_PROGRESS, received=event.received, percent=round(event.received * 100 / attempt.size))
        after, effects = _download(structs.replace(state, attempt=attempt), event, policy)
        return after, (news, *effects)
    news = _emit(attempt, EventType.DOWNLOAD_COMPLETED, size=attempt.size, seconds=_seconds(attempt, event.now), tries=attempt.tries + 1)
    after, effects = _go_on(state, attempt, policy)
    return after, (news, *effects)


def _ask(state: State, event: Booted | Woke, policy: Policy) -> Step:
    if isinstance(event, Booted) and event.slot is not state.slot and state.fallback is not None:
        return _fell_back(structs.replace(state, attempt=None), event, policy)
    return _watched(state, event, policy, _poll) if isinstance(event, Booted) else _poll(state, event, policy)


def _poll(state: State, _event: Event, _policy: Policy) -> Step:
    # The server first, whether or not a window is open: a pause takes the order back.
    return state, (Poll(etag=state.etag),)


def _weighed(state: State, event: Weighed, policy: Policy) -> Step:
    before, permission = _attempt(state), event.permission
    if permission.may_start:
        return _start(state, _no_longer_waiting(before, event.now), policy)
    until = "" if permission.until is None else utc_text(permission.until)
    attempt = structs.replace(before, waits=permission.reason.value, waits_for=permission.detail, waits_until=until)
    after = structs.replace(state, attempt=attempt)
    left_s = attempt.poll_s if permission.until is None else (permission.until - event.now).total_seconds()
    wait = Wait(seconds=max(1.0, min(left_s, attempt.poll_s)))
    if (before.waits, before.waits_for, before.waits_until) == (attempt.waits, attempt.waits_for, until):
        return state, (wait,)
    # What was told before and is not over yet has moved: the zone, its rules or the windows are others now.
    moved = {"was": before.waits_until} if before.waits_until > utc_text(event.now) and before.waits_until != until else {}
    told = _emit(attempt, EventType.INSTALL_WAITING, reason=attempt.waits, detail=attempt.waits_for, until=until, **moved)
    return after, (told, wait)


def _wait_on(state: State, event: Unchanged | CheckFailed | Failed, policy: Policy) -> Step:
    if isinstance(event, Unchanged) and _is_stale(state, event.now):
        return _refused_while_waiting(structs.replace(state, etag=""), _frozen(state, event), policy)
    return state, (_weigh(state),)


def _answered_while_waiting(state: State, event: Answered, _policy: Policy) -> Step:
    return state, (Verify(answer=event.answer, etag=event.etag),)


def _refused_while_waiting(state: State, event: Refused, _policy: Policy) -> Step:
    # What was verified before still holds, until its own ``start_before``.
    after = structs.replace(state, refused=event.code)
    news = _refusal(state, event)
    return after, (*news, _weigh(state))


def _weigh(state: State) -> Weigh:
    return Weigh(order=_attempt(state).order)


def _withdrawn(state: State, event: Nothing, _policy: Policy) -> Step:
    after = structs.replace(_up_to_date(state, event), phase=Phase.IDLE, attempt=None)
    return after, (*_checked(_attempt(state).order.assignment_id, withdrawn=True), Wait(seconds=event.next_poll_s))


def _rejected_while_waiting(state: State, event: Rejected, policy: Policy) -> Step:
    return _reject(structs.replace(state, attempt=None), event, policy)


def _accepted_while_waiting(state: State, event: Accepted, policy: Policy) -> Step:
    waiting = _attempt(state)
    is_same_image = (event.hash, event.size) == (waiting.hash, waiting.size)
    if event.order.assignment_id == state.finished or not is_same_image:
        return _accept(structs.replace(state, attempt=None), event, policy)
    if event.order.assignment_id == waiting.order.assignment_id:
        renewed = structs.replace(waiting, order=event.order, urls=event.urls, poll_s=event.next_poll_s)
        if not _waits(renewed, is_put_off=event.is_put_off):
            renewed = _no_longer_waiting(renewed, event.now)
        return _go_on(_up_to_date(state, event), renewed, policy, is_put_off=event.is_put_off)
    # Another order for the bytes that lie in the slot already: they are not fetched twice.
    return _begin(state, event, structs.replace(_begun(state, event), received=waiting.received), policy)


def _interrupted(state: State, event: Interrupted, policy: Policy) -> Step:
    before = _attempt(state)
    interruptions = 1 if event.received > before.received else before.interruptions + 1
    attempt = structs.replace(before, received=event.received, interruptions=interruptions)
    # Nobody answered or the line broke: the image is not at fault, so this costs time, not one of the tries.
    return structs.replace(state, attempt=attempt), (Wait(seconds=backoff_s(interruptions, policy)),)


def _corrupt(state: State, event: Corrupt, policy: Policy) -> Step:
    attempt = structs.replace(_attempt(state), received=0, interruptions=0, tries=_attempt(state).tries + 1)
    after = structs.replace(state, phase=Phase.DOWNLOADING, attempt=attempt)
    if attempt.tries >= policy.max_tries:
        return _give_up(after, EventType.DOWNLOAD_FAILED, event.code, event.message)
    return after, (Wait(seconds=backoff_s(attempt.tries, policy)),)


def _download_failed(state: State, event: Failed, _policy: Policy) -> Step:
    after, effects = _give_up(state, EventType.DOWNLOAD_FAILED, event.code, event.message)
    return structs.replace(after, fallback=_attempt(state).over) if event.is_untouched else after, effects


def _install(state: State, event: Booted, policy: Policy) -> Step:
    if event.slot is _attempt(state).slot:
        # The cut came after the slot was activated and before that was journalled: the new release is on trial already.
        rebooting, effects = _installed(state, Activated(now=event.now), policy)
        after, more = _rebooted(rebooting, event, policy)
        return after, (*(effect for effect in effects if isinstance(effect, Emit)), *more)
    return _install_again(state, event, policy)


def _install_again(state: State, event: Booted, policy: Policy) -> Step:
    """Install once more what no install has come to an end of; not for ever, since it may be the install that resets the board."""
    attempt = structs.replace(_attempt(state), installs=_attempt(state).installs + 1)
    if attempt.installs >= policy.max_installs:
        return _end_install(state, "install_loop", f"The install was begun {attempt.installs} times and came to no end.")
    if _is_late(attempt, event.now):
        return _end_install(state, "deadline", "The deadline of the attempt passed before the image was installed.")
    return structs.replace(state, phase=Phase.INSTALLING, attempt=attempt), (Install(attempt=attempt),)


def _end_install(state: State, code: str, message: str) -> Step:
    after, (told, report) = _give_up(state, EventType.INSTALL_FAILED, code, message)
    return after, (told, Shut(slot=_attempt(state).slot), report)


def _installed(state: State, event: Activated, _policy: Policy) -> Step:
    attempt = _attempt(state)
    # The first boot of the release is one that was asked for.
    after = structs.replace(state, phase=Phase.REBOOTING, vitals=Vitals(brokers=list(event.brokers), is_stopped=True))
    return after, (
        _emit(attempt, EventType.INSTALL_COMPLETED, slot=attempt.slot, hash=attempt.hash),
        _emit(attempt, EventType.REBOOT_STARTED, slot=attempt.slot),
        Reboot(),
    )


def _install_failed(state: State, event: Failed, _policy: Policy) -> Step:
    return _give_up(state, EventType.INSTALL_FAILED, event.code, event.message)


def _rebooted(state: State, event: Booted, policy: Policy) -> Step:
    attempt = _attempt(state)
    if event.slot is attempt.slot:
        return _on_trial(state, event, policy)
    if event.states[attempt.slot] is SlotState.BAD:
        return _back_by_bootloader(state)
    if event.primary is attempt.slot:
        return state, (Reboot(),)
    # Activated, but no longer: somebody changed the bootloader's mind. Install again rather than guess.
    return _install_again(state, event, policy)


def _on_trial(state: State, event: Booted, policy: Policy) -> Step:
    attempt = structs.replace(_attempt(state), boots=_attempt(state).boots + 1)
    trial = structs.replace(state, phase=Phase.TRIAL, attempt=attempt, vitals=event.vitals or state.vitals)
    harm = _harm(trial.vitals, policy)
    news = (_emit(attempt, EventType.REBOOT_COMPLETED, slot=attempt.slot),) if attempt.boots == 1 else ()
    if not event.is_wanted:
        after, effects = _take_back(trial, RollbackReason.WRONG_IMAGE, "The booted slot does not hold the ordered image.")
    elif harm is not None:
        after, effects = _take_back(trial, harm.reason, harm.detail)
    elif attempt.boots > policy.max_boots:
        after, effects = _take_back(trial, RollbackReason.BOOT_LOOP, f"The release on trial was started {attempt.boots} times.")
    else:
        after, effects = trial, (Probe(),)
    return after, (*news, *effects)


def _booted_on_trial(state: State, event: Booted, policy: Policy) -> Step:
    return _on_trial(state, event, policy) if event.slot is _attempt(state).slot else _back_by_bootloader(state)


def _probed(state: State, event: Probed, policy: Policy) -> Step:
    harm = _harm(event.vitals, policy)
    if harm is not None:
        return _take_back(state, harm.reason, f"{harm.detail} {event.failing}".rstrip())
    is_settled = not event.failing and not event.lost and event.healthy_s >= policy.settle_s
    if is_settled and (event.is_reported or not policy.needs_server):
        attempt = structs.replace(_attempt(state), ailing=event.ailing[:_MAX_DETAIL])
        kept = structs.replace(state, phase=Phase.COMMITTED, attempt=attempt, vitals=event.vitals or state.vitals)
        return kept, (MarkGood(slot=attempt.slot),)
    if event.trial_s < policy.trial_s:
        return _noted(state, event.vitals, policy), (Wait(seconds=policy.probe_s),)
    return _take_back(state, _missing(event, policy), event.failing or event.lost or _never(event))


def _harm(vitals: Vitals | None, policy: Policy) -> Trigger | None:
    return None if vitals is None else judge(vitals, policy.rollback)


def _noted(state: State, vitals: Vitals | None, policy: Policy) -> State:
    if vitals is None or state.vitals is None or not is_worth_noting(state.vitals, vitals, policy.rollback.window_s):
        return state
    return structs.replace(state, vitals=vitals)


def _missing(event: Probed, policy: Policy) -> RollbackReason:
    """Say what a release whose trial is over lacked."""
    if event.failing:
        return RollbackReason.UNHEALTHY
    if event.lost:
        return RollbackReason.BROKER_LOST
    # A release that nothing is wrong with but that never reached the server has lost it, however few looks there were.
    return RollbackReason.SERVER_LOST if policy.needs_server and not event.is_reported else RollbackReason.UNHEALTHY


def _probe(state: State, _event: Woke, _policy: Policy) -> Step:
    return state, (Probe(),)


def _mark(state: State, event: Booted | Woke, _policy: Policy) -> Step:
    if isinstance(event, Booted) and event.slot is not _attempt(state).slot:
        return _back_by_bootloader(state)
    after = structs.replace(state, vitals=event.vitals) if isinstance(event, Booted) else state
    return after, (MarkGood(slot=_attempt(state).slot),)


def _marked(state: State, event: Marked, _policy: Policy) -> Step:
    attempt = _attempt(state)
    after = structs.replace(
        state,
        phase=Phase.REPORTING,
        slot=attempt.slot,
        running=release_of(attempt),
        fallback=state.running,
        release_counter=max(state.release_counter, attempt.order.must_match.release_counter),
        attempt=None,
        kept_by=attempt.order.assignment_id,
        finished=attempt.order.assignment_id,
        result=_ended(attempt, "installed"),
        failures=0,
        vitals=None if state.vitals is None else structs.replace(state.vitals, kept_s=state.vitals.lived_s),
    )
    ailing = {"ailing": attempt.ailing} if attempt.ailing else {}
    seconds = _seconds(attempt, event.now)
    news = _emit(attempt, EventType.HEALTH_OK, slot=attempt.slot, boots=attempt.boots, seconds=seconds, **ailing)
    return after, (news, Report())


def _again(state: State, _event: Failed | Stayed, policy: Policy) -> Step:
    after = structs.replace(state, failures=state.failures + 1)
    return after, (Wait(seconds=backoff_s(after.failures, policy)),)


def _not_rebooted(state: State, event: Stayed, policy: Policy) -> Step:
    # Where the agent goes on while an application is restarted, each failure costs a start; the last one lets the old release start.
    if event.states.get(_attempt(state).slot) is SlotState.BAD:
        return _back_by_bootloader(state)
    return _again(state, event, policy)


def _reboot(state: State, _event: Woke, _policy: Policy) -> Step:
    return state, (Reboot(),)


def _revert(state: State, event: Booted | Woke, policy: Policy) -> Step:
    if isinstance(event, Booted) and state.leaving and event.slot is not state.slot:
        return _fell_back(state, event, policy)
    if isinstance(event, Booted) and not state.leaving and event.slot is state.slot:
        return _rolled_back(state)
    return state, _going_back(state)


def _going_back(state: State) -> tuple[Effect, ...]:
    if state.leaving:
        return Revert(bad=state.slot, to=state.slot.other, release=state.fallback), Reboot()
    return Revert(bad=_attempt(state).slot, to=state.slot), Reboot()


def _not_left(state: State, event: Stayed, policy: Policy) -> Step:
    # A bootloader that was told, or cannot say, may start the other slot at the next boot: nothing may be written there.
    may_stay = state.leaving and event.primary is state.slot
    if not may_stay or state.failures + 1 < policy.max_tries:
        return _again(state, event, policy)
    # Better a release that limps than a board that tries for ever to leave it, and hears of no other.
    after = structs.replace(state, phase=Phase.REPORTING, leaving="", failures=0)
    return after, (_harmed(state, state.leaving, f"The release cannot be left: {event.message}"), Report())


def _report(state: State, event: Booted | Woke, policy: Policy) -> Step:
    if isinstance(event, Booted) and event.slot is not state.slot and state.fallback is not None:
        return _fell_back(state, event, policy)
    return _watched(state, event, policy, _send) if isinstance(event, Booted) else _send(state, event, policy)


def _send(state: State, _event: Event, _policy: Policy) -> Step:
    return state, (Report(),)


def _reported(state: State, event: Reported, policy: Policy) -> Step:
    return _check(structs.replace(state, failures=0), event, policy)


RULES = (
    Rule(Phase.IDLE, Booted, (Phase.CHECKING, Phase.REPORTING, Phase.ROLLING_BACK), "boot", _check_in),
    Rule(Phase.IDLE, Woke, (Phase.CHECKING,), "time to poll", _check),
    Rule(Phase.IDLE, Sensed, (Phase.IDLE, Phase.ROLLING_BACK), "watched", _sensed),
    Rule(Phase.CHECKING, Booted, (Phase.CHECKING, Phase.REPORTING, Phase.ROLLING_BACK), "boot", _check_in),
    Rule(Phase.CHECKING, Unchanged, (Phase.IDLE,), "nothing new", _stay),
    Rule(Phase.CHECKING, CheckFailed, (Phase.IDLE,), "server not reached", _check_failed),
    Rule(Phase.CHECKING, Refused, (Phase.IDLE,), "clock in doubt", _refuse),
    Rule(Phase.CHECKING, Answered, (Phase.VERIFYING,), "something new", _verify),
    Rule(Phase.VERIFYING, Booted, (Phase.CHECKING, Phase.REPORTING, Phase.ROLLING_BACK), "boot", _check_in),
    Rule(Phase.VERIFYING, Nothing, (Phase.IDLE,), "nothing ordered", _nothing),
    Rule(Phase.VERIFYING, Refused, (Phase.IDLE,), "does not verify", _refuse),
    Rule(Phase.VERIFYING, Failed, (Phase.IDLE,), "board failed", _check_failed),
    Rule(Phase.VERIFYING, Rejected, (Phase.IDLE, Phase.REPORTING), "a rule forbids it", _reject),
    Rule(Phase.VERIFYING, Accepted, (Phase.DOWNLOADING, Phase.WAITING, Phase.IDLE), "ordered", _accept),
    Rule(Phase.DOWNLOADING, Booted, (Phase.DOWNLOADING, Phase.REPORTING), "boot: resume", _download),
    Rule(Phase.DOWNLOADING, Woke, (Phase.DOWNLOADING, Phase.REPORTING), "try again", _download),
    Rule(
        Phase.DOWNLOADING,
        Received,
        (Phase.DOWNLOADING, Phase.WAITING, Phase.INSTALLING, Phase.REPORTING),
        "bytes durable",
        _received,
    ),
    Rule(Phase.DOWNLOADING, Interrupted, (Phase.DOWNLOADING,), "connection broke", _interrupted),
    Rule(Phase.DOWNLOADING, Corrupt, (Phase.DOWNLOADING, Phase.REPORTING), "wrong bytes", _corrupt),
    Rule(Phase.DOWNLOADING, Failed, (Phase.REPORTING,), "board failed", _download_failed),
    Rule(Phase.WAITING, Booted, (Phase.WAITING, Phase.REPORTING, Phase.ROLLING_BACK), "boot", _ask),
    Rule(Phase.WAITING, Woke, (Phase.WAITING,), "time to ask", _ask),
    Rule(Phase.WAITING, Sensed, (Phase.WAITING, Phase.ROLLING_BACK), "watched", _sensed),
    Rule(Phase.WAITING, Unchanged, (Phase.WAITING,), "nothing new", _wait_on),
    Rule(Phase.WAITING, CheckFailed, (Phase.WAITING,), "server not reached", _wait_on),
    Rule(Phase.WAITING, Failed, (Phase.WAITING,), "board failed", _wait_on),
    Rule(Phase.WAITING, Answered, (Phase.WAITING,), "something new", _answered_while_waiting),
    Rule(Phase.WAITING, Refused, (Phase.WAITING,), "does not verify", _refused_while_waiting),
    Rule(Phase.WAITING, Nothing, (Phase.IDLE,), "withdrawn", _withdrawn),
    Rule(Phase.WAITING, Rejected, (Phase.REPORTING, Phase.IDLE), "a rule forbids it", _rejected_while_waiting),
    Rule(
        Phase.WAITING,
        Accepted,
        (Phase.WAITING, Phase.INSTALLING, Phase.DOWNLOADING, Phase.IDLE),
        "ordered anew",
        _accepted_while_waiting,
    ),
    Rule(Phase.WAITING, Weighed, (Phase.WAITING, Phase.INSTALLING, Phase.DOWNLOADING), "may it start?", _weighed),
    Rule(Phase.INSTALLING, Booted, (Phase.INSTALLING, Phase.TRIAL, Phase.ROLLING_BACK, Phase.REPORTING), "boot", _install),
    Rule(Phase.INSTALLING, Activated, (Phase.REBOOTING,), "verified and activated", _installed),
    Rule(Phase.INSTALLING, Corrupt, (Phase.DOWNLOADING, Phase.REPORTING), "wrong bytes in the slot", _corrupt),
    Rule(Phase.INSTALLING, Failed, (Phase.REPORTING,), "board failed", _install_failed),
    Rule(
        Phase.REBOOTING,
        Booted,
        (Phase.TRIAL, Phase.REPORTING, Phase.ROLLING_BACK, Phase.REBOOTING, Phase.INSTALLING),
        "boot",
        _rebooted,
    ),
    Rule(Phase.REBOOTING, Stayed, (Phase.REBOOTING, Phase.REPORTING), "board failed", _not_rebooted),
    Rule(Phase.REBOOTING, Woke, (Phase.REBOOTING,), "try again", _reboot),
    Rule(Phase.TRIAL, Booted, (Phase.TRIAL, Phase.REPORTING, Phase.ROLLING_BACK), "boot", _booted_on_trial),
    Rule(Phase.TRIAL, Woke, (Phase.TRIAL,), "look again", _probe),
    Rule(Phase.TRIAL, Probed, (Phase.TRIAL, Phase.COMMITTED, Phase.ROLLING_BACK), "health", _probed),
    Rule(Phase.COMMITTED, Booted, (Phase.COMMITTED, Phase.REPORTING), "boot", _mark),
    Rule(Phase.COMMITTED, Woke, (Phase.COMMITTED,), "try again", _mark),
    Rule(Phase.COMMITTED, Marked, (Phase.REPORTING,), "slot is good", _marked),
    Rule(Phase.COMMITTED, Failed, (Phase.COMMITTED,), "board failed", _again),
    Rule(Phase.ROLLING_BACK, Booted, (Phase.ROLLING_BACK, Phase.REPORTING), "boot", _revert),
    Rule(Phase.ROLLING_BACK, Woke, (Phase.ROLLING_BACK,), "try again", _revert),
    Rule(Phase.ROLLING_BACK, Stayed, (Phase.ROLLING_BACK, Phase.REPORTING), "board failed", _not_left),
    Rule(Phase.REPORTING, Booted, (Phase.REPORTING, Phase.ROLLING_BACK), "boot", _report),
    Rule(Phase.REPORTING, Woke, (Phase.REPORTING,), "try again", _report),
    Rule(Phase.REPORTING, Sensed, (Phase.REPORTING, Phase.ROLLING_BACK), "watched", _sensed),
    Rule(Phase.REPORTING, Failed, (Phase.REPORTING,), "server not reached", _again),
    Rule(Phase.REPORTING, Reported, (Phase.CHECKING,), "all acknowledged", _reported),
)

_ROWS = {(rule.phase, rule.event): rule for rule in RULES}


def _up_to_date(state: State, event: Nothing | Accepted | Rejected) -> State:
    """Remember what a verified answer says of the time and of itself."""
    return structs.replace(
        state,
        failures=0,
        refused="",
        etag=event.etag,
        time_floor=event.time_floor,
        fresh_until=event.fresh_until,
        poll_s=event.next_poll_s,
    )


def _ended(attempt: Attempt, outcome: Literal["installed", "failed", "rolled back"], reason: str = "", detail: str = "") -> Result:
    wanted = attempt.order
    return Result(
        assignment_id=wanted.assignment_id,
        version=wanted.must_match.version,
        outcome=outcome,
        reason=reason,
        detail=detail[:_MAX_DETAIL],
    )


def _begun(state: State, event: Accepted) -> Attempt:
    return Attempt(
        order=event.order,
        size=event.size,
        hash=event.hash,
        slot=state.slot.other,
        urls=event.urls,
        started_at=utc_text(event.now),
        poll_s=event.next_poll_s,
    )


def _in(state: State, phase: Phase) -> State:
    return structs.replace(state, phase=phase)


def _attempt(state: State) -> Attempt:
    if state.attempt is None:
        raise LookupError(f"{state.phase} without an attempt")
    return state.attempt


def _emit(attempt: Attempt, kind: EventType, **data: object) -> Emit:
    return Emit(type=kind, assignment_id=attempt.order.assignment_id, data=data)


def _checked(assignment_id: AssignmentId | None, **data: object) -> tuple[Emit, Emit]:
    return (
        Emit(type=EventType.CHECK_STARTED, assignment_id=assignment_id, data={}),
        Emit(type=EventType.CHECK_COMPLETED, assignment_id=assignment_id, data=data),
    )


def _next_part(attempt: Attempt, policy: Policy) -> Download:
    """Ask for the next tenth, or a few of a small image: what a power cut may cost, and how often progress is told."""
    marks = (attempt.size * tenth // 10 for tenth in range(1, 11))
    least = attempt.received + policy.part_bytes
    return Download(attempt=attempt, until=next((mark for mark in marks if mark >= least), attempt.size))


def _seconds(attempt: Attempt, now: datetime) -> float:
    return round((now - parse_utc(attempt.started_at)).total_seconds(), 1)


def _never(event: Probed) -> str:
    return "no report of the new release was accepted by the server" if not event.is_reported else "health did not hold long enough"


def _give_up(state: State, kind: EventType, code: str, message: str) -> Step:
    attempt = _attempt(state)
    result = _ended(attempt, "failed", code, message)
    after = structs.replace(
        state, phase=Phase.REPORTING, attempt=None, finished=attempt.order.assignment_id, result=result, failures=0, vitals=None
    )
    return after, (_emit(attempt, kind, code=code, detail=message, tries=attempt.tries), Report())


def _take_back(state: State, reason: RollbackReason, detail: str) -> Step:
    attempt = structs.replace(_attempt(state), reason=reason.value)
    return structs.replace(state, phase=Phase.ROLLING_BACK, attempt=attempt), (
        _emit(attempt, EventType.HEALTH_FAILED, reason=reason.value, detail=detail),
        _emit(attempt, EventType.ROLLBACK_TRIGGERED, reason=reason.value),
        Revert(bad=attempt.slot, to=state.slot),
        Reboot(),
    )


def _back_by_bootloader(state: State) -> Step:
    reason = RollbackReason.DID_NOT_BOOT if _attempt(state).boots == 0 else RollbackReason.BOOT_LOOP
    attempt = structs.replace(_attempt(state), reason=reason.value)
    after, effects = _rolled_back(structs.replace(state, attempt=attempt))
    return after, (_emit(attempt, EventType.ROLLBACK_TRIGGERED, reason=attempt.reason, by="bootloader"), *effects)


def _spoiled(state: State, image: Digest) -> State:
    return structs.replace(state, failed=image, failed_trials=state.failed_trials + 1 if state.failed == image else 1)


def _rolled_back(state: State) -> Step:
    attempt = _attempt(state)
    before = _spoiled(state, attempt.hash) if attempt.reason in _OF_THE_IMAGE else state
    result = _ended(attempt, "rolled back", attempt.reason)
    after = structs.replace(
        before, phase=Phase.REPORTING, attempt=None, finished=attempt.order.assignment_id, result=result, failures=0, vitals=None
    )
    return after, (_emit(attempt, EventType.ROLLBACK_COMPLETED, reason=attempt.reason, slot=state.slot, to=state.running.version), Report())
