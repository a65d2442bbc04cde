# SPDX-License-Identifier: Apache-2.0
"""``make powerfail``: whole updates of every kind of board, then every change of every bootloader's state; prints tables."""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from zlib import crc32

from surefoot.simulator.board import Behaviour
from tests.powerfail.bootloaders import UNSAFE, Tally, media, sweep, sweep_tool, tools
from tests.powerfail.snapshots import Survived, cut_everywhere
from tests.powerfail.worlds import KINDS, Story


def main() -> int:
    """Sweep, print, and exit with 1 at the first update that does not survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8, help="ways in which each cut is torn")
    parser.add_argument("--pairs", type=int, default=2000, help="random pairs of cuts for each kind of board and release")
    parser.add_argument("--boot-seeds", type=int, default=32, help="ways in which each cut under a bootloader is torn")
    parser.add_argument("--seed", type=int, default=1, help="of the random pairs")
    parser.add_argument("--processes", type=int, default=2, help="how many updates are swept at once")
    arguments = parser.parse_args()
    started = time.monotonic()
    total = _updates(arguments)
    tallies = list(_bootloaders(arguments.boot_seeds))
    total += sum(tally.points for tally in tallies)
    torn = [tally for tally in tallies if not tally.is_safe and tally.name not in UNSAFE]
    for tally in torn:
        print(f"{tally.name}: {tally.worst}")
    print(f"{time.monotonic() - started:.0f} s")
    print(f"{total} cut points")
    return 1 if torn else 0


def _updates(arguments: argparse.Namespace) -> int:
    """Sweep whole updates, print a line for each kind of board and release, and return how many cuts there were."""
    print(f"{'bootloader':<14}{'installer':<11}{'release':<14}{'operations':>11}{'single cuts':>13}{'pairs':>8}{'seconds':>9}")
    total = 0
    with ProcessPoolExecutor(arguments.processes) as processes:
        kinds = [(index, behaviour) for index in range(len(KINDS)) for behaviour in Behaviour if index == 0 or behaviour in _ENDS]
        swept = processes.map(partial(_update, seeds=arguments.seeds, pairs=arguments.pairs, seed=arguments.seed), kinds)
        for (index, behaviour), (survived, seconds) in zip(kinds, swept, strict=True):
            backend, filler = KINDS[index]
            total += survived.singles + survived.pairs
            print(
                f"{backend.name:<14}{filler.name:<11}{behaviour:<14}{survived.operations:>11}{survived.singles:>13}"
                f"{survived.pairs:>8}{seconds:>9.1f}",
                flush=True,
            )
    return total


_ENDS = {Behaviour.GOOD, Behaviour.CRASHES, Behaviour.UNHEALTHY}
"""Kept, given up by the bootloader, taken back by the agent: the other two end as one of these, and are swept on one kind of board."""


def _update(kind: tuple[int, Behaviour], *, seeds: int, pairs: int, seed: int) -> tuple[Survived, float]:
    started = time.monotonic()
    index, behaviour = kind
    # The same pairs every time, and others for each kind.
    chance = random.Random(crc32(f"{seed} {index} {behaviour}".encode()))  # noqa: S311
    return cut_everywhere(Story.of(*KINDS[index], behaviour), seeds=seeds, pairs=pairs, chance=chance), time.monotonic() - started


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


if __name__ == "__main__":
    sys.exit(main())
