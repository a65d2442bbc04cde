# SPDX-License-Identifier: Apache-2.0
"""How bad a release may still be, from what has been seen: an upper bound that holds at every look.

The mixture of all shares under Jeffreys' prior, Beta(½, ½), against each single share p: a p whose ratio reaches ten is given up.
What is left is a confidence sequence (Robbins): the true share is in it at every look together with a chance of 90 %.
"""

import math

_CONFIDENCE_LOG = math.log(10)
"""A tenth is the chance to be wrong."""

_STEPS = 40


def upper_bound(bad: int, trials: int) -> float:
    """Return the largest share of bad ones that ``bad`` of ``trials`` do not speak against, 0 to 1; 1 without trials."""
    good = trials - bad
    if good == 0:
        return 1.0
    evidence = _log_beta(bad + 0.5, good + 0.5) - _log_beta(0.5, 0.5)

    def is_given_up(share: float) -> bool:
        likelihood = (bad * math.log(share) if bad else 0.0) + good * math.log1p(-share)
        return evidence - likelihood >= _CONFIDENCE_LOG

    # Above the share that was seen the likelihood only falls, so there is one crossing.
    low, high = bad / trials, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_given_up(middle) else (middle, high)
    return high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
