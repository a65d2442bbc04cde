# SPDX-License-Identifier: Apache-2.0
"""The verbs on a real database without a network, at any instant a test likes."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from sqlalchemy import NullPool, create_engine

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, DeviceState
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest, digest_of
from surefoot.model.event import Acknowledgement, DeploymentEvent, DeviceReport, EventBatch, EventType, JournalId
from surefoot.model.manifest import Component, Manifest, ManifestEntry, ReleaseIndex, manifest_digest
from surefoot.model.record import from_json, to_json, utc_text
from surefoot.model.slot import SlotName
from surefoot.model.wire import PollAnswer
from surefoot.server.db.catalogue import SqlCatalogue
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.sqlite import connect, migrate
from surefoot.server.services.order import OrderRequest, order
from surefoot.server.services.poll import Changed, Poll, PollSettings
from surefoot.server.services.ports import Ledger, PublishedRelease
from surefoot.server.services.report import report
from surefoot.trust.repository import versions
from tests.trust.repositories import Repositories, manifest

_T = TypeVar("_T")

JOURNAL = JournalId("f1c2f1c2f1c2f1c2")
DEVICE = DeviceId("t-1")


@dataclass
class Office:
    ledger: SqliteLedger
    repositories: Repositories
    now: datetime
    connection: sqlite3.Connection
    interval_s: int = 300
    poll_verb: Poll = field(init=False)

    def __post_init__(self) -> None:
        settings = PollSettings(interval_s=self.interval_s, device_url="https://server:8443")
        self.poll_verb = Poll(reads=self.ledger, write=self.do, signers=self.repositories.director, settings=settings)

    async def do(self, job: Callable[[Ledger], _T]) -> _T:
        """Keep the writer's promise: a job that raises leaves no trace."""
        self.connection.execute("SAVEPOINT job")
        try:
            return job(self.ledger)
        except BaseException:
            self.connection.execute("ROLLBACK TO job")
            raise
        finally:
            self.connection.execute("RELEASE job")

    def pass_time(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def add_device(self, device_id: DeviceId = DEVICE, state: DeviceState = DeviceState.ACTIVE) -> DeviceId:
        self.ledger.put_device(Device(device_id=device_id, hardware="thermostat-v1", state=state, enrolled_at=utc_text(self.now)))
        return device_id

    def add_release(
        self, version: str, image: bytes = b"image", rules: Mapping[str, Any] = MappingProxyType({}), **more: str | list[Component]
    ) -> Manifest:
        """Put a release into the database and the image repository, as ``publish`` does."""
        wanted = manifest(version, image, **more)  # type: ignore[arg-type]  # the counter is left alone
        wanted = msgspec.structs.replace(wanted, **rules)
        self.repositories.now = self.now
        if wanted.product == "thermostat":
            self.repositories.release(wanted)
            self.ledger.put_metadata("image", self.repositories.image, versions(self.repositories.image))
        entry = ManifestEntry(hardware=wanted.target_hardware[0], variant="release", file="m.json", hash=manifest_digest(wanted))
        index = ReleaseIndex(
            product=wanted.product,
            version=version,
            build_id=wanted.build_id,
            manifests=[entry],
            sbom=digest_of(b"sbom"),
            provenance=digest_of(b"provenance"),
        )
        self.ledger.add_release(PublishedRelease(index=index, digest=digest_of(to_json(index)), manifests=(wanted,)), b"{}", self.now)
        self.poll_verb.reload()
        return wanted

    def order(self, version: str, device_id: DeviceId = DEVICE, **more: str | int | list[str]) -> Attempt:
        request = msgspec.convert({"version": version, **more}, OrderRequest)
        signers = self.repositories.director
        return asyncio.run(order(device_id, request, by="ann", write=self.do, live=self.live, signers=signers, now=self.now))

    def live(self, product: str, variant: str) -> list[Manifest]:
        """Return what may be ordered, from another connection, as the server does."""
        return self.catalogue().live_manifests(product, variant)

    def catalogue(self) -> SqlCatalogue:
        """Return lists for people, read on connections of their own."""
        database = Path(self.connection.execute("PRAGMA database_list").fetchone()[2])
        return SqlCatalogue(create_engine("sqlite://", creator=lambda: connect(database), poolclass=NullPool))

    def poll(self, etag: str = "", device_id: DeviceId = DEVICE) -> tuple[str, PollAnswer]:
        changed: Changed = asyncio.run(self.poll_verb.answer(device_id, etag, self.now))
        return changed.etag, msgspec.json.decode(changed.body, type=PollAnswer)

    def is_idle(self, etag: str, device_id: DeviceId = DEVICE) -> bool:
        row = self.ledger.check_in(serial_of(device_id))
        assert row is not None
        return self.poll_verb.is_idle(row, etag, int(self.now.timestamp()))

    def report(self, *events: DeploymentEvent, running: Digest | None = None, device_id: DeviceId = DEVICE) -> Acknowledgement:
        batch = EventBatch(journal=JOURNAL, events=list(events), report=None if running is None else self.said_by(running))
        return asyncio.run(report(device_id, batch, self.do, self.repositories.director, self.now))

    def said_by(self, running: Digest) -> DeviceReport:
        """Return what a device says that runs an image: what its manifest says, if it was published."""
        bodies = self.connection.execute("SELECT body FROM manifest")
        manifests = [from_json(body, Manifest, what="stored manifest") for (body,) in bodies]
        found = next((one for one in manifests if one.image.hash == running), None)
        if found is None:
            return statement(running)
        names = ("product", "version", "release_counter", "data_format", "revert_to")
        return msgspec.structs.replace(statement(running), **{name: getattr(found, name) for name in names})

    def attempt(self, attempt: Attempt) -> Attempt:
        found = self.ledger.attempt(attempt.assignment_id)
        assert found is not None
        return found


def statement(running: Digest) -> DeviceReport:
    return DeviceReport(
        hardware="thermostat-v1",
        bootloader_version="1.0.0",
        agent_version="0.1.0",
        slot=SlotName.A,
        product="thermostat",
        version="1.0.0",
        build_id="b",
        hash=running,
        release_counter=1,
    )


def event(seq: int, kind: EventType, attempt: Attempt | None = None, **data: str) -> DeploymentEvent:
    assignment_id = None if attempt is None else attempt.assignment_id
    return DeploymentEvent(seq=seq, type=kind, at="1970-01-01T00:00:09Z", clock="unsynced", assignment_id=assignment_id, data=data)


def serial_of(device_id: DeviceId) -> str:
    return device_id.encode().hex()


@contextmanager
def open_office(folder: Path, *, interval_s: int = 300) -> Iterator[Office]:
    migrate(folder / "db")
    with closing(connect(folder / "db")) as connection:
        ledger = SqliteLedger(connection)
        repositories = Repositories()
        ledger.put_metadata("image", repositories.image, versions(repositories.image))
        root = {"root.json": repositories.director_root}
        ledger.put_metadata("director", root, versions(root))
        office = Office(ledger=ledger, repositories=repositories, now=repositories.now, connection=connection, interval_s=interval_s)
        office.add_device()
        connection.execute(
            "INSERT INTO certificate (serial, device_id, issuer, not_after) VALUES (?, ?, ?, ?)", (serial_of(DEVICE), DEVICE, "a CA", 2**40)
        )
        yield office
