# SPDX-License-Identifier: Apache-2.0
"""What is tolerated of a release: no less than a floor, else twice what is usual for such devices, and what control speaks for.

Usual is what past releases taught; a release that was ever paused teaches nothing, and no release teaches much.
"""

from surefoot.rollout.evidence import Baseline

FAILED_AT_LEAST = 0.005
SILENT_AT_LEAST = 0.01
LATE_AT_LEAST = 0.001 / 24
"""A device-hour: 0.1 % a day."""

_LATE_UNKNOWN = 2 * 0.0005 / 24 + LATE_AT_LEAST
_FACTOR = 2
_MOST = 0.95

_PRIOR = 200
_MEMORY = 20_000
_MOST_TAUGHT = 2_000


def failed(baseline: Baseline | None) -> float:
    """Return the share of updates that may fail or be rolled back."""
    return max(FAILED_AT_LEAST, min(_MOST, _FACTOR * baseline.failed)) if baseline else FAILED_AT_LEAST


def silent(baseline: Baseline | None) -> float:
    """Return the share of updates of which nothing may be heard before their deadline."""
    return max(SILENT_AT_LEAST, min(_MOST, _FACTOR * baseline.silent)) if baseline else SILENT_AT_LEAST


def late(baseline: Baseline | None) -> float:
    """Return how many devices may be harmed in a device-hour after a good update."""
    return _FACTOR * baseline.late + LATE_AT_LEAST if baseline and baseline.late else _LATE_UNKNOWN


def corrected(tolerated: float, correction: int) -> float:
    """Return what is tolerated where a percentage of control is unreachable beyond the usual: either harm, or both."""
    return 1 - (1 - tolerated) * (1 - correction / 100)


def usual(bad: float, trials: float, fleet_rate: float) -> float:
    """Return the usual share in a segment, drawn towards the fleet's while little is known of it."""
    return (bad + _PRIOR * fleet_rate) / (trials + _PRIOR)


def taught(bad: float, trials: float, fresh_bad: float, fresh_trials: float, tolerated: float) -> tuple[float, float]:
    """Return what is remembered of a segment, bad ones and trials, after a release that was never paused.

    A release adds at most 2,000 trials, and no more bad ones among them than were tolerated; 20,000 trials are remembered.
    """
    share = min(1.0, _MOST_TAUGHT / fresh_trials) if fresh_trials else 0.0
    trials_after = trials + fresh_trials * share
    bad_after = bad + min(fresh_bad * share, tolerated * fresh_trials * share)
    kept = min(1.0, _MEMORY / trials_after) if trials_after else 0.0
    return bad_after * kept, trials_after * kept
