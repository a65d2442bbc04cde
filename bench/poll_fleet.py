# SPDX-License-Identifier: Apache-2.0
"""A server's folder with a fleet in it, as it is some time after an update: every device enrolled, updated once, and idle since.

- Everything goes through the server's own ledger, in large transactions, in an order that has nothing to do with the devices' names.
- Every device has the row of its certificate, its report, the attempt that brought it there with its events, and a signed view.
- Some devices, drawn at random, really have their certificate and key, so that they can call. Half of them stay idle; the
  others have an open order, given by the verb that operators use.
"""

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, DeviceState
from surefoot.fleet.enroll import certificate_terms
from surefoot.model.assignment import AssignmentId, DeviceId, Outcome
from surefoot.model.event import DeploymentEvent, EventType, JournalId
from surefoot.model.manifest import Manifest, target_path
from surefoot.model.record import utc_text
from surefoot.server.ca import DeviceCa, open_authorities
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.sqlite import connect, migrate
from surefoot.server.services.views import direct
from surefoot.trust.repository import versions
from tests.server.office import Office, statement
from tests.server.running import csr_for, write_data
from tests.trust.repositories import Repositories

HARDWARE = "thermostat-v1"
RUNNING, ORDERED = "1.0.0", "1.1.0"

_TRANSACTION = 5_000
_UPDATED_BEFORE = timedelta(days=30)
# A good update's events, as the agent sends them; of the ten of its progress, those at the quarters.
_HISTORY = (
    EventType.CHECK_COMPLETED,
    EventType.DOWNLOAD_STARTED,
    EventType.DOWNLOAD_PROGRESS,
    EventType.DOWNLOAD_PROGRESS,
    EventType.DOWNLOAD_PROGRESS,
    EventType.DOWNLOAD_COMPLETED,
    EventType.INSTALL_STARTED,
    EventType.INSTALL_COMPLETED,
    EventType.REBOOT_STARTED,
    EventType.REBOOT_COMPLETED,
    EventType.HEALTH_OK,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A device that can call.

    Attributes:
        device_id: Its identity.
        certificate: File with its key and certificate, PEM.
        running: What it runs, and says so in its report.
        assignment_id: Its open order; nothing for an idle device.
    """

    device_id: DeviceId
    certificate: Path
    running: Manifest
    assignment_id: AssignmentId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A folder to serve.

    Attributes:
        data: The folder.
        server_ca: PEM of the CA that the server's certificate comes from.
        idle: Devices that may poll and have nothing to do.
        ordered: Devices with an open order, which they may report about.
    """

    data: Path
    server_ca: str
    idle: tuple[Sampled, ...]
    ordered: tuple[Sampled, ...]


def seed(data: Path, *, devices: int, sampled: int, now: datetime, chance: Random, say: Callable[[str], None]) -> Fleet:
    """Make a server's folder with a fleet in it.

    Args:
        data: The folder; made here.
        devices: How many devices there are.
        sampled: How many of them can call: half idle, half with an order; no more than ``devices``.
        now: When the views are signed and the certificates issued.
        chance: Draws the sample and the order in which devices came.
        say: Is told how far it is.
    """
    repositories = Repositories(now=now)
    write_data(data, repositories)
    migrate(data / "surefoot.db")
    with closing(connect(data / "surefoot.db")) as connection:
        # Only while the fleet is made: nothing is lost if it has to be made again.
        connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;")
        seeding = _Seeding(connection, repositories, now)
        names = [DeviceId(f"thermostat-{n:07}") for n in range(devices)]
        chance.shuffle(names)
        seeding.enrol(names, say)
        callers = seeding.certify(data, chance.sample(names, sampled))
        ordered = seeding.order(callers[sampled // 2 :])
    server_ca = open_authorities(data / "ca", (), now).server_ca
    return Fleet(data=data, server_ca=server_ca, idle=tuple(callers[: sampled // 2]), ordered=tuple(ordered))


class _Seeding:
    """A database while it is filled."""

    def __init__(self, connection: sqlite3.Connection, repositories: Repositories, now: datetime) -> None:
        self._connection = connection
        self._repositories = repositories
        self._now = now
        self._ledger = SqliteLedger(connection)
        self._ledger.put_metadata("image", repositories.image, versions(repositories.image))
        root = {"root.json": repositories.director_root}
        self._ledger.put_metadata("director", root, versions(root))
        self._office = Office(ledger=self._ledger, repositories=repositories, now=now, connection=connection)
        self._running = self._office.add_release(RUNNING, b"what they run")
        self._office.add_release(ORDERED, b"what they shall run")

    def enrol(self, names: Sequence[DeviceId], say: Callable[[str], None]) -> None:
        """Add devices with all that is kept of them."""
        for start in range(0, len(names), _TRANSACTION):
            self._connection.execute("BEGIN")
            for n, device_id in enumerate(names[start : start + _TRANSACTION], start):
                self._add(device_id, self._succeeded(AssignmentId(n + 1), device_id))
            self._connection.execute("COMMIT")
            say(f"{min(start + _TRANSACTION, len(names)):,} of {len(names):,} devices are made")

    def certify(self, data: Path, names: Sequence[DeviceId]) -> list[Sampled]:
        """Return devices with a key and a certificate that the server knows."""
        ca = DeviceCa(open_authorities(data / "ca", (), self._now).device_ca)
        (data / "sampled").mkdir()
        self._connection.execute("BEGIN")
        found = [self._certified(ca, data / "sampled", device_id) for device_id in names]
        self._connection.execute("COMMIT")
        return found

    def order(self, callers: Sequence[Sampled]) -> list[Sampled]:
        """Return the devices, each with an order."""
        self._connection.execute("BEGIN")
        found = [self._with_order(caller) for caller in callers]
        self._connection.execute("COMMIT")
        return found

    def _add(self, device_id: DeviceId, attempt: Attempt) -> None:
        updated, ledger = self._now - _UPDATED_BEFORE, self._ledger
        report = statement(attempt.hash)
        enrolled_at = utc_text(updated)
        ledger.put_device(Device(device_id=device_id, hardware=HARDWARE, state=DeviceState.ACTIVE, enrolled_at=enrolled_at, report=report))
        ledger.add_certificate(device_id, f"{x509.random_serial_number():x}", "Surefoot device CA", certificate_terms(device_id, updated))
        ledger.put_attempt(attempt)
        journal = JournalId(secrets.token_hex(8))
        for seq, kind in enumerate(_HISTORY, 1):
            event = DeploymentEvent(seq=seq, type=kind, at=enrolled_at, assignment_id=attempt.assignment_id, data={"slot": "a"})
            ledger.add_event(device_id, journal, event, updated)
        ledger.put_presence({device_id: (int(self._now.timestamp()), 8_640)})
        direct(ledger, device_id, None, self._repositories.director, self._now)

    def _succeeded(self, assignment_id: AssignmentId, device_id: DeviceId) -> Attempt:
        running, updated = self._running, utc_text(self._now - _UPDATED_BEFORE)
        return Attempt(
            assignment_id=assignment_id,
            device_id=device_id,
            product=running.product,
            version=running.version,
            variant=running.variant,
            hardware=HARDWARE,
            path=target_path(running.product, running.version, HARDWARE, running.variant),
            hash=running.image.hash,
            size=running.image.size,
            issued_at=updated,
            start_before=updated,
            deadline_s=14_400,
            is_started=True,
            started_at=updated,
            is_healthy=True,
            outcome=Outcome.SUCCEEDED,
            ended_at=updated,
        )

    def _certified(self, ca: DeviceCa, folder: Path, device_id: DeviceId) -> Sampled:
        key = ec.generate_private_key(ec.SECP256R1())
        terms = certificate_terms(device_id, self._now)
        issued = ca.issue(csr_for(key), terms)
        self._ledger.add_certificate(device_id, issued.serial, issued.issuer, terms)
        file = folder / f"{device_id}.pem"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + issued.pem.encode())
        return Sampled(device_id=device_id, certificate=file, running=self._running)

    def _with_order(self, caller: Sampled) -> Sampled:
        attempt = self._office.order(ORDERED, caller.device_id)
        return Sampled(
            device_id=caller.device_id, certificate=caller.certificate, running=caller.running, assignment_id=attempt.assignment_id
        )
