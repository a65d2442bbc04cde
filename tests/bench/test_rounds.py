# SPDX-License-Identifier: Apache-2.0
"""Tests of timing works against one another."""

import hashlib

from bench.rounds import median_ms


def test_works_take_turns() -> None:
    called: list[str] = []
    median_ms({"one": lambda: called.append("one"), "two": lambda: called.append("two")}, rounds=3, repeats=2)
    assert called == ["one", "two", *(["one", "one", "two", "two"] * 3)]


def test_more_work_takes_longer() -> None:
    found = median_ms({"little": lambda: None, "much": lambda: hashlib.sha256(bytes(1_000_000))}, rounds=5, repeats=1)
    assert 0 <= found["little"] < found["much"]
