# SPDX-License-Identifier: Apache-2.0
"""What it costs to pick devices and assign a release to them, in a fleet of 100,000 and in one of 1,000,000, by the server's own verbs.

Both fleets are written by bulk SQL into databases of the server's own schema. Figures are CPU time of this process.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.rows import Row, compared
from surefoot.fleet.field import keys
from surefoot.model.digest import digest_of
from surefoot.model.manifest import ManifestEntry, ReleaseIndex, manifest_digest
from surefoot.model.record import to_json, utc_text
from surefoot.model.version import precedence
from surefoot.rollout.cohort import place
from surefoot.rollout.decision import Advance
from surefoot.rollout.evidence import Control, Share
from surefoot.rollout.plan import Gates, Plan, Rollout, Stage, Status
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.sqlite import connect, migrate
from surefoot.server.services.advance import Lookout, advance_all
from surefoot.server.services.conduct import carry_out, evidence_of
from surefoot.server.services.ports import Ledger, PublishedRelease
from surefoot.server.services.rollout_store import Census, StoredRollout
from tests.server.office import statement
from tests.trust.repositories import manifest

SMALL, LARGE = 100_000, 1_000_000
PICKED = 10_000

_T = TypeVar("_T")
_AUDIENCE = "site==berlin"
"""Every other device."""
_STEP = 2_000
_IDLE_LOOKS = 200
_MOST_IDLE_MS = 5.0
_SAME = 1.3
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
_OLD, _NEW = digest_of(b"old image"), b"new image"
_PUT = """
INSERT INTO device
  (device_id, state, hardware, enrolled_at, bucket, product, version, version_key, hash, site, attributes, keys, given, report)
VALUES (?, 'active', 'thermostat-v1', '2026-01-01T00:00:00Z', ?, 'thermostat', '1.0.0', ?, ?, ?, ?, ?, '{}', ?)"""


def measure(run: str) -> list[Row]:
    """Measure both fleets and return the rows; ``run`` goes into each."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = (_fleet(Path(folder) / str(devices), devices) for devices in (SMALL, LARGE))
        with closing(small), closing(large):
            return [
                _against("picking and assigning 10,000 at 1 M", _picking_ms(large), _picking_ms(small), run),
                compared("pick/nothing to do at 1 M", _idle_ms(large), "ms", against="ceiling", figure=_MOST_IDLE_MS, run=run),
                _against("nothing to do at 1 M, held to 100 k", _idle_ms(large), _idle_ms(small), run),
                _against("reading the tallies at 1 M", _tallies_ms(large), _tallies_ms(small), run),
            ]


def write_fleet(connection: sqlite3.Connection, devices: int) -> None:
    """Write a fleet in bulk, half of it in Berlin, and the release that it is to get.

    Indexes are taken down before and built after, which is many times faster; they end as the schema has them.
    """
    indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'device' AND sql IS NOT NULL")
    built = indexes.fetchall()
    connection.execute("BEGIN")
    for name, _ in built:
        connection.execute(f"DROP INDEX {name}")
    said, version = to_json(statement(_OLD)), precedence("1.0.0")
    sites = {site: tuple(to_json(value).decode() for value in _site(site)) for site in ("berlin", "paris")}
    names = ((f"t-{number:07}", "berlin" if number % 2 else "paris") for number in range(devices))
    connection.executemany(_PUT, ((name, place(name), version, _OLD, site, *sites[site], said) for name, site in names))
    at = int(NOW.timestamp())
    connection.execute("INSERT INTO presence (device_id, last_seen, polls) SELECT device_id, ?, 1 FROM device", (at,))
    connection.execute("INSERT INTO attribute_name (name) VALUES ('site')")
    for _, sql in built:
        connection.execute(sql)
    _publish(SqliteLedger(connection))
    connection.execute("COMMIT")


def pick(connection: sqlite3.Connection, salt: str, devices: int) -> int:
    """Begin a rollout and offer it to so many devices, in the transactions that the engine would make; return how many were offered."""
    ledger = SqliteLedger(connection)
    rollout_id = _transaction(connection, lambda: ledger.rollouts.create(_rollout(), "bench", salt, NOW))
    offered, before = 0, -1
    while before < offered < devices:
        before = offered
        offers = min(_STEP, devices - offered)
        decision = Advance(cause="offer", reason="Bench.", offers=offers)
        _transaction(connection, partial(_carry_out, ledger, rollout_id, decision))
        offered = sum(tally.counts.offered for tally in ledger.rollouts.tallies(rollout_id))
    return offered


