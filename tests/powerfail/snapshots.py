# SPDX-License-Identifier: Apache-2.0
"""Power cuts without replaying: the storage is snapshotted before each operation of one life, and each cut goes on from there.

Nothing else survives a cut: what the agent holds in memory is gone, and the server is copied with the storage. Two cuts that leave the
same bytes and names before the same server go on alike, so one of them is followed.
"""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from surefoot.model.errors import Error
from surefoot.simulator.board import Behaviour, UnverifiedBootError
from surefoot.simulator.flash import Damage, PowerCut, SimulatedFlash
from tests.powerfail.pocket import PocketServer, PocketWorld
from tests.powerfail.worlds import Story


@dataclass(frozen=True)
class Snapshot:
    """A world just before one of its operations, or in the middle of a write.

    Attributes:
        at: The operation's number.
        what: The operation.
        in_half: Whether half of a write has reached the cache.
        world: The world; its flash has lost nothing yet.
    """

    at: int
    what: str
    in_half: bool
    world: PocketWorld

    def __str__(self) -> str:
        """Return number and name of the operation."""
        return f"{self.at} {self.what!r}{' (half)' if self.in_half else ''}"

    def after(self, damage: Damage, seed: int) -> PocketWorld:
        """Return the world as the next boot finds it."""
        return forked(self.world, self.world.board.flash.power_cycle(damage, seed=seed))


class _Watched(SimulatedFlash):
    """Flash that tells of each operation before it happens, and of each write once more when half of it is done."""

    def __init__(self) -> None:
        super().__init__(keeps_log=False)
        self.tell: Callable[[str, SimulatedFlash], None] | None = None

    @classmethod
    def of(cls, flash: SimulatedFlash) -> "_Watched":
        watched = cls()
        watched.__dict__.update(flash.fork().__dict__)
        watched.tell, watched._keeps_log = None, False
        return watched

    def count(self, description: str) -> None:
        if self.tell is not None:
            self.tell(description, self)
        super().count(description)

    def write(self, path: str, inode: int, offset: int, data: bytes) -> None:
        if self.tell is not None and len(data) > 1:
            half = self.fork()
            half.cut_at, half.cut_in_half = half.operations + 1, True
            try:
                half.write(path, inode, offset, data)
            except PowerCut:
                self.tell(f"write {path} {offset}+{len(data)}", half)
        super().write(path, inode, offset, data)


def forked(world: PocketWorld, flash: SimulatedFlash) -> PocketWorld:
    """Return a world of its own with this flash; nothing of the agent runs there yet."""
    server = PocketServer(
        answer=world.server.answer,
        images=world.server.images,
        events=dict(world.server.events),
        reports=list(world.server.reports),
        etag=world.server.etag,
    )
    board = replace(world.board, flash=flash, server=server, clock=copy.copy(world.board.clock), boots=list(world.board.boots))
    return PocketWorld(plan=world.plan, board=board, server=server, factory_operations=world.factory_operations)


def life(world: PocketWorld, wanted: Callable[[int], bool] = lambda _at: True) -> list[Snapshot]:
    """Run a world to its end, and return a snapshot for each operation that is ``wanted``."""
    flash = _Watched.of(world.board.flash)
    running = forked(world, flash)
    taken: list[Snapshot] = []

    def tell(what: str, now: SimulatedFlash) -> None:
        at, in_half = now.operations + 1, now is not flash
        if wanted(at):
            taken.append(Snapshot(at=at, what=what, in_half=in_half, world=forked(running, now.fork())))

    flash.tell = tell
    running.run_to_the_end()
    return taken


def damages(seeds: int) -> Iterator[tuple[Damage, int]]:
    """Yield each kind of damage, and the torn kind with several seeds."""
    yield Damage.LOST, 0
    yield Damage.KEPT, 0
    yield from ((Damage.TORN, seed) for seed in range(seeds))


@dataclass(kw_only=True)
class Survived:
    """How many cuts an update survived: ``singles``, ``pairs``, and how many of them were followed to their end."""

    operations: int = 0
    singles: int = 0
    pairs: int = 0
    followed: int = 0


def cut_everywhere(story: Story, *, seeds: int, pairs: int, chance: random.Random, every: int = 1) -> Survived:
    """Cut every ``every``-th operation of an update with every damage, then so many random pairs of operations.

    Of the ways to tear that leave the same storage, one is counted.

    Raises:
        AssertionError: A board did not survive; it names the cuts.
    """
    survived = Survived()
    first = life(story.world(), lambda at: at % every == 0)
    survived.operations = len({snapshot.at for snapshot in first})
    for snapshot in first:
        survived.singles += sum(_follow(story, survived, [], snapshot, seeds))
    while survived.pairs < pairs:
        # From one first cut, several second ones: what comes in between is run once.
        one = chance.choice(first)
        damage, seed = chance.choice(list(damages(seeds)))
        second = life(one.after(damage, seed), lambda _: chance.random() < _SHARE)
        for two in second:
            survived.pairs += sum(_follow(story, survived, [f"{one}, {damage} {seed}"], two, 1))
    return survived


_SHARE = 0.1


def _follow(story: Story, survived: Survived, before: list[str], snapshot: Snapshot, seeds: int) -> Iterator[bool]:
    """Yield, for each damage, whether it counts: a tear that another one has left just so does not."""
    seen: set[int] = set()
    for damage, seed in damages(seeds):
        world = snapshot.after(damage, seed)
        found = world.board.flash.fingerprint()
        is_new = found not in seen
        seen.add(found)
        if is_new:
            survived.followed += 1
            _survive(story, world, [*before, f"{snapshot}, {damage} {seed}"])
        yield is_new or damage is not Damage.TORN


def _survive(story: Story, world: PocketWorld, cuts: list[str]) -> None:
    try:
        world.run_to_the_end()
        world.check(commits=story.behaviour is Behaviour.GOOD)
    except UnverifiedBootError as error:
        raise UnverifiedBootError(f"{story}, cut at {'; then at '.join(cuts)}: {error}") from error
    except (AssertionError, RuntimeError, Error) as error:
        raise AssertionError(f"{story}, cut at {'; then at '.join(cuts)}: {error}") from error
