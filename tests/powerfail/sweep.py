# SPDX-License-Identifier: Apache-2.0
"""``make powerfail``: every single cut with several tears, and random pairs of cuts; prints a table."""

import argparse
import random
import sys
import time

from surefoot.simulator.board import Behaviour
from surefoot.simulator.flash import Damage
from tests.powerfail.cuts import Cut, check, every_cut, operations
from tests.powerfail.pocket import Plan


def main() -> int:
    """Sweep, print, and exit with 1 at the first update that does not survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="ways in which each cut is torn")
    parser.add_argument("--pairs", type=int, default=2000, help="random pairs of cuts for each kind of release")
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
    print(f"{total} cut points")
    return 0


def _pair(chance: random.Random, first: int, lines: int) -> tuple[Cut, Cut]:
    one = first + chance.randint(1, lines)
    two = one + chance.randint(1, lines)
    return _cut(chance, one), _cut(chance, two)


def _cut(chance: random.Random, at: int) -> Cut:
    return Cut(at=at, in_half=chance.random() < 0.5, damage=chance.choice(list(Damage)), seed=chance.randint(0, 99))


if __name__ == "__main__":
    sys.exit(main())
