# SPDX-License-Identifier: Apache-2.0
"""What the board must come through, one story a scenario; each says what it saw, or raises ``Unmet``.

A bad release must be fallen back from by the board alone: nobody touches it between the order and the outcome.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from lab.cuts import Cut, anywhere, count_slot_writes, in_slot_writes, in_state_writes, update_with
from lab.image import Behaviour
from lab.tools import LabError
from lab.volatile import kept
from lab.world import Ending, World

_SEED = 6


class Unmet(LabError):
    """The board did something else than it must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a scenario saw.

    Attributes:
        boots: Starts of a slot that the loader made.
        seconds: From the first order to the last outcome.
        result: What became of it, in words.
    """

    boots: int
    seconds: float
    result: str


Scenario = Callable[[World], Seen]


def good(world: World) -> Seen:
    """Update to a release that is well, and keep it."""
    ending = world.update(world.next_good())
    _require(ending, "succeeded", "", boots=1)
    return _seen(world, ending)


def falls_back(behaviour: Behaviour, reason: str, starts: int) -> Scenario:
    """Return a scenario: a bad release is tried ``starts`` times, and taken back for ``reason``."""

    def scenario(world: World) -> Seen:
        before = world.running_slot()
        ending = world.update(world.bad(behaviour))
        # The bad slot as often as it may be, and then the one that the board came from.
        _require(ending, "rolled_back", reason, boots=starts + 1)
        tried, came_from = before.other.upper(), before.upper()
        if ending.starts != (tried,) * starts + (came_from,):
            raise Unmet(f"The loader started the slots {' '.join(ending.starts)}.")
        return _seen(world, ending)

    return scenario


def given_up(behaviour: Behaviour, reason: str) -> Scenario:
    """Return a scenario: a release that goes wrong once it is kept is given up for ``reason``, and the one before runs again."""

    def scenario(world: World) -> Seen:
        before = world.version
        kept_ending = world.update(world.bad(behaviour))
        _require(kept_ending, "succeeded", "", boots=1)
        ending = world.await_relapse(before)
        _require(ending, "given up", reason, boots=None)
        seen = _seen(world, ending)
        return replace(seen, boots=seen.boots + 1, seconds=seen.seconds + kept_ending.seconds, result=f"succeeded, then {seen.result}")

    return scenario


def wrong_version(world: World) -> Seen:
    """Put an older release, healthy in itself, into the slot behind the board's back, just before it starts it."""
    version, slot = world.next_good(), world.running_slot().other
    other = world.version

    def swap() -> None:
        _switch_off_before_trial(world)
        world.overwrite_slot(slot, other)
        world.machine.power_on()

    ending = world.update(version, swap)
    _require(ending, "rolled_back", "wrong_image", boots=2)
    return _seen(world, ending)


def no_clock(world: World) -> Seen:
    """Start a board that believes it is 1970; it must poll, update, and be believed."""
    _start_anew(world, {}, clock="1970-01-01T00:00:00")
    ending = world.update(world.next_good())
    _require(ending, "succeeded", "", boots=None)
    return _seen(world, ending)


def no_sync(world: World) -> Seen:
    """Let the agent's syncs of a slot do nothing, and cut the power before the trial: the slot holds what it held before.

    It holds an older release that is whole and well, so that only the check of its bytes after the boot can tell.
    """
    _require(world.update(world.next_good()), "succeeded", "", boots=1)
    old = world.version
    _require(world.update(world.next_good()), "succeeded", "", boots=1)
    version, slot = world.next_good(), world.running_slot().other
    _start_anew(world, {"SUREFOOT_LAB_NO_SYNC": f"/dev/vda{2 if slot == 'a' else 3}"})

    def forget() -> None:
        _switch_off_before_trial(world)
        if not world.slot_holds(slot, old):
            raise Unmet(f"Slot {slot} holds something else than {old}: something wrote to it though nothing was synced.")
        world.machine.power_on()

    ending = world.update(version, forget)
    _require(ending, "rolled_back", "wrong_image", boots=2)
    return _seen(world, ending, f"; slot {slot} came up with {old}, whole and well")


