# SPDX-License-Identifier: Apache-2.0
"""A town: a world of simulated boards around the real services of the server on a real database."""

import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from surefoot.agent.admission import Board
from surefoot.agent.boot.file import save
from surefoot.agent.boot.state import factory
from surefoot.agent.download import Response
from surefoot.agent.home import DATA
from surefoot.agent.installer import SLOTS
from surefoot.agent.memory import installed_from
from surefoot.agent.state import Policy
from surefoot.agent.storage import replace_file
from surefoot.agent.transport import Polled
from surefoot.agent.triggers import Thresholds
from surefoot.agent.trusted import TrustedStore
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest, digest_of
from surefoot.model.event import Acknowledgement, EventBatch
from surefoot.model.slot import SlotName
from surefoot.model.wire import PollAnswer
from surefoot.server.services.order import OrderRequest, order
from surefoot.server.services.report import report
from surefoot.simulator.board import Behaviour, SimulatedBoard, image, load_sketch
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from surefoot.simulator.network import Network, Weather
from surefoot.simulator.program import Load
from surefoot.simulator.world import Dormant, Fate, World
from tests.server.office import Office, open_office, serial_of, statement
from tests.trust.repositories import manifest

_T = TypeVar("_T")

FACTORY = image(Behaviour.GOOD, 4000)
RUNNING = installed_from(manifest("1.0.0", FACTORY))
BOARD = Board(hardware="thermostat-v1", bootloader_version="2.0.0", slot_capacity_bytes=64 * 1024)
# A town is too large to watch each of its boards for a day.
POLICY = Policy(settle_s=5, trial_s=60, probe_s=5, rollback=Thresholds(watch_s=3600))
FAIR = Weather()


