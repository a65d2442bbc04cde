# SPDX-License-Identifier: Apache-2.0
"""What a device believes: the TUF client workflow over two repositories, as pure functions of bytes and ``now``.

The order of checks; the first that fails ends the round and nothing of it becomes trusted:

1. Director root: each new version is the old one plus one, signed by the threshold of old and new; the last is unexpired.
2. Director timestamp: signature, for this device, version not lower than the trusted one, unexpired.
3. Director snapshot: length and hash as the timestamp says, signature, for this device, no file missing or going back.
4. Director targets: version as the snapshot says, signature, unexpired, no delegations, for this device, at most one entry,
   and that entry for this device. All four files must still be valid when the timestamp says that it was issued: the device's
   time floor grows with that instant, and an online key must not lift it past what people signed.
5. Nothing ordered: done. An empty signed list is an order too.
6. Image repository: the same checks from its root to the delegated role that may speak for the path.
7. Both say the same of the image: path, length, hashes and must-match block, in canonical form.

Whether *this device may run it now* (hardware, versions, time) is decided by ``surefoot.agent.admission``.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

from tuf.api.metadata import MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from surefoot.model.assignment import DeviceId, Order
from surefoot.model.digest import Digest, from_hex
from surefoot.model.errors import (
    ExpiredError,
    FormatError,
    MetadataError,
    MetadataRollbackError,
    MismatchError,
    NotInImageRepositoryError,
    SignatureError,
    WrongDeviceError,
)
from surefoot.model.manifest import MustMatch, target_path
from surefoot.model.record import from_plain, parse_utc, to_json
from surefoot.trust.metadata import DEVICE_FIELD, ISSUED_FIELD, Files, read, refusals, verified

MAX_ROOTS = 256
"""How many new roots are followed in one round; the next round goes on from there."""

_MAX_DELEGATIONS = 32
_STRONG = frozenset({"sha256", "sha512"})
_VARIANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_Kept = TypeVar("_Kept", Timestamp, Snapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """An image that both repositories list and the director wants on this device."""

    path: str
    size: int
    hash: Digest
    order: Order

    @property
    def must_match(self) -> MustMatch:
        """Return the block that both repositories signed."""
        return self.order.must_match


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one verified round leaves: the files to trust from now on, and what is ordered.

    Attributes:
        director: Verified director files by un-versioned name.
        image: Verified image repository files by un-versioned name; those given when nothing was ordered.
        ordered: The one image to run, or ``None`` for "stay as you are".
        issued_at: When the director's timestamp was made: time has reached this point.
        fresh_until: When the first of the director's files expires: until then "nothing new" may be believed.
        spent: Names of the image repository's files that were not on the way to what is ordered. The snapshot remembers their
            versions, so they may be dropped, once it is durable which tag the next poll names.
    """

    director: Files
    image: Files
    ordered: Ordered | None
    issued_at: datetime
    fresh_until: datetime
    spent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """One repository as far as it is verified; every step returns a new value.

    Attributes:
        files: Verified files by un-versioned name: what a device may keep.
        root: The newest trusted root.
        timestamp: The trusted timestamp, fresh or kept from an earlier round.
        snapshot: The trusted snapshot, fresh or kept.
        targets: Targets roles verified in this round, by role name.
        device_id: Set for a director: the device that its files must name.
    """

    files: Files
    root: Root
    timestamp: Timestamp | None = None
    snapshot: Snapshot | None = None
    targets: dict[str, Targets] = field(default_factory=dict)
    device_id: DeviceId | None = None


def verify(*, director: Files, image: Files, fetched_director: Files, fetched_image: Files, device_id: DeviceId, now: datetime) -> Verdict:
    """Verify one poll answer against what the device trusts.

    Args:
        director: Trusted director files by un-versioned name; at least ``root.json``.
        image: Trusted image repository files, likewise.
        fetched_director: Files of the answer by versioned name (``timestamp.json``, ``7.snapshot.json``, ``2.root.json``).
        fetched_image: Likewise, of the image repository.
        device_id: This device.
        now: Aware, UTC, already raised to the device's time floor.

    Raises:
        TrustError: Some check failed; its ``code`` says which. What was trusted stays trusted.
    """
    directed = refresh(load(director, device_id=device_id), fetched_director, now)
    entry = _only_entry(directed, device_id)
    issued_at, fresh_until = _issued_at(directed), _fresh_until(directed)
    # A board without a clock has just learnt the time; what had expired by then is as good as expired now.
    now = max(now, issued_at)
    if now >= fresh_until:
        raise ExpiredError(f"A file of the director expired at {fresh_until:%Y-%m-%d %H:%M:%S} UTC, before its timestamp.json was issued.")
    if entry is None:
        return Verdict(director=directed.files, image=image, ordered=None, issued_at=issued_at, fresh_until=fresh_until)
    imaged, listed = find_target(refresh(load(image), fetched_image, now), fetched_image, entry.path, now)
    ordered = _agreed(entry, listed, device_id)
    spent = imaged.files.keys() - {"root.json", "timestamp.json", "snapshot.json"} - {f"{role}.json" for role in imaged.targets}
    return Verdict(
        director=directed.files,
        image=imaged.files,
        ordered=ordered,
        issued_at=issued_at,
        fresh_until=fresh_until,
        spent=frozenset(spent),
    )


