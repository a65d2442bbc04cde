# SPDX-License-Identifier: Apache-2.0
"""Networks in plain SQL: what a rollout has offered in one region or site, and who waits for room there.

Everything is read by key: what was offered in one network along an index of its own, and queues by when they are to be looked at.
"""

import sqlite3
from datetime import datetime

from surefoot.rollout.network import KINDS, REGION, Traffic, kind_of, name_of
from surefoot.server.services.network_store import Queue

_HOUR_S = 3_600
_MINUTE_S = 60

# The loads are named so that the index is sought by each of them, and then by time.
_TRAFFIC = {
    kind: f"""
SELECT coalesce(sum(offered_at > :minute), 0), coalesce(sum(offered_at > :hour), 0),
  coalesce(sum(iif(offered_at > :span, size, 0)), 0), coalesce(sum(load = 1 AND offered_at > :hour), 0),
  min(iif(offered_at > :minute, offered_at, NULL)), min(iif(offered_at > :hour, offered_at, NULL)),
  min(iif(offered_at > :span, offered_at, NULL)),
  (SELECT count(*) FROM assignment WHERE rollout_id = :rollout AND at_{kind} = :network AND load = 2)
FROM assignment WHERE rollout_id = :rollout AND at_{kind} = :network AND load IN (0, 1, 2) AND offered_at > :since"""  # noqa: S608  # our own
    for kind in KINDS
}
_JOIN = """
INSERT INTO queue (rollout_id, network, place, look_at) VALUES (?, ?, ?, ?)
ON CONFLICT (rollout_id, network) DO UPDATE SET place = min(place, excluded.place)"""

WALKS = {kind: (f"device d INDEXED BY device_in_{kind}", f"d.{kind} IS :network AND d.product = :product") for kind in KINDS}
"""By kind: from what, and under which condition, a walk reads the devices of one network."""


class SqliteNetworks:
    """A ``NetworkStore`` (``surefoot.server.services.network_store``) on one connection, which the caller opens and owns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use ``connection``; its transactions are the caller's affair."""
        self._connection = connection

    def traffic(self, rollout_id: int, network: str, span_s: int, now: datetime) -> Traffic:
        """Return what a rollout has offered in a network that it limits; ``span_s`` is what its bytes a second are an average over."""
        at = int(now.timestamp())
        values = {
            "rollout": rollout_id,
            "network": network,
            "minute": at - _MINUTE_S,
            "hour": at - _HOUR_S,
            "span": at - span_s,
            "since": at - max(_HOUR_S, span_s),
        }
        row = self._connection.execute(_TRAFFIC[kind_of(network)], values).fetchone()
        in_minute, in_hour, size, soon, first_in_minute, first_in_hour, first_in_span, fetching = row
        return Traffic(
            network=network,
            offered_last_minute=in_minute,
            offered_last_hour=in_hour,
            offered_bytes=size,
            fetching=soon + fetching,
            first_in_minute=first_in_minute,
            first_in_hour=first_in_hour,
            first_in_span=first_in_span,
        )

    def is_known(self, network: str) -> bool:
        """Say whether any device is in a network that has a name."""
        sql = f"SELECT 1 FROM device WHERE {kind_of(network)} = ? LIMIT 1"  # noqa: S608  # one of two words
        return self._connection.execute(sql, (name_of(network),)).fetchone() is not None

    def first(self, rollout_id: int, limit: int) -> list[Queue]:
        """Return the queues of a rollout that are to be looked at first."""
        sql = "SELECT network, place, look_at FROM queue WHERE rollout_id = ? ORDER BY look_at, network LIMIT ?"
        rows = self._connection.execute(sql, (rollout_id, limit))
        return [Queue(network=network, place=place, look_at=look_at) for network, place, look_at in rows]

    def queue(self, rollout_id: int, network: str) -> Queue | None:
        """Return the queue of one network; nothing when nobody waits there."""
        sql = "SELECT place, look_at FROM queue WHERE rollout_id = ? AND network = ?"
        row = self._connection.execute(sql, (rollout_id, network)).fetchone()
        return None if row is None else Queue(network=network, place=row[0], look_at=row[1])

    def count(self, rollout_id: int) -> int:
        """Return in how many networks devices wait for room."""
        return int(self._connection.execute("SELECT count(*) FROM queue WHERE rollout_id = ?", (rollout_id,)).fetchone()[0])

    def join(self, rollout_id: int, waiting: Queue) -> None:
        """Let a queue begin no later on the ring than there; it is made when there is none."""
        self._connection.execute(_JOIN, (rollout_id, waiting.network, waiting.place, waiting.look_at))

    def put(self, rollout_id: int, waiting: Queue) -> None:
        """Store a queue, in place of what was stored of its network."""
        sql = "INSERT OR REPLACE INTO queue (rollout_id, network, place, look_at) VALUES (?, ?, ?, ?)"
        self._connection.execute(sql, (rollout_id, waiting.network, waiting.place, waiting.look_at))

    def wake(self, rollout_id: int, network: str) -> None:
        """Let a queue be looked at next: something ended there."""
        self._connection.execute("UPDATE queue SET look_at = 0 WHERE rollout_id = ? AND network = ?", (rollout_id, network))

    def drop(self, rollout_id: int, network: str) -> None:
        """End the queue of one network."""
        self._connection.execute("DELETE FROM queue WHERE rollout_id = ? AND network = ?", (rollout_id, network))

    def drop_all(self, rollout_id: int) -> None:
        """End every queue of a rollout."""
        self._connection.execute("DELETE FROM queue WHERE rollout_id = ?", (rollout_id,))


def column_of(network: str) -> str | None:
    """Return the value that a device's column has in this network; nothing where it has none."""
    return name_of(network) or None


def columns(networks: list[str]) -> tuple[str | None, str | None]:
    """Return the columns ``at_region`` and ``at_site`` of an attempt that counts in these networks."""
    region = next((network for network in networks if kind_of(network) == REGION), None)
    return region, next((network for network in networks if kind_of(network) != REGION), None)
