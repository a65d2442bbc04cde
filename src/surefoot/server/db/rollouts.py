# SPDX-License-Identifier: Apache-2.0
"""Rollouts in plain SQL on one SQLite connection: every read and write of the verbs that conduct them.

A walk reads devices in the order of their places on the ring, from the rollout's origin once round: two stretches of one index.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import msgspec

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.field import Traits
from surefoot.fleet.setback import Setback
from surefoot.model.assignment import DeviceId
from surefoot.model.record import from_json, to_json, utc_text
from surefoot.model.rules import Running
from surefoot.model.version import RevertTo
from surefoot.rollout.cohort import RING, origin
from surefoot.rollout.decision import Decision
from surefoot.rollout.evidence import FIELDS, Counts, Evidence, Share, Tally
from surefoot.rollout.network import kind_of
from surefoot.rollout.plan import Rollout
from surefoot.server.db import components, networks, setbacks
from surefoot.server.services.catalogue import StoredDecision
from surefoot.server.services.rollout_store import MOST_OFFERS, Candidate, Known, StoredRollout, Walk

_ROLLOUT = """
SELECT fence, created_at, created_by, salt, population, audience, walk_place, walk_device, walk_passed, walk_is_over, walk_again_at,
  walk_no_more, walk_left, walk_canaries_at, walk_canaries_of, walk_canaries_place, body
FROM rollout WHERE rollout_id = ?"""
_PUT = """
UPDATE rollout SET fence = fence + 1, status = ?, is_live = ?, population = ?, audience = ?, walk_place = ?, walk_device = ?,
  walk_passed = ?, walk_is_over = ?, walk_again_at = ?, walk_no_more = ?, walk_left = ?, walk_canaries_at = ?,
  walk_canaries_of = ?, walk_canaries_place = ?, body = ?
