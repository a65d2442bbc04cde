# SPDX-License-Identifier: Apache-2.0
"""The director: one small signed view per device, saying what this device should run now.

Targets, snapshot and timestamp of a view all name the device, so that no part of one device's view means anything to another.
A view that orders nothing is signed too: "stay as you are" is an order.
"""

from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets, Timestamp

from surefoot.model.assignment import DeviceId, Order
from surefoot.model.digest import Digest, hex_of
from surefoot.model.record import to_plain, utc_text
from surefoot.trust.metadata import DEVICE_FIELD, DIRECTOR_LIFE, ISSUED_FIELD, expiry, read, sign_with
from surefoot.trust.verify import Trusted, refresh, settle_root

_NOBODY = DeviceId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorSigners:
    """The director's online keys; its root is signed by people, as the image repository's is."""

    targets: Signer
    snapshot: Signer
    timestamp: Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Directed:
    """What a device is to run: an image as the image repository lists it, and the order it is part of."""

    path: str
    size: int
    hash: Digest
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The three signed files of one device.

    Attributes:
        device_id: The device that all three name.
        targets: What it should run.
        snapshot: The version of ``targets``.
        timestamp: The version and hash of ``snapshot``.
        targets_version: Version of ``targets``.
        snapshot_version: Version of ``snapshot``.
        timestamp_version: Version of ``timestamp``.
        renew_at: From when on targets and snapshot should be signed again (half their life).
        refresh_at: From when on the view should be signed again at all (half the life of its timestamp, or ``renew_at``).
    """

    device_id: DeviceId
    targets: bytes
    snapshot: bytes
    timestamp: bytes
    targets_version: int
    snapshot_version: int
    timestamp_version: int
    renew_at: datetime
    refresh_at: datetime


def sign_view(previous: View | None, device_id: DeviceId, directed: Directed | None, signers: DirectorSigners, now: datetime) -> View:
    """Return a device's next view, each version one above the previous one's.

    Args:
        previous: The view that the device may have seen; ``None`` for its first.
        device_id: The device.
        directed: What it should run; ``None`` for "stay as you are".
        signers: The director's online keys.
        now: When.
    """
    now = now.replace(microsecond=0)
    targets_version = 1 if previous is None else previous.targets_version + 1
    snapshot_version = 1 if previous is None else previous.snapshot_version + 1
    targets = Targets(
        version=targets_version,
        expires=expiry("targets", now, DIRECTOR_LIFE),
        targets=_entries(directed),
        unrecognized_fields=_for(device_id),
    )
    snapshot = Snapshot(
        version=snapshot_version,
        expires=expiry("snapshot", now, DIRECTOR_LIFE),
        meta={"targets.json": MetaFile(targets_version)},
        unrecognized_fields=_for(device_id),
    )
    snapshot_file = sign_with(Metadata(snapshot), [signers.snapshot])
    timestamp_version = 1 if previous is None else previous.timestamp_version + 1
    renew_at = now + DIRECTOR_LIFE["targets"] / 2
    return View(
        device_id=device_id,
        targets=sign_with(Metadata(targets), [signers.targets]),
        snapshot=snapshot_file,
        timestamp=_timestamp(
            device_id, timestamp_version, snapshot=snapshot_file, snapshot_version=snapshot_version, signers=signers, now=now
        ),
        targets_version=targets_version,
        snapshot_version=snapshot_version,
        timestamp_version=timestamp_version,
        renew_at=renew_at,
        refresh_at=min(now + DIRECTOR_LIFE["timestamp"] / 2, renew_at),
    )


def try_out(director: Trusted, signers: DirectorSigners, now: datetime) -> None:
    """Sign a view for nobody and verify it as a device would that trusts ``director``: a root that nobody can serve is found out.

    Raises:
        TrustError: A device would refuse the view: the root expired, or names other keys.
        SignerUnavailableError: A key does not sign at present.
    """
    settle_root(director, now)
    view = sign_view(None, _NOBODY, None, signers, now)
    refresh(director, {"timestamp.json": view.timestamp, "1.snapshot.json": view.snapshot, "1.targets.json": view.targets}, now)


def refresh_view(view: View, directed: Directed | None, signers: DirectorSigners, now: datetime) -> View:
    """Return the view with a new timestamp, and with new targets and snapshot when half their life is gone.

    Args:
        view: The current view.
        directed: What it orders, as given to ``sign_view``.
        signers: The director's online keys.
        now: When.
    """
    now = now.replace(microsecond=0)
    if now >= view.renew_at:
        return sign_view(view, view.device_id, directed, signers, now)
    version = view.timestamp_version + 1
    return View(
        device_id=view.device_id,
        targets=view.targets,
        snapshot=view.snapshot,
        timestamp=_timestamp(
            view.device_id, version, snapshot=view.snapshot, snapshot_version=view.snapshot_version, signers=signers, now=now
        ),
        targets_version=view.targets_version,
        snapshot_version=view.snapshot_version,
        timestamp_version=version,
        renew_at=view.renew_at,
        refresh_at=min(now + DIRECTOR_LIFE["timestamp"] / 2, view.renew_at),
    )


def expires_at(view: View) -> datetime:
    """Return from when on a device believes the view no more."""
    timestamp = read(view.timestamp, Timestamp, name="timestamp.json").signed
    return min(timestamp.expires, view.renew_at + DIRECTOR_LIFE["targets"] / 2)


def _entries(directed: Directed | None) -> dict[str, TargetFile]:
    if directed is None:
        return {}
    hashes = {"sha256": hex_of(directed.hash)}
    return {directed.path: TargetFile(directed.size, hashes, directed.path, {"custom": to_plain(directed.order)})}


def _timestamp(
    device_id: DeviceId, version: int, *, snapshot: bytes, snapshot_version: int, signers: DirectorSigners, now: datetime
) -> bytes:
    timestamp = Timestamp(
        version=version,
        expires=expiry("timestamp", now, DIRECTOR_LIFE),
        snapshot_meta=MetaFile.from_data(snapshot_version, snapshot, ["sha256"]),
        unrecognized_fields={**_for(device_id), ISSUED_FIELD: utc_text(now)},
    )
    return sign_with(Metadata(timestamp), [signers.timestamp])


def _for(device_id: DeviceId) -> dict[str, str]:
    return {DEVICE_FIELD: device_id}
