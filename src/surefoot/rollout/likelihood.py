# SPDX-License-Identifier: Apache-2.0
"""How much more likely reports are under a bad release than under a tolerable one: e-values, by mixtures of likelihood ratios.

- For shares (failed, silent) a bad release adds an excess δ to the tolerated share; for rates (late) it multiplies the tolerated rate.
  Nobody knows by how much, so all of a few are weighed together.
- Such a mixture is a test martingale while the true rate is at most the tolerated one: it ever reaches 100 with a chance of at most
  1 %, however often one looks (Ville's inequality), and whether or not the tolerated rate changes between trials.
- Logarithms for each δ add up over trials and over segments; only ``log_mean`` turns them into one e-value.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

EXCESSES = (0.005, 0.01, 0.02, 0.05, 0.10, 0.30, 0.60, 0.95)
"""δ: shares that a bad release may harm beyond the tolerated ones."""

EXCESS_WEIGHTS = (0.10, 0.15, 0.15, 0.15, 0.15, 0.10, 0.10, 0.10)

MULTIPLIERS = (3.0, 10.0, 30.0, 100.0, 1000.0)
"""By what a bad release may multiply the tolerated rate of failures an hour."""

MULTIPLIER_WEIGHTS = (0.2, 0.2, 0.2, 0.2, 0.2)

_CERTAIN = 1 - 1e-9


def of_share(bad: int, trials: int, tolerated: float) -> list[float]:
    """Return the log likelihood ratio of ``bad`` among ``trials`` for each of ``EXCESSES``.

    Where nearly everything is tolerated (a region that is down), trials say nothing: all are 0.
    """
    if tolerated >= _CERTAIN:
        return [0.0] * len(EXCESSES)
    good = trials - bad
    return [bad * for_bad + good * for_good for for_bad, for_good in _of_one_trial(tolerated)]


def of_rate(events: int, hours: float, tolerated: float) -> list[float]:
    """Return the log likelihood ratio of ``events`` in so many device-hours for each of ``MULTIPLIERS``; ``tolerated`` is per hour."""
    return [events * math.log(multiplier) - hours * tolerated * (multiplier - 1) for multiplier in MULTIPLIERS]


def log_mean(logs: Sequence[float], weights: Iterable[float]) -> float:
    """Return the logarithm of the weighted mean of ``exp(logs)``; weights add up to 1."""
    largest = max(logs)
    return largest + math.log(math.fsum(weight * math.exp(value - largest) for value, weight in zip(logs, weights, strict=True)))


def add(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return the sum, place by place."""
    return [a + b for a, b in zip(one, other, strict=True)]


@lru_cache(maxsize=4_096)
def _of_one_trial(tolerated: float) -> tuple[tuple[float, float], ...]:
    alternatives = [tolerated + (1 - tolerated) * excess for excess in EXCESSES]
    return tuple((math.log(p / tolerated), math.log((1 - p) / (1 - tolerated))) for p in alternatives)
