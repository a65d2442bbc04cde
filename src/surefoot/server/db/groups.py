# SPDX-License-Identifier: Apache-2.0
"""Groups in plain SQL: which devices are in which, in the order in which rollouts come to them.

A group is there while it has members.
"""

import sqlite3

from surefoot.model.assignment import DeviceId
from surefoot.rollout.cohort import place


def of_device(connection: sqlite3.Connection, device_id: DeviceId) -> list[str]:
    """Return the groups of a device, sorted."""
    rows = connection.execute("SELECT group_name FROM member WHERE device_id = ? ORDER BY group_name", (device_id,))
    return [name for (name,) in rows]


def add(connection: sqlite3.Connection, group: str, device_id: DeviceId) -> bool:
    """Put a device into a group; false when it was there."""
    sql = "INSERT INTO member (group_name, bucket, device_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    return connection.execute(sql, (group, place(device_id), device_id)).rowcount == 1


def remove(connection: sqlite3.Connection, group: str, device_id: DeviceId) -> bool:
    """Take a device out of a group; false when it was not there."""
    sql = "DELETE FROM member WHERE group_name = ? AND bucket = ? AND device_id = ?"
    return connection.execute(sql, (group, place(device_id), device_id)).rowcount == 1