WHERE rollout_id = ? AND fence = ?"""
_MOVE = f"""
INSERT INTO counter (rollout_id, stage, hardware, region, {", ".join(FIELDS)}) VALUES (?, ?, ?, ?, {", ".join("?" * len(FIELDS))})
ON CONFLICT (rollout_id, stage, hardware, region) DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in FIELDS)}
"""  # noqa: S608  # the names are our own
_FACTS = """
SELECT d.device_id, d.bucket, d.state, d.hardware, d.product, d.version, d.attributes, d.report, d.enrolled_at,
  (SELECT p.last_seen FROM presence p WHERE p.device_id = d.device_id),
  (SELECT group_concat(g.group_name) FROM member g WHERE g.device_id = d.device_id),
  (SELECT coalesce(a.rollout_id, 0) FROM assignment a WHERE a.device_id = d.device_id AND a.outcome IS NULL),
  d.state = 'active' AND (SELECT count(*) FROM assignment a WHERE a.rollout_id = :rollout AND a.device_id = d.device_id) < :offers"""
_MAY_TAKE = """NOT EXISTS (
    SELECT 1 FROM assignment a WHERE a.rollout_id = :rollout AND a.device_id = {device} AND a.outcome <> 'cancelled'
  ) AND NOT EXISTS (
    SELECT 1 FROM setback s WHERE s.device_id = {device} AND s.product = :product AND s.version = :version
      AND (s.is_quarantined OR (s.rollout_id = :rollout AND s.retry_at IS NOT NULL))
  )"""
_WALK = f"""{_FACTS} AND {_MAY_TAKE.format(device="d.device_id")}{{also}}
FROM {{devices}}
WHERE {{mine}} AND (:hardware IS NULL OR d.hardware = :hardware)
  AND ({{by}}.bucket, {{by}}.device_id) > (:bucket, :device) AND {{by}}.bucket < :end
{{once}}ORDER BY {{by}}.bucket, {{by}}.device_id LIMIT :limit"""  # our own words
# A group by filter may let in who joined it later only to rollouts created after that.
_MEMBER = """m.group_name = :group AND d.product = :product
  AND (m.joined_at <= :created OR NOT EXISTS (SELECT 1 FROM group_rule WHERE name = :group AND joins = 'next-rollout'))"""
_IS_UPDATED = """(:reverts IS NULL OR EXISTS (
    SELECT 1 FROM assignment u INDEXED BY assignment_of_rollout
    WHERE u.rollout_id = :reverts AND u.device_id = {device} AND u.updated_from = :version
  ))"""
_WALK_ALL = _WALK.format(devices="device d", mine="d.product = :product", by="d", also="", once="")
_WALK_HARDWARE = _WALK.format(
    devices="device d INDEXED BY device_by_kind", mine="d.product = :product AND d.hardware = :hardware", by="d", also="", once=""
)
_WALK_GROUP = _WALK.format(devices="member m CROSS JOIN device d ON d.device_id = m.device_id", mine=_MEMBER, by="m", also="", once="")
_WALK_UPDATED = _WALK.format(
    devices="assignment u INDEXED BY updated_by_rollout CROSS JOIN device d ON d.device_id = u.device_id",
    mine="u.rollout_id = :reverts AND u.updated_from = :version AND d.product = :product",
    by="u",
    also="",
    # Who was tried again has several attempts.
    once="GROUP BY u.bucket, u.device_id ",
)
# Every device of the network is read, though it be in no group or of no revert: a piece ends after so many, however few of them are meant.
_IS_MEANT = f"""
  AND (:group IS NULL OR EXISTS (SELECT 1 FROM member m WHERE m.device_id = d.device_id AND {_MEMBER}))
  AND {_IS_UPDATED.format(device="d.device_id")}"""  # noqa: S608  # our own words
_WALK_NETWORK = {
    kind: _WALK.format(devices=devices, mine=mine, by="d", also=_IS_MEANT, once="") for kind, (devices, mine) in networks.WALKS.items()
}
_WALK_ONE = _WALK.format(
    devices="device d",
    mine=f"d.product = :product AND d.device_id = :only AND {_IS_UPDATED.format(device='d.device_id')}",
    by="d",
    also="",
    once="",
)

_TO_RETRY = f"""{_FACTS}
FROM (
  SELECT device_id, retry_at FROM setback WHERE {setbacks.WAITING} AND retry_at <= :now ORDER BY retry_at LIMIT :limit
) w CROSS JOIN device d ON d.device_id = w.device_id
ORDER BY w.retry_at"""  # noqa: S608  # our own words
_SENIORS = """
SELECT o.rollout_id FROM rollout o CROSS JOIN rollout me ON me.rollout_id = :rollout
WHERE o.is_live = 1 AND o.status = 'running' AND o.rollout_id <> :rollout AND substr(o.release, 1, length(:product) + 1) = :product || ' '
  AND (o.reverts IS NULL, -o.precedence, -o.is_security, o.rollout_id)
    < (me.reverts IS NULL, -me.precedence, -me.is_security, me.rollout_id)
