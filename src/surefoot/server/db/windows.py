# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows in plain SQL: what is set at each level, and the number of the last change.

Every change has the next number; what was removed stays as a row without a body, so that numbers are not used twice.
"""

import sqlite3

from surefoot.model.record import from_json, to_json
from surefoot.schedule.nearest import Level, WindowSetting

_PUT = """
INSERT INTO maintenance_window (level, key, version, body)
VALUES (?, ?, (SELECT coalesce(max(version), 0) + 1 FROM maintenance_window), ?)
ON CONFLICT (level, key) DO UPDATE SET version = excluded.version, body = excluded.body"""
_READ = "SELECT body FROM maintenance_window WHERE level = ? AND key = ? AND body IS NOT NULL"


def read(connection: sqlite3.Connection, level: Level, key: str) -> WindowSetting | None:
    """Return what is set."""
    row = connection.execute(_READ, (level, key)).fetchone()
    return None if row is None else from_json(row[0], WindowSetting, what="stored windows")


def put(connection: sqlite3.Connection, level: Level, key: str, setting: WindowSetting | None) -> None:
    """Set it; nothing removes it."""
    connection.execute(_PUT, (level, key, None if setting is None else to_json(setting)))


def version(connection: sqlite3.Connection) -> int:
    """Return the number of the last change; 0 before the first."""
    (number,) = connection.execute("SELECT coalesce(max(version), 0) FROM maintenance_window").fetchone()
    return int(number)
