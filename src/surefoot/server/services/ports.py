# SPDX-License-Identifier: Apache-2.0
"""What the verbs of the server need from the outside: a ledger to read and write, and a way to write durably.

- ``Reads`` may be called on the event loop: every call is a read by primary key.
- ``Ledger`` is what a job sees inside the writer's transaction; a job that raises leaves no trace.
- ``Write`` runs a job and answers only when it is durable.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device
from surefoot.fleet.enroll import CertificateTerms, Token
from surefoot.fleet.field import Traits
from surefoot.fleet.group import Consent, GroupRule
from surefoot.fleet.install_time import InstallTimes
from surefoot.model.assignment import AssignmentId, DeviceId
from surefoot.model.digest import Digest
from surefoot.model.event import DeploymentEvent, DeviceReport, JournalId
from surefoot.model.manifest import Manifest, ReleaseIndex
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.server.services.network_store import NetworkStore
from surefoot.server.services.rollout_store import RolloutStore
from surefoot.trust.director import View

SERVER = "server"
"""Who does what nobody did by hand."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of a connection, as its verified certificate says.

    Attributes:
        device_id: The device.
        serial: Of the certificate, lower-case hex.
        not_after: When it ends, seconds since 1970.
        issuer: CN of the device CA that issued it.
    """

    device_id: DeviceId
    serial: str
    not_after: int
    issuer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls the operator API, as the token says.

    Attributes:
        name: The token's; every act carries it.
        customer: The one customer whose devices it reaches; nothing for an operator of the fleet.
        groups: The groups that it may opt this customer's devices in and out of.
    """

    name: str
    customer: str | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckIn:
    """All that an idle poll reads: one row.

    Attributes:
        device_id: Whose certificate it is.
        state: The device's state.
        is_revoked: Whether the certificate was revoked.
        tag: Versions in the device's view, ``targets.snapshot.timestamp``; empty when it has none yet.
        due_at: From when the view wants signing again, seconds since 1970.
        product: Product of the image the view orders; empty when it orders nothing.
    """

    device_id: DeviceId
    state: str
    is_revoked: bool
    tag: str
    due_at: int
    product: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredView:
    """A device's signed view, and the attempt it orders.

    Attributes:
        view: The signed files.
        attempt: The attempt it orders; ``None`` for "stay as you are".
        due_at: From when it wants signing again: metadata past half its life, or an order not started past half of its own.
        root_version: The director's root whose keys signed it; under a newer one it wants signing again at the next poll.
        windows_version: The change of any windows up to which it was held against them; after another one it is looked at again.
    """

    view: View
    attempt: Attempt | None
    due_at: datetime
    root_version: int
    windows_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who did what: one row for each thing an operator changed.

    Attributes:
        at: When.
        by: Name of the API token.
        what: The verb, ``device.order``.
        subject: What it was done to.
    """

    at: datetime
    by: str
    what: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFiles:
    """Files of a repository and their versions, by un-versioned name; each root also as ``<n>.root.json``."""

    files: dict[str, bytes]
    versions: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRelease:
    """A release as published: its index and manifests, with URLs and signatures filled in."""

    index: ReleaseIndex
    digest: Digest
    manifests: tuple[Manifest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate as made by the device CA ``issuer`` (its CN); ``serial`` in lower-case hex."""

    pem: str
    serial: str
    issuer: str


