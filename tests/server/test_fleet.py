# SPDX-License-Identifier: Apache-2.0
"""What is kept true with every device: its columns for filters and rollouts, and how many run which version."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from surefoot.fleet.device import Device, DeviceState, attributes, running
from surefoot.fleet.field import keys, version_key
from surefoot.fleet.filter import EVERYTHING, parse
from surefoot.model.assignment import DeviceId
from surefoot.model.attribute import BUILT_IN, RESERVED
from surefoot.model.digest import digest_of
from surefoot.model.event import DeviceReport
from surefoot.model.manifest import Component
from surefoot.model.record import to_json
from surefoot.model.rules import Running
from surefoot.rollout.cohort import place
from surefoot.server.db.catalogue import SqlCatalogue
from surefoot.server.db.fleet import move_versions, put_device, put_report, read_device
from surefoot.server.db.recount import versions_off
from surefoot.server.db.schema import INDEXED
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
        columns = ", ".join(("device_id", "bucket", "product", "version", "attributes", "version_key", "keys", *INDEXED))
        stored = database.execute(f"SELECT {columns} FROM device ORDER BY 1").fetchall()  # noqa: S608  # our own names
        assert stored == [expected(device) for device in (read_device(database, DeviceId(name)) for name in IDS) if device is not None]
    finally:
        database.execute("ROLLBACK")


def expected(device: Device) -> tuple[str | int | None, ...]:
    effective = attributes(device)
    others = {name: value for name, value in effective.items() if name not in BUILT_IN}
    ordered = {**others, "bootloader_version": effective["bootloader_version"]}
    return (
        device.device_id,
        place(device.device_id),
        effective["product"],
        effective["version"],
        to_json(others).decode(),
        version_key(effective["version"]),
        to_json(keys(ordered)).decode(),
        *(others.get(name) for name in INDEXED),
    )


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
    assert (len(known), "site" in known) == (1_000 + 1 + len(RESERVED), True)


def test_what_a_release_is_made_of_can_be_asked_of_the_devices_that_run_it(office: Office, catalogue: SqlCatalogue) -> None:
    office.add_device(DeviceId("t-2"))
    office.ledger.put_report(DEVICE, statement(digest_of(b"image")))
    parts = [Component(name=name, version=version, hash=digest_of(b"")) for name, version in (("modem", "1.4.2"), ("radio", "2026-11"))]
    office.add_release("1.1.0", components=parts)
    for text, meant in {
        "component.modem<1.5.0": [DEVICE],
        "component.modem=range='>=1.4.2 <2.0.0'": [DEVICE],
        "component.modem==1.3.*": [],
        "component.radio==*": [],
        "component.modem!=*": ["t-2"],
    }.items():
        page = catalogue.devices("", 10, parse(text), office.now)
        assert ([device.device_id for device in page.devices], text) == (meant, text)
    device = office.ledger.device(DEVICE)
    assert device is not None
    office.ledger.put_device(msgspec.structs.replace(device, given={"component.modem": "1.6.0"}))
    assert catalogue.devices("", 10, parse("component.modem<1.5.0"), office.now).devices == []


def test_what_the_fleet_runs_is_listed_with_most_devices_first(office: Office, catalogue: SqlCatalogue) -> None:
    for number in range(2, 6):
        office.add_device(DeviceId(f"t-{number}"))
    for number in range(1, 4):
        office.ledger.put_report(DeviceId(f"t-{number}"), statement(digest_of(b"image")))
    lines = [(line.product, line.version, line.devices) for line in catalogue.versions().versions]
    assert lines == [("thermostat", "1.0.0", 3), ("", "", 2)]


def test_kinds_are_what_counting_device_by_device_finds(office: Office, catalogue: SqlCatalogue) -> None:
    said = statement(digest_of(b"image"))
    reports = [
        said,
        said,
        msgspec.structs.replace(said, bootloader_version="2.0.0"),
        msgspec.structs.replace(said, release_counter=7, data_format=3, revert_to="none"),
        msgspec.structs.replace(said, revert_to=["1.0.0", "0.9.0"]),
        msgspec.structs.replace(said, revert_to=[]),
        msgspec.structs.replace(said, product="lamp"),
    ]
    for number, report in enumerate([*reports, None, said], 2):
        device_id = office.add_device(DeviceId(f"t-{number}"), DeviceState.REVOKED if number == 10 else DeviceState.ACTIVE)
        if report is not None:
            office.ledger.put_report(device_id, report)
    everyone = [office.ledger.device(DeviceId(f"t-{number}")) for number in range(1, 11)]
    active = [running(device) for device in everyone if device is not None and device.state is DeviceState.ACTIVE]
    expected = Counter(to_json(each) for each in active if each is not None and each.product == "thermostat")
    found = catalogue.kinds("thermostat", EVERYTHING, office.now, 100)
    assert {to_json(kind.running): kind.devices for kind in found.kinds} == expected
    assert (found.kinds[0].devices, found.others) == (2, 0)
    assert [kind.running for kind in catalogue.kinds("thermostat", parse("device_id==t-4"), office.now, 100).kinds] == [
        Running(hardware="thermostat-v1", bootloader_version="2.0.0", product="thermostat", version="1.0.0", release_counter=1)
    ]


def test_kinds_beyond_the_bound_are_counted_and_not_listed(office: Office, catalogue: SqlCatalogue) -> None:
    for number in range(2, 7):
        said = msgspec.structs.replace(statement(digest_of(b"image")), release_counter=max(1, number - 3))
        office.ledger.put_report(office.add_device(DeviceId(f"t-{number}")), said)
    found = catalogue.kinds("thermostat", EVERYTHING, office.now, 2)
    assert ([kind.devices for kind in found.kinds], found.others) == ([3, 1], 1)
    assert catalogue.kinds("thermostat", EVERYTHING, office.now, 3).others == 0


def test_only_live_manifests_of_one_product_and_variant_may_be_ordered(office: Office, catalogue: SqlCatalogue) -> None:
    live = office.add_release("1.1.0")
    office.add_release("1.2.0", rules={"variant": "debug"})
    office.add_release("1.0.0", b"bread", product="toaster")
    office.add_release("1.3.0")
    office.ledger.set_retired("thermostat", "1.3.0", True)  # noqa: FBT003  # the fact that is stored
    assert catalogue.live_manifests("thermostat", "release") == [live]


def test_a_mix_counts_active_devices_by_kind_as_a_plan_would_mean_them(office: Office, catalogue: SqlCatalogue) -> None:
    for number in range(2, 6):
        office.add_device(DeviceId(f"t-{number}"))
    for number in range(2, 4):
        device = office.ledger.device(DeviceId(f"t-{number}"))
        assert device is not None
        office.ledger.put_device(msgspec.structs.replace(device, given={"region": "eu"}))
    for number in range(1, 6):
        office.ledger.put_report(DeviceId(f"t-{number}"), statement(digest_of(b"image")))
    whole = catalogue.mix("thermostat", EVERYTHING, "", office.now, 0)
    assert {(share.region, share.devices) for share in whole.shares} == {("", 3), ("eu", 2)}
    assert (whole.in_touch, whole.baselines) == (0, [])
    eu = catalogue.mix("thermostat", parse("region==eu"), "", office.now, 0)
    assert [(share.region, share.devices) for share in eu.shares] == [("eu", 2)]
    assert catalogue.mix("thermostat", EVERYTHING, "nobody", office.now, 0).shares == []
    assert catalogue.mix("kettle", EVERYTHING, "", office.now, 0).shares == []
