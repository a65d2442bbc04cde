# SPDX-License-Identifier: Apache-2.0
"""Counters held against what they count: by how much each is off, as of one moment.

Both sides are read in one transaction, so a difference is an error and no race. It may be added to the counter at any later time:
what moved the counter meanwhile moved it by a difference too. The counting is one query, which lets other threads run.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from surefoot.model.assignment import Outcome
from surefoot.rollout.evidence import Counts, Facts, counts_of
from surefoot.server.db.rollouts import SqliteRollouts
from surefoot.server.services.recount import Segment

_KINDS = """
SELECT coalesce(body ->> '$.stage', 0), body ->> '$.hardware', coalesce(body ->> '$.region', ''), outcome, is_started,
  coalesce(body ->> '$.is_unhealthy', 0), coalesce(body ->> '$.is_late_good', 0), coalesce(body ->> '$.is_late_bad', 0),
  coalesce(body ->> '$.is_due', 0), coalesce(body ->> '$.is_relapsed', 0),
  coalesce(body ->> '$.retry', 0) > 0, count(*)
FROM (SELECT CAST(body AS TEXT) AS body, outcome, is_started FROM assignment WHERE rollout_id = ?)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"""
_MARKS = ("is_started", "is_unhealthy", "is_late_good", "is_late_bad", "is_due", "is_relapsed", "is_retry")
_VERSIONS = """
SELECT product, version, sum(devices) FROM (
  SELECT product, version, count(*) AS devices FROM device GROUP BY product, version
  UNION ALL SELECT product, version, -devices FROM version_count
) GROUP BY product, version HAVING sum(devices) <> 0"""


def counters_off(connection: sqlite3.Connection, rollout_id: int) -> dict[Segment, Counts]:
    """Return what must be added to each counter of a rollout for it to say what the attempts say; empty when all are right.

    Args:
        connection: One that nobody else uses meanwhile, outside a transaction.
        rollout_id: The rollout.
    """
    off: defaultdict[Segment, Counts] = defaultdict(Counts)
    with _snapshot(connection):
        for stage, hardware, region, outcome, *marks, number in connection.execute(_KINDS, (rollout_id,)):
            said = {name: bool(mark) for name, mark in zip(_MARKS, marks, strict=True)}
            facts = Facts(outcome=None if outcome is None else Outcome(outcome), **said)
            segment = (stage, hardware, region)
            off[segment] = off[segment].plus(counts_of(facts).times(number))
        for tally in SqliteRollouts(connection).tallies(rollout_id):
            segment = (tally.stage, tally.hardware, tally.region)
            off[segment] = off[segment].minus(tally.counts)
    return {segment: counts for segment, counts in off.items() if counts != Counts()}


def versions_off(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """Return what must be added to each count of devices by (product, version); empty when all are right."""
    return {(product, version): number for product, version, number in connection.execute(_VERSIONS)}


@contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
