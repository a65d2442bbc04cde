# SPDX-License-Identifier: Apache-2.0
"""What became of one attempt of a device, or what it waits for, in words for people; pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from surefoot.fleet.attempt import Attempt, due_at
from surefoot.fleet.device import Device
from surefoot.model.assignment import Outcome
from surefoot.model.record import parse_utc, utc_text
from surefoot.model.rollback import meaning
from surefoot.schedule.permission import Permission, Reason
from surefoot.server.services.answer import Answer, Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An attempt of a device, and what is known around it.

    Attributes:
        attempt: The attempt.
        permission: Whether its windows let its install start now; nothing when it is not open.
        refusal: Code and words with which the device refused it; empty when it did not.
        waits: Why the device says that it waits, in its words; empty when it does not.
        interlock: What the device, or whoever is at it, has against an install, in its words; empty when nothing was said since.
        installs: How many installs say how long one takes on its hardware.
        rollback: Why the device went back, or is about to, as a word; empty when it said nothing of that.
    """

    attempt: Attempt
    permission: Permission | None = None
    refusal: tuple[str, str] = ("", "")
    waits: str = ""
    interlock: str = ""
    installs: int = 0
    rollback: str = ""


def explain_order(order: Order, device: Device, offline_after: timedelta, now: datetime) -> Answer:
    """Say what became of one attempt of a device, or what it waits for."""
    attempt = order.attempt
    evidence: dict[str, str | int] = {"assignment_id": attempt.assignment_id, "ordered_at": attempt.issued_at}
    if attempt.outcome is not None:
        return _ended(order, {**evidence, "outcome": attempt.outcome.value, "ended_at": attempt.ended_at})
    what = f"{attempt.product} {attempt.version}"
    if _is_offline(device, offline_after, now):
        seen = f"has not called since {device.last_seen}" if device.last_seen else "has never called"
        since = "started" if attempt.is_started else "was offered"
        begun = attempt.started_at if attempt.is_started else attempt.issued_at
        sentence = f"It {since} {what} at {begun} and {seen}: it is switched off, or cannot reach the server."
        return Answer(code=Code.OFFLINE, sentence=sentence, evidence={**evidence, "last_seen": device.last_seen})
    if attempt.is_started:
        due = due_at(attempt)
        until = f"; it counts as silent after {utc_text(due)}" if due else ""
        sentence = f"It has been working on {what} since {attempt.started_at}{until}."
        return Answer(
            code=Code.UNDER_WAY,
            sentence=sentence,
            evidence={**evidence, "started_at": attempt.started_at, "due_at": utc_text(due) if due else ""},
        )
    if order.interlock:
        sentence = f"Its order of {what} is there, and {order.interlock.rstrip('.')}."
        return Answer(code=Code.WAITING, sentence=sentence, evidence=evidence)
    permission = order.permission
    if permission is not None and not permission.may_start:
        until_text = "" if permission.until is None else utc_text(permission.until)
        sentence = f"Its order of {what} waits for its time: {permission.detail}{_room(order, permission)}."
        return Answer(code=Code.WINDOW, sentence=sentence, evidence={**evidence, "reason": permission.reason.value, "until": until_text})
    if order.waits:
        sentence = f"Its order of {what} is there, and the device waits: {order.waits.rstrip('.')}."
        return Answer(code=Code.WAITING, sentence=sentence, evidence=evidence)
    sentence = f"It was offered {what} at {attempt.issued_at} and has not started yet; it starts at its next poll."
    return Answer(code=Code.OFFERED, sentence=sentence, evidence={**evidence, "start_before": attempt.start_before})


def _room(order: Order, permission: Permission) -> str:
    """Say where the time that an install needs is known from, when a window is too short for it."""
    if permission.reason is not Reason.TOO_SHORT:
        return ""
    hardware, installs = order.attempt.hardware, order.installs
    known = f": 95 of 100 of the last {installs} installs on {hardware} took no longer" if installs else ", as planned"
    return f" ({order.attempt.install_s} s{known})"


def _ended(order: Order, evidence: dict[str, str | int]) -> Answer:
    attempt = order.attempt
    what, at = f"{attempt.product} {attempt.version}", attempt.ended_at
    if order.rollback:
        evidence = {**evidence, "rollback": order.rollback}
    match attempt.outcome:
        case Outcome.SUCCEEDED if attempt.is_relapsed and order.rollback:
            code, said = Code.RELAPSED, f"It updated to {what} at {at}; since then that was given up: {meaning(order.rollback)}."
        case Outcome.SUCCEEDED if attempt.is_relapsed:
            code, said = Code.RELAPSED, f"It updated to {what} at {at}; since then that was found unhealthy, or was rolled back."
        case Outcome.SUCCEEDED:
            code, said = Code.SUCCEEDED, f"It updated to {what} at {at}."
        case Outcome.FAILED:
            code, said = Code.FAILED, f"It tried {what} and failed at {at}, before it ran; its events say where."
        case Outcome.ROLLED_BACK if order.rollback:
            code, said = Code.ROLLED_BACK, f"It tried {what}, and was back on the release before at {at}: {meaning(order.rollback)}."
        case Outcome.ROLLED_BACK:
            code, said = Code.ROLLED_BACK, f"It tried {what}, found it unhealthy, and was back on the release before at {at}."
        case Outcome.SILENT if attempt.is_late_good:
            code, said = Code.LATE_GOOD, f"It was given up as silent at {at}, and reported later that {what} runs and is healthy."
        case Outcome.SILENT:
            limit = f"within {attempt.deadline_s // 60} minutes"
            code, said = (
                Code.SILENT,
                f"It started {what} at {attempt.started_at} and never said how that went {limit}: it is silent.",
            )
        case Outcome.REJECTED:
            why = f": {order.refusal[1].rstrip('.')} ({order.refusal[0]})" if order.refusal[0] else ""
            code, said = Code.REFUSED, f"The device refused {what} at {at}{why}."
            evidence = {**evidence, "refused": order.refusal[0]}
        case Outcome.SUPERSEDED:
            code, said = Code.SUPERSEDED, f"Its order of {what} was replaced by another one at {at}."
        case _ if attempt.is_late_good:
            code, said = Code.LATE_GOOD, f"Its order was withdrawn at {at}; it had gone ahead, and {what} runs and is healthy."
        case _:
            code, said = Code.WITHDRAWN, f"Its order of {what} was withdrawn at {at}, before it started."
    return Answer(code=code, sentence=said, evidence=evidence)


def _is_offline(device: Device, after: timedelta, now: datetime) -> bool:
    return not device.last_seen or now - parse_utc(device.last_seen) > after
