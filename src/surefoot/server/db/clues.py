# SPDX-License-Identifier: Apache-2.0
"""Clues in plain SQL on one SQLite connection: the few rows that say why a device did or did not update."""

import sqlite3

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device
from surefoot.model.assignment import DeviceId
from surefoot.model.event import DeploymentEvent
from surefoot.model.record import from_json
from surefoot.server.db import components
from surefoot.server.services.catalogue import StoredDecision

_UNDER_WAY = "SELECT rollout_id FROM rollout WHERE status NOT IN ('halted', 'finished') ORDER BY rollout_id DESC"
_LAST_OVER = """
SELECT rollout_id FROM rollout
WHERE status IN ('halted', 'finished') AND CAST(body AS TEXT) ->> '$.plan.release' LIKE ? || ' %'
ORDER BY rollout_id DESC LIMIT 1"""
_ATTEMPTS = "SELECT body FROM assignment WHERE device_id = ? ORDER BY assignment_id DESC LIMIT ?"
_EVENTS = "SELECT body FROM event WHERE device_id = ? ORDER BY received_at DESC, journal, seq DESC LIMIT 200"
_DECISIONS = "SELECT body FROM decision WHERE rollout_id = ? ORDER BY number DESC LIMIT ?"


class SqliteClues:
    """``Clues`` (``surefoot.server.services.why``) on one connection, which the caller opens and owns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read through ``connection``."""
        self._connection = connection

    def rollouts(self, product: str) -> list[int]:
        """Return the rollouts that are not over, newest first, and after them the newest one of a product that is."""
        found = [*self._connection.execute(_UNDER_WAY), *self._connection.execute(_LAST_OVER, (product,))]
        return [number for (number,) in found]

    def attempts(self, device_id: DeviceId, limit: int) -> list[Attempt]:
        """Return a device's attempts, newest first."""
        rows = self._connection.execute(_ATTEMPTS, (device_id, limit))
        return [from_json(body, Attempt, what="stored assignment") for (body,) in rows]

    def events(self, device_id: DeviceId) -> list[DeploymentEvent]:
        """Return a device's newest events, newest first."""
        return [from_json(body, DeploymentEvent, what="stored event") for (body,) in self._connection.execute(_EVENTS, (device_id,))]

    def decisions(self, rollout_id: int, limit: int) -> list[StoredDecision]:
        """Return a rollout's newest decisions, newest first."""
        rows = self._connection.execute(_DECISIONS, (rollout_id, limit))
        return [from_json(body, StoredDecision, what="stored decision") for (body,) in rows]

    def components(self, device: Device) -> dict[str, str]:
        """Return the versions of the parts of the image that a device runs."""
        return {} if device.report is None else components.of_image(self._connection, device.report.hash)
