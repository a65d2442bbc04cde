# SPDX-License-Identifier: Apache-2.0
"""Devices in plain SQL, and all that is kept true with them: their attributes for filters, and how many run which version.

- Every write of a device goes through here, so that columns drawn from its report, and counters, move in the same transaction.
- The names of given attributes are always remembered, reported ones up to ``_MOST_NAMES`` in all: devices cannot fill the table.
"""

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime

from surefoot.fleet.device import Device, DeviceState, set_attributes
from surefoot.fleet.field import keys, version_key
from surefoot.model.assignment import DeviceId
from surefoot.model.attribute import Attributes
from surefoot.model.event import DeviceReport
from surefoot.model.record import from_json, to_json, utc_text
from surefoot.rollout.cohort import place
from surefoot.server.db.schema import INDEXED

_DEVICE = """
SELECT d.hardware, d.state, d.enrolled_at, d.report, d.given, p.last_seen, p.polls
FROM device d LEFT JOIN presence p ON p.device_id = d.device_id
WHERE d.device_id = ?"""
_DERIVED = "SELECT product, version, attributes, keys, given, report FROM device WHERE device_id = ?"
_RUNS = ("product", "version", "version_key", "hash")
_SAID = ("attributes", "keys", *INDEXED)
_KEPT = ("state", "hardware", "enrolled_at", "given", "report")
_PUT_DEVICE = f"""
INSERT INTO device (device_id, bucket, {", ".join((*_KEPT, *_RUNS, *_SAID))}) VALUES (?, ?{", ?" * len(_KEPT + _RUNS + _SAID)})
ON CONFLICT (device_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _KEPT + _RUNS + _SAID)}
"""  # noqa: S608  # the names are our own
_PUT_REPORT = f"UPDATE device SET report = ?, {', '.join(f'{name} = ?' for name in _RUNS)} WHERE device_id = ?"  # noqa: S608  # as above
_PUT_SAID = f"UPDATE device SET {', '.join(f'{name} = ?' for name in _SAID)} WHERE device_id = ?"  # noqa: S608  # as above
_COUNT = """
INSERT INTO version_count (product, version, devices) VALUES (?, ?, ?)
ON CONFLICT (product, version) DO UPDATE SET devices = devices + excluded.devices"""
_NAME_GIVEN = "INSERT INTO attribute_name (name) VALUES (?) ON CONFLICT DO NOTHING"
_NAME_REPORTED = """
INSERT INTO attribute_name (name) SELECT ? WHERE (SELECT count(*) FROM attribute_name) < ?
ON CONFLICT DO NOTHING"""
_MOST_NAMES = 1_000


def read_device(connection: sqlite3.Connection, device_id: DeviceId) -> Device | None:
    """Return a device."""
    row = connection.execute(_DEVICE, (device_id,)).fetchone()
    if row is None:
        return None
    hardware, state, enrolled_at, report, given, last_seen, polls = row
    return Device(
        device_id=device_id,
        hardware=hardware,
        state=DeviceState(state),
        enrolled_at=enrolled_at,
        last_seen="" if last_seen is None else utc_text(datetime.fromtimestamp(last_seen, UTC)),
        polls=polls or 0,
        report=None if report is None else from_json(report, DeviceReport, what="stored report"),
        given=_given(given),
    )


def put_device(connection: sqlite3.Connection, device: Device) -> None:
    """Store a device, and what is drawn from its report and its given attributes."""
    device_id, report = device.device_id, device.report
    before = connection.execute(_DERIVED, (device_id,)).fetchone()
    after = _runs(report)
    effective = set_attributes(report, device.given)
    stored = None if report is None else to_json(report)
    kept = (device.state, device.hardware, device.enrolled_at, _text(device.given), stored)
    connection.execute(_PUT_DEVICE, (device_id, place(device_id), *kept, *after, *_said(effective, report)))
    connection.executemany(_NAME_GIVEN, [(name,) for name in device.given])
    connection.executemany(_NAME_REPORTED, [(name, _MOST_NAMES) for name in effective])
    _move(connection, None if before is None else before[:2], after[:2])


def put_report(connection: sqlite3.Connection, device_id: DeviceId, report: DeviceReport) -> bool:
    """Store a device's statement of what it runs, and what is drawn from it; say whether its attributes are others now.

    Nothing happens when it says the same as before, or when there is no such device.
    """
    before = connection.execute(_DERIVED, (device_id,)).fetchone()
    stored = to_json(report)
    # Every batch of events carries the report, and hardly ever says anything new.
    if before is None or before[5] == stored:
        return False
    after = _runs(report)
    effective = set_attributes(report, _given(before[4]))
    said = _said(effective, report)
    connection.execute(_PUT_REPORT, (stored, *after, device_id))
    # Most of its indexes are on what it says of itself beside, and that changes still less often.
    if said[:2] != before[2:4]:
        connection.execute(_PUT_SAID, (*said, device_id))
        connection.executemany(_NAME_REPORTED, [(name, _MOST_NAMES) for name in effective])
    _move(connection, before[:2], after[:2])
    return bool(said[:2] != before[2:4])


def move_versions(connection: sqlite3.Connection, by: Mapping[tuple[str, str], int]) -> None:
    """Add to the number of devices that run a (product, version); one that nobody runs is not listed."""
    connection.executemany(_COUNT, [(*kind, devices) for kind, devices in by.items()])
    connection.executemany("DELETE FROM version_count WHERE product = ? AND version = ? AND devices = 0", list(by))


def _move(connection: sqlite3.Connection, before: tuple[str, str] | None, after: tuple[str, str]) -> None:
    if before != after:
        move_versions(connection, {after: 1} if before is None else {after: 1, before: -1})


def _runs(report: DeviceReport | None) -> tuple[str, str, str | None, str]:
    """Return the values of the columns ``_RUNS``."""
    return ("", "", None, "") if report is None else (report.product, report.version, version_key(report.version), report.hash)


def _said(effective: Mapping[str, str], report: DeviceReport | None) -> tuple[str | None, ...]:
    """Return the values of the columns ``_SAID``."""
    versions = {} if report is None else {"bootloader_version": report.bootloader_version}
    return (_text(effective), _text(keys({**effective, **versions})), *(effective.get(name) for name in INDEXED))


def _given(text: str) -> dict[str, str]:
    return from_json(text.encode(), Attributes, what="stored attributes")


def _text(value: Mapping[str, object]) -> str:
    return to_json(value).decode()