def done(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return what a verb answers; on a ledger of its own it waits for nobody."""
    try:
        coroutine.send(None)
    except StopIteration as answer:
        return answer.value  # type: ignore[no-any-return]  # what the coroutine returns
    raise AssertionError("the verb waited")


@dataclass
class OfficeServices:
    """The verbs as boards reach them: the port ``surefoot.simulator.network.Services``."""

    office: Office
    images: dict[Digest, bytes] = field(default_factory=dict)
    polls: int = 0

    def poll(self, device_id: DeviceId, etag: str, now: datetime) -> Polled:
        self.office.now = now
        self.polls += 1
        row = self.office.ledger.check_in(serial_of(device_id))
        assert row is not None
        next_poll_s = self.office.poll_verb.next_poll_s(device_id)
        if etag and self.office.poll_verb.is_idle(row, etag, int(now.timestamp())):
            return Polled(next_poll_s=next_poll_s, answer=None, etag=etag)
        changed = done(self.office.poll_verb.answer(device_id, etag, now))
        return Polled(next_poll_s=next_poll_s, answer=msgspec.json.decode(changed.body, type=PollAnswer), etag=changed.etag)

    def report(self, device_id: DeviceId, batch: EventBatch, now: datetime) -> Acknowledgement:
        self.office.now = now
        return done(report(device_id, batch, self.office.do, self.office.repositories.director, now))

    def artifact(self, device_id: DeviceId, digest: Digest, offset: int) -> Response:
        assert self.office.ledger.is_ordered(device_id, digest)
        data = self.images[digest]
        pieces = (data[start : start + 1500] for start in range(offset, len(data), 1500))
        return Response(status=206, start=offset, total=len(data), chunks=pieces, close=lambda: None)


@dataclass
class Town:
    """The services, and a world of boards that know each other's releases."""

    office: Office
    services: OfficeServices
    world: World
    released: set[Digest]
    shipped: SimulatedFlash
    policy: Policy = POLICY

    def release(self, version: str, behaviour: Behaviour, size: int = 4096) -> bytes:
        content = image(behaviour, size)
        self.office.add_release(version, content)
        self.services.images[digest_of(content)] = content
        self.released.add(digest_of(content))
        return content

    def register(self, serial: str) -> DeviceId:
        device_id = self.office.add_device(DeviceId(serial))
        add = "INSERT OR IGNORE INTO certificate (serial, device_id, issuer, not_after) VALUES (?, ?, 'a CA', ?)"
        self.office.ledger._connection.execute(add, (serial_of(device_id), device_id, 2**40))
        return device_id

    def board(self, device_id: DeviceId, clock: VirtualClock, weather: Weather = FAIR, load: Load = load_sketch) -> SimulatedBoard:
        chance = random.Random(device_id)  # noqa: S311  # the same weather every time
        services = self.world.services
        network = Network(
            device_id=device_id, services=services, clock=clock, epoch=self.world.epoch, weather=weather, chance=chance.random
        )
        board = SimulatedBoard(
            device_id=device_id,
            board=BOARD,
            flash=self.shipped.fork(),
            server=network,
            released=self.released,
            clock=clock,
            policy=self.policy,
            load=load,
            look_s=600.0,
        )
        board.first_power(RUNNING)
        return board

    def settle(self, serial: str, *, ahead_s: float = 0.0, weather: Weather = FAIR, fate: Fate | None = None) -> SimulatedBoard:
        """Let a new board move in."""
        device_id = self.register(serial)
        clock = self.world.clock(ahead_s=ahead_s)
        board = self.board(device_id, clock, weather)
        self.world.add(board, clock, fate)
        return board

    def settle_dormant(self, serial: str, *, ahead_s: float, fate: Fate | None = None, load: Load = load_sketch) -> DeviceId:
        """Let a board move in that has been idle for long: it has said what it runs, and holds its view."""
        device_id = self.register(serial)
        self.office.ledger.put_report(device_id, statement(RUNNING.hash))
        etag = self.services.poll(device_id, "", self.world.now).etag
        dormant = Dormant(device_id=device_id, etag=etag, wake=lambda clock: self.board(device_id, clock, load=load), fate=fate or Fate())
        self.world.add_dormant(dormant, ahead_s=ahead_s)
        return device_id

    def order(self, version: str, *serials: str) -> None:
        request = OrderRequest(version=version)
        for serial in serials:
            done(
                order(
                    DeviceId(serial),
                    request,
                    by="ann",
                    write=self.office.do,
                    live=self.office.live,
                    signers=self.office.repositories.director,
                    now=self.office.now,
                )
            )

    def outcomes(self, *serials: str) -> list[str]:
        """Return how each device's last attempt ended; empty while it is open."""
        found = []
        for serial in serials:
            stored = self.office.ledger._connection.execute(
                "SELECT outcome FROM assignment WHERE device_id = ? ORDER BY assignment_id DESC LIMIT 1", (serial,)
            ).fetchone()
            found.append("" if stored is None or stored[0] is None else str(stored[0]))
        return found


def ship(office: Office, *, keeps_log: bool = False) -> SimulatedFlash:
    """Return flash with all that boards have in common when they leave the factory; forks of it share the bytes."""
    flash = SimulatedFlash(keeps_log=keeps_log)
    replace_file(flash, SLOTS[SlotName.A], FACTORY)
    save(flash, factory(SlotName.A))
    trusted = TrustedStore(flash, f"{DATA}/trusted")
    trusted.save("director", {"root.json": office.repositories.director_root})
    trusted.save("image", {"root.json": office.repositories.image["root.json"]})
    return flash


@contextmanager
def open_town(
    folder: Path, *, tick: Callable[[datetime], None] = lambda _: None, tick_s: float = 10.0, interval_s: int = 300
) -> Iterator[Town]:
    with open_office(folder, interval_s=interval_s) as office:
        # What a power cut does to the database is tested elsewhere; here one transaction holds the life of a town.
        office.ledger._connection.execute("BEGIN")
        services = OfficeServices(office)
        world = World(services, office.now, tick=tick, tick_s=tick_s)
        yield Town(office=office, services=services, world=world, released={digest_of(FACTORY)}, shipped=ship(office))
        office.ledger._connection.execute("COMMIT")
