# SPDX-License-Identifier: Apache-2.0
"""Deeds: what a person may do with a rollout now, and what the form of each asks for.

What is possible is asked of ``rollout.acts`` itself, with a reason at hand: a deed is there when its act refuses nothing.
"""

from collections.abc import Callable
from enum import StrEnum

from surefoot.model.errors import ConflictError, DeniedError
from surefoot.model.record import Record
from surefoot.rollout import acts
from surefoot.rollout.control import Region
from surefoot.rollout.decision import Decision, WayBack
from surefoot.rollout.plan import Rollout, Status
from surefoot.server.services.catalogue import RolloutStory
from surefoot.server.services.rollouts import Verb

_HALT = "A halt is for good: nothing more is offered, and offers that were not started are withdrawn."
_KEEP = "Devices that have the release keep it."
_TAKE_BACK = "Devices that have the release are taken back to what they ran before."


_ANY = WayBack(version="", devices=1)


class Asks(StrEnum):
    """Whether a form asks why."""

    NOTHING = "nothing"
    MAY = "may"
    MUST = "must"


class Deed(Record, frozen=True, kw_only=True):
    """One form.

    Attributes:
        verb: What it does.
        of: To which hardware or region; empty for the whole rollout, and for devices without a region.
        label: What its button says.
        what: What it is about, in words; for those that say more than their button.
        asks: Whether it asks for a reason.
    """

    verb: Verb
    of: str = ""
    label: str
    what: str = ""
    asks: Asks = Asks.MAY

    @property
    def key(self) -> str:
        """One word for it, among those of its page."""
        return key_of(self.verb, self.of)


class Refusal(Record, frozen=True, kw_only=True):
    """Why nothing came of a form, with what was typed into it.

    Attributes:
        key: Of its deed.
        message: What was wrong.
        hint: What to do.
        why: The reason that was typed.
        at: The instant that was typed.
    """

    key: str
    message: str
    hint: str
    why: str = ""
    at: str = ""


def key_of(verb: Verb, of: str) -> str:
    """Return the key of a deed."""
    return f"{verb}-{of}" if of else verb.value


def deeds(story: RolloutStory, by: str) -> list[Deed]:
    """Return what a person may do with a rollout now, the likeliest first and the gravest last."""
    rollout = story.rollout
    found = [
        (lambda: acts.approve(rollout, by, "", story.created_by), Deed(verb=Verb.APPROVE, label="Approve")),
        (lambda: acts.start(rollout, by), Deed(verb=Verb.START, label="Start now", asks=Asks.NOTHING)),
        # Whoever may start it now may let it start later.
        (lambda: acts.start(rollout, by), Deed(verb=Verb.SCHEDULE, label="Schedule")),
        (lambda: acts.pause(rollout, by, ""), Deed(verb=Verb.PAUSE, label="Pause")),
        (lambda: acts.resume(rollout, by, "-"), _resume(rollout)),
        *((_including(rollout, name, by), _include(name)) for name in rollout.excluded),
        *((_releasing(rollout, region.region, by), _release(region)) for region in rollout.regions if region.is_held),
        # Whether there are any, and whether they are taken back already, is looked at when it is done.
        (lambda: acts.check_revert(rollout, "-", [_ANY], ()), Deed(verb=Verb.REVERT, label="Take back", what=_TAKE_BACK, asks=Asks.MUST)),
        (lambda: acts.halt(rollout, by, "-"), Deed(verb=Verb.HALT, label="Halt for good", what=_halting(rollout), asks=Asks.MUST)),
    ]
    return [deed for act, deed in found if _is_possible(act)]


def waits_for(story: RolloutStory, by: str) -> str:
    """Say whom a rollout waits for, when this person may not do what comes next; empty when it waits for nobody else."""
    try:
        acts.approve(story.rollout, by, "", story.created_by)
    except DeniedError as error:
        return error.message
    except ConflictError:
        return ""
    return ""


def kept_out(rollout: Rollout) -> list[str]:
    """Return what the gate lets nothing be offered to, in words."""
    regions = [f"region {name}" if name else "devices without a region" for name in rollout.held_regions]
    return [*(f"hardware {name}" for name in rollout.excluded), *regions]


def _halting(rollout: Rollout) -> str:
    return f"{_HALT} {_TAKE_BACK if rollout.plan.on_halt == 'revert' and rollout.has_begun else _KEEP}"


def _resume(rollout: Rollout) -> Deed:
    if rollout.status is not Status.HALTED:
        return Deed(verb=Verb.RESUME, label="Resume", what="It goes on where it stood; what was counted so far is not judged again.")
    what = "The gate halted it. To go on is against its judgement: what was counted so far is not judged again."
    return Deed(verb=Verb.RESUME, label="Override and resume", what=what, asks=Asks.MUST)


def _include(hardware: str) -> Deed:
    what = f"Hardware {hardware}: it is offered nothing, since it took harm. Included, nothing counted so far is held against it."
    return Deed(verb=Verb.INCLUDE, of=hardware, label=f"Include {hardware}", what=what, asks=Asks.MUST)


def _release(region: Region) -> Deed:
    end = "Only a person ends that." if region.needs_person else "It ends by itself after half an hour of calm."
    what = f"{acts.place(region.region)}: nothing starts there while too many devices that were not updated cannot be reached. {end}"
    return Deed(verb=Verb.RELEASE, of=region.region, label=f"Release {region.region}".rstrip(), what=what, asks=Asks.MUST)


def _including(rollout: Rollout, hardware: str, by: str) -> Callable[[], Decision]:
    return lambda: acts.include(rollout, hardware, by, "-")


def _releasing(rollout: Rollout, region: str, by: str) -> Callable[[], Decision]:
    return lambda: acts.release(rollout, region, by, "-")


def _is_possible(act: Callable[[], object]) -> bool:
    try:
        act()
    except (ConflictError, DeniedError):
        return False
    return True
