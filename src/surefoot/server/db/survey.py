# SPDX-License-Identifier: Apache-2.0
"""Surveys in plain SQL on one SQLite connection: devices counted, and a sample of those that a rollout has not come to.

The sample is taken backwards along the ring from the rollout's origin: these devices come last, and so can be compared with longest.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from msgspec import structs

from surefoot.model.record import from_json
from surefoot.rollout.cohort import origin
from surefoot.rollout.evidence import Control, Share
from surefoot.server.db.rollouts import SqliteRollouts
from surefoot.server.services.rollout_store import Candidate, Census, StoredRollout, Walk

_DAY_S = 86_400
_SAMPLE = 5_000
_MOST_A_REGION = 300
_LAST = """
SELECT d.attributes, p.last_seen, d.state = 'active' AND NOT EXISTS (
    SELECT 1 FROM assignment a WHERE a.rollout_id IN (:rollout, :reverts) AND a.device_id = d.device_id AND a.outcome IS NOT 'cancelled'
  )
FROM device d LEFT JOIN presence p ON p.device_id = d.device_id
WHERE d.product = :product AND d.bucket {side} :origin
ORDER BY d.bucket DESC LIMIT :limit"""
_SETTLED = """
SELECT a.body ->> '$.region', p.last_seen
FROM (SELECT CAST(body AS TEXT) AS body, device_id, outcome FROM assignment WHERE rollout_id = :rollout LIMIT :limit) a
  LEFT JOIN presence p ON p.device_id = a.device_id
WHERE a.outcome = 'succeeded' AND a.body ->> '$.is_relapsed' IS NULL
  AND CAST(strftime('%s', a.body ->> '$.ended_at') AS INTEGER) <= :long_ago"""

IsIn = Callable[[Candidate, int], bool]
"""Says whether a device is in the audience of a stage, apart from the stage's group."""


@dataclass(slots=True)
class _Seen:
    devices: int = 0
    unreachable: int = 0
    settled: int = 0
    settled_unreachable: int = 0


def census(connection: sqlite3.Connection, stored: StoredRollout, is_in: IsIn, *, step: int = 5_000) -> Census:
    """Return how many devices of a rollout's open stage are in its audience, and the audience: walks round the ring, piece by piece."""
    groups = [stage.group for stage in stored.rollout.plan.stages]
    here = stored.rollout.stage

    def is_of(candidate: Candidate, stage: int) -> bool:
        return groups[stage] in {None, *candidate.traits.groups} and is_in(candidate, stage)

    # A stage without a group is a walk past every device of the product, which meets the members of all groups.
    stages = [groups.index(None)] if None in groups else range(len(groups))
    population, seen = 0, set[str]()
    everywhere: Counter[tuple[str, str]] = Counter()
    for stage in stages:
        for candidate in _round(connection, stored, stage, step):
            if candidate.device_id in seen or not any(is_of(candidate, one) for one in range(len(groups))):
                continue
            population += is_of(candidate, here)
            everywhere[_kind(candidate)] += 1
            if len(stages) > 1:
                seen.add(candidate.device_id)
    shares = (Share(hardware=hardware, region=region, devices=devices) for (hardware, region), devices in sorted(everywhere.items()))
    return Census(population=population, audience=tuple(shares))


def watch(connection: sqlite3.Connection, stored: StoredRollout, now: datetime, unreachable_after_s: int) -> list[Control]:
    """Return what a sample of each region says: devices that the rollout has not come to, and those that run it for more than a day.

    Args:
        connection: One that nobody else uses meanwhile.
        stored: The rollout.
        now: Compared with when devices were last seen. Who was not seen for a day says nothing: it is switched off.
        unreachable_after_s: After how many seconds without a call a device cannot be reached.
    """
    at = int(now.timestamp())
    seen: dict[str, _Seen] = {}
    for region, last_seen in _waiting(connection, stored):
        one = seen.setdefault(region, _Seen())
        if last_seen is not None and last_seen > at - _DAY_S and one.devices < _MOST_A_REGION:
            one.devices += 1
            one.unreachable += last_seen < at - unreachable_after_s
    settled = {"rollout": stored.rollout_id, "limit": _SAMPLE, "long_ago": at - _DAY_S}
    for region, last_seen in connection.execute(_SETTLED, settled):
        one = seen.setdefault(region or "", _Seen())
        if last_seen is not None and last_seen > at - _DAY_S:
            one.settled += 1
            one.settled_unreachable += last_seen < at - unreachable_after_s
    return [
        Control(
            region=region,
            devices=one.devices,
            unreachable=one.unreachable,
            settled=one.settled,
            settled_unreachable=one.settled_unreachable,
        )
        for region, one in sorted(seen.items())
    ]


def _round(connection: sqlite3.Connection, stored: StoredRollout, stage: int, step: int) -> Iterator[Candidate]:
    rollouts, at = SqliteRollouts(connection), replace(stored, rollout=structs.replace(stored.rollout, stage=stage), walk=Walk())
    while True:
        piece = rollouts.walk(at, step)
        yield from piece
        if len(piece) < step:
            return
        at = replace(at, walk=Walk(place=piece[-1].place, device_id=piece[-1].device_id))


def _kind(candidate: Candidate) -> tuple[str, str]:
    return candidate.attributes["hardware"], candidate.attributes.get("region", "")


def _waiting(connection: sqlite3.Connection, stored: StoredRollout) -> Iterator[tuple[str, int | None]]:
    left = _SAMPLE
    for side in ("<", ">="):
        values = {
            "product": stored.rollout.plan.product,
            "origin": origin(stored.salt),
            "rollout": stored.rollout_id,
            # Who runs what is taken back, and cannot be reached, says nothing of the way back.
            "reverts": stored.rollout.reverts,
            "limit": left,
        }
        # Offered or not, so that a rollout that has come to nearly everybody does not look through the whole fleet for the rest.
        for attributes, last_seen, is_waiting in connection.execute(_LAST.format(side=side), values):
            left -= 1
            if is_waiting:
                yield from_json(attributes, dict[str, str], what="stored attributes").get("region", ""), last_seen
