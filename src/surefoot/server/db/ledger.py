# SPDX-License-Identifier: Apache-2.0
"""The ledger in plain SQL on one SQLite connection: every read and write of the verbs.

Used twice: by the event loop for reads by primary key, and by the writer inside its transactions.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from surefoot.fleet.attempt import Attempt, due_at, load
from surefoot.fleet.device import Device, traits
from surefoot.fleet.enroll import CertificateTerms, Token
from surefoot.fleet.field import Traits
from surefoot.fleet.group import Consent, GroupRule
from surefoot.fleet.install_time import InstallTimes
from surefoot.model.assignment import AssignmentId, DeviceId
from surefoot.model.attribute import RESERVED
from surefoot.model.event import DeploymentEvent, DeviceReport, JournalId
from surefoot.model.manifest import Manifest, ReleaseIndex
from surefoot.model.record import from_json, parse_utc, to_json
from surefoot.rollout.cohort import place
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.server.db import components, fleet, groups, networks, windows
from surefoot.server.db.rollouts import SqliteRollouts
from surefoot.server.services.ports import Act, Caller, CheckIn, PublishedRelease, SharedFiles, StoredView
from surefoot.trust.director import View

_SHARED = "SELECT name, version, body FROM shared_file WHERE repository = ?"
_CHECK_IN = """
SELECT c.device_id, d.state, c.revoked_at IS NOT NULL, v.tag, v.due_at, v.product
FROM certificate c CROSS JOIN device d INDEXED BY device_check_in ON d.device_id = c.device_id
  LEFT JOIN director_view v INDEXED BY view_check_in ON v.device_id = c.device_id
