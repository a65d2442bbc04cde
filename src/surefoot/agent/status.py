# SPDX-License-Identifier: Apache-2.0
"""What a device is doing, in words and as JSON: a function of what its journal, its bootloader and its people say."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from surefoot.agent.interlock import Inhibitor, standing
from surefoot.agent.state import Attempt, Phase, Result, State, release_of
from surefoot.model.record import to_plain, utc_text
from surefoot.model.slot import Installed, SlotName, SlotState

_WORDS = {
    Phase.IDLE: "waiting for the next poll",
    Phase.CHECKING: "asking the server",
    Phase.VERIFYING: "verifying what the server answered",
    Phase.DOWNLOADING: "downloading",
    Phase.WAITING: "waiting until it may start",
    Phase.INSTALLING: "checking what was downloaded",
    Phase.REBOOTING: "about to reboot into the new release",
    Phase.TRIAL: "trying the new release",
    Phase.COMMITTED: "keeping the new release",
    Phase.ROLLING_BACK: "going back to the release before",
    Phase.REPORTING: "telling the server how it went",
}

_JOIN = "run 'surefoot agent enroll --with enrol.json'"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFacts:
    """What the bootloader says: the slot that runs, the one that the next boot tries first, and what it may do with each."""

    running: SlotName
    primary: SlotName
    states: Mapping[SlotName, SlotState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that can be known of a device from outside its agent.

    Attributes:
        device_id: Who it is.
        hardware: What it is.
        is_enrolled: Whether it has joined a fleet.
        state: What its agent remembers; nothing when none ever ran here.
        unsent_events: Events that the server has not acknowledged.
        boot: What the bootloader says; nothing when that cannot be told.
        boot_problem: Why it cannot; empty when it can.
        put_off_until: Until when people have put updates off, aware; nothing when they have not.
        inhibitors: Who lets no update start.
        next_check: When the agent wakes next, aware; nothing when nobody says so.
        now: Aware.
    """

    device_id: str
    hardware: str
    is_enrolled: bool
    state: State | None
    unsent_events: int
    boot: BootFacts | None
    boot_problem: str
    put_off_until: datetime | None
    inhibitors: tuple[Inhibitor, ...]
    now: datetime
    next_check: datetime | None = None


def lines(facts: Facts) -> list[str]:
    """Return what a device is doing, for people: one line a fact."""
    return [f"{facts.device_id} ({facts.hardware}): {summary(facts)}", *_of_state(facts), *_of_people(facts), *_of_server(facts)]


def plain(facts: Facts) -> dict[str, Any]:
    """Return the same for programs; ``null`` stands for what is not there or cannot be told. See docs/formats.md."""
    state, boot = facts.state, facts.boot
    return {
        "device_id": facts.device_id,
        "hardware": facts.hardware,
        "is_enrolled": facts.is_enrolled,
        "summary": summary(facts),
        "slots": None if state is None else {str(slot): _plain_slot(state, boot, slot) for slot in SlotName},
        "running_slot": None if boot is None else boot.running,
        "primary_slot": None if boot is None else boot.primary,
        "boot_problem": facts.boot_problem or None,
        "last_result": None if state is None or state.result is None else to_plain(state.result),
        "put_off_until": None if (until := _put_off(facts)) is None else utc_text(until),
        "inhibitors": [
            {"name": each.name, "reason": each.reason, "until": None if each.until is None else utc_text(each.until)}
            for each in standing(facts.inhibitors, facts.now)
        ],
        "next_check": None if facts.next_check is None else utc_text(facts.next_check),
        "poll_s": None if state is None else state.poll_s,
        "state": None if state is None else to_plain(state),
        "unsent_events": facts.unsent_events,
    }


def summary(facts: Facts) -> str:
    """Return what a device is doing, in a few words."""
    if facts.state is not None:
        return _WORDS[facts.state.phase]
    if facts.is_enrolled:
        return "enrolled, and its agent has not run yet; run 'surefoot agent run'"
    return f"not enrolled yet; {_JOIN}"


