# SPDX-License-Identifier: Apache-2.0
"""Power cuts in the midst of an update: where they are aimed, and what they leave of what was not flushed.

Moments are counted in requests to the disk, not in seconds: the same seed cuts at the same place, however slow the host is.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lab.layout import SLOT_BYTES, SLOTS, STATE_RANGE
from lab.nbd import Aim, Request, Verb
from lab.tools import LabError
from lab.volatile import Survives, kept, lost
from lab.world import Ending, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One cut.

    Attributes:
        place: Which of the matching requests the power goes with, counted from 1; 0 for none.
        matches: Which requests count.
        survives: What is left of unflushed sectors.
        name: The same in words.
    """

    place: int
    matches: Callable[[Request], bool]
    survives: Survives
    name: str


class Struck:
    """The aim of a cut: says of one request that the power goes with it.

    Attributes:
        seen: How many requests that match it has been asked of.
    """

    def __init__(self, cut: Cut) -> None:
        """Have seen none yet."""
        self.seen = 0
        self._cut = cut

    def __call__(self, request: Request) -> bool:
        """Implement ``Aim``."""
        if not self._cut.matches(request):
            return False
        self.seen += 1
        return self.seen == self._cut.place


def anywhere(count: int, requests: int, chance: random.Random) -> Iterator[Cut]:
    """Yield cuts at random among an update's ``requests`` to the disk."""
    for number in range(count):
        place = chance.randint(1, requests)
        damage, survives = _damage(number, chance)
        yield Cut(place=place, matches=lambda _: True, survives=survives, name=f"request {place}, {damage}")


def in_state_writes(count: int, chance: random.Random) -> Iterator[Cut]:
    """Yield cuts inside the writes of the boot state, from the first of an update on."""
    for number in range(count):
        damage, survives = _damage(number, chance)
        yield Cut(place=number + 1, matches=_writes_into(STATE_RANGE), survives=survives, name=f"state write {number + 1}, {damage}")


def in_slot_writes(count: int, writes: int, chance: random.Random) -> Iterator[Cut]:
    """Yield cuts inside the writes of a slot, at random among an update's ``writes`` to it."""
    for number in range(count):
        place = chance.randint(1, writes)
        damage, survives = _damage(number, chance)
        yield Cut(place=place, matches=_writes_into(_SLOTS), survives=survives, name=f"slot write {place}, {damage}")


def count_slot_writes(world: World) -> tuple[Ending, int]:
    """Update undisturbed; return how that ended, and how many writes to a slot it took."""
    counted = Struck(Cut(place=0, matches=_writes_into(_SLOTS), survives=lost, name="none"))
    world.machine.cut_at(counted, lost)
    ending = world.update(world.next_good())
    world.machine.cut_at(None, lost)
    return ending, counted.seen


def update_with(world: World, cut: Cut) -> Ending:
    """Update with one cut on the way, and with the power back after it; return how it ended.

    Raises:
        LabError: The power did not go before the update had ended; or as ``World.update`` does.
    """

    def strike() -> None:
        world.machine.cut_at(Struck(cut), cut.survives)
        world.machine.wait("the cut", lambda: not world.machine.is_on or world.outcome())
        if world.machine.is_on:
            world.machine.cut_at(None, lost)
            raise LabError("The update ended before its cut.")
        world.machine.cut()
        world.machine.power_on()

    return world.update(world.next_good(), strike)


_SLOTS = range(min(SLOTS.values()), max(SLOTS.values()) + SLOT_BYTES)


def _writes_into(where: range) -> Aim:
    return lambda request: request.verb == Verb.WRITE and request.offset < where.stop and request.offset + request.size > where.start


def _damage(number: int, chance: random.Random) -> tuple[str, Survives]:
    """Return the damage of the n-th cut: lost and torn in turn, and now and then none."""
    torn = random.Random(chance.random())
    choices: tuple[tuple[str, Survives], ...] = (
        ("torn", lambda _: torn.random() < 0.5),  # noqa: PLR2004  # half of what was not flushed
        ("lost", lost),
        ("torn", lambda _: torn.random() < 0.5),  # noqa: PLR2004  # as above
        ("kept", kept),
    )
    return choices[number % len(choices)]
