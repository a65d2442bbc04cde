# SPDX-License-Identifier: Apache-2.0
"""A board in virtual time: the real agent on flash that loses power, started by a real bootloader's rules.

What a release does is decided by the bytes in the slot: an image begins with a line that names its ``Behaviour``. The board
refuses to run bytes that nobody released, so "it always boots something verified" is checked at every single boot.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from surefoot.agent.admission import Board
from surefoot.agent.assembly import DATA, SLOTS, open_journal
from surefoot.agent.boot.file import FileBootControl, boot, factory, save
from surefoot.agent.download import Response
from surefoot.agent.health import Health
from surefoot.agent.install import SlotFiles
from surefoot.agent.runner import Parts, Runner, factory_state
from surefoot.agent.signals import Event
from surefoot.agent.state import Policy
from surefoot.agent.storage import read_file, replace_file
from surefoot.agent.transport import Polled, Server
from surefoot.agent.trusted import TrustedStore
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import TransportError
from surefoot.model.event import Acknowledgement, EventBatch
from surefoot.model.slot import Installed, SlotName
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from surefoot.trust.metadata import Files

_MAX_STEPS = 10_000
_BOOT_S = 5.0


class Behaviour(StrEnum):
    """What a release does once it is started."""

    GOOD = "good"
    CRASHES = "crashes"
    HANGS = "hangs"
    UNHEALTHY = "unhealthy"
    LOSES_SERVER = "loses-server"


class Rebooting(BaseException):
    """The board goes down to boot again; nothing in the agent may catch it."""


class UnverifiedBootError(AssertionError):
    """The board was made to run bytes that nobody released: what must never happen."""


def image(behaviour: Behaviour, size: int) -> bytes:
    """Return an image of ``size`` bytes whose release behaves like that; every 4 KiB of it is different."""
    head = f"surefoot-simulated {behaviour}\n".encode()
    body = b"".join(f"{behaviour} {offset:>12}\n".encode().ljust(64, b".") for offset in range(0, size, 64))
    return (head + body)[:size]


@dataclass(slots=True, kw_only=True)
class SimulatedBoard:
    """One board, powered through as many lives as it takes.

    Attributes:
        device_id: Who it is.
        board: What decides whether an image fits.
        flash: What survives; replaced by what is left of it after a power cut.
        server: The server, which knows nothing of power cuts here.
        released: Digests of everything that was ever released, by which each boot is judged.
        clock: Virtual time.
        policy: The agent's numbers.
        boots: The slot and digest of every boot, in order.
    """

    device_id: DeviceId
    board: Board
    flash: SimulatedFlash
    server: Server
    released: Collection[Digest]
    clock: VirtualClock = field(default_factory=VirtualClock)
    policy: Policy = field(default_factory=lambda: Policy(settle_s=2, trial_s=20))
    boots: list[tuple[SlotName, Digest]] = field(default_factory=list)

    def leave_factory(self, running: Installed, content: bytes, director_root: bytes, image_root: bytes) -> None:
        """Write what a board has when it is first powered in the field: one good slot, both roots, the agent's first state."""
        replace_file(self.flash, SLOTS[SlotName.A], content)
        save(self.flash, factory(SlotName.A))
        trusted = TrustedStore(self.flash, f"{DATA}/trusted")
        trusted.save("director", {"root.json": director_root})
        trusted.save("image", {"root.json": image_root})
        journal = open_journal(self.flash)
        journal.append(factory_state(running, SlotName.A, self.clock.now()))

    def run(self, until: Callable[[Runner], bool]) -> None:
        """Boot and run, over and over, until the agent has got somewhere.

        Raises:
            PowerCut: The flash was told to lose power.
            UnverifiedBootError: A slot that was booted holds bytes that nobody released.
            RuntimeError: It does not get there.
        """
        for _ in range(50):
            if self._life(until):
                return
        raise RuntimeError(f"{len(self.boots)} boots and no end: {self.boots[-5:]}")

    def trusted(self, repository: str) -> Files:
        """Return the metadata the device trusts now."""
        return TrustedStore(self.flash, f"{DATA}/trusted").load("director" if repository == "director" else "image")

    def _life(self, until: Callable[[Runner], bool]) -> bool:
        slot = boot(self.flash)
        content = read_file(self.flash, SLOTS[slot]) or b""
        self.boots.append((slot, digest_of(content)))
        if digest_of(content) not in self.released:
            raise UnverifiedBootError(f"slot {slot} holds {len(content)} bytes that nobody released")
        self.flash.count(f"effect boot slot {slot}")
        self.clock.sleep(_BOOT_S)
        behaviour = Behaviour(content.split(b"\n", 1)[0].removeprefix(b"surefoot-simulated ").decode())
        if behaviour in {Behaviour.CRASHES, Behaviour.HANGS}:
            return False  # the agent never starts; the board resets, or its watchdog does it
        try:
            return self._run_agent(slot, behaviour, until)
        except Rebooting:
            return False

    def _run_agent(self, slot: SlotName, behaviour: Behaviour, until: Callable[[Runner], bool]) -> bool:
        runner = Runner(self._parts(behaviour), slot)
        event: Event = runner.booted()
        for _ in range(_MAX_STEPS):
            event = runner.advance(event)
            if until(runner):
                return True
        raise RuntimeError(f"the agent does not get out of {runner.state.phase}")

    def _parts(self, behaviour: Behaviour) -> Parts:
        return Parts(
            device_id=self.device_id,
            agent_version="simulated",
            board=self.board,
            journal=open_journal(self.flash),
            trusted=TrustedStore(self.flash, f"{DATA}/trusted"),
            slots=SlotFiles(self.flash, SLOTS, self.board.slot_capacity_bytes),
            boot=FileBootControl(self.flash),
            server=_CountedServer(server=self.server, flash=self.flash, is_reachable=behaviour is not Behaviour.LOSES_SERVER),
            monitor=_SimulatedHealth(clock=self.clock, is_healthy=behaviour is not Behaviour.UNHEALTHY),
            clock=self.clock,
            reboot=self._reboot,
            renew=lambda: None,
            policy=self.policy,
        )

    def _reboot(self) -> NoReturn:
        self.flash.count("effect reboot")
        raise Rebooting


@dataclass(slots=True, kw_only=True)
class _CountedServer:
    """The server as the board reaches it: the power may fail before a request leaves and before its answer is used."""

    server: Server
    flash: SimulatedFlash
    is_reachable: bool

    def poll(self, etag: str) -> Polled:
        self._leave("poll")
        answer = self.server.poll(etag)
        self.flash.count("effect poll answered")
        return answer

    def send(self, batch: EventBatch) -> Acknowledgement:
        self._leave("report")
        answer = self.server.send(batch)
        self.flash.count("effect report answered")
        return answer

    def open(self, url: str, offset: int) -> Response:
        self._leave("download")
        return self.server.open(url, offset)

    def _leave(self, what: str) -> None:
        self.flash.count(f"effect {what}")
        if not self.is_reachable:
            raise TransportError("This release has lost the server.")


@dataclass(slots=True, kw_only=True)
class _SimulatedHealth:
    clock: VirtualClock
    is_healthy: bool
    since_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.since_s = self.clock.monotonic()

    def check(self) -> Health:
        if not self.is_healthy:
            return Health(healthy_s=0, failing="The release says that it is not healthy.")
        return Health(healthy_s=self.clock.monotonic() - self.since_s, failing="")
