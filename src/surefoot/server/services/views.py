# SPDX-License-Identifier: Apache-2.0
"""A device's signed view, made and kept in step with the attempt it orders; what poll, report and order share."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec import structs
from tuf.api.metadata import Targets

from surefoot.fleet.attempt import Attempt, consent_until, reissue
from surefoot.model.assignment import DeviceId, Order
from surefoot.model.digest import Digest, hex_of
from surefoot.model.errors import ConflictError, SignerUnavailableError, UnknownError
from surefoot.model.manifest import must_match
from surefoot.model.record import from_plain, parse_utc, utc_text
from surefoot.schedule.permission import forced_at
from surefoot.server.services.attempts import keep
from surefoot.server.services.ports import Ledger, Reads, StoredView
from surefoot.server.services.windows import windows_of
from surefoot.trust.director import Directed, DirectorSigners, View, expires_at, refresh_view, sign_view
from surefoot.trust.metadata import read


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which the director's keys do not sign.

    Attributes:
        since: The first failure.
        latest: The latest one.
        error: What it said.
    """

    since: datetime
    latest: datetime
    error: SignerUnavailableError


def direct(ledger: Ledger, device_id: DeviceId, attempt: Attempt | None, signers: DirectorSigners, now: datetime) -> StoredView:
    """Sign and store a device's next view: ``attempt``, or "stay as you are"."""
    previous = ledger.view(device_id)
    offered = None if attempt is None else _offered(ledger, attempt, now)
    view = sign_view(None if previous is None else previous.view, device_id, _directed(ledger, offered), signers, now)
    return _store(ledger, view, offered, director_root(ledger), ledger.windows_version())


def renew(ledger: Ledger, device_id: DeviceId, signers: DirectorSigners, now: datetime) -> StoredView:
    """Sign again whatever of a device's view is due; a device without a view, or with another attempt than its view orders, gets a new one.

    So does one whose view was signed under a former root of the director: its keys may have been taken away; and one whose order has
    not started and names other windows than apply to the device now.
    Doing it twice does it once: what is due is read inside the transaction.
    """
    stored, attempt = ledger.view(device_id), ledger.open_attempt(device_id)
    root_version = director_root(ledger)
    if stored is None or _id(stored.attempt) != _id(attempt) or stored.root_version != root_version:
        return direct(ledger, device_id, attempt, signers, now)
    windows_version = ledger.windows_version()
    if now < stored.due_at and not is_behind(stored, windows_version):
        return stored
    if attempt is not None and now >= _renewal(attempt):
        renewed = reissue(attempt, now)
        keep(ledger, attempt, renewed)
        return direct(ledger, device_id, renewed, signers, now)
    directed = _directed(ledger, attempt)
    if attempt is not None and directed is not None and _is_overtaken(stored.view, attempt, directed):
        return direct(ledger, device_id, attempt, signers, now)
    if now < stored.due_at:
        return _store(ledger, stored.view, attempt, root_version, windows_version)
    return _store(ledger, refresh_view(stored.view, directed, signers, now), attempt, root_version, windows_version)


def is_behind(stored: StoredView, windows_version: int) -> bool:
    """Say whether windows were changed since a view was last held against them, and it orders something that they may hold."""
    return stored.attempt is not None and not stored.attempt.is_started and stored.windows_version != windows_version


def stand_down(ledger: Ledger, device_id: DeviceId, signers: DirectorSigners, now: datetime) -> None:
    """Sign "stay as you are"; while no key signs, leave that to the device's next poll, since what it reported must be stored."""
    try:
        direct(ledger, device_id, None, signers, now)
    except SignerUnavailableError:
        ledger.call_again(device_id)


def still_holds(reads: Reads, stored: StoredView, now: datetime) -> bool:
    """Say whether a view that is due may be served once more: a device would believe it, and what it orders is still wanted."""
    if now >= expires_at(stored.view):
        return False
    attempt = stored.attempt
    if attempt is None:
        return True
    is_in_time = attempt.is_started or now < parse_utc(attempt.start_before)
    return is_in_time and _id(reads.open_attempt(attempt.device_id)) == attempt.assignment_id