def load(files: Files, *, device_id: DeviceId | None = None) -> Trusted:
    """Return a repository as stored by an earlier round.

    A stored timestamp or snapshot that the stored root no longer vouches for is dropped: that is how a rotated online key
    ends a fast-forward attack (TUF 5.3.11).

    Raises:
        MetadataError: There is no usable root.
        SignatureError: The root is not signed by its own threshold.
    """
    if "root.json" not in files:
        raise MetadataError("There is no trusted root.", hint="Enrol the device again.")
    return _drop_disowned(Trusted(files=files, root=_self_signed(files["root.json"]), device_id=device_id))


def refresh(trusted: Trusted, fetched: Files, now: datetime) -> Trusted:
    """Take the repository from its trusted state to the one the fetched files prove, up to its top-level targets.

    Files that are not fetched are taken from the trusted ones when their version is the wanted one.

    Raises:
        TrustError: Some file is missing, unsigned, expired, older than trusted, or for another device.
    """
    for _ in range(MAX_ROOTS):
        following = fetched.get(f"{trusted.root.version + 1}.root.json")
        if following is None:
            break
        trusted = update_root(trusted, following)
    trusted = update_timestamp(trusted, _pick(trusted, fetched, "timestamp.json", None), now)
    assert trusted.timestamp is not None  # noqa: S101  # for the type checker: update_timestamp sets it or raises
    trusted = update_snapshot(trusted, _pick(trusted, fetched, "snapshot.json", trusted.timestamp.snapshot_meta.version), now)
    return update_targets(trusted, fetched, "targets", "root", now)


def update_root(trusted: Trusted, data: bytes) -> Trusted:
    """Trust the next root: version plus one, signed by the threshold of the trusted root and by its own (TUF 5.3)."""
    name = f"{trusted.root.version + 1}.root.json"
    root = verified(data, Root, trusted.root, "root", name=name)
    verified(data, Root, root, "root", name=name)
    if root.version != trusted.root.version + 1:
        raise MetadataRollbackError(f"{name} has version {root.version}.")
    return _drop_disowned(replace(trusted, files={**trusted.files, "root.json": data}, root=root))


def settle_root(trusted: Trusted, now: datetime) -> None:
    """Refuse to go on from an expired root; those on the way to it may be expired (TUF 5.3.10).

    Raises:
        ExpiredError: The trusted root is past its expiry.
    """
    _require_unexpired(trusted.root, "root.json", now)


def update_timestamp(trusted: Trusted, data: bytes, now: datetime) -> Trusted:
    """Trust a timestamp that is signed, unexpired and not older than the trusted one (TUF 5.4)."""
    settle_root(trusted, now)
    timestamp = verified(data, Timestamp, trusted.root, "timestamp", name="timestamp.json")
    _require_device(timestamp, trusted.device_id, "timestamp.json")
    if trusted.timestamp is not None:
        _require_not_older("timestamp.json", timestamp.version, trusted.timestamp.version)
        _require_not_older("snapshot.json", timestamp.snapshot_meta.version, trusted.timestamp.snapshot_meta.version)
        if timestamp.version == trusted.timestamp.version and timestamp != trusted.timestamp:
            raise MetadataError(f"timestamp.json {timestamp.version} was signed twice with different content.")
    _require_unexpired(timestamp, "timestamp.json", now)
    return replace(trusted, files={**trusted.files, "timestamp.json": data}, timestamp=timestamp)


