# SPDX-License-Identifier: Apache-2.0
"""The upper bound, held against its definition share by share, and against chance."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rollout.bound import upper_bound


def is_given_up(share: float, bad: int, trials: int) -> bool:
    """Say whether the mean of the likelihood over Jeffreys' prior, place by place, is ten times that of ``share``."""
    places = 4_000
    # The prior's substitution p = sin² t makes it even in t.
    mean = sum(
        math.sin(t) ** (2 * bad) * math.cos(t) ** (2 * (trials - bad)) for t in ((i + 0.5) * math.pi / 2 / places for i in range(places))
    )
    return mean / places >= 10 * share**bad * (1 - share) ** (trials - bad)


@pytest.mark.parametrize(("bad", "trials"), [(0, 1), (0, 20), (1, 20), (5, 20), (3, 100), (19, 20), (2, 300)])
def test_it_is_the_largest_share_that_is_not_given_up(bad: int, trials: int) -> None:
    bound = upper_bound(bad, trials)
    assert bound > bad / trials
    assert not is_given_up(bound - 1e-4, bad, trials)
    assert bound > 0.9999 or is_given_up(bound + 1e-4, bad, trials)


@pytest.mark.parametrize("trials", [0, 1, 7])
def test_without_a_good_one_everything_is_possible(trials: int) -> None:
    assert upper_bound(trials, trials) == 1.0


@given(st.integers(0, 100), st.integers(1, 100))
def test_good_ones_lower_it_and_bad_ones_raise_it(bad: int, good: int) -> None:
    bound = upper_bound(bad, bad + good)
    assert upper_bound(bad, bad + good + 1) < bound < upper_bound(bad + 1, bad + good + 1)


def test_it_holds_at_every_look_in_nine_runs_of_ten() -> None:
    chance, share, failures = random.Random(2), 0.1, 0  # noqa: S311  # chance, not secrets
    for _ in range(150):
        bad = 0
        for trials in range(1, 101):
            bad += chance.random() < share
            if upper_bound(bad, trials) < share:
                failures += 1
                break
    assert failures <= 15