def settle(ledger: Ledger, stored: StoredView, attempt: Attempt) -> None:
    """Note that the ordered attempt has started, so that the view is no longer renewed for its sake."""
    _store(ledger, stored.view, attempt, stored.root_version, stored.windows_version)


def require_live(reads: Reads, product: str, version: str) -> None:
    """Refuse to begin anything with a retired release.

    Raises:
        ConflictError: It is retired.
    """
    if reads.is_retired(product, version):
        raise ConflictError(
            f"{product} {version} is retired.",
            hint=f"Take it back with 'surefoot release restore {product} {version} --keys DIR', and publish again.",
        )


def artifact_url(device_url: str, digest: Digest) -> str:
    """Return where an image may be fetched by the devices it is ordered for."""
    return f"{device_url}/v1/artifacts/{hex_of(digest)}"


def director_root(reads: Reads) -> int:
    """Return the version of the director's root."""
    return reads.metadata("director", ("root.json",)).versions["root.json"]


def _store(ledger: Ledger, view: View, attempt: Attempt | None, root_version: int, windows_version: int) -> StoredView:
    due_at = view.refresh_at if attempt is None else min(view.refresh_at, _renewal(attempt))
    stored = StoredView(view=view, attempt=attempt, due_at=due_at, root_version=root_version, windows_version=windows_version)
    ledger.put_view(stored)
    return stored


def _id(attempt: Attempt | None) -> int:
    return 0 if attempt is None else attempt.assignment_id


def _renewal(attempt: Attempt) -> datetime:
    if attempt.is_started:
        return datetime.max.replace(tzinfo=UTC)
    issued_at, start_before = parse_utc(attempt.issued_at), parse_utc(attempt.start_before)
    return issued_at + (start_before - issued_at) / 2


def _offered(ledger: Ledger, attempt: Attempt, now: datetime) -> Attempt:
    """Return the attempt as it is offered now, stored: when it first was, and whether it may have to wait for a window."""
    if attempt.is_started:
        return attempt
    offered = structs.replace(
        attempt,
        first_offered_at=attempt.first_offered_at or utc_text(now),
        starts_at_install=bool(windows_of(ledger, attempt)[0]),
    )
    if offered != attempt:
        keep(ledger, attempt, offered)
    return offered


def _is_overtaken(view: View, attempt: Attempt, directed: Directed) -> bool:
    """Say whether other windows apply than the signed order names; what has started finishes."""
    was, now = _signed(view, directed.path), directed.order
    return not attempt.is_started and (was.windows, was.download) != (now.windows, now.download)


def _signed(view: View, path: str) -> Order:
    """Return the order that a view carries."""
    entry = read(view.targets, Targets, name="targets.json").signed.targets[path]
    return from_plain(entry.custom, Order, what="signed order")


def _directed(reads: Reads, attempt: Attempt | None) -> Directed | None:
    if attempt is None:
        return None
    release = reads.release(attempt.product, attempt.version)
    if release is None:
        raise UnknownError(f"Release {attempt.product} {attempt.version} is ordered and is not published.")
    manifest = next(m for m in release.manifests if m.variant == attempt.variant and attempt.hardware in m.target_hardware)
    windows, download = windows_of(reads, attempt)
    order = Order(
        device_id=attempt.device_id,
        assignment_id=attempt.assignment_id,
        issued_at=attempt.issued_at,
        start_before=attempt.start_before,
        deadline_s=attempt.deadline_s,
        must_match=must_match(manifest),
        rollout_id=attempt.rollout_id,
        consent_until=consent_until(attempt, is_required=manifest.metadata.required),
        windows=windows,
        download=download,
        install_s=attempt.install_s,
        deadline_at=attempt.deadline_at,
        ignore_windows_from=_ignore_windows_from(attempt),
    )
    return Directed(path=attempt.path, size=attempt.size, hash=attempt.hash, order=order)


def _ignore_windows_from(attempt: Attempt) -> str:
    if not attempt.deadline_at:
        return ""
    first_offered = parse_utc(attempt.first_offered_at or attempt.issued_at)
    return utc_text(forced_at(parse_utc(attempt.deadline_at), first_offered, timedelta(seconds=attempt.grace_s), attempt.device_id))
