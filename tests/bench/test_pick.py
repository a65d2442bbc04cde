# SPDX-License-Identifier: Apache-2.0
"""Tests that the benchmark of picking really picks, on a small fleet, and that no read of the engine's grows with the fleet."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from bench.pick import NOW, look, pick, write_fleet
from surefoot.model.assignment import DeviceId
from surefoot.rollout.plan import Stage
from surefoot.server.db.groups import add
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.sqlite import connect, migrate


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    migrate(tmp_path / "db")
    with closing(connect(tmp_path / "db")) as connection:
        write_fleet(connection, 1_000)
        yield connection


def test_devices_of_the_audience_are_offered_the_release_once(fleet: sqlite3.Connection) -> None:
    assert pick(fleet, "salt", 300) == 300
    offered = fleet.execute(
        "SELECT count(DISTINCT a.device_id), min(d.site), max(d.site) FROM assignment a JOIN device d ON d.device_id = a.device_id"
    )
    assert offered.fetchone() == (300, "berlin", "berlin")
    # A rollout leaves devices to an older one that still wants them.
    assert pick(fleet, "other", 1_000) == 0
    fleet.execute("UPDATE rollout SET is_live = 0")
    assert pick(fleet, "third", 1_000) == 200


def test_a_look_with_nothing_to_do_does_nothing(fleet: sqlite3.Connection) -> None:
    pick(fleet, "salt", 500)
    look(fleet)
    before = fleet.total_changes
    look(fleet)
    assert fleet.total_changes == before


def test_no_read_of_the_engine_walks_through_the_fleet(fleet: sqlite3.Connection) -> None:
    pick(fleet, "salt", 10)
    add(fleet, "pilot", DeviceId("t-0000001"))
    rollouts = SqliteLedger(fleet).rollouts
    stored = rollouts.rollout(1)
    assert stored is not None
    staged = structs.replace(stored.rollout.plan, stages=[Stage(name="pilots", group="pilot")])
    of_group = replace(stored, rollout=structs.replace(stored.rollout, plan=staged))
    reads = {
        "walk": (lambda: rollouts.walk(stored, 10), "device_by_bucket (product=? AND (bucket,device_id)>(?,?) AND bucket<?)"),
        "walk of one hardware": (
            lambda: rollouts.walk(stored, 10, hardware="thermostat-v1"),
            "device_by_kind (product=? AND hardware=? AND (bucket,device_id)>(?,?)",
        ),
        "walk of a group": (lambda: rollouts.walk(of_group, 10), "SEARCH m USING PRIMARY KEY (group_name=? AND (bucket,device_id)>(?,?)"),
        "tallies": (lambda: rollouts.tallies(1), "SEARCH counter USING PRIMARY KEY (rollout_id=?)"),
        "offered": (lambda: rollouts.offered_since(1, NOW), "decision_at (rollout_id=? AND at>?)"),
        "overdue": (lambda: rollouts.overdue(NOW + timedelta(days=9), 10), "assignment_due (due_at<?)"),
        "unstarted": (lambda: rollouts.unstarted(1), "offer_of_rollout (rollout_id=?)"),
        "live": (rollouts.live, "rollout_live"),
    }
    for name, (read, index) in reads.items():
        plan = _plan(fleet, read)
        assert any(index in step for step in plan), (name, plan)
        scans = [step for step in plan if step.startswith("SCAN") and "rollout_live" not in step]
        assert (name, scans, "USE TEMP B-TREE FOR ORDER BY" in plan and name.startswith("walk")) == (name, [], False)


def _plan(connection: sqlite3.Connection, read: object) -> list[str]:
    """Return how the database does what a read asks of it."""
    assert callable(read)
    said: list[str] = []
    connection.set_trace_callback(said.append)
    read()
    connection.set_trace_callback(None)
    return [row[-1] for sql in said for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
