# SPDX-License-Identifier: Apache-2.0
"""Tests that the signed bytes of each kind of poll stay where they are: they are the same on every machine."""

import pytest

from bench.rows import Row
from bench.signed_bytes import measure

# What each figure may become, as a share of its budget; a signature is up to two bytes shorter or longer each time.
LIMITS = {
    "idle poll": 0.0,
    "idle poll on a new connection, up and down": 1.0,
    "idle poll, timestamp signed again": 1.0,
    "new order but for the product's role": 1.0,
    "new order, 5 releases": 1.06,
    "each further release": 1.36,
    "first contact and both roots, 5 releases": 0.25,
    "requests, idle poll": 1 / 2,
    "requests, new order": 1 / 9,
    "requests, first contact": 2 / 10,
}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return measure("now")


def test_no_poll_brings_more_than_it_did(rows: list[Row]) -> None:
    assert {row.name.removeprefix("bytes/") for row in rows} == set(LIMITS)
    assert [row for row in rows if row.ratio > LIMITS[row.name.removeprefix("bytes/")]] == []


def test_every_kind_of_poll_but_the_idle_one_brings_something(rows: list[Row]) -> None:
    assert [row.name for row in rows if row.value == 0] == ["bytes/idle poll"]
