# SPDX-License-Identifier: Apache-2.0
"""Filters as SQL mean the same devices as filters in memory."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.fleet.device import Device, DeviceState, attributes
from surefoot.fleet.filter import Filter, matches, parse
from surefoot.server.db.filter import where
from surefoot.server.db.fleet import put_device
from surefoot.server.db.sqlite import connect, migrate
from tests.server.office import DEVICE
from tests.strategies import devices, filters


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("filter") / "db"
    migrate(path)
    with closing(connect(path)) as connection:
        yield connection


def found(connection: sqlite3.Connection, wanted: Filter) -> list[str]:
    condition, values = where(wanted)
    sql = f"SELECT device_id FROM device WHERE {condition} ORDER BY device_id"  # noqa: S608  # the condition holds no value
    return [device_id for (device_id,) in connection.execute(sql, values)]


@given(fleet=st.tuples(devices("t-1"), devices("t-2"), devices("t-3")), wanted=filters())
def test_the_database_finds_the_devices_that_a_filter_means(
    database: sqlite3.Connection, fleet: tuple[Device, ...], wanted: Filter
) -> None:
    database.execute("BEGIN")
    try:
        for device in fleet:
            put_device(database, device)
        assert found(database, wanted) == [device.device_id for device in fleet if matches(wanted, attributes(device))]
    finally:
        database.execute("ROLLBACK")


@pytest.mark.parametrize("text", ["""site=='x" OR 1=1 --'""", "Site==x", "$==x", "$.site==x", "a[0]==x", "%==x"])
def test_no_filter_means_more_than_it_says(database: sqlite3.Connection, text: str) -> None:
    database.execute("BEGIN")
    try:
        put_device(database, Device(device_id=DEVICE, hardware="v1", state=DeviceState.ACTIVE, enrolled_at="", given={"site": "x"}))
        assert found(database, parse(text)) == []
    finally:
        database.execute("ROLLBACK")
