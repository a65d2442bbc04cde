# SPDX-License-Identifier: Apache-2.0
"""``make mutants``: flips bytes of every signed file, and takes each check out in turn; prints both tables."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.mutants.flips import FILES, flipped
from tests.mutants.removed import killed_by
from tests.mutants.table import MUTANTS


def main() -> int:
    """Print both tables; exit with 1 when a flip was accepted, a check is not missed, or the table is not the source's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("flips", "checks"), help="half of it")
    parser.add_argument("--step", type=int, help="only the checks of one step")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(2) as processes:
        is_good = arguments.only == "checks" or _flip(processes)
        return 0 if (arguments.only == "flips" or _remove(processes, arguments.step)) and is_good else 1


def _flip(processes: ProcessPoolExecutor) -> bool:
    print(f"{'file':<32}{'bytes':>8}{'tried':>8}{'refused':>9}{'same meaning':>14}{'accepted':>10}")
    accepted = 0
    for found in processes.map(flipped, FILES):
        accepted += found.accepted
        print(f"{found.file:<32}{found.size_bytes:>8}{found.tried:>8}{found.refused:>9}{found.same:>14}{found.accepted:>10}", flush=True)
    return accepted == 0


def _remove(processes: ProcessPoolExecutor, step: int | None) -> bool:
    mutants = [mutant for mutant in MUTANTS if step in {None, mutant.step}]
    stale = [mutant for mutant in mutants if not mutant.is_current()]
    for mutant in stale:
        print(f"not in the source exactly once: {mutant.file}: {mutant.text!r}")
    if stale:
        return False
    survivors = 0
    print(f"{'step':>4}  {'check removed':<62}killed by")
    for mutant, killer in zip(mutants, processes.map(killed_by, mutants), strict=True):
        survivors += killer is None
        print(f"{mutant.step:>4}  {mutant.check:<62}{killer or 'SURVIVES'}", flush=True)
    print(f"{len(mutants)} checks removed, {survivors} not missed")
    return survivors == 0


if __name__ == "__main__":
    sys.exit(main())
