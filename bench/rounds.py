# SPDX-License-Identifier: Apache-2.0
"""Timing of works against one another: interleaved rounds, processor time, medians.

Rounds are interleaved so that whatever disturbs the machine disturbs all works alike, and processor time is taken because
the machine is shared.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping


def median_ms(works: Mapping[str, Callable[[], object]], *, rounds: int, repeats: int) -> dict[str, float]:
    """Return the median processor time in milliseconds of one call of each work.

    Args:
        works: What to call, by name; each is called once beforehand, so that imports and caches are warm for all.
        rounds: How many times each work gets its turn.
        repeats: Calls in one turn.
    """
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(_turn_ms(work, repeats))
    return {name: statistics.median(turns) for name, turns in found.items()}


def _turn_ms(work: Callable[[], object], repeats: int) -> float:
    gc.collect()
    started = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - started) / repeats * 1_000
