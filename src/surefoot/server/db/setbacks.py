# SPDX-License-Identifier: Apache-2.0
"""Setbacks in plain SQL: which devices failed with which release, who is to be tried again when, and who is quarantined."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime

from surefoot.fleet.setback import Setback
from surefoot.model.assignment import DeviceId
from surefoot.model.record import from_json, parse_utc, to_json

_PUT = """
INSERT OR REPLACE INTO setback (device_id, product, version, rollout_id, hardware, region, retry_at, is_quarantined, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
WAITING = """rollout_id = :rollout AND retry_at IS NOT NULL
  AND hardware NOT IN (SELECT value FROM json_each(:not_hardware)) AND region NOT IN (SELECT value FROM json_each(:not_regions))"""
"""Who waits for another try in a rollout, outside of hardware that is excluded and regions that are held."""


def read(connection: sqlite3.Connection, device_id: DeviceId, product: str, version: str) -> Setback | None:
    """Return what is remembered of a device and a release."""
    sql = "SELECT body FROM setback WHERE device_id = ? AND product = ? AND version = ?"
    row = connection.execute(sql, (device_id, product, version)).fetchone()
    return None if row is None else from_json(row[0], Setback, what="stored setback")


def of_device(connection: sqlite3.Connection, device_id: DeviceId) -> list[Setback]:
    """Return what is remembered of a device, by release."""
    rows = connection.execute("SELECT body FROM setback WHERE device_id = ? ORDER BY product, version", (device_id,))
    return [from_json(body, Setback, what="stored setback") for (body,) in rows]


def put(connection: sqlite3.Connection, setback: Setback) -> None:
    """Remember a setback, in place of what was remembered of this device and release."""
    retry_at = int(parse_utc(setback.retry_at).timestamp()) if setback.retry_at else None
    keys = (setback.device_id, setback.product, setback.version, setback.rollout_id, setback.hardware, setback.region)
    connection.execute(_PUT, (*keys, retry_at, bool(setback.quarantined_at), to_json(setback)))


def forget(connection: sqlite3.Connection, device_id: DeviceId, product: str, version: str) -> None:
    """Forget what is remembered of a device and a release."""
    connection.execute("DELETE FROM setback WHERE device_id = ? AND product = ? AND version = ?", (device_id, product, version))


def waiting(
    connection: sqlite3.Connection, rollout_id: int, not_hardware: Sequence[str], not_regions: Sequence[str], now: datetime
) -> tuple[int, int]:
    """Return how many devices a rollout may try again now, and how many now or later: those of held regions are among the latter."""
    values = {
        "rollout": rollout_id,
        "not_hardware": json.dumps(list(not_hardware)),
        "not_regions": json.dumps(list(not_regions)),
        "now": int(now.timestamp()),
    }
    due = connection.execute(f"SELECT count(*) FROM setback WHERE {WAITING} AND retry_at <= :now", values).fetchone()  # noqa: S608  # our own
    everybody = connection.execute(f"SELECT count(*) FROM setback WHERE {WAITING}", {**values, "not_regions": "[]"}).fetchone()  # noqa: S608  # our own
    return int(due[0]), int(everybody[0])
