# SPDX-License-Identifier: Apache-2.0
"""``make mutants``: flips bytes of every signed file, and takes each check out in turn; prints both tables."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.mutants.flips import FILES, FLIPS, flipped
from tests.mutants.mutant import Mutant
from tests.mutants.removed import Outcome, outcome
from tests.mutants.table import MUTANTS

_SHOWN = 110


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
    begun_s = time.monotonic()
    print(f"{'file':<48}{'bytes':>8}{'every':>7}{'tried':>8}{'refused':>9}{'accepted':>10}")
    tried = accepted = 0
    for found in processes.map(flipped, FILES):
        tried, accepted = tried + found.tried, accepted + found.accepted
        counts = f"{found.tried:>8}{found.tried - found.accepted:>9}{found.accepted:>10}"
        print(f"{found.file:<48}{found.size_bytes:>8}{found.stride:>7}{counts}", flush=True)
    total = f"{len(FILES)} files, every n-th byte of each changed in {FLIPS} ways: {tried} changes, {accepted} accepted"
    print(f"{total}; {time.monotonic() - begun_s:.0f} s\n")
    return accepted == 0


def _remove(processes: ProcessPoolExecutor, step: int | None) -> bool:
    mutants = [mutant for mutant in MUTANTS if step in {None, mutant.step}]
    stale = [mutant for mutant in mutants if not mutant.is_current()]
    for mutant in stale:
        print(f"not in the source exactly once: {mutant.file}: {mutant.text!r}")
    return not stale and told(mutants, processes.map(outcome, mutants))


def told(mutants: Sequence[Mutant], outcomes: Iterable[Outcome]) -> bool:
    """Print what became of each mutant, as it is known, and the sum; say whether all were killed."""
    begun_s = time.monotonic()
    fates: Counter[str] = Counter()
    print(f"{'step':>4}  {'check removed':<58}{'s':>5}  killed by")
    for mutant, found in zip(mutants, outcomes, strict=True):
        fates[found.fate] += 1
        by = found.by if found.fate == "killed" else f"{found.fate.upper()}: {found.by or ' '.join(mutant.tests)}"
        print(f"{mutant.step:>4}  {mutant.check:<58}{found.seconds:>5.1f}  {by[:_SHOWN]}", flush=True)
    of_attacks = sum(bool(mutant.by) for mutant in mutants)
    total = ", ".join(f"{fates[fate]} {word}" for fate, word in (("killed", "killed"), ("survives", "survive"), ("broken", "broken")))
    print(f"{len(mutants)} checks removed ({of_attacks} shown to the tests of an attack): {total}; {time.monotonic() - begun_s:.0f} s")
    return fates["killed"] == len(mutants)


if __name__ == "__main__":
    sys.exit(main())
