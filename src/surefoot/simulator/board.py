# SPDX-License-Identifier: Apache-2.0
"""A simulated board: the real agent on flash that loses power, started by a real bootloader's rules, one step at a time.

- A step is one boot or one turn of the agent. Whoever owns the board takes the steps: a test until something is reached, a
  world in the order of virtual time, a thread in wall time. A step that waits tells the board's clock, which moves or sleeps.
- What a release does is decided by the bytes in the slot, out of which ``load`` gets a program.
- The board may be told what was ever released. It then refuses to run anything else, so that "it always boots something
  verified" is checked at every single boot.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from surefoot.agent.admission import Board
from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.file import FileStore
from surefoot.agent.boot.state import factory
from surefoot.agent.boot.store import StateStore, StoredBootControl, start
from surefoot.agent.clock import Clock
from surefoot.agent.consent import put_off_until
from surefoot.agent.download import Response
from surefoot.agent.health import Health
from surefoot.agent.home import DATA, open_journal
from surefoot.agent.install import keep
from surefoot.agent.installer import SLOTS
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.installers.port import Installer
from surefoot.agent.interlock import inhibitors
from surefoot.agent.origin import Origin
from surefoot.agent.recovery import keep as keep_copy
from surefoot.agent.runner import Parts, Runner, factory_state
from surefoot.agent.signals import Event
from surefoot.agent.state import Policy
from surefoot.agent.storage import read_file, replace_file
from surefoot.agent.transport import Polled, Server
from surefoot.agent.trusted import TrustedStore
from surefoot.agent.vitals import Reset
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import Error, TransportError
from surefoot.model.event import Acknowledgement, EventBatch
from surefoot.model.slot import Installed, SlotName
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import PowerCut, SimulatedFlash
from surefoot.simulator.program import SERVER_OVERRIDE, Load, Program
from surefoot.trust.metadata import Files

_MAX_STEPS = 10_000
_MAX_BOOTS = 50
_TAG = b"surefoot-simulated "


class Behaviour(StrEnum):
    """What a release made by ``image`` does once it is started."""

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
    head = _TAG + f"{behaviour}\n".encode()
    body = b"".join(f"{behaviour} {offset:>12}\n".encode().ljust(64, b".") for offset in range(0, size, 64))
    return (head + body)[:size]


@dataclass(frozen=True, slots=True)
class SketchedProgram:
    """The program of an image that only names its ``Behaviour`` in its first line."""

    behaviour: Behaviour

    def at_start(self, serial: str) -> None:
        """Crash, if it is one that does; one that hangs is reset by its watchdog, which comes to the same."""
        if self.behaviour in {Behaviour.CRASHES, Behaviour.HANGS}:
            raise RuntimeError(f"{serial} {self.behaviour}")

    def is_healthy(self) -> bool:
        """Say whether it is one that is."""
        return self.behaviour is not Behaviour.UNHEALTHY

    def agent_environment(self) -> Mapping[str, str]:
        """Send the agent astray, if it is one that does."""
        return {SERVER_OVERRIDE: "https://nobody"} if self.behaviour is Behaviour.LOSES_SERVER else {}


def load_sketch(image: bytes) -> SketchedProgram:
    """Return the program of an image made by ``image``; ``ValueError`` for any other."""
    return SketchedProgram(Behaviour(image.split(b"\n", 1)[0].removeprefix(_TAG).decode()))


class Nobody:
    """A server that is not there."""

    def __init__(self, url: str) -> None:
        """Be nobody at ``url``."""
        self._url = url

    def poll(self, etag: str) -> Polled:  # noqa: ARG002  # the port's
        """Raise ``TransportError``."""
        raise self._silence()

    def send(self, batch: EventBatch) -> Acknowledgement:  # noqa: ARG002  # the port's
        """Raise ``TransportError``."""
        raise self._silence()

    def open(self, url: str, offset: int) -> Response:  # noqa: ARG002  # the port's
        """Raise ``TransportError``."""
        raise self._silence()

    def _silence(self) -> TransportError:
        return TransportError(f"{self._url} does not answer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """A bootloader on flash: the agent's side, in the slot that runs, and the loader's, which starts a slot."""

    control: Callable[[SimulatedFlash, SlotName], BootControl]
    start: Callable[[SimulatedFlash], SlotName]


def stored(store: Callable[[SimulatedFlash], StateStore]) -> Loader:
    """Return the bootloader whose whole state is one value."""
    return Loader(control=lambda flash, _running: StoredBootControl(store(flash)), start=lambda flash: start(store(flash)))


FILE_LOADER = stored(FileStore)


def slot_files(flash: SimulatedFlash, _running: SlotName, capacity_bytes: int) -> Installer:
    """Return the installer of a board whose slots are files."""
    return SlotFiles(flash, SLOTS, capacity_bytes)


def file_content(flash: SimulatedFlash, slot: SlotName) -> tuple[bytes, Digest]:
    """Return what lies in a slot that is a file: the image is the program."""
    content = read_file(flash, SLOTS[slot]) or b""
    return content, digest_of(content)


@dataclass(slots=True, kw_only=True)
class SimulatedBoard:
    """One board, powered through as many lives as it takes.

    Attributes:
        device_id: Who it is.
        board: What decides whether an image fits.
        flash: What survives; replaced by what is left of it after a power cut.
        server: The server, which knows nothing of power cuts here.
        released: Digests of everything that was ever released, by which each boot is judged; ``None`` judges none.
        clock: Virtual time, or wall time.
        policy: The agent's numbers.
        loader: Its bootloader, both sides of it.
        installer: Fills the slots on the flash, while one of them runs, with images up to a number of bytes.
        content: Finds the program in a slot on the flash, and the digest of the image that it came in.
        load: Gets the program out of a slot's image.
        elsewhere: Connects to the address that a release sends its agent to.
        renew: Gets the device a new certificate when that is due.
        boot_s: How long a boot takes.
        reset: What the board says that it was reset by.
        brokers: The message brokers that the release is asked about, and whether each is reached.
        needs_brokers: Whether their probes are required: those that were reached before an update must be reached after it.
        look_s: How often at most a kept release is looked at.
        at_boot: Told of each slot that is started and what lies in it, before it runs.
        boots: The slot and digest of every boot, in order.
        runner: The agent, while it runs.
    """

    device_id: DeviceId
    board: Board
    flash: SimulatedFlash
    server: Server
    released: Collection[Digest] | None = None
    clock: Clock = field(default_factory=VirtualClock)
    policy: Policy = field(default_factory=lambda: Policy(settle_s=2, trial_s=20))
    loader: Loader = FILE_LOADER
    installer: Callable[[SimulatedFlash, SlotName, int], Installer] = slot_files
    content: Callable[[SimulatedFlash, SlotName], tuple[bytes, Digest]] = file_content
    load: Load = load_sketch
    elsewhere: Callable[[str], Server] = Nobody
    renew: Callable[[], None] = lambda: None
    boot_s: float = 5.0
    reset: Reset = Reset.OTHER
    brokers: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    needs_brokers: bool = True
    look_s: float = 30.0
    at_boot: Callable[[SlotName, Digest], None] = lambda _slot, _found: None
    boots: list[tuple[SlotName, Digest]] = field(default_factory=list)
    runner: Runner | None = field(default=None, init=False)
    _event: Event | None = field(default=None, init=False)

    def leave_factory(self, running: Installed, content: bytes, director_root: bytes, image_root: bytes) -> None:
        """Write what a board has when it is first powered in the field: one good slot, both roots, the agent's first state."""
        replace_file(self.flash, SLOTS[SlotName.A], content)
        FileStore(self.flash).write(factory(SlotName.A))
        trusted = TrustedStore(self.flash, f"{DATA}/trusted")
        trusted.save("director", {"root.json": director_root})
        trusted.save("image", {"root.json": image_root})
        self.first_power(running)

    def first_power(self, running: Installed) -> None:
        """Write the agent's first state on flash that has everything else."""
        open_journal(self.flash).append(factory_state(running, SlotName.A, self.clock.now()))

    def run(self, until: Callable[[Runner], bool]) -> None:
        """Boot and run, over and over, until the agent has got somewhere.

        Raises:
            PowerCut: The flash was told to lose power.
            UnverifiedBootError: A slot that was booted holds bytes that nobody released.
            RuntimeError: It does not get there.
        """
        self.off()
        first = len(self.boots)
        for _ in range(_MAX_STEPS):
            if len(self.boots) - first > _MAX_BOOTS:
                raise RuntimeError(f"{len(self.boots)} boots and no end: {self.boots[-5:]}")
            if self.step() and self.runner is not None and until(self.runner):
                return
        raise RuntimeError(f"the agent does not get out of {None if self.runner is None else self.runner.state.phase}")

    def off(self) -> None:
        """Lose everything that is not on the flash; the next step boots."""
        self.runner = self._event = None

    def step(self) -> bool:
        """Boot, or let the agent take one step; say whether it was the agent, and it still runs.

        Raises:
            PowerCut: The flash was told to lose power; give the board what is left of it.
            UnverifiedBootError: The slot to boot holds bytes that nobody released.
            Error: The agent ended with it; the next step boots.
        """
        try:
            if self.runner is None or self._event is None:
                self._boot()
                return False
            self._event = self.runner.advance(self._event)
        except Rebooting:
            self.off()
            return False
        except (PowerCut, Error):
            self.off()
            raise
        return True

    def trusted(self, repository: str) -> Files:
        """Return the metadata the device trusts now."""
        return TrustedStore(self.flash, f"{DATA}/trusted").load("director" if repository == "director" else "image")

    def parts(self, program: Program, slot: SlotName) -> Parts:
        """Return what the agent of a ``program`` that was started in ``slot`` is put together from."""
        elsewhere = program.agent_environment().get(SERVER_OVERRIDE)
        server = self.server if elsewhere is None else self.elsewhere(elsewhere)
        return Parts(
            device_id=self.device_id,
            agent_version="simulated",
            board=self.board,
            journal=open_journal(self.flash),
            trusted=TrustedStore(self.flash, f"{DATA}/trusted"),
            slots=self.installer(self.flash, slot, self.board.slot_capacity_bytes),
            boot=self.loader.control(self.flash, slot),
            server=_CountedServer(server=server, flash=self.flash),
            monitor=ProgramHealth(program, self.clock, self.brokers, needs_brokers=self.needs_brokers, look_s=self.look_s),
            clock=self.clock,
            reboot=self._reboot,
            renew=self.renew,
            policy=self.policy,
            put_off_until=lambda: put_off_until(self.flash, DATA),
            inhibitors=lambda: inhibitors(self.flash, DATA),
            keep_copy=lambda state: keep_copy(self.flash, DATA, state),
            origin=Origin(boot=f"boot {len(self.boots)}", reset=self.reset),
        )

    def _boot(self) -> None:
        slot = self.loader.start(self.flash)
        content, found = self.content(self.flash, slot)
        self.boots.append((slot, found))
        if self.released is not None and found not in self.released:
            raise UnverifiedBootError(f"slot {slot} holds {len(content)} bytes that nobody released")
        self.flash.count(f"effect boot slot {slot}")
        self.at_boot(slot, found)
        self.clock.sleep(self.boot_s)
        program = self._start(content)
        if program is not None:
            keep(self.loader.control(self.flash, slot), slot)
            runner = Runner(self.parts(program, slot), slot)
            self._event, self.runner = runner.booted(), runner

    def _start(self, content: bytes) -> Program | None:
        try:
            program = self.load(content)
            program.at_start(self.device_id)
        except Exception:  # noqa: BLE001  # whatever a release raises is a crash of the release: the board resets
            return None
        return program

    def _reboot(self) -> NoReturn:
        self.flash.count("effect reboot")
        raise Rebooting


