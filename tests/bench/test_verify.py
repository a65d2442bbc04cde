# SPDX-License-Identifier: Apache-2.0
"""Tests that both verifications of the benchmark really verify, so that their times may be compared."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError

from bench.verify import Orders
from surefoot.model.errors import TrustError


@pytest.fixture(scope="module")
def orders() -> Orders:
    return Orders()


@pytest.mark.parametrize("work", [Orders.verify_and_keep, Orders.verify_by_peer])
def test_both_find_the_order_and_keep_what_they_verified(orders: Orders, tmp_path: Path, work: Callable[[Orders, Path], None]) -> None:
    for _ in range(2):
        work(orders, tmp_path / "kept")
    assert [path for path in (tmp_path / "kept").rglob("*.json") if path.stat().st_size > 0]


def test_both_refuse_a_changed_product_role(tmp_path: Path) -> None:
    orders = Orders()
    (name,) = (name for name in orders.image if name.endswith(".thermostat.json"))
    orders.image[name] = orders.image[name].replace(b'"length":8', b'"length":9')
    with pytest.raises(TrustError):
        orders.verify()
    with pytest.raises(RepositoryError):
        orders.verify_by_peer(tmp_path / "kept")