WHERE c.serial = ?"""
_VIEW = """
SELECT v.tag, v.due_at, v.renew_at, v.refresh_at, v.root_version, v.windows_version, v.timestamp, v.snapshot, v.targets, a.body
FROM director_view v LEFT JOIN assignment a ON a.assignment_id = v.assignment_id
WHERE v.device_id = ?"""
_PUT_PRESENCE = """
INSERT INTO presence (device_id, last_seen, polls) VALUES (?, ?, ?)
ON CONFLICT (device_id) DO UPDATE SET last_seen = excluded.last_seen, polls = polls + excluded.polls"""
_NOTE_DIVERGENCE = """
INSERT INTO divergence (device_id, journal, received_at, body)
SELECT :device, :journal, :now, :body
WHERE EXISTS (SELECT 1 FROM event WHERE device_id = :device AND journal = :journal AND seq = :seq AND body <> :body)
ON CONFLICT DO NOTHING"""
_SPEND = """
UPDATE token SET used_at = :now
WHERE hash = :hash AND device_id = :device AND hardware = :hardware AND used_at IS NULL AND expires_at > :now"""
_PUT_ATTEMPT = """
INSERT INTO assignment (assignment_id, device_id, outcome, rollout_id, is_started, is_fetching, due_at, updated_from, bucket,
  at_region, at_site, load, offered_at, size, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (assignment_id) DO UPDATE SET
  outcome = excluded.outcome, is_started = excluded.is_started, is_fetching = excluded.is_fetching,
  due_at = excluded.due_at, updated_from = excluded.updated_from, bucket = excluded.bucket, load = excluded.load,
  body = excluded.body"""
_PUT_VIEW = """
INSERT OR REPLACE INTO director_view
  (device_id, tag, due_at, product, hash, assignment_id, renew_at, refresh_at, root_version, windows_version, timestamp, snapshot,
   targets)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class SqliteLedger:
    """A ``Ledger`` (``surefoot.server.services.ports``) on one connection, which the caller opens and owns."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use ``connection``; its transactions are the caller's affair."""
        self._connection = connection
        self.rollouts = SqliteRollouts(connection)
        self.networks = networks.SqliteNetworks(connection)

    def check_in(self, serial: str) -> CheckIn | None:
        """Return what the server knows of the caller with this certificate: three reads by key in one statement, none of a large row."""
        row = self._row(_CHECK_IN, serial)
        if row is None:
            return None
        device_id, state, is_revoked, tag, due_at, product = row
        return CheckIn(
            device_id=device_id, state=state, is_revoked=bool(is_revoked), tag=tag or "", due_at=due_at or 0, product=product or ""
        )

    def view(self, device_id: DeviceId) -> StoredView | None:
        """Return a device's signed view."""
        row = self._row(_VIEW, device_id)
        if row is None:
            return None
        tag, due_at, renew_at, refresh_at, root_version, windows_version, timestamp, snapshot, targets, attempt = row
        targets_version, snapshot_version, timestamp_version = (int(word) for word in tag.split("."))
        view = View(
            device_id=device_id,
            targets=targets,
            snapshot=snapshot,
            timestamp=timestamp,
            targets_version=targets_version,
            snapshot_version=snapshot_version,
            timestamp_version=timestamp_version,
            renew_at=_instant(renew_at),
            refresh_at=_instant(refresh_at),
        )
        return StoredView(
            view=view,
            attempt=None if attempt is None else _attempt(attempt),
            due_at=_instant(due_at),
            root_version=root_version,
            windows_version=windows_version,
        )

    def is_ordered(self, device_id: DeviceId, digest: str) -> bool:
        """Say whether the device's view orders this image."""
        return self._row("SELECT 1 FROM director_view WHERE device_id = ? AND hash = ?", device_id, digest) is not None

    def metadata(self, repository: str, names: Sequence[str] = ()) -> SharedFiles:
        """Return files of a repository: the named ones, or all that are current."""
        if names:
            rows = [row for name in names if (row := self._row(_SHARED + " AND name = ?", repository, name))]
        else:
            rows = self._connection.execute(_SHARED + " AND name NOT LIKE '%.root.json'", (repository,)).fetchall()
        return SharedFiles(files={name: body for name, _, body in rows}, versions={name: version for name, version, _ in rows})

    def device(self, device_id: DeviceId) -> Device | None:
        """Return a device."""
        return fleet.read_device(self._connection, device_id)

    def attempt(self, assignment_id: AssignmentId) -> Attempt | None:
        """Return an attempt."""
        row = self._row("SELECT body FROM assignment WHERE assignment_id = ?", assignment_id)
        return None if row is None else _attempt(row[0])

    def open_attempt(self, device_id: DeviceId) -> Attempt | None:
        """Return the device's attempt that has not ended; an index holds it to one."""
        row = self._row("SELECT body FROM assignment WHERE device_id = ? AND outcome IS NULL", device_id)
        return None if row is None else _attempt(row[0])

    def release(self, product: str, version: str) -> PublishedRelease | None:
        """Return a published release."""
        row = self._row("SELECT digest, body FROM release WHERE product = ? AND version = ?", product, version)
        if row is None:
            return None
        manifests = self._connection.execute(
            "SELECT body FROM manifest WHERE product = ? AND version = ? ORDER BY position", (product, version)
        )
        return PublishedRelease(
            digest=row[0],
            index=from_json(row[1], ReleaseIndex, what="stored release"),
            manifests=tuple(from_json(body, Manifest, what="stored manifest") for (body,) in manifests),
        )

    def is_retired(self, product: str, version: str) -> bool:
        """Say whether a published release is retired."""
        return self._row("SELECT 1 FROM release WHERE product = ? AND version = ? AND is_retired", product, version) is not None

    def provenance(self, product: str, version: str) -> bytes | None:
        """Return the signed envelope of a published release's provenance."""
        row = self._row("SELECT provenance FROM release WHERE product = ? AND version = ?", product, version)
        return None if row is None else bytes(row[0])

    def products_with(self, version: str) -> list[str]:
        """Return the products that have this version, sorted."""
        return [product for (product,) in self._connection.execute("SELECT product FROM release WHERE version = ? ORDER BY 1", (version,))]

    def put_device(self, device: Device) -> None:
        """Store a device."""
        fleet.put_device(self._connection, device)

    def put_report(self, device_id: DeviceId, report: DeviceReport) -> bool:
        """Store a device's statement of what it runs; say whether its attributes are others now."""
        return fleet.put_report(self._connection, device_id, report)

    def move_versions(self, by: Mapping[tuple[str, str], int]) -> None:
        """Add to the number of devices that run a (product, version)."""
        fleet.move_versions(self._connection, by)

    def put_presence(self, seen: Mapping[DeviceId, tuple[int, int]]) -> None:
        """Store when devices were last seen, and add to their counts of polls."""
        self._connection.executemany(_PUT_PRESENCE, [(device_id, at, polls) for device_id, (at, polls) in seen.items()])

    def add_certificate(self, device_id: DeviceId, serial: str, issuer: str, terms: CertificateTerms) -> None:
        """Store an issued certificate."""
        self._connection.execute(
            "INSERT INTO certificate (serial, device_id, issuer, not_after) VALUES (?, ?, ?, ?)",
            (serial, device_id, issuer, _seconds(terms.not_after)),
        )

    def revoke_certificates(self, device_id: DeviceId, now: datetime) -> int:
        """Mark every certificate of a device as revoked; return how many were not before."""
        return self._connection.execute(
            "UPDATE certificate SET revoked_at = ? WHERE device_id = ? AND revoked_at IS NULL", (_seconds(now), device_id)
        ).rowcount

    def remove_tokens(self, device_id: DeviceId) -> None:
        """Forget every token of a device."""
        self._connection.execute("DELETE FROM token WHERE device_id = ?", (device_id,))

    def add_token(self, token: Token) -> None:
        """Store a token."""
        self._connection.execute(
            "INSERT INTO token (hash, device_id, hardware, expires_at) VALUES (?, ?, ?, ?)",
            (token.hash, token.device_id, token.hardware, _seconds(token.expires_at)),
        )

    def use_token(self, hashed: bytes, device_id: DeviceId, hardware: str, now: datetime) -> bool:
        """Use a token up in one atomic step."""
        values = {"now": _seconds(now), "hash": hashed, "device": device_id, "hardware": hardware}
        return self._connection.execute(_SPEND, values).rowcount == 1

    def add_release(self, release: PublishedRelease, provenance: bytes, now: datetime) -> None:
        """Store a release with its manifests and the signed envelope of its provenance."""
        index = release.index
        counter = max(manifest.release_counter for manifest in release.manifests)
        self._connection.execute(
            "INSERT INTO release (product, version, digest, release_counter, published_at, body, provenance) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (index.product, index.version, release.digest, counter, _seconds(now), to_json(index), provenance),
        )
        self._connection.executemany(
            "INSERT INTO manifest (product, version, position, body) VALUES (?, ?, ?, ?)",
            [(index.product, index.version, n, to_json(manifest)) for n, manifest in enumerate(release.manifests)],
        )
        components.add(self._connection, release.manifests)

    def set_retired(self, product: str, version: str, is_retired: bool) -> None:  # noqa: FBT001  # the fact that is stored
        """Note whether a published release is retired."""
        self._connection.execute(
            "UPDATE release SET is_retired = ? WHERE product = ? AND version = ? AND is_retired != ?",
            (is_retired, product, version, is_retired),
        )

    def last_counter(self, product: str) -> int:
        """Return the highest release counter published for a product."""
        return self._number("SELECT coalesce(max(release_counter), 0) FROM release WHERE product = ?", product)

    def put_metadata(self, repository: str, files: Mapping[str, bytes], versions: Mapping[str, int]) -> None:
        """Store files of a repository; a root is kept under its version as well."""
        rows = [(repository, name, versions[name], data) for name, data in files.items()]
        rows += [(repository, f"{versions[name]}.{name}", versions[name], data) for name, data in files.items() if name == "root.json"]
        self._connection.executemany("INSERT OR REPLACE INTO shared_file (repository, name, version, body) VALUES (?, ?, ?, ?)", rows)

    def last_assignment_id(self) -> int:
        """Return the highest id given out."""
        return self._number("SELECT coalesce(max(assignment_id), 0) FROM assignment")

    def put_attempt(self, attempt: Attempt) -> None:
        """Store an attempt."""
        keys = (attempt.assignment_id, attempt.device_id, attempt.outcome, attempt.rollout_id)
        due = due_at(attempt)
        is_updated = attempt.rollout_id is not None and attempt.may_have_updated
        updated = (attempt.updated_from, place(attempt.device_id)) if is_updated else (None, None)
        stands = attempt.is_started, attempt.is_fetching, None if due is None else _seconds(due)
        # Renewing an offer does not make it another one: the instant stays that of the first.
        burden = *networks.columns(attempt.networks), load(attempt), _seconds(parse_utc(attempt.issued_at)), attempt.size
        self._connection.execute(_PUT_ATTEMPT, (*keys, *stands, *updated, *burden, to_json(attempt)))

    def attribute_names(self) -> set[str]:
        """Return every name that a filter may use."""
        return {*RESERVED, *(str(name) for (name,) in self._connection.execute("SELECT name FROM attribute_name"))}

    def has_group(self, name: str) -> bool:
        """Say whether there is a group of this name."""
        return groups.has(self._connection, name)

    def call_again(self, device_id: DeviceId) -> None:
        """Let the device's next poll sign a new view, and give out no image until then."""
        self._connection.execute("UPDATE director_view SET due_at = 0, hash = '' WHERE device_id = ?", (device_id,))

    def look_again(self, device_id: DeviceId) -> None:
        """Let the device's next poll look at what its view orders."""
        self._connection.execute("UPDATE director_view SET due_at = 0 WHERE device_id = ?", (device_id,))

    def window_setting(self, level: Level, key: str) -> WindowSetting | None:
        """Return the windows set at a level for one key."""
        return windows.read(self._connection, level, key)

    def windows_version(self) -> int:
        """Return the number of the last change of any windows."""
        return windows.version(self._connection)

    def put_window_setting(self, level: Level, key: str, setting: WindowSetting | None) -> None:
        """Set windows at a level for one key; nothing removes them."""
        windows.put(self._connection, level, key, setting)

    def add_event(self, device_id: DeviceId, journal: JournalId, event: DeploymentEvent, now: datetime) -> bool:
        """Store an event once; false when it was there."""
        cursor = self._connection.execute(
            "INSERT INTO event (device_id, journal, seq, received_at, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (device_id, journal, event.seq, _seconds(now), to_json(event)),
        )
        return cursor.rowcount == 1

    def note_divergence(self, device_id: DeviceId, journal: JournalId, event: DeploymentEvent, now: datetime) -> bool:
        """Store an event whose number another one has, if it is the first of its journal; say whether it was."""
        values = {"device": device_id, "journal": journal, "seq": event.seq, "now": _seconds(now), "body": to_json(event)}
        return self._connection.execute(_NOTE_DIVERGENCE, values).rowcount == 1

    def put_view(self, stored: StoredView) -> None:
        """Store a device's signed view."""
        view, attempt = stored.view, stored.attempt
        self._connection.execute(
            _PUT_VIEW,
            (
                view.device_id,
                f"{view.targets_version}.{view.snapshot_version}.{view.timestamp_version}",
                _seconds(stored.due_at),
                "" if attempt is None else attempt.product,
                "" if attempt is None else attempt.hash,
                None if attempt is None else attempt.assignment_id,
                _seconds(view.renew_at),
                _seconds(view.refresh_at),
                stored.root_version,
                stored.windows_version,
                view.timestamp,
                view.snapshot,
                view.targets,
            ),
        )

    def add_act(self, act: Act) -> None:
        """Store who did what."""
        self._connection.execute(
            "INSERT INTO act (at, by, what, subject) VALUES (?, ?, ?, ?)", (_seconds(act.at), act.by, act.what, act.subject)
        )

    def caller(self, hashed: bytes) -> Caller | None:
        """Return whose the API token with this hash is."""
        row = self._row("SELECT name, customer, groups FROM api_token WHERE hash = ?", hashed)
        return None if row is None else Caller(name=row[0], customer=row[1], groups=tuple(row[2].split()))

    def add_caller(self, caller: Caller, hashed: bytes, now: datetime) -> None:
        """Store an API token's hash and whose it is, in place of the one that had this name."""
        self._connection.execute("DELETE FROM api_token WHERE name = ?", (caller.name,))
        self._connection.execute(
            "INSERT INTO api_token (hash, name, customer, groups, created_at) VALUES (?, ?, ?, ?, ?)",
            (hashed, caller.name, caller.customer, " ".join(caller.groups), _seconds(now)),
        )

    def has_user(self, name: str) -> bool:
        """Say whether there is an API token of that name."""
        return self._row("SELECT 1 FROM api_token WHERE name = ?", name) is not None

    def remove_user(self, name: str) -> bool:
        """Remove the API token of that name; false when there is none."""
        return self._connection.execute("DELETE FROM api_token WHERE name = ?", (name,)).rowcount == 1

    def install_times(self, product: str, hardware: str) -> InstallTimes:
        """Return how long installs of a product took on one hardware."""
        row = self._row("SELECT body FROM install_time WHERE product = ? AND hardware = ?", product, hardware)
        return InstallTimes() if row is None else from_json(row[0], InstallTimes, what="stored install times")

    def put_install_times(self, product: str, hardware: str, times: InstallTimes) -> None:
        """Store how long installs of a product took on one hardware."""
        self._connection.execute(
            "INSERT OR REPLACE INTO install_time (product, hardware, body) VALUES (?, ?, ?)", (product, hardware, to_json(times))
        )

    def groups_of(self, device_id: DeviceId) -> list[str]:
        """Return the groups of a device, sorted."""
        return groups.of_device(self._connection, device_id)

    def traits_of(self, device_id: DeviceId) -> Traits | None:
        """Return what filters look at of a device."""
        found = fleet.read_device(self._connection, device_id)
        if found is None:
            return None
        parts = {} if found.report is None else components.of_image(self._connection, found.report.hash)
        return traits(found, self.groups_of(device_id), parts)

    def late_groups(self, device_id: DeviceId, since: datetime) -> set[str]:
        """Return the groups of a device that a rollout created then does not count."""
        return groups.late(self._connection, device_id, since)

    def add_member(self, group: str, device_id: DeviceId, now: datetime) -> bool:
        """Put a device into a group; false when it was there."""
        return groups.add(self._connection, group, device_id, _seconds(now))

    def group_rule(self, name: str) -> GroupRule | None:
        """Return the rule of a group by filter."""
        return groups.rule(self._connection, name)

    def group_rules(self) -> dict[str, GroupRule]:
        """Return every group by filter, by name."""
        return groups.rules(self._connection)

    def put_group_rule(self, name: str, rule: GroupRule) -> None:
        """Store the rule of a group by filter; its devices are still to be looked at."""
        groups.put_rule(self._connection, name, rule)

    def remove_group(self, name: str) -> int:
        """Forget a group by filter; return how many devices were in it."""
        return groups.forget(self._connection, name)

    def unfilled_groups(self) -> list[str]:
        """Return the groups by filter whose devices have not all been looked at since they were defined."""
        return groups.unfilled(self._connection)

    def note_filled(self, name: str) -> None:
        """Note that every device has been looked at since a group was defined."""
        groups.note_filled(self._connection, name)

    def consent(self, group: str, device_id: DeviceId) -> Consent | None:
        """Return what was said for a device about a group."""
        return groups.consent(self._connection, group, device_id)

    def put_consent(self, group: str, device_id: DeviceId, said: Consent | None) -> None:
        """Store what is said for a device about a group; nothing forgets it."""
        groups.put_consent(self._connection, group, device_id, said)

    def ended_consents(self, now: datetime, limit: int, *, is_in: bool, after: tuple[str, str] = ("", "")) -> list[tuple[str, DeviceId]]:
        """Return opt-ins or opt-outs whose time is over, as group and device, in that order, from after a pair on."""
        return groups.ended(self._connection, now, limit, is_in=is_in, after=after)

    def remove_member(self, group: str, device_id: DeviceId) -> bool:
        """Take a device out of a group; false when it was not there."""
        return groups.remove(self._connection, group, device_id)

    def _row(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        return row

    def _number(self, sql: str, *values: object) -> int:
        (number,) = self._connection.execute(sql, values).fetchone()
        return int(number)


def _attempt(body: bytes) -> Attempt:
    return from_json(body, Attempt, what="stored assignment")


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
