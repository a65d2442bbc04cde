# SPDX-License-Identifier: Apache-2.0
"""The reckoning: what a server's database says, held against what devices were promised; each fault in one sentence.

It reads the files alone, and none of the server's own counts are believed.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path

from surefoot.fleet.attempt import Attempt
from surefoot.model.digest import Digest, digest_of, hex_of
from surefoot.model.manifest import Manifest, ReleaseIndex, must_match, target_path
from surefoot.model.record import from_json
from surefoot.rollout.evidence import Counts, counts_of, total
from surefoot.server.db.rollouts import SqliteRollouts
from surefoot.server.services.attempts import facts
from surefoot.trust.repository import listed
from tests.system.witnesses import Heard


def faults(data: Path, heard: Heard, rollout_id: int = 1) -> list[str]:
    """Return what is wrong in a server's folder.

    Args:
        data: The folder; a server may be at work on it.
        heard: Every event that was acknowledged.
        rollout_id: The rollout that is looked at.
    """
    with closing(sqlite3.connect(f"file:{data / 'surefoot.db'}?mode=ro", uri=True, isolation_level=None)) as connection:
        # One snapshot for all of it.
        connection.execute("BEGIN")
        return [
            *_of_the_file(connection),
            *_of_events(connection, heard),
            *_of_attempts(connection, rollout_id),
            *_of_decisions(connection, rollout_id),
            *_of_releases(connection, data / "blobs"),
        ]


def stored_events(connection: sqlite3.Connection) -> Heard:
    """Return every event in a database, as ``Heard`` has them."""
    rows = connection.execute("SELECT device_id, journal, seq, body FROM event ORDER BY 1, 2, 3")
    return {(device_id, journal, seq): body for device_id, journal, seq, body in rows}


def attempts_of(connection: sqlite3.Connection, rollout_id: int) -> list[Attempt]:
    """Return every attempt of a rollout."""
    rows = connection.execute("SELECT body FROM assignment WHERE rollout_id = ? ORDER BY assignment_id", (rollout_id,))
    return [from_json(body, Attempt, what="attempt") for (body,) in rows]


def _of_the_file(connection: sqlite3.Connection) -> Iterator[str]:
    for (said,) in connection.execute("PRAGMA integrity_check"):
        if said != "ok":
            yield f"the database is damaged: {said}"
    for row in connection.execute("PRAGMA foreign_key_check"):
        yield f"a reference leads nowhere: {row}"


def _of_events(connection: sqlite3.Connection, heard: Heard) -> Iterator[str]:
    stored = stored_events(connection)
    for key, body in heard.items():
        if stored.get(key) != body:
            yield f"event {key} was acknowledged and is {'another one' if key in stored else 'lost'}"
    for journal, keys in groupby(stored, lambda key: key[:2]):
        seqs = [seq for _, _, seq in keys]
        if seqs != list(range(1, len(seqs) + 1)):
            yield f"the journal {journal} has gaps: {seqs}"


def _of_attempts(connection: sqlite3.Connection, rollout_id: int) -> Iterator[str]:
    attempts = attempts_of(connection, rollout_id)
    for device_id, times in Counter(attempt.device_id for attempt in attempts).items():
        if times != 1:
            yield f"{device_id} was offered the release {times} times"
    for tally in SqliteRollouts(connection).tallies(rollout_id):
        segment = (tally.stage, tally.hardware, tally.region)
        counted = _count(attempt for attempt in attempts if (attempt.stage, attempt.hardware, attempt.region) == segment)
        if tally.counts != counted:
            yield f"the counter of {segment} says {tally.counts}, and its attempts say {counted}"


def _count(attempts: Iterator[Attempt]) -> Counts:
    return total(counts_of(facts(attempt)) for attempt in attempts)


def _of_decisions(connection: sqlite3.Connection, rollout_id: int) -> Iterator[str]:
    rows = connection.execute("SELECT number, offered FROM decision WHERE rollout_id = ? ORDER BY number", (rollout_id,)).fetchall()
    numbers = [number for number, _ in rows]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the decisions have gaps: {numbers}"
    offered, attempts = sum(offered for _, offered in rows), len(attempts_of(connection, rollout_id))
    if offered != attempts:
        yield f"the decisions offered it to {offered} devices, and there are {attempts} attempts"


def _of_releases(connection: sqlite3.Connection, blobs: Path) -> Iterator[str]:
    """Hold releases, signed roles and blobs against each other: each release is whole, and nothing is listed that is none."""
    released = dict[str, Manifest]()
    for product, version, body in connection.execute("SELECT product, version, body FROM release").fetchall():
        yield from _of_blob(blobs, from_json(body, ReleaseIndex, what="release").sbom)
        found = connection.execute("SELECT body FROM manifest WHERE product = ? AND version = ?", (product, version)).fetchall()
        if not found:
            yield f"release {product} {version} has no manifest"
        for (manifest_body,) in found:
            manifest = from_json(manifest_body, Manifest, what="manifest")
            yield from _of_blob(blobs, manifest.image.hash)
            released |= {target_path(product, version, hardware, manifest.variant): manifest for hardware in manifest.target_hardware}
    products = {manifest.product for manifest in released.values()}
    signed = [row for name in products for row in connection.execute("SELECT body FROM shared_file WHERE name = ?", (f"{name}.json",))]
    roles = {path: entry.must_match for (role,) in signed for path, entry in listed(role).items()}
    if roles != {path: must_match(manifest) for path, manifest in released.items()}:
        yield f"the signed roles list {sorted(roles)}, and released is {sorted(released)}"


def _of_blob(blobs: Path, digest: Digest) -> Iterator[str]:
    digits = hex_of(digest)
    path = blobs / digits[:2] / digits[2:]
    if not path.exists():
        yield f"blob {digest} is not there"
    elif digest_of(path.read_bytes()) != digest:
        yield f"blob {digest} is another one"
