# SPDX-License-Identifier: Apache-2.0
"""Tests that what the benchmark compares are real signatures by real keys."""

from collections.abc import Callable, Mapping

import pytest

from bench import signatures


def test_every_way_to_sign_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    signed: dict[str, object] = {}

    def once(works: Mapping[str, Callable[[], object]], *, rounds: int, repeats: int) -> dict[str, float]:
        assert rounds * repeats > 100
        signed.update({name: work() for name, work in works.items()})
        return dict.fromkeys(works, 1.0)

    monkeypatch.setattr(signatures, "median_ms", once)
    rows = signatures.measure("now")
    assert all(signed.values())
    assert [row.ratio for row in rows] == [1.0, 1.0, 3.333, 3.333, 1.0, 1.0]
