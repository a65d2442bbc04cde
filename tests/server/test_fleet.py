# SPDX-License-Identifier: Apache-2.0
"""What is kept true with every device: its columns for filters and rollouts, and how many run which version."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from surefoot.fleet.device import Device, attributes
from surefoot.fleet.filter import EVERYTHING, parse
from surefoot.model.assignment import DeviceId
from surefoot.model.attribute import BUILT_IN
from surefoot.model.digest import digest_of
from surefoot.model.event import DeviceReport
from surefoot.model.record import to_json
from surefoot.rollout.cohort import place
from surefoot.server.db.catalogue import SqlCatalogue
from surefoot.server.db.fleet import move_versions, put_device, put_report, read_device
from surefoot.server.db.recount import versions_off
from surefoot.server.db.sqlite import connect, migrate
from tests.server.office import DEVICE, Office, statement
from tests.strategies import device_reports, devices

IDS = ("t-1", "t-2", "t-3")
WRITES = st.lists(st.one_of(devices("t-1"), devices("t-2"), devices("t-3"), st.tuples(st.sampled_from(IDS), device_reports())), max_size=12)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("fleet") / "db"
    migrate(path)
    with closing(connect(path)) as connection:
        yield connection


@pytest.fixture
def catalogue(office: Office, tmp_path: Path) -> Iterator[SqlCatalogue]:
    assert office.ledger.device(DEVICE) is not None
    engine = create_engine(f"sqlite:///{tmp_path / 'db'}")
    yield SqlCatalogue(engine)
    engine.dispose()


def write(connection: sqlite3.Connection, writes: list[Device | tuple[str, DeviceReport]]) -> None:
    for one in writes:
        if isinstance(one, Device):
            put_device(connection, one)
        else:
            put_report(connection, DeviceId(one[0]), one[1])


def counts(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    return connection.execute("SELECT product, version, devices FROM version_count ORDER BY 1, 2").fetchall()


@given(WRITES)
def test_the_counts_by_version_are_what_a_recount_finds(
    database: sqlite3.Connection, writes: list[Device | tuple[str, DeviceReport]]
) -> None:
    database.execute("BEGIN")
    try:
        write(database, writes)
        assert versions_off(database) == {}
    finally:
        database.execute("ROLLBACK")


@given(WRITES)
def test_the_columns_of_a_device_say_what_its_report_and_operators_say(
    database: sqlite3.Connection, writes: list[Device | tuple[str, DeviceReport]]
) -> None:
    database.execute("BEGIN")
    try:
        write(database, writes)
        stored = database.execute("SELECT device_id, bucket, product, version, attributes FROM device ORDER BY 1").fetchall()
        assert stored == [expected(device) for device in (read_device(database, DeviceId(name)) for name in IDS) if device is not None]
    finally:
        database.execute("ROLLBACK")


def expected(device: Device) -> tuple[str, int, str, str, str]:
    effective = attributes(device)
    others = {name: value for name, value in effective.items() if name not in BUILT_IN}
    return (device.device_id, place(device.device_id), effective["product"], effective["version"], to_json(others).decode())


def test_a_recount_puts_counters_right_that_somebody_changed(database: sqlite3.Connection) -> None:
    database.execute("BEGIN")
    try:
        database.execute("INSERT INTO version_count (product, version, devices) VALUES ('thermostat', '9.9.9', 7)")
        move_versions(database, versions_off(database))
        assert counts(database) == []
    finally:
        database.execute("ROLLBACK")


def test_a_report_of_a_device_that_there_is_not_changes_nothing(database: sqlite3.Connection) -> None:
    put_report(database, DeviceId("nobody"), statement(digest_of(b"image")))
    assert counts(database) == []


def test_devices_cannot_fill_the_table_of_names_and_operators_are_not_kept_from_it(office: Office, catalogue: SqlCatalogue) -> None:
    for batch in range(30):
        names = {f"n{batch}-{number}": "x" for number in range(50)}
        office.ledger.put_report(DEVICE, msgspec.structs.replace(statement(digest_of(b"image")), attributes=names))
    device = office.ledger.device(DEVICE)
    assert device is not None
    office.ledger.put_device(msgspec.structs.replace(device, given={"site": "berlin"}))
    known = catalogue.attribute_names()
    assert (len(known), "site" in known) == (1_000 + 1 + len(BUILT_IN), True)


def test_what_the_fleet_runs_is_listed_with_most_devices_first(office: Office, catalogue: SqlCatalogue) -> None:
    for number in range(2, 6):
        office.add_device(DeviceId(f"t-{number}"))
    for number in range(1, 4):
        office.ledger.put_report(DeviceId(f"t-{number}"), statement(digest_of(b"image")))
    lines = [(line.product, line.version, line.devices) for line in catalogue.versions().versions]
    assert lines == [("thermostat", "1.0.0", 3), ("", "", 2)]


def test_a_mix_counts_active_devices_by_kind_as_a_plan_would_mean_them(office: Office, catalogue: SqlCatalogue) -> None:
    for number in range(2, 6):
        office.add_device(DeviceId(f"t-{number}"))
    for number in range(2, 4):
        device = office.ledger.device(DeviceId(f"t-{number}"))
        assert device is not None
        office.ledger.put_device(msgspec.structs.replace(device, given={"region": "eu"}))
    for number in range(1, 6):
        office.ledger.put_report(DeviceId(f"t-{number}"), statement(digest_of(b"image")))
    whole = catalogue.mix("thermostat", EVERYTHING, "", 0)
    assert {(share.region, share.devices) for share in whole.shares} == {("", 3), ("eu", 2)}
    assert (whole.in_touch, whole.baselines) == (0, [])
    eu = catalogue.mix("thermostat", parse("region==eu"), "", 0)
    assert [(share.region, share.devices) for share in eu.shares] == [("eu", 2)]
    assert catalogue.mix("thermostat", EVERYTHING, "nobody", 0).shares == []
    assert catalogue.mix("kettle", EVERYTHING, "", 0).shares == []