class Reads(Protocol):
    """Reads by primary key, of what is committed (or, in a job, of what the transaction sees)."""

    def check_in(self, serial: str) -> CheckIn | None:
        """Return what the server knows of the caller with this certificate."""
        ...

    def view(self, device_id: DeviceId) -> StoredView | None:
        """Return a device's signed view."""
        ...

    def is_ordered(self, device_id: DeviceId, digest: Digest) -> bool:
        """Say whether the device's view orders this image."""
        ...

    def metadata(self, repository: str, names: Sequence[str] = ()) -> SharedFiles:
        """Return files of a repository: the named ones, or all that are current (that is: without former roots)."""
        ...

    def device(self, device_id: DeviceId) -> Device | None:
        """Return a device."""
        ...

    def attempt(self, assignment_id: AssignmentId) -> Attempt | None:
        """Return an attempt."""
        ...

    def open_attempt(self, device_id: DeviceId) -> Attempt | None:
        """Return the device's attempt that has not ended."""
        ...

    def release(self, product: str, version: str) -> PublishedRelease | None:
        """Return a published release."""
        ...

    def is_retired(self, product: str, version: str) -> bool:
        """Say whether a published release is retired: kept for devices that run it, and ordered no more."""
        ...

    def provenance(self, product: str, version: str) -> bytes | None:
        """Return the signed envelope of a published release's provenance."""
        ...

    def caller(self, hashed: bytes) -> Caller | None:
        """Return whose the API token with this hash is."""
        ...

    def products_with(self, version: str) -> list[str]:
        """Return the products that have this version, sorted."""
        ...

    def window_setting(self, level: Level, key: str) -> WindowSetting | None:
        """Return the windows set at a level for one key: a device id, a site, a customer, or ``-`` for the fleet."""
        ...

    def install_times(self, product: str, hardware: str) -> InstallTimes:
        """Return how long installs of a product took on one hardware."""
        ...

    def windows_version(self) -> int:
        """Return the number of the last change of any windows; 0 before the first."""
        ...

    def groups_of(self, device_id: DeviceId) -> list[str]:
        """Return the groups of a device, sorted."""
        ...