@dataclass(slots=True, kw_only=True)
class _CountedServer:
    """The server as the board reaches it: the power may fail before a request leaves and before its answer is used."""

    server: Server
    flash: SimulatedFlash

    def poll(self, etag: str) -> Polled:
        self.flash.count("effect poll")
        answer = self.server.poll(etag)
        self.flash.count("effect poll answered")
        return answer

    def send(self, batch: EventBatch) -> Acknowledgement:
        self.flash.count("effect report")
        answer = self.server.send(batch)
        self.flash.count("effect report answered")
        return answer

    def open(self, url: str, offset: int) -> Response:
        self.flash.count("effect download")
        return self.server.open(url, offset)


class ProgramHealth:
    """The health of a release as its own code tells it."""

    def __init__(
        self,
        program: Program,
        clock: Clock,
        brokers: Mapping[str, Callable[[], bool]] | None = None,
        *,
        needs_brokers: bool = True,
        look_s: float = 0.0,
    ) -> None:
        """Ask ``program``; a release that is well counts as such from now on. Each of ``brokers`` says whether it is reached."""
        self._needs_brokers = needs_brokers
        self._look_s = look_s
        self._program = program
        self._clock = clock
        self._brokers = brokers or {}
        self._since_s: float | None = clock.monotonic()
        self._has_held = False

    @property
    def brokers(self) -> frozenset[str]:
        """Implement ``HealthMonitor``."""
        return frozenset(self._brokers) if self._needs_brokers else frozenset()

    def check(self, owed: Collection[str] = (), *, pace_s: float = 0.0) -> Health:  # noqa: ARG002  # the port's
        """Implement ``HealthMonitor``: the program is asked at each look."""
        reached = self.reached()
        missing = [broker for broker in owed if broker not in reached]
        lost = f"{missing[0]} is not reached." if missing else ""
        if not self._is_healthy():
            self._since_s = None
            said = "The release says that it is not healthy."
            return Health(healthy_s=0, failing=said, lost=lost, reached=reached, has_held=self._has_held)
        self._has_held = True
        now_s = self._clock.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        return Health(healthy_s=now_s - self._since_s, failing="", lost=lost, reached=reached, has_held=True)

    def reached(self) -> frozenset[str]:
        """Implement ``HealthMonitor``."""
        return frozenset(broker for broker in self.brokers if self._brokers[broker]())

    def rest_s(self, *, pace_s: float) -> float:
        """Implement ``HealthMonitor``."""
        return max(pace_s, self._look_s)

    def _is_healthy(self) -> bool:
        try:
            return self._program.is_healthy()
        except Exception:  # noqa: BLE001  # a release that cannot say that it is well is not
            return False