def cuts_anywhere(world: World) -> Seen:
    """Cut the power at twenty random moments, each in an update of its own."""
    ending, _ = count_slot_writes(world)
    return _all_back(world, anywhere(20, ending.requests, random.Random(_SEED)))


def cuts_in_state(world: World) -> Seen:
    """Cut the power inside each of the first writes of the boot state, the agent's and the loader's."""
    return _all_back(world, in_state_writes(5, random.Random(_SEED)))


def cuts_in_slot(world: World) -> Seen:
    """Cut the power inside writes of the slot."""
    _, writes = count_slot_writes(world)
    return _all_back(world, in_slot_writes(5, writes, random.Random(_SEED)))


SCENARIOS: Mapping[str, Scenario] = {
    "good": good,
    "unloadable-kernel": falls_back(Behaviour.UNLOADABLE_KERNEL, "did_not_boot", 3),
    "no-init": falls_back(Behaviour.NO_INIT, "did_not_boot", 3),
    "crash-loop": falls_back(Behaviour.CRASHES, "did_not_boot", 3),
    "hang": falls_back(Behaviour.HANGS, "did_not_boot", 3),
    "unhealthy": falls_back(Behaviour.UNHEALTHY, "unhealthy", 1),
    "trigger-reboots": given_up(Behaviour.REBOOTS_LATER, "reboot_loop"),
    "trigger-watchdog": given_up(Behaviour.HANGS_LATER, "watchdog"),
    "trigger-health": given_up(Behaviour.UNHEALTHY_LATER, "unhealthy"),
    "trigger-broker": given_up(Behaviour.LOSES_BROKER, "broker_lost"),
    "wrong-version": wrong_version,
    "no-sync": no_sync,
    "no-clock": no_clock,
    "cuts-anywhere": cuts_anywhere,
    "cuts-in-state": cuts_in_state,
    "cuts-in-slot": cuts_in_slot,
}
"""Every scenario by its name, in the order in which they run."""


def _start_anew(world: World, words: Mapping[str, str], clock: str = "utc") -> None:
    """Switch a board that does nothing off and on, and return once its system runs."""
    world.machine.cut(kept)
    line = len(world.machine.console.lines)
    world.machine.power_on(words, clock=clock)
    world.machine.wait_for_line(r"lab: system ", line)


def _switch_off_before_trial(world: World) -> None:
    """Switch off once the slot is activated, and before the loader starts it; what was not flushed is lost."""
    line = len(world.machine.console.lines)
    world.machine.wait_for_line(r"agent: reboot\.started", line)
    world.machine.cut()


def _all_back(world: World, cuts: Iterable[Cut]) -> Seen:
    boots, seconds, gone, count = 0, 0.0, 0, 0
    for cut in cuts:
        ending = _update_with(world, cut)
        boots, seconds, gone, count = (
            boots + len(ending.starts),
            seconds + ending.seconds,
            gone + world.machine.blocks.lost_sectors,
            count + 1,
        )
    return Seen(boots=boots, seconds=seconds, result=f"{count} of {count} came back and ended well; {gone} unflushed sectors were lost")


def _update_with(world: World, cut: Cut) -> Ending:
    try:
        ending = update_with(world, cut)
        _require(ending, "succeeded", "", boots=None)
    except LabError as error:
        raise Unmet(f"Cut at {cut.name}: {error}") from error
    return ending


def _require(ending: Ending, outcome: str, reason: str, boots: int | None) -> None:
    if (ending.outcome, ending.reason) != (outcome, reason):
        raise Unmet(f"It ended as {ending.outcome} {ending.reason}, and not as {outcome} {reason}.")
    if boots is not None and len(ending.starts) != boots:
        raise Unmet(f"It took {len(ending.starts)} starts, and not {boots}: {' '.join(ending.starts)}.")


def _seen(world: World, ending: Ending, more: str = "") -> Seen:
    why = f" ({ending.reason})" if ending.reason else ""
    runs = f"runs {world.version} in slot {world.running_slot()}"
    return Seen(boots=len(ending.starts), seconds=ending.seconds, result=f"{ending.outcome}{why}, {runs}{more}")