class Ledger(Reads, Protocol):
    """What a job may write."""

    @property
    def rollouts(self) -> RolloutStore:
        """Rollouts and all that belongs to them."""
        ...

    @property
    def networks(self) -> NetworkStore:
        """Regions and sites that rollouts limit, and who waits for room there."""
        ...

    def attribute_names(self) -> set[str]:
        """Return every name that a filter may use: the built-in ones, and those that some device has or had."""
        ...

    def has_group(self, name: str) -> bool:
        """Say whether there is a group of this name."""
        ...

    def call_again(self, device_id: DeviceId) -> None:
        """Note that a device's view no longer orders its open attempt: its next poll signs one; no image is given out until then."""
        ...

    def look_again(self, device_id: DeviceId) -> None:
        """Note that what a device's view orders may be due otherwise: its next poll looks; images are given out as before."""
        ...

    def put_window_setting(self, level: Level, key: str, setting: WindowSetting | None) -> None:
        """Set windows at a level for one key; nothing removes them. Every call counts as a change."""
        ...

    def put_device(self, device: Device) -> None:
        """Store a device: its hardware, state, report and given attributes; presence is kept elsewhere."""
        ...

    def put_report(self, device_id: DeviceId, report: DeviceReport) -> bool:
        """Store a device's statement of what it runs; say whether its effective attributes are others now."""
        ...

    def move_versions(self, by: Mapping[tuple[str, str], int]) -> None:
        """Add to the number of devices that run a (product, version)."""
        ...

    def put_presence(self, seen: Mapping[DeviceId, tuple[int, int]]) -> None:
        """Store when devices were last seen (seconds since 1970), and add to their counts of polls."""
        ...

    def add_certificate(self, device_id: DeviceId, serial: str, issuer: str, terms: CertificateTerms) -> None:
        """Store an issued certificate."""
        ...

    def revoke_certificates(self, device_id: DeviceId, now: datetime) -> int:
        """Mark every certificate of a device as revoked; return how many were not before."""
        ...

    def add_token(self, token: Token) -> None:
        """Store a token."""
        ...

    def remove_tokens(self, device_id: DeviceId) -> None:
        """Forget every token of a device."""
        ...

    def use_token(self, hashed: bytes, device_id: DeviceId, hardware: str, now: datetime) -> bool:
        """Use a token up in one atomic step; false when it is not there, used, expired, or for another."""
        ...

    def add_release(self, release: PublishedRelease, provenance: bytes, now: datetime) -> None:
        """Store a release with its manifests and the signed envelope of its provenance."""
        ...

    def set_retired(self, product: str, version: str, is_retired: bool) -> None:  # noqa: FBT001  # the fact that is stored
        """Note whether a published release is retired; one that is not published is left alone."""
        ...

    def last_counter(self, product: str) -> int:
        """Return the highest release counter published for a product; 0 when there is none."""
        ...

    def put_metadata(self, repository: str, files: Mapping[str, bytes], versions: Mapping[str, int]) -> None:
        """Store files of a repository; a root is kept under its version as well."""
        ...

    def last_assignment_id(self) -> int:
        """Return the highest id given out; 0 when there is none."""
        ...

    def put_attempt(self, attempt: Attempt) -> None:
        """Store an attempt."""
        ...

    def add_event(self, device_id: DeviceId, journal: JournalId, event: DeploymentEvent, now: datetime) -> bool:
        """Store an event once; false when it was there."""
        ...

    def note_divergence(self, device_id: DeviceId, journal: JournalId, event: DeploymentEvent, now: datetime) -> bool:
        """Store an event whose number another one of other content has, if it is the first of its journal; say whether it was."""
        ...

    def put_view(self, stored: StoredView) -> None:
        """Store a device's signed view."""
        ...

    def add_caller(self, caller: Caller, hashed: bytes, now: datetime) -> None:
        """Store an API token's hash and whose it is, in place of the one that had this name."""
        ...

    def has_user(self, name: str) -> bool:
        """Say whether there is an API token of that name."""
        ...

    def remove_user(self, name: str) -> bool:
        """Remove the API token of that name; false when there is none."""
        ...

    def put_install_times(self, product: str, hardware: str, times: InstallTimes) -> None:
        """Store how long installs of a product took on one hardware."""
        ...

    def add_act(self, act: Act) -> None:
        """Store who did what."""
        ...

    def traits_of(self, device_id: DeviceId) -> Traits | None:
        """Return what filters look at of a device."""
        ...

    def late_groups(self, device_id: DeviceId, since: datetime) -> set[str]:
        """Return the groups that a device joined after this, and that rollouts created until then do not count for it."""
        ...

    def add_member(self, group: str, device_id: DeviceId, now: datetime) -> bool:
        """Put a device that there is into a group; false when it was there."""
        ...

    def group_rule(self, name: str) -> GroupRule | None:
        """Return the rule of a group by filter; nothing for any other name."""
        ...

    def group_rules(self) -> Mapping[str, GroupRule]:
        """Return every group by filter, by name."""
        ...

    def put_group_rule(self, name: str, rule: GroupRule) -> None:
        """Store the rule of a group by filter; its devices are still to be looked at."""
        ...

    def remove_group(self, name: str) -> int:
        """Forget a group by filter, who is in it and who opted in or out; return how many devices were in it."""
        ...

    def unfilled_groups(self) -> list[str]:
        """Return the groups by filter whose devices have not all been looked at since they were defined."""
        ...

    def note_filled(self, name: str) -> None:
        """Note that every device has been looked at since a group was defined."""
        ...

    def consent(self, group: str, device_id: DeviceId) -> Consent | None:
        """Return what was said for a device about a group, ended or not."""
        ...

    def put_consent(self, group: str, device_id: DeviceId, said: Consent | None) -> None:
        """Store what is said for a device about a group; nothing forgets it."""
        ...

    def ended_consents(self, now: datetime, limit: int, *, is_in: bool, after: tuple[str, str] = ("", "")) -> list[tuple[str, DeviceId]]:
        """Return opt-ins or opt-outs whose time is over, as group and device, in that order, from after a pair on."""
        ...

    def remove_member(self, group: str, device_id: DeviceId) -> bool:
        """Take a device out of a group; false when it was not there."""
        ...


class Write(Protocol):
    """The way to the writer."""

    def __call__(self, job: Callable[[Ledger], _T]) -> Awaitable[_T]:
        """Run a job in the next transaction and answer when it is durable.

        Raises:
            Error: Whatever the job raised; nothing of it was stored.
            StoreError: The database could not store it.
        """
        ...


class DeviceCertificates(Protocol):
    """The device CA."""

    def renew_in_s(self, peer: Peer, now_s: int) -> int | None:
        """Return the seconds after which a device is to renew early, since another CA issued its certificate; else ``None``."""
        ...

    def issue(self, csr: str, terms: CertificateTerms) -> IssuedCertificate:
        """Return a certificate for the public key of a PEM request.

        Raises:
            FormatError: Not a request, not signed by its own key, or a key type that devices may not use.
        """
        ...
