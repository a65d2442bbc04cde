# SPDX-License-Identifier: Apache-2.0
"""E-values: what they are by their definition, and that looking at them all the time costs no more than they promise."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rollout import likelihood, tolerance
from surefoot.rollout.evidence import Baseline

TRIALS = st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.9)), max_size=40)
EXPOSURES = st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 500), st.floats(1e-6, 1e-3)), max_size=20)


@given(TRIALS)
def test_a_mixture_of_shares_is_the_weighted_mean_of_the_products_of_its_trials(trials: list[tuple[bool, float]]) -> None:
    logs = [0.0] * len(likelihood.EXCESSES)
    for is_bad, tolerated in trials:
        logs = likelihood.add(logs, likelihood.of_share(int(is_bad), 1, tolerated))
    expected = 0.0
    for weight, excess in zip(
        (0.10, 0.15, 0.15, 0.15, 0.15, 0.10, 0.10, 0.10), (0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 0.6, 0.95), strict=True
    ):
        product = weight
        for is_bad, p0 in trials:
            p1 = p0 + (1 - p0) * excess
            product *= p1 / p0 if is_bad else (1 - p1) / (1 - p0)
        expected += product
    assert math.exp(likelihood.log_mean(logs, likelihood.EXCESS_WEIGHTS)) == pytest.approx(expected, rel=1e-6)


@given(EXPOSURES)
def test_a_mixture_of_rates_is_the_weighted_mean_of_poisson_ratios(exposures: list[tuple[int, float, float]]) -> None:
    logs = [0.0] * len(likelihood.MULTIPLIERS)
    for events, hours, rate in exposures:
        logs = likelihood.add(logs, likelihood.of_rate(events, hours, rate))
    ratios = [sum(_log_poisson(n, k * h * r) - _log_poisson(n, h * r) for n, h, r in exposures) for k in (3, 10, 30, 100, 1000)]
    largest = max(ratios)
    expected = largest + math.log(sum(math.exp(ratio - largest) for ratio in ratios) / 5)
    assert likelihood.log_mean(logs, likelihood.MULTIPLIER_WEIGHTS) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("tolerated", [0.005, 0.01, 0.064])
def test_one_who_looks_after_every_device_pauses_hardly_any_release_that_is_just_tolerable(tolerated: float) -> None:
    """Ville: at most 1 in 100, of 1,000 releases; a gate that pauses 5 in 100 is caught with a chance of all but 1 in a million."""
    bad, good = (
        [math.exp(value) for value in likelihood.of_share(1, 1, tolerated)],
        [math.exp(value) for value in likelihood.of_share(0, 1, tolerated)],
    )
    chance, paused = random.Random(1), 0  # noqa: S311  # chance, not secrets
    for _ in range(1_000):
        values = list(likelihood.EXCESS_WEIGHTS)
        for _ in range(250):
            ratios = bad if chance.random() < tolerated else good
            values = [value * ratio for value, ratio in zip(values, ratios, strict=True)]
            if sum(values) >= 100:
                paused += 1
                break
    assert paused <= 20


@given(st.integers(1, 200), st.floats(0.001, 0.2))
def test_more_harm_in_as_many_devices_is_more_evidence(trials: int, tolerated: float) -> None:
    evidence = [likelihood.log_mean(likelihood.of_share(bad, trials, tolerated), likelihood.EXCESS_WEIGHTS) for bad in range(trials + 1)]
    assert all(later > earlier for earlier, later in pairwise(evidence))


@pytest.mark.parametrize("bad", [0, 3, 50])
def test_where_everything_is_tolerated_trials_say_nothing(bad: int) -> None:
    certain = tolerance.corrected(tolerance.failed(None), 100)
    assert likelihood.of_share(bad, 50, certain) == [0.0] * len(likelihood.EXCESSES)


def test_tolerated_is_a_floor_or_twice_the_usual_and_what_control_speaks_for() -> None:
    usual = Baseline(hardware="v1", failed=0.024, silent=0.008, late=0.0005 / 24)
    assert (tolerance.failed(None), tolerance.silent(None)) == (0.005, 0.01)
    assert (tolerance.failed(usual), tolerance.silent(usual)) == (0.048, 0.016)
    assert tolerance.late(None) == pytest.approx(tolerance.late(usual)) == pytest.approx((2 * 0.0005 + 0.001) / 24)
    assert tolerance.corrected(0.1, 50) == pytest.approx(1 - 0.9 * 0.5)


def test_a_release_teaches_no_more_than_2_000_devices_and_no_more_harm_than_was_tolerated() -> None:
    assert tolerance.taught(0, 0, 500, 10_000, 0.01) == (20, 2_000)
    assert tolerance.taught(10, 1_000, 1, 500, 0.01) == (11, 1_500)
    bad, trials = tolerance.taught(200, 20_000, 0, 2_000, 0.01)
    assert (round(bad), trials) == (182, 20_000)
    assert tolerance.usual(0, 0, 0.004) == pytest.approx(0.004)


def _log_poisson(events: int, mean: float) -> float:
    return events * math.log(mean) - mean - math.lgamma(events + 1)