def look(connection: sqlite3.Connection) -> None:
    """Let the engine look once at all rollouts, as the server does each second."""

    async def write(job: Callable[[Ledger], _T]) -> _T:
        return _transaction(connection, lambda: job(SqliteLedger(connection)))

    failures = asyncio.run(advance_all(write, Lookout(_Blind()), NOW + timedelta(seconds=5)))
    assert not failures, failures


class _Blind:
    """A survey that is never asked: nothing of the rollout is left to be counted."""

    async def count(self, stored: StoredRollout, now: datetime) -> Census:
        raise AssertionError(f"rollout {stored.rollout_id} is counted again at {now}")

    async def watch(self, stored: StoredRollout, now: datetime) -> list[Control]:
        raise AssertionError(f"control of rollout {stored.rollout_id} is looked at, at {now}")


def _fleet(folder: Path, devices: int) -> sqlite3.Connection:
    folder.mkdir()
    migrate(folder / "db")
    connection = connect(folder / "db")
    write_fleet(connection, devices)
    return connection


def _site(site: str) -> tuple[dict[str, str], dict[str, object]]:
    return {"site": site}, {**keys({"site": site, "bootloader_version": "1.0.0"})}


def _publish(ledger: SqliteLedger) -> None:
    wanted = manifest("1.1.0", _NEW)
    entry = ManifestEntry(hardware=wanted.target_hardware[0], variant="release", file="m.json", hash=manifest_digest(wanted))
    index = ReleaseIndex(
        product="thermostat", version="1.1.0", build_id="b", manifests=[entry], sbom=digest_of(b"sbom"), provenance=digest_of(b"provenance")
    )
    ledger.add_release(PublishedRelease(index=index, digest=digest_of(to_json(index)), manifests=(wanted,)), b"{}", NOW)


def _rollout() -> Rollout:
    plan = Plan(release="thermostat 1.1.0", audience=_AUDIENCE, gate=Gates(), stages=[Stage(name="all", batches=["1%", "100%"])])
    return Rollout(plan=plan, status=Status.RUNNING, opened_at=int(NOW.timestamp()), settled_at=utc_text(NOW))


def _carry_out(ledger: SqliteLedger, rollout_id: int, decision: Advance) -> None:
    stored = ledger.rollouts.rollout(rollout_id)
    assert stored is not None
    if stored.population is None:
        stored = replace(stored, population=PICKED, audience=(Share(hardware="thermostat-v1", region="", devices=PICKED),))
    carry_out(ledger, stored, evidence_of(ledger, stored, NOW), decision, NOW)


def _transaction(connection: sqlite3.Connection, work: Callable[[], _T]) -> _T:
    connection.execute("BEGIN IMMEDIATE")
    done = work()
    connection.execute("COMMIT")
    return done


def _picking_ms(connection: sqlite3.Connection) -> float:
    def once(salt: str) -> float:
        with_ms = _cpu_ms(lambda: _require(pick(connection, salt, PICKED)))
        # The next one finds every device free again.
        connection.execute("DELETE FROM assignment")
        connection.execute("UPDATE rollout SET is_live = 0")
        return with_ms

    return min(once(salt) for salt in ("a", "b", "c"))


def _require(offered: int) -> None:
    assert offered == PICKED, offered


def _idle_ms(connection: sqlite3.Connection) -> float:
    if connection.execute("SELECT count(*) FROM rollout WHERE is_live = 1").fetchone() == (0,):
        pick(connection, "idle", PICKED)
        look(connection)

    def looks() -> None:
        for _ in range(_IDLE_LOOKS):
            look(connection)

    return _cpu_ms(looks) / _IDLE_LOOKS


def _tallies_ms(connection: sqlite3.Connection) -> float:
    rollouts = SqliteLedger(connection).rollouts
    (rollout_id,) = rollouts.live()
    return _cpu_ms(lambda: [rollouts.tallies(rollout_id) for _ in range(_IDLE_LOOKS)]) / _IDLE_LOOKS


def _cpu_ms(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1_000


def _against(name: str, large: float, small: float, run: str) -> Row:
    return compared(f"pick/{name}", large, "ms", against="ceiling, 1.3 x the same at 100 k", figure=small * _SAME, run=run)
