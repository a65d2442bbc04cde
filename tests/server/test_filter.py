# SPDX-License-Identifier: Apache-2.0
"""Filters as SQL mean the same devices as filters in memory, on every path, and the database finds them by an index."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from sqlalchemy import Select, select
from sqlalchemy.dialects import sqlite

from surefoot.fleet.device import Device, DeviceState, traits
from surefoot.fleet.field import Traits
from surefoot.fleet.filter import Filter, matches, parse
from surefoot.fleet.rsql import MAX_VALUES
from surefoot.model.assignment import DeviceId
from surefoot.model.manifest import Component
from surefoot.model.record import utc_text
from surefoot.rollout.plan import Plan, Rollout
from surefoot.server.db import components, groups
from surefoot.server.db.catalogue import listing
from surefoot.server.db.filter import condition
from surefoot.server.db.fleet import put_device
from surefoot.server.db.rollouts import SqliteRollouts
from surefoot.server.db.schema import INDEXED
from surefoot.server.db.schema import device as devices_table
from surefoot.server.db.sqlite import connect, migrate
from surefoot.server.services.rollout_store import StoredRollout
from tests.server.office import DEVICE, statement
from tests.strategies import NOON, VERSIONS, devices, filters
from tests.trust.repositories import manifest

GROUPS = st.lists(st.sampled_from(["pilot", "lab", "pi"]), max_size=2, unique=True)
SEEN = st.none() | st.sampled_from([0, 1, 90, 91, 3_600, 7 * 86_400, 30 * 86_400]).map(lambda ago: NOON - timedelta(seconds=ago))
IMAGE_PARTS = st.fixed_dictionaries({}, optional={"modem": VERSIONS | st.just("not one"), "os": VERSIONS})
MANIFEST = manifest("1.0.0", b"image")
FLEET = st.tuples(*(st.tuples(devices(name), GROUPS, SEEN) for name in ("t-1", "t-2", "t-3")))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("filter") / "db"
    migrate(path)
    with closing(connect(path)) as connection:
        yield connection


@contextmanager
def undone(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def run(connection: sqlite3.Connection, query: Select[Any], before: str = "") -> list[tuple[str, ...]]:
    compiled = query.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    return connection.execute(before + str(compiled), [compiled.params[name] for name in compiled.positiontup or ()]).fetchall()


def query_of(wanted: Filter) -> Select[Any]:
    return select(devices_table.c.device_id).where(condition(wanted, NOON)).order_by(devices_table.c.device_id)


def found(connection: sqlite3.Connection, wanted: Filter) -> list[str]:
    return [device_id for (device_id,) in run(connection, query_of(wanted))]


def placed(connection: sqlite3.Connection, device: Device, names: list[str], seen: datetime | None, parts: dict[str, str]) -> Traits:
    """Put a device that runs an image of these parts into the database, and return what filters look at of it."""
    put_device(connection, device)
    if device.report is not None:
        made_of = [Component(name=name, version=version, hash=device.report.hash) for name, version in parts.items()]
        image = structs.replace(MANIFEST.image, hash=device.report.hash)
        components.add(connection, [structs.replace(MANIFEST, components=made_of, image=image)])
    versions = {} if device.report is None else {f"component.{name}": version for name, version in parts.items()}
    for name in names:
        groups.add(connection, name, device.device_id)
    if seen is None:
        return traits(device, names, versions)
    connection.execute("INSERT INTO presence (device_id, last_seen, polls) VALUES (?, ?, 0)", (device.device_id, int(seen.timestamp())))
    return traits(structs.replace(device, last_seen=utc_text(seen)), names, versions)


@settings(max_examples=400, deadline=None)
@given(fleet=FLEET, wanted=filters(), parts=IMAGE_PARTS)
def test_the_database_finds_the_devices_that_a_filter_means(
    database: sqlite3.Connection, fleet: tuple[tuple[Device, list[str], datetime | None], ...], wanted: Filter, parts: dict[str, str]
) -> None:
    with undone(database):
        known = {device.device_id: placed(database, device, names, seen, parts) for device, names, seen in fleet}
        assert found(database, wanted) == [device_id for device_id, each in known.items() if matches(wanted, each, NOON)]


_LETTERS = st.text(st.sampled_from("ab[?\ud7ff\ue000\U0010ffff"), max_size=3)


@settings(deadline=None)
@given(sites=st.lists(_LETTERS, min_size=1, max_size=8), pieces=st.lists(_LETTERS, min_size=2, max_size=4))
def test_asterisks_mean_the_same_to_both(database: sqlite3.Connection, sites: list[str], pieces: list[str]) -> None:
    wanted = parse(f"site=={'*'.join(pieces)}")
    with undone(database):
        known = {}
        for number, site in enumerate(sites):
            device = Device(
                device_id=DeviceId(f"t-{number}"), hardware="v1", state=DeviceState.ACTIVE, enrolled_at="", given={"site": site}
            )
            known[device.device_id] = placed(database, device, [], None, {})
        assert found(database, wanted) == [device_id for device_id, each in known.items() if matches(wanted, each, NOON)]


EDGES = ["", "a", "a\U0010ffff", "ab", "b", "B", "\ud7ff", "\ue000", "\U0010ffff", "not one", "1.0.0", "1", "-1"]


@pytest.mark.parametrize("text", [
    "site==a*", "site==\ud7ff*", "site==\U0010ffff*", "site==a\U0010ffff*", "site!=a*", "site<1", "site<=1", "site==*",
    "component.modem<1.1.0", "component.modem==*", "component.modem!=1.0.0", "enrolled_at<2026-01-01T00:00:00Z", "enrolled_at!=*",
])  # fmt: skip
def test_both_agree_at_the_edges(database: sqlite3.Connection, text: str) -> None:
    said = structs.replace(statement(MANIFEST.image.hash), attributes={})
    with undone(database):
        known = {}
        for number, value in enumerate(EDGES):
            name = DeviceId(f"t-{number:02}")
            given = {"site": value, "component.modem": value} if value else {}
            device = Device(device_id=name, hardware="v1", state=DeviceState.ACTIVE, enrolled_at="", report=said, given=given)
            known[name] = placed(database, device, [], None, {"modem": "1.0.1"})
        meant = [device_id for device_id, each in known.items() if matches(parse(text), each, NOON)]
        assert found(database, parse(text)) == meant


@settings(deadline=None)
@given(fleet=FLEET, parts=IMAGE_PARTS)
def test_a_walk_shows_filters_what_the_fleet_has(
    database: sqlite3.Connection, fleet: tuple[tuple[Device, list[str], datetime | None], ...], parts: dict[str, str]
) -> None:
    plan = Plan(release="thermostat 9.0.0")
    stored = StoredRollout(rollout_id=1, fence=0, rollout=Rollout(plan=plan), created_at=NOON, created_by="ann", salt="salt")
    with undone(database):
        known = {device.device_id: placed(database, device, names, seen, parts) for device, names, seen in fleet}
        walked = {candidate.device_id: candidate.traits for candidate in SqliteRollouts(database).walk(stored, 10)}
    assert {
        device_id: (dict(each.attributes), set(each.groups), each.enrolled_at, each.last_seen) for device_id, each in walked.items()
    } == {
        device_id: (dict(each.attributes), set(each.groups), each.enrolled_at, each.last_seen)
        for device_id, each in known.items()
        if each.attributes["product"] == "thermostat"
    }


@pytest.mark.parametrize("text", ["""site=='x" OR 1=1 --'""", "Site==x", "$==x", "$.site==x", "a[0]==x", "%==x", "$<1"])
def test_no_filter_means_more_than_it_says(database: sqlite3.Connection, text: str) -> None:
    with undone(database):
        put_device(database, Device(device_id=DEVICE, hardware="v1", state=DeviceState.ACTIVE, enrolled_at="", given={"site": "x"}))
        assert found(database, parse(text)) == []


def test_the_largest_filters_are_answered(database: sqlite3.Connection) -> None:
    with undone(database):
        put_device(database, Device(device_id=DEVICE, hardware="v1", state=DeviceState.ACTIVE, enrolled_at=""))
        for text in (
            ",".join("a==b" for _ in range(MAX_VALUES)),
            "(" * 30 + ";".join("a!=*b*c" for _ in range(MAX_VALUES - 100)) + ")" * 30,
        ):
            known = traits(Device(device_id=DEVICE, hardware="v1", state=DeviceState.ACTIVE, enrolled_at=""), [])
            assert found(database, parse(text)) == ([DEVICE] if matches(parse(text), known, NOON) else [])
        version = f"version=range='{' '.join(['>=1.0.0'] * 400)}',version=in=({','.join(['1.*'] * 80)})"
        assert found(database, parse(version)) == []


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("hardware==v1", "device_by_hardware (hardware=?"),
        ("hardware=in=(v1,v2)", "device_by_hardware (hardware=?"),
        ("hardware==thermo*", "device_by_hardware (hardware>? AND hardware<?"),
        ("hardware==thermo*v2", "device_by_hardware (hardware>? AND hardware<?"),
        ("product==lamp", "device_by_product (product=?"),
        ("product=in=(lamp,thermostat)", "device_by_product (product=?"),
        ("product==la*", "device_by_product (product>? AND product<?"),
        ("version==1.2.3", "device_by_version_key (version_key=?"),
        ("version=in=(1.2.3,1.2.4)", "device_by_version_key (version_key=?"),
        ("version==1.2.*", "device_by_version_key (version_key>? AND version_key<?"),
        ("version=range='>=1.0.0 <2.0.0'", "device_by_version_key (version_key>? AND version_key<?"),
        *((f"{name}==a", f"device_by_{name} ({name}=?") for name in INDEXED),
        *((f"{name}=in=(a,b)", f"device_by_{name} ({name}=?") for name in INDEXED),
        *((f"{name}==a*", f"device_by_{name} ({name}>? AND {name}<?") for name in INDEXED),
        ("group==pilot", "SEARCH member USING PRIMARY KEY (group_name=?"),
        ("group=in=(pilot,lab)", "SEARCH member USING PRIMARY KEY (group_name=?"),
        ("group==pi*", "SEARCH member USING PRIMARY KEY (group_name>? AND group_name<?"),
        ("device_id==t-1", "SEARCH device USING PRIMARY KEY (device_id=?"),
        ("device_id==t-*", "SEARCH device USING PRIMARY KEY (device_id>? AND device_id<?"),
        ("site==a and floor<3 and hardware!=v1", "device_by_site (site=?"),
        ("site==a or region==b", "device_by_region (region=?"),
        ("site==a and (floor<3 or last_seen==*)", "device_by_site (site=?"),
        ("seen_within==1h and site==a", "device_by_site (site=?"),
    ],
)
def test_what_has_an_index_is_found_by_it(database: sqlite3.Connection, text: str, index: str) -> None:
    first, later = steps(database, text, ""), steps(database, text, "t-1")
    assert any(index in step for step in first), first
    # Of a stretch there is a later page only when the first was full: from there on, devices are read in the order of their ids.
    assert any(index in step or "PRIMARY KEY (device_id>?)" in step for step in later), later
    assert not [step for step in first + later if step.startswith("SCAN")]


def steps(connection: sqlite3.Connection, text: str, after: str) -> list[str]:
    return [str(row[-1]) for row in run(connection, listing(parse(text), NOON, after, 100), "EXPLAIN QUERY PLAN ")]


def test_later_pages_of_one_value_go_on_in_its_index(database: sqlite3.Connection) -> None:
    assert "SEARCH device USING INDEX device_by_site (site=? AND device_id>?)" in steps(database, "site==a", "t-1")
