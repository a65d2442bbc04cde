# SPDX-License-Identifier: Apache-2.0
"""Tests that no catalogue makes a device fetch a file beyond the budget, whichever layout it has."""

import pytest

from bench import catalogue_bytes
from bench.catalogue_bytes import FILE_BUDGET, measure


def test_no_size_of_catalogue_costs_a_device_more_than_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    # On either side of the step from one file to bins, and with bins that were doubled.
    monkeypatch.setattr(catalogue_bytes, "SIZES", {"10": 10, "1k": 170, "100k": 1_200})
    rows = {row.name.removeprefix("catalogue/"): row for row in measure("now")}
    assert all(rows[f"largest-file-{name}"].value <= FILE_BUDGET for name in ("10", "1k", "100k"))
    assert rows["order-bytes-1k"].ratio < 1
    assert rows["order-bytes-100k"].ratio < 1
    assert rows["order-bytes-10"].value < rows["order-bytes-100k"].value
