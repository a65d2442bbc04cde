# SPDX-License-Identifier: Apache-2.0
"""Tests that what the benchmark of polls measures really happens: a seeded fleet whose devices poll and report over mutual TLS."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import pytest

from bench.poll import rows
from bench.poll_fleet import Fleet, seed
from bench.poll_load import Answer, fire
from bench.poll_rounds import Work, cores, median_us, pinned
from bench.poll_server import UnderLoad, under_load
from surefoot.model.errors import TransportError
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.sqlite import connect

DEVICES = 20
SAMPLED = 8
CHANCE = Random(1)  # noqa: S311  # draws devices, not secrets
TABLES = {"device": 20, "certificate": 28, "director_view": 20, "presence": 20, "assignment": 24}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    fleet: Fleet
    server: UnderLoad
    said: list[str]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    said: list[str] = []
    data = tmp_path_factory.mktemp("poll") / "server"
    fleet = seed(data, devices=DEVICES, sampled=SAMPLED, now=datetime.now(UTC), chance=CHANCE, say=said.append)
    with under_load(fleet, core=cores().server, say=said.append) as server:
        yield Loaded(fleet=fleet, server=server, said=said)


def count(fleet: Fleet, what: str) -> int:
    with closing(connect(fleet.data / "surefoot.db")) as connection:
        (number,) = connection.execute(f"SELECT count(*) FROM {what}").fetchone()  # noqa: S608  # names of this file
        return int(number)


def test_a_fleet_has_all_that_a_server_keeps_of_its_devices(loaded: Loaded) -> None:
    assert {table: count(loaded.fleet, table) for table in TABLES} == TABLES
    assert loaded.said[0] == "20 of 20 devices are made"


def test_half_of_the_sample_is_idle_and_the_other_half_has_an_open_order(loaded: Loaded) -> None:
    idle, ordered = loaded.fleet.idle, loaded.fleet.ordered
    assert len({device.device_id for device in (*idle, *ordered)}) == SAMPLED
    with closing(connect(loaded.fleet.data / "surefoot.db")) as connection:
        ledger = SqliteLedger(connection)
        assert [ledger.open_attempt(device.device_id) for device in idle] == [None] * len(idle)
        assert all(
            ledger.open_attempt(device.device_id) == ledger.attempt(device.assignment_id) for device in ordered if device.assignment_id
        )


def test_every_event_that_was_answered_is_stored(loaded: Loaded) -> None:
    before = count(loaded.fleet, "event")
    assert fire(loaded.server.reporters, volleys=5, chance=CHANCE) == count(loaded.fleet, "event") - before == 20


def test_a_poll_that_brings_something_is_not_taken_for_an_idle_one(loaded: Loaded) -> None:
    with pytest.raises(TransportError, match="An idle poll was answered with status 200"):
        loaded.server.pollers[0].check(Answer(status=200, etag="", body=b"{}"))


def test_an_event_that_is_not_acknowledged_is_not_counted(loaded: Loaded) -> None:
    body = b'{"acknowledged":{"journal":"f1c2f1c2f1c2f1c2","seq":0}}'
    with pytest.raises(TransportError, match="number of another one"):
        loaded.server.reporters[0].check(Answer(status=200, etag="", body=body))


def test_polls_and_events_cost_the_server_processor_time(loaded: Loaded) -> None:
    server, said = loaded.server, list[str]()
    works = {
        "polls": Work(pid=server.pid, callers=server.pollers, volleys=500),
        "events": Work(pid=server.pid, callers=server.reporters, volleys=100),
    }
    with pinned(cores().generator):
        found = median_us(works, rounds=1, chance=CHANCE, say=said.append)
    assert min(found.values()) > 0
    assert said[0].startswith("round 1 of 1: polls ")


def test_a_row_says_what_each_figure_is_held_to() -> None:
    found = {"idle-poll-1k": 50.0, "idle-poll-100k": 60.0, "event-1k": 150.0, "event-100k": 165.0, "idle-poll-goosebit": 5_000.0}
    assert {row.name: row.ratio for row in rows(found, "now")} == {
        "poll/idle-poll-1k": 0.4,
        "poll/idle-poll-100k": 1.2,
        "poll/event-1k": 3,
        "poll/event-100k": 1.1,
        "poll/idle-poll-goosebit": 100,
    }