ORDER BY o.reverts IS NULL, -o.precedence, -o.is_security, o.rollout_id"""
_TAKES = f"""
SELECT ({_MAY_TAKE.format(device=":device")} OR EXISTS (
  SELECT 1 FROM setback s WHERE s.device_id = :device AND s.product = :product AND s.version = :version
    AND s.rollout_id = :rollout AND s.retry_at IS NOT NULL
)) AND (SELECT count(*) FROM assignment a WHERE a.rollout_id = :rollout AND a.device_id = :device) < :offers
  AND {_IS_UPDATED.format(device=":device")}"""  # noqa: S608  # our own words

_NEXT_FROM = """
SELECT updated_from FROM assignment INDEXED BY updated_by_rollout
WHERE rollout_id = ? AND updated_from > ? ORDER BY updated_from LIMIT 1"""
_UPDATED = """
SELECT count(*) FROM (
  SELECT 1 FROM assignment INDEXED BY updated_by_rollout WHERE rollout_id = ? AND updated_from = ? GROUP BY bucket, device_id
)"""


class SqliteRollouts:
    """A ``RolloutStore`` (``surefoot.server.services.rollout_store``) on one connection, which the caller opens and owns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use ``connection``; its transactions are the caller's affair."""
        self._connection = connection

    def create(self, rollout: Rollout, by: str, salt: str, now: datetime) -> int:
        """Store a new rollout and return its id."""
        cursor = self._connection.execute(
            "INSERT INTO rollout (fence, status, is_live, release, precedence, is_security, created_at, created_by, salt, audience,"
            " walk_place, walk_device, walk_passed, walk_is_over, walk_again_at, walk_no_more, walk_left, walk_canaries_at,"
            " walk_canaries_of, walk_canaries_place, reverts, body)"
            " VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, '[]', -1, '', 0, 0, 0, '', 0, 0, '', 0, ?, ?)",
            (
                rollout.status,
                rollout.is_live,
                rollout.plan.release,
                rollout.plan.precedence,
                rollout.plan.kind == "security",
                int(now.timestamp()),
                by,
                salt,
                rollout.reverts,
                to_json(rollout),
            ),
        )
        return int(cursor.lastrowid or 0)

    def rollout(self, rollout_id: int) -> StoredRollout | None:
        """Return a rollout."""
        row = self._connection.execute(_ROLLOUT, (rollout_id,)).fetchone()
        if row is None:
            return None
        fence, created_at, created_by, salt, population, audience, *walk, body = row
        return StoredRollout(
            rollout_id=rollout_id,
            fence=fence,
            rollout=from_json(body, Rollout, what=f"stored rollout {rollout_id}"),
            created_at=datetime.fromtimestamp(created_at, UTC),
            created_by=created_by,
            salt=salt,
            walk=_walk(*walk),
            population=population,
            audience=from_json(audience, tuple[Share, ...], what="stored audience"),
        )

    def live(self) -> list[int]:
        """Return the ids of the rollouts that the engine decides for, oldest first."""
        return [number for (number,) in self._connection.execute("SELECT rollout_id FROM rollout WHERE is_live = 1 ORDER BY 1")]

    def unfinished(self) -> list[int]:
        """Return the ids of the rollouts that run, are paused, or start by themselves, oldest first."""
        rows = self._connection.execute("SELECT rollout_id FROM rollout WHERE status IN ('scheduled', 'running', 'paused') ORDER BY 1")
        return [number for (number,) in rows]

    def not_over(self) -> list[int]:
        """Return the ids of the rollouts that are neither finished nor halted, oldest first."""
        rows = self._connection.execute("SELECT rollout_id FROM rollout WHERE status NOT IN ('finished', 'halted') ORDER BY 1")
        return [number for (number,) in rows]

    def rival(self, stored: StoredRollout) -> int | None:
        """Return the oldest other rollout of the same release that was started and is not over; reverts neither have rivals nor are any."""
        if stored.rollout.reverts is not None:
            return None
        row = self._connection.execute(
            "SELECT min(rollout_id) FROM rollout"
            " WHERE release = ? AND status IN ('running', 'paused') AND rollout_id <> ? AND reverts IS NULL",
            (stored.rollout.plan.release, stored.rollout_id),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def reverting(self, rollout_id: int) -> list[int]:
        """Return the rollouts that take back what a rollout updated, and are not over."""
        rows = self._connection.execute(
            "SELECT rollout_id FROM rollout WHERE reverts = ? AND status NOT IN ('halted', 'finished') ORDER BY 1", (rollout_id,)
        )
        return [number for (number,) in rows]

    def updated(self, rollout_id: int) -> dict[str, int]:
        """Return how many devices a rollout updated, or may have, by what they ran before."""
        found: dict[str, int] = {}
        # From version to version along the index: there are few, and it is never sorted.
        while row := self._connection.execute(_NEXT_FROM, (rollout_id, max(found, default=""))).fetchone():
            (found[row[0]],) = self._connection.execute(_UPDATED, (rollout_id, row[0])).fetchone()
        return found

    def put(self, stored: StoredRollout) -> bool:
        """Store a rollout as it stands now, one fence on; false when it was changed since it was read."""
        walk = stored.walk
        values = (
            stored.rollout.status,
            stored.rollout.is_live,
            stored.population,
            to_json(stored.audience),
            walk.place,
            walk.device_id,
            walk.passed,
            walk.is_over,
            walk.again_at,
            " ".join(walk.no_more),
            walk.left,
            walk.canaries_at,
            walk.canaries_of,
            walk.canaries_place,
            to_json(stored.rollout),
        )
        return self._connection.execute(_PUT, (*values, stored.rollout_id, stored.fence)).rowcount == 1

    def tallies(self, rollout_id: int) -> list[Tally]:
        """Return the counters of a rollout."""
        rows = self._connection.execute(
            f"SELECT stage, hardware, region, {', '.join(FIELDS)} FROM counter WHERE rollout_id = ? ORDER BY 1, 2, 3",  # noqa: S608  # our own names
            (rollout_id,),
        )
        return [
            Tally(stage=stage, hardware=hardware, region=region, counts=Counts(**dict(zip(FIELDS, numbers, strict=True))))
            for stage, hardware, region, *numbers in rows
        ]

    def move(self, rollout_id: int, segment: tuple[int, str, str], by: Counts) -> None:
        """Add to the counter of (stage, hardware, region)."""
        self._connection.execute(_MOVE, (rollout_id, *segment, *(getattr(by, name) for name in FIELDS)))

    def offered_since(self, rollout_id: int, instant: datetime) -> int:
        """Return how many devices were offered the release after this instant."""
        (number,) = self._connection.execute(
            "SELECT coalesce(sum(offered), 0) FROM decision WHERE rollout_id = ? AND at > ?", (rollout_id, int(instant.timestamp()))
        ).fetchone()
        return int(number)

    def fetching(self, rollout_id: int) -> int:
        """Return how many devices said that they fetch the image, and not yet that they have it."""
        (number,) = self._connection.execute(
            "SELECT count(*) FROM assignment WHERE rollout_id = ? AND is_fetching = 1", (rollout_id,)
        ).fetchone()
        return int(number)

    def add_decision(self, stored: StoredRollout, evidence: Evidence, decision: Decision, offered: int, now: datetime) -> None:
        """Store a decision with what it was made of."""
        (last,) = self._connection.execute(
            "SELECT coalesce(max(number), 0) FROM decision WHERE rollout_id = ?", (stored.rollout_id,)
        ).fetchone()
        record = StoredDecision(
            number=last + 1, at=utc_text(now), decision=decision, offered=offered, rollout=stored.rollout, evidence=evidence
        )
        self._connection.execute(
            "INSERT INTO decision (rollout_id, number, at, offered, body) VALUES (?, ?, ?, ?, ?)",
            (stored.rollout_id, last + 1, int(now.timestamp()), offered, to_json(record)),
        )

    def last_decision(self, rollout_id: int) -> Decision | None:
        """Return the newest decision."""
        row = self._connection.execute(
            "SELECT body FROM decision WHERE rollout_id = ? ORDER BY number DESC LIMIT 1", (rollout_id,)
        ).fetchone()
        return None if row is None else from_json(row[0], StoredDecision, what="stored decision").decision

    def walk(self, stored: StoredRollout, limit: int, *, hardware: str | None = None, network: str | None = None) -> Sequence[Candidate]:
        """Return the next devices of the product in the open stage's group, of one hardware or network; fewer at the ring's end."""
        start = origin(stored.salt)
        walk = stored.walk
        found: list[Candidate] = []
        if walk.place < RING - start:
            found = self._stretch(stored, (start + walk.place, walk.device_id or _LAST), (start, RING), limit, (hardware, network))
            walk = replace(walk, place=RING - start - 1, device_id=_LAST)
        if len(found) < limit:
            rest = limit - len(found)
            found += self._stretch(stored, (start + walk.place - RING, walk.device_id), (start - RING, start), rest, (hardware, network))
        return found

    def seniors(self, stored: StoredRollout) -> list[int]:
        """Return the running rollouts of the product that go before this one: reverts, then by precedence, security, and age."""
        values = {"rollout": stored.rollout_id, "product": stored.rollout.plan.product}
        return [number for (number,) in self._connection.execute(_SENIORS, values)]

    def takes(self, stored: StoredRollout, device_id: DeviceId) -> bool:
        """Say whether a rollout may still offer its release to a device, as far as its own attempts and setbacks say."""
        plan = stored.rollout.plan
        values = {
            "rollout": stored.rollout_id,
            "device": device_id,
            "product": plan.product,
            "version": plan.version,
            "reverts": stored.rollout.reverts,
            "offers": MOST_OFFERS,
        }
        return bool(self._connection.execute(_TAKES, values).fetchone()[0])

    def setback(self, device_id: DeviceId, product: str, version: str) -> Setback | None:
        """Return what is remembered of a device and a release."""
        return setbacks.read(self._connection, device_id, product, version)

    def setbacks(self, device_id: DeviceId) -> list[Setback]:
        """Return what is remembered of a device, by release."""
        return setbacks.of_device(self._connection, device_id)

    def put_setback(self, setback: Setback) -> None:
        """Remember a setback, in place of what was remembered of this device and release."""
        setbacks.put(self._connection, setback)

    def forget_setback(self, device_id: DeviceId, product: str, version: str) -> None:
        """Forget what is remembered of a device and a release."""
        setbacks.forget(self._connection, device_id, product, version)

    def waiting(self, stored: StoredRollout, now: datetime) -> tuple[int, int]:
        """Return how many devices may be tried again now, and how many now or later."""
        rollout = stored.rollout
        return setbacks.waiting(self._connection, stored.rollout_id, rollout.excluded, rollout.held_regions, now)

    def to_retry(self, stored: StoredRollout, now: datetime, limit: int) -> Sequence[Candidate]:
        """Return devices that may be tried again now, those that wait longest first."""
        values = {
            "rollout": stored.rollout_id,
            "not_hardware": json.dumps(stored.rollout.excluded),
            "not_regions": json.dumps(stored.rollout.held_regions),
            "now": int(now.timestamp()),
            "limit": limit,
            "offers": MOST_OFFERS + stored.rollout.plan.retries.max,
        }
        rows = self._connection.execute(_TO_RETRY, values)
        parts = cache(partial(components.of_image, self._connection))
        return [_candidate(row, 0, parts) for row in rows.fetchall()]

    def candidate(self, stored: StoredRollout, device_id: DeviceId) -> Candidate | None:
        """Return one device as a walk would show it; nothing when it is not one that it would come to."""
        values = {
            "rollout": stored.rollout_id,
            "product": stored.rollout.plan.product,
            "version": stored.rollout.plan.version,
            "only": device_id,
            "reverts": stored.rollout.reverts,
            "hardware": None,
            "bucket": -1,
            "device": "",
            "end": RING,
            "limit": 1,
            "offers": MOST_OFFERS,
        }
        row = self._connection.execute(_WALK_ONE, values).fetchone()
        return None if row is None else _candidate(row, 0, partial(components.of_image, self._connection))

    def unstarted(self, rollout_id: int) -> list[Attempt]:
        """Return the open attempts that no device has started."""
        return self._attempts("rollout_id = ? AND outcome IS NULL AND is_started = 0 ORDER BY assignment_id", rollout_id)

    def overdue(self, now: datetime, limit: int) -> list[Attempt]:
        """Return attempts that are to be looked at, the longest overdue first."""
        return self._attempts("due_at <= ? ORDER BY due_at LIMIT ?", int(now.timestamp()), limit)

    def baselines(self, product: str) -> list[Known]:
        """Return what past releases taught about a product's devices."""
        rows = self._connection.execute("SELECT body FROM baseline WHERE product = ? ORDER BY hardware, region", (product,))
        return [from_json(body, Known, what="stored baseline") for (body,) in rows]

    def put_baseline(self, product: str, known: Known) -> None:
        """Store what is known of one hardware and region."""
        self._connection.execute(
            "INSERT OR REPLACE INTO baseline (product, hardware, region, body) VALUES (?, ?, ?, ?)",
            (product, known.hardware, known.region, to_json(known)),
        )

    def _stretch(
        self, stored: StoredRollout, after: tuple[int, str], arc: tuple[int, int], limit: int, of: tuple[str | None, str | None]
    ) -> list[Candidate]:
        """Read a stretch of the ring; ``arc`` is the place where walked places begin to count from, and the stretch's end."""
        (first, end), (hardware, network) = arc, of
        group = stored.rollout.open_stage.group
        values = {
            "rollout": stored.rollout_id,
            "product": stored.rollout.plan.product,
            "version": stored.rollout.plan.version,
            "group": group,
            "reverts": stored.rollout.reverts,
            "created": int(stored.created_at.timestamp()),
            "hardware": hardware,
            "network": None if network is None else networks.column_of(network),
            "bucket": after[0],
            "device": after[1],
            "end": end,
            "limit": limit,
            "offers": MOST_OFFERS,
        }
        # SQLite plans a statement before it knows what is asked for, so each kind of walk has its own, and its own index.
        rows = self._connection.execute(_kind_of_walk(stored, group, hardware, network), values)
        # A stretch runs few images, and each is looked up once.
        parts = cache(partial(components.of_image, self._connection))
        return [_candidate(row, first, parts) for row in rows.fetchall()]

    def _attempts(self, condition: str, *values: object) -> list[Attempt]:
        rows = self._connection.execute(f"SELECT body FROM assignment WHERE {condition}", values)  # noqa: S608  # our own conditions
        return [from_json(body, Attempt, what="stored assignment") for (body,) in rows]


def _walk(  # noqa: PLR0917  # the columns of a walk, in the order of the statement that reads them
    place: int,
    device_id: str,
    passed: int,
    is_over: int,
    again_at: int,
    no_more: str,
    left: int,
    canaries_at: int,
    canaries_of: str,
    canaries_place: int,
) -> Walk:
    return Walk(
        place=place,
        device_id=device_id,
        passed=passed,
        is_over=bool(is_over),
        again_at=again_at,
        no_more=tuple(no_more.split()),
        left=left,
        canaries_at=canaries_at,
        canaries_of=canaries_of,
        canaries_place=canaries_place,
    )


def _kind_of_walk(stored: StoredRollout, group: str | None, hardware: str | None, network: str | None) -> str:
    if network is not None:
        return _WALK_NETWORK[kind_of(network)]
    if stored.rollout.reverts is not None:
        return _WALK_UPDATED
    if group is not None:
        return _WALK_GROUP
    return _WALK_ALL if hardware is None else _WALK_HARDWARE


_LAST = "\U0010ffff"
"""After every device id."""


class _Said(msgspec.Struct):
    hash: str = ""
    bootloader_version: str = ""
    release_counter: int = 1
    data_format: int | None = None
    revert_to: RevertTo = "patch"


def _candidate(row: tuple[Any, ...], first: int, components_of: Callable[[str], Mapping[str, str]]) -> Candidate:
    device_id, bucket, state, hardware, product, version, attributes, report, enrolled_at, last_seen, groups, busy_with, is_fresh = row
    said = _Said() if report is None else from_json(report, _Said, what="stored report")
    built_in = {
        "state": state,
        "device_id": device_id,
        "hardware": hardware,
        "product": product,
        "version": version,
        "bootloader_version": said.bootloader_version,
    }
    effective = from_json(attributes, dict[str, str], what="stored attributes")
    traits = Traits(
        attributes={**components_of(said.hash), **effective, **built_in},
        groups=groups.split(",") if groups else [],
        enrolled_at=enrolled_at,
        last_seen="" if last_seen is None else utc_text(datetime.fromtimestamp(last_seen, UTC)),
    )
    running = Running(
        hardware=hardware,
        bootloader_version=said.bootloader_version,
        product=product,
        version=version,
        release_counter=said.release_counter,
        data_format=said.data_format,
        revert_to=said.revert_to,
    )
    return Candidate(
        device_id=DeviceId(device_id),
        place=bucket - first,
        is_fresh=bool(is_fresh),
        busy_with=busy_with,
        hash=said.hash,
        traits=traits,
        running=None if report is None else running,
    )