def update_snapshot(trusted: Trusted, data: bytes, now: datetime) -> Trusted:
    """Trust the snapshot that the timestamp names; no file may disappear from it or go back (TUF 5.5)."""
    assert trusted.timestamp is not None  # noqa: S101  # the caller's order of steps
    meta = trusted.timestamp.snapshot_meta
    _require_named(meta, data, "snapshot.json")
    snapshot = verified(data, Snapshot, trusted.root, "snapshot", name="snapshot.json")
    _require_device(snapshot, trusted.device_id, "snapshot.json")
    if snapshot.version != meta.version:
        raise MetadataError(f"snapshot.json has version {snapshot.version}; timestamp.json says {meta.version}.")
    for name, known in trusted.snapshot.meta.items() if trusted.snapshot is not None else ():
        if name not in snapshot.meta:
            raise MetadataRollbackError(f"snapshot.json no longer lists {name}.")
        _require_not_older(name, snapshot.meta[name].version, known.version)
    _require_unexpired(snapshot, "snapshot.json", now)
    return replace(trusted, files={**trusted.files, "snapshot.json": data}, snapshot=snapshot)


def listed(trusted: Trusted, name: str) -> MetaFile:
    """Return what the trusted snapshot says of the targets file ``name``.

    Raises:
        MetadataError: It says nothing of it.
    """
    assert trusted.snapshot is not None  # noqa: S101  # the caller's order of steps
    meta = trusted.snapshot.meta.get(name)
    if meta is None:
        raise MetadataError(f"snapshot.json does not list {name}.")
    return meta


def update_targets(trusted: Trusted, fetched: Files, role: str, parent: str, now: datetime) -> Trusted:
    """Trust the targets file of ``role`` as the snapshot names it and ``parent`` delegates it (TUF 5.6)."""
    name = f"{role}.json"
    meta = listed(trusted, name)
    data = _pick(trusted, fetched, name, meta.version)
    _require_named(meta, data, name)
    delegator = trusted.root if parent == "root" else trusted.targets[parent]
    targets = verified(data, Targets, delegator, role, name=name)
    _require_device(targets, trusted.device_id, name)
    if targets.version != meta.version:
        raise MetadataError(f"{name} has version {targets.version}; snapshot.json says {meta.version}.")
    _require_unexpired(targets, name, now)
    return replace(trusted, files={**trusted.files, name: data}, targets={**trusted.targets, role: targets})


def find_target(trusted: Trusted, fetched: Files, path: str, now: datetime) -> tuple[Trusted, TargetFile]:
    """Search the delegations for ``path`` in files that are all there.

    Raises:
        NotInImageRepositoryError: No role that may speak for the path lists it.
        TrustError: A role on the way does not verify.
    """
    return search(trusted, path, lambda so_far, role, parent: update_targets(so_far, fetched, role, parent, now))


def search(trusted: Trusted, path: str, take: Callable[[Trusted, str, str], Trusted]) -> tuple[Trusted, TargetFile]:
    """Walk the delegations to the first role that lists ``path`` and may speak for it (TUF 5.6.7).

    Args:
        trusted: A repository refreshed up to its top-level targets.
        path: What is wanted.
        take: ``update_targets`` with its files: (trusted so far, role, parent) to what is trusted with that role.

    Raises:
        NotInImageRepositoryError: No role that may speak for the path lists it.
        TrustError: A role on the way does not verify.
    """
    waiting = [("targets", "root")]
    seen: set[str] = set()
    while waiting and len(seen) < _MAX_DELEGATIONS:
        role, parent = waiting.pop()
        if role in seen:
            continue
        seen.add(role)
        if role not in trusted.targets:
            trusted = take(trusted, role, parent)
        targets = trusted.targets[role]
        if path in targets.targets:
            return trusted, targets.targets[path]
        children: list[tuple[str, str]] = []
        for child, is_terminating in _delegates(targets, path):
            children.append((child, role))
            if is_terminating:
                waiting = []
                break
        waiting.extend(reversed(children))
    raise NotInImageRepositoryError(f"The image repository does not list {path}.")


@lru_cache(maxsize=4)
def _self_signed(data: bytes) -> Root:
    # Depends on the bytes alone and on no clock, so the two roots of a device need it once for each start of its agent.
    root = read(data, Root, name="trusted root.json").signed
    return verified(data, Root, root, "root", name="trusted root.json")


def _drop_disowned(trusted: Trusted) -> Trusted:
    timestamp = _still_signed(trusted, "timestamp", Timestamp)
    snapshot = _still_signed(trusted, "snapshot", Snapshot)
    files = dict(trusted.files)
    if timestamp is None:
        files.pop("timestamp.json", None)
    if snapshot is None:
        files.pop("snapshot.json", None)
    return replace(trusted, files=files, timestamp=timestamp, snapshot=snapshot)


def _still_signed(trusted: Trusted, role: str, kind: type[_Kept]) -> _Kept | None:
    data = trusted.files.get(f"{role}.json")
    if data is None:
        return None
    try:
        return verified(data, kind, trusted.root, role, name=f"trusted {role}.json")
    except SignatureError:
        return None