def _of_state(facts: Facts) -> list[str]:
    state = facts.state
    if state is None:
        return []
    told = [_line(f"slot {slot}", _slot(state, facts.boot, slot)) for slot in SlotName]
    if facts.boot_problem:
        told.append(_line("boot", f"cannot be told: {facts.boot_problem}"))
    if state.attempt is not None:
        told += _of_attempt(state.attempt)
    if state.result is not None:
        told.append(_line("last", _ended(state.result)))
    return told


def _of_attempt(attempt: Attempt) -> list[str]:
    wanted = attempt.order.must_match
    told = [
        _line("attempt", f"order {attempt.order.assignment_id}: {wanted.product} {wanted.version} into slot {attempt.slot}"),
        _line("", f"{attempt.received} of {attempt.size} bytes, try {attempt.tries + 1}"),
    ]
    if attempt.waits:
        ends = f"until {attempt.waits_until}, unless the server says otherwise" if attempt.waits_until else "until that is over"
        told.append(_line("waits", f"{attempt.waits_for}; {ends}"))
    return told


def _of_people(facts: Facts) -> list[str]:
    told = []
    if (until := _put_off(facts)) is not None:
        told.append(_line("put off", f"until {utc_text(until)}; end that: surefoot agent defer --end"))
    for each in standing(facts.inhibitors, facts.now):
        end = "" if each.until is None else f", until {utc_text(each.until)}"
        how = "" if each.is_measured else f"; end that: surefoot agent allow --name {each.name}"
        told.append(_line("inhibited", f"by {each.name}: {each.reason}{end}{how}"))
    return told


def _of_server(facts: Facts) -> list[str]:
    state = facts.state
    if state is None:
        return []
    told = [] if facts.is_enrolled else [_line("enrolled", f"not any more; {_JOIN}")]
    told += [_line("refused", f"the last answer of the server: {state.refused}")] if state.refused else []
    every = f"{state.poll_s} s after each answer of the server"
    checks = every if facts.next_check is None else f"next at {utc_text(facts.next_check)}; {every}"
    return [*told, _line("checks", checks), _line("unsent", f"{facts.unsent_events} events")]


def _slot(state: State, boot: BootFacts | None, slot: SlotName) -> str:
    held, is_whole = _held(state, slot)
    what = "nothing verified" if held is None else f"{held.product} {held.version}, build {held.build_id}"
    words = [what if is_whole else f"{what}, being fetched"]
    words += ["committed"] if slot is state.slot else []
    if boot is not None:
        words += [boot.states[slot].value]
        words += ["runs"] if slot is boot.running else []
        words += ["boots next"] if slot is boot.primary else []
    return "; ".join(words)


def _plain_slot(state: State, boot: BootFacts | None, slot: SlotName) -> dict[str, Any]:
    held, is_whole = _held(state, slot)
    return {
        "product": None if held is None else held.product,
        "version": None if held is None else held.version,
        "build_id": None if held is None else held.build_id,
        "is_whole": held is not None and is_whole,
        "is_committed": slot is state.slot,
        "state": None if boot is None else boot.states[slot],
    }


def _held(state: State, slot: SlotName) -> tuple[Installed | None, bool]:
    """Return what lies in a slot, and whether all of it does; the slot of an attempt holds what was there until it is written over."""
    if slot is state.slot:
        return state.running, True
    attempt = state.attempt
    if state.fallback is not None or attempt is None or not attempt.received:
        return state.fallback, True
    return release_of(attempt), attempt.received == attempt.size


def _ended(result: Result) -> str:
    order = "" if result.assignment_id is None else f"order {result.assignment_id}"
    what = ", ".join(words for words in (order, result.version) if words)
    why = ": ".join(words for words in (result.reason, result.detail) if words)
    return f"{what}: {result.outcome}" + (f", {why}" if why else "")


def _put_off(facts: Facts) -> datetime | None:
    return facts.put_off_until if facts.put_off_until is not None and facts.put_off_until > facts.now else None


def _line(label: str, words: str) -> str:
    return f"{label:<10} {words}"
