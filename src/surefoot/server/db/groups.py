# SPDX-License-Identifier: Apache-2.0
"""Groups in plain SQL: which devices are in which, in the order in which rollouts come to them; their rules, and who opted in or out.

Who is in a group is stored, also of one by filter: a walk, a filter and a page then read along one index. A fixed group is there
while it has members or somebody opted in or out of it.
"""

import sqlite3
from datetime import datetime

from surefoot.fleet.group import Consent, GroupRule
from surefoot.model.assignment import DeviceId
from surefoot.model.record import from_json, parse_utc, to_json
from surefoot.rollout.cohort import place

_PUT_RULE = """
INSERT INTO group_rule (name, joins, is_filled, body) VALUES (?, ?, 0, ?)
ON CONFLICT (name) DO UPDATE SET joins = excluded.joins, is_filled = 0, body = excluded.body"""
_PUT_CONSENT = "INSERT OR REPLACE INTO consent (group_name, device_id, is_in, until, body) VALUES (?, ?, ?, ?, ?)"
_ENDED = """
SELECT group_name, device_id FROM consent
WHERE until <= ? AND is_in = ? AND (group_name, device_id) > (?, ?) ORDER BY group_name, device_id LIMIT ?"""
_THERE = """
SELECT EXISTS (SELECT 1 FROM member WHERE group_name = :name) OR EXISTS (SELECT 1 FROM group_rule WHERE name = :name)
  OR EXISTS (SELECT 1 FROM consent WHERE group_name = :name)"""


def of_device(connection: sqlite3.Connection, device_id: DeviceId) -> list[str]:
    """Return the groups of a device, sorted."""
    rows = connection.execute("SELECT group_name FROM member WHERE device_id = ? ORDER BY group_name", (device_id,))
    return [name for (name,) in rows]


def late(connection: sqlite3.Connection, device_id: DeviceId, since: datetime) -> set[str]:
    """Return the groups of a device that it joined later than a rollout was created, and that rollout therefore does not count."""
    rows = connection.execute(
        "SELECT m.group_name FROM member m CROSS JOIN group_rule r ON r.name = m.group_name"
        " WHERE m.device_id = ? AND m.joined_at > ? AND r.joins = 'next-rollout'",
        (device_id, int(since.timestamp())),
    )
    return {name for (name,) in rows}


def add(connection: sqlite3.Connection, group: str, device_id: DeviceId, at_s: int = 0) -> bool:
    """Put a device into a group, as of a time in seconds since 1970; false when it was there."""
    sql = "INSERT INTO member (group_name, bucket, device_id, joined_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    return connection.execute(sql, (group, place(device_id), device_id, at_s)).rowcount == 1


def remove(connection: sqlite3.Connection, group: str, device_id: DeviceId) -> bool:
    """Take a device out of a group; false when it was not there."""
    sql = "DELETE FROM member WHERE group_name = ? AND bucket = ? AND device_id = ?"
    return connection.execute(sql, (group, place(device_id), device_id)).rowcount == 1


def has(connection: sqlite3.Connection, name: str) -> bool:
    """Say whether there is a group of this name."""
    return bool(connection.execute(_THERE, {"name": name}).fetchone()[0])


def rule(connection: sqlite3.Connection, name: str) -> GroupRule | None:
    """Return the rule of a group by filter; nothing for any other name."""
    row = connection.execute("SELECT body FROM group_rule WHERE name = ?", (name,)).fetchone()
    return None if row is None else _rule(row[0])


def rules(connection: sqlite3.Connection) -> dict[str, GroupRule]:
    """Return every group by filter, by name."""
    return {name: _rule(body) for name, body in connection.execute("SELECT name, body FROM group_rule ORDER BY name")}


def unfilled(connection: sqlite3.Connection) -> list[str]:
    """Return the groups by filter whose devices have not all been looked at since they were defined."""
    return [name for (name,) in connection.execute("SELECT name FROM group_rule WHERE is_filled = 0 ORDER BY name")]


def put_rule(connection: sqlite3.Connection, name: str, wanted: GroupRule) -> None:
    """Store the rule of a group by filter; its devices are still to be looked at."""
    connection.execute(_PUT_RULE, (name, wanted.joins, to_json(wanted)))


def note_filled(connection: sqlite3.Connection, name: str) -> None:
    """Note that every device has been looked at since a group was defined."""
    connection.execute("UPDATE group_rule SET is_filled = 1 WHERE name = ?", (name,))


def consent(connection: sqlite3.Connection, group: str, device_id: DeviceId) -> Consent | None:
    """Return what was said for a device about a group."""
    row = connection.execute("SELECT body FROM consent WHERE group_name = ? AND device_id = ?", (group, device_id)).fetchone()
    return None if row is None else _consent(row[0])


def put_consent(connection: sqlite3.Connection, group: str, device_id: DeviceId, said: Consent | None) -> None:
    """Store what is said for a device about a group; nothing forgets it."""
    if said is None:
        connection.execute("DELETE FROM consent WHERE group_name = ? AND device_id = ?", (group, device_id))
        return
    until = int(parse_utc(said.until).timestamp()) if said.until else None
    connection.execute(_PUT_CONSENT, (group, device_id, said.is_in, until, to_json(said)))


def ended(connection: sqlite3.Connection, now: datetime, limit: int, *, is_in: bool, after: tuple[str, str]) -> list[tuple[str, DeviceId]]:
    """Return opt-ins or opt-outs whose time is over, as group and device, in that order, from after a pair on."""
    rows = connection.execute(_ENDED, (int(now.timestamp()), is_in, *after, limit))
    return [(group, DeviceId(device_id)) for group, device_id in rows]


def forget(connection: sqlite3.Connection, name: str) -> int:
    """Forget a group by filter, who is in it and who opted in or out; return how many devices were in it."""
    connection.execute("DELETE FROM group_rule WHERE name = ?", (name,))
    connection.execute("DELETE FROM consent WHERE group_name = ?", (name,))
    return connection.execute("DELETE FROM member WHERE group_name = ?", (name,)).rowcount


def _rule(body: bytes) -> GroupRule:
    return from_json(body, GroupRule, what="stored rule of a group")


def _consent(body: bytes) -> Consent:
    return from_json(body, Consent, what="stored consent")