def _pick(trusted: Trusted, fetched: Files, name: str, version: int | None) -> bytes:
    wire_name = name if version is None else f"{version}.{name}"
    data = fetched.get(wire_name, trusted.files.get(name))
    if data is None:
        raise MetadataError(f"{wire_name} is missing.")
    return data


def _delegates(targets: Targets, path: str) -> Iterator[tuple[str, bool]]:
    if targets.delegations is not None:
        yield from targets.delegations.get_roles_for_target(path)


def _require_unexpired(signed: Signed, name: str, now: datetime) -> None:
    if signed.is_expired(now):
        raise ExpiredError(f"{name} expired at {signed.expires:%Y-%m-%d %H:%M:%S} UTC.")


def _require_not_older(name: str, offered: int, known: int) -> None:
    if offered < known:
        raise MetadataRollbackError(f"{name} {offered} is older than {known}, which is already trusted.")


def _require_named(meta: MetaFile, data: bytes, name: str) -> None:
    # A weak hash that its signer chose would let two files pass for one.
    if meta.hashes is not None and not meta.hashes.keys() <= _STRONG:
        raise MetadataError(f"{name} is named by a hash other than SHA-256 or SHA-512.")
    with refusals(name):
        meta.verify_length_and_hashes(data)


def _require_device(signed: Signed, device_id: DeviceId | None, name: str) -> None:
    if device_id is not None and signed.unrecognized_fields.get(DEVICE_FIELD) != device_id:
        raise WrongDeviceError(f"The director's {name} was made for another device.")


def _only_entry(directed: Trusted, device_id: DeviceId) -> TargetFile | None:
    targets = directed.targets["targets"]
    if targets.delegations is not None:
        raise MetadataError("The director delegates, which it may not.")
    if len(targets.targets) > 1:
        raise MetadataError(f"The director orders {len(targets.targets)} images for {device_id}; one is the most.")
    return next(iter(targets.targets.values()), None)


def _issued_at(directed: Trusted) -> datetime:
    assert directed.timestamp is not None  # noqa: S101  # refresh sets it or raises
    try:
        issued_at = parse_utc(directed.timestamp.unrecognized_fields.get(ISSUED_FIELD, ""))
    except (FormatError, TypeError) as error:
        raise MetadataError("The director's timestamp.json does not say when it was issued.") from error
    if issued_at > directed.timestamp.expires:
        raise MetadataError("The director's timestamp.json was issued after its own expiry.")
    return issued_at


def _fresh_until(directed: Trusted) -> datetime:
    kept = (directed.root, directed.timestamp, directed.snapshot, directed.targets["targets"])
    return min(signed.expires for signed in kept if signed is not None)


def _agreed(entry: TargetFile, listed: TargetFile, device_id: DeviceId) -> Ordered:
    if (entry.length, entry.hashes) != (listed.length, listed.hashes):
        raise MismatchError(f"Director and image repository differ in length or hash of {entry.path}.")
    if _block(entry) != _block(listed):
        raise MismatchError(f"Director and image repository differ in the must-match block of {entry.path}.")
    ordered = _ordered(entry)
    if ordered.order.device_id != device_id:
        raise WrongDeviceError(f"The order for {entry.path} was made for another device.")
    return ordered


def _block(target: TargetFile) -> bytes:
    try:
        return to_json(target.custom["must_match"])
    except (KeyError, TypeError, AttributeError) as error:
        raise MetadataError(f"{target.path} carries no must-match block.") from error


def _ordered(entry: TargetFile) -> Ordered:
    if set(entry.hashes) != {"sha256"}:
        raise MetadataError(f"{entry.path} must have a SHA-256 hash and no other.")
    try:
        order = from_plain(entry.custom, Order, what=f"order for {entry.path}")
        ordered = Ordered(path=entry.path, size=entry.length, hash=from_hex(entry.hashes["sha256"]), order=order)
        parse_utc(order.issued_at)
        parse_utc(order.start_before)
        if order.consent_until:
            parse_utc(order.consent_until)
    except FormatError as error:
        raise MetadataError(error.message) from error
    block = order.must_match
    beginnings = [target_path(block.product, block.version, hardware, "") for hardware in block.target_hardware]
    if not any(entry.path.startswith(begun) and _VARIANT.fullmatch(entry.path.removeprefix(begun)) for begun in beginnings):
        raise MismatchError(f"The path {entry.path} is not one that its must-match block gives.")
    return ordered
