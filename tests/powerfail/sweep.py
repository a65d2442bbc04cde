# SPDX-License-Identifier: Apache-2.0
"""``make powerfail``: every single cut with several tears, and random pairs of cuts, then cuts under each bootloader; prints tables."""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from surefoot.simulator.board import Behaviour
from surefoot.simulator.flash import Damage
from tests.powerfail.bootloaders import UNSAFE, Tally, media, sweep, sweep_tool, tools
from tests.powerfail.cuts import Cut, check, every_cut, operations
from tests.powerfail.pocket import Plan


def main() -> int:
    """Sweep, print, and exit with 1 at the first update that does not survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="ways in which each cut is torn")
    parser.add_argument("--pairs", type=int, default=2000, help="random pairs of cuts for each kind of release")
    parser.add_argument("--boot-seeds", type=int, default=32, help="ways in which each cut under a bootloader is torn")
    parser.add_argument("--seed", type=int, default=1, help="of the random pairs")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311  # the same pairs every time
    total = 0
    print(f"{'release':<14}{'operations':>11}{'single cuts':>13}{'pairs':>8}{'seconds':>9}")
    for behaviour in Behaviour:
        started = time.monotonic()
        plan = Plan.to(behaviour)
        singles = list(every_cut(plan, seeds=arguments.seeds))
        for cut in singles:
            check(plan, behaviour, cut)
        lines = len(operations(plan))
        first = plan.world().factory_operations
        for _ in range(arguments.pairs):
            check(plan, behaviour, *_pair(chance, first, lines))
        total += len(singles) + arguments.pairs
        print(f"{behaviour:<14}{lines:>11}{len(singles):>13}{arguments.pairs:>8}{time.monotonic() - started:>9.1f}", flush=True)
    tallies = list(_bootloaders(arguments.boot_seeds))
    total += sum(tally.points for tally in tallies)
    print(f"{total} cut points")
    torn = [tally for tally in tallies if not tally.is_safe and tally.name not in UNSAFE]
    for tally in torn:
        print(f"{tally.name}: {tally.worst}")
    return 1 if torn else 0


def _bootloaders(seeds: int) -> Iterator[Tally]:
    """Sweep the bootloaders and print a line for each."""
    print(
        f"{'bootloader':<20}{'states':>8}{'changes':>9}{'cuts':>9}{'old':>8}{'new':>8}{'between':>9}{'other':>7}{'lost':>7}{'seconds':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        sweeps = [
            *(partial(sweep, medium, seeds=seeds) for medium in media()),
            *(partial(sweep_tool, tool, most=64 * seeds) for tool in tools(Path(folder))),
        ]
        for run in sweeps:
            started = time.monotonic()
            tally = run()
            ends = "".join(
                f"{tally.ends[end]:>{width}}" for end, width in (("old", 8), ("new", 8), ("between", 9), ("other", 7), ("lost", 7))
            )
            seconds = time.monotonic() - started
            print(f"{tally.name:<20}{tally.states:>8}{tally.changes:>9}{tally.points:>9}{ends}{seconds:>9.1f}", flush=True)
            yield tally


def _pair(chance: random.Random, first: int, lines: int) -> tuple[Cut, Cut]:
    one = first + chance.randint(1, lines)
    two = one + chance.randint(1, lines)
    return _cut(chance, one), _cut(chance, two)


def _cut(chance: random.Random, at: int) -> Cut:
    return Cut(at=at, in_half=chance.random() < 0.5, damage=chance.choice(list(Damage)), seed=chance.randint(0, 99))


if __name__ == "__main__":
    sys.exit(main())
