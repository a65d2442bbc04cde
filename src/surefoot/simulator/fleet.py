# SPDX-License-Identifier: Apache-2.0
"""A simulated fleet in wall time: many boards in one process, each the real agent, a real TLS identity, and flash in memory.

- Each board is a thread, joins by its own offer, and talks to a running server as a device does, over mutual TLS.
- The boards run the code in their slots, see ``surefoot.simulator.program``; a start that hangs is ended by a watchdog.
- A board that crashes, or whose agent ends, boots again after a short pause.
- ``<serial>/`` holds a board's identity, since the TLS library wants files; everything else of a board is in memory and ends
  with the fleet. ``journals.json`` says what each board remembers, see ``surefoot.simulator.story``.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event, Lock, Semaphore, Thread

from surefoot.agent.admission import Board
from surefoot.agent.clock import Clock
from surefoot.agent.enrol import enrol, read_identity
from surefoot.agent.home import DATA
from surefoot.agent.keystore import FileKeys
from surefoot.agent.network import Patience
from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.renewal import Renewal
from surefoot.agent.state import Policy
from surefoot.agent.transport import Credentials, HttpsServer
from surefoot.agent.trusted import TrustedStore
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import Error, TransientError
from surefoot.model.record import to_json
from surefoot.model.slot import Installed
from surefoot.model.wire import EnrolmentOffer
from surefoot.simulator.board import SimulatedBoard
from surefoot.simulator.flash import SimulatedFlash
from surefoot.simulator.program import Watched, load_image
from surefoot.simulator.recorder import follow_flash, replace_text
from surefoot.simulator.story import BoardStory, Recorder

JOURNALS = "journals.json"

_PATIENCE = Patience(connect_s=5, wait_s=10, answer_s=30)
_JOINING_AT_ONCE = 8


class Stopping(BaseException):
    """The fleet is being switched off; nothing in the agent may catch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What all boards of a fleet have in common when they leave the factory.

    Attributes:
        board: What decides whether an image fits.
        running: The release in slot a.
        image: Its bytes.
    """

    board: Board
    running: Installed
    image: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things take, in seconds.

    Attributes:
        boot_s: A boot, and so the pause after a crash.
        watchdog_s: How long a release may take to start.
        spread_s: The first boots are spread over this; the poll interval keeps the server's load even.
        retry_s: From an enrolment that did not get through to the next try, and from the end of an agent to the next boot.
        stop_s: From asking the boards to stop to leaving them behind.
        policy: The agent's numbers.
    """

    boot_s: float = 0.3
    watchdog_s: float = 5.0
    spread_s: float = 1.0
    retry_s: float = 1.0
    stop_s: float = 5.0
    policy: Policy = field(default_factory=lambda: Policy(settle_s=2, trial_s=20))


class Fleet:
    """Boards in wall time, from their enrolment to their switching off."""

    def __init__(self, folder: Path, model: Model, offers: Sequence[EnrolmentOffer], *, say: Callable[[str], None], pace: Pace) -> None:
        """Make one board for each offer below ``folder``; ``say`` is told what happens in lines, from any thread."""
        self._folder = folder
        self._say = say
        self._pace = pace
        self._stop = Event()
        joining = Semaphore(_JOINING_AT_ONCE)
        self._lives = [
            _Life(
                folder=folder / offer.device_id,
                model=model,
                offer=offer,
                pace=pace,
                stop=self._stop,
                joining=joining,
                failed=self._failed,
            )
            for offer in offers
        ]
        self._written = b""
        self._failures = 0
        self._lock = Lock()

    @property
    def failures(self) -> int:
        """How many boards never joined."""
        return self._failures

    @property
    def up(self) -> int:
        """How many boards the server has heard of since they were switched on."""
        return sum(life.is_up for life in self._lives)

    def stories(self) -> dict[DeviceId, BoardStory]:
        """Return what each board remembers now."""
        return {life.serial: life.story for life in self._lives}

    def write_stories(self) -> None:
        """Write ``journals.json``, if anything changed; nobody reads half of it."""
        data = to_json(self.stories()) + b"\n"
        if data != self._written:
            replace_text(self._folder / JOURNALS, data)
            self._written = data

    def run(self, stop: Event, look_s: float = 1.0) -> None:
        """Switch the boards on, write ``journals.json`` every ``look_s`` seconds, and switch them off once ``stop`` is set."""
        threads = [Thread(target=life.run, name=life.serial, daemon=True) for life in self._lives]
        for thread in threads:
            thread.start()
        said = -1
        while not stop.wait(look_s) and any(thread.is_alive() for thread in threads):
            said = self._progress(said)
            self.write_stories()
        self._stop.set()
        clock = SystemClock()
        deadline_s = clock.monotonic() + self._pace.stop_s
        for thread in threads:
            thread.join(max(0.0, deadline_s - clock.monotonic()))
        self.write_stories()
        self._say("off")

    def _progress(self, said: int) -> int:
        up = self.up
        if up != said and said < len(self._lives):
            self._say(f"{up} of {len(self._lives)} boards are up" if up < len(self._lives) else f"all {up} boards are up")
        return max(up, said)

    def _failed(self, serial: str, error: Error) -> None:
        with self._lock:
            self._failures += 1
        self._say(f"{serial}: {error.message} {error.hint}".rstrip())


@dataclass(slots=True, kw_only=True)
class _Life:
    """One board of the fleet, on a thread of its own."""

    folder: Path
    model: Model
    offer: EnrolmentOffer
    pace: Pace
    stop: Event
    joining: Semaphore
    failed: Callable[[str, Error], None]
    is_up: bool = False
    flash: SimulatedFlash = field(default_factory=lambda: SimulatedFlash(keeps_log=False))
    recorder: Recorder = field(init=False)
    clock: "_WallClock" = field(init=False)
    board: SimulatedBoard | None = None

    def __post_init__(self) -> None:
        self.recorder = follow_flash(self.flash)
        self.clock = _WallClock(self.stop, self._rest)

    @property
    def serial(self) -> DeviceId:
        return self.offer.device_id

    @property
    def story(self) -> BoardStory:
        return self.recorder.story

    def run(self) -> None:
        try:
            self.clock.sleep(zlib.crc32(self.serial.encode()) / 2**32 * self.pace.spread_s)
            self.board = self._assemble()
            while True:
                self._turn(self.board)
        except Stopping:
            self.recorder.look()
        except Error as error:
            self.failed(self.serial, error)

    def _turn(self, board: SimulatedBoard) -> None:
        try:
            board.step()
        except Error:
            # The agent ended with an error; on a board something starts it again.
            self.clock.sleep(self.pace.retry_s)

    def _rest(self) -> None:
        """Take note of what the agent wrote, whenever the board is about to do nothing for a while."""
        self.recorder.look()
        if self.board is not None and self.board.runner is not None:
            self.is_up = self.is_up or self.board.runner.is_reported

    def _assemble(self) -> SimulatedBoard:
        self.folder.mkdir(parents=True, exist_ok=True)
        storage = PosixStorage(self.folder)
        trusted = TrustedStore(self.flash, f"{DATA}/trusted")
        self._join(storage, trusted)
        identity = read_identity(storage, self.folder, DATA)
        server = _connect(identity.device_url, identity.credentials)
        board = SimulatedBoard(
            device_id=self.serial,
            board=self.model.board,
            flash=self.flash,
            server=server,
            clock=self.clock,
            policy=self.pace.policy,
            load=lambda image: Watched(load_image(image), self.pace.watchdog_s),
            elsewhere=lambda url: _connect(url, identity.credentials),
            renew=Renewal(storage, DATA, self.serial, server, self.clock, keys=FileKeys()),
            boot_s=self.pace.boot_s,
            at_boot=self.recorder.booted,
        )
        board.leave_factory(self.model.running, self.model.image, self.offer.director_root.encode(), self.offer.image_root.encode())
        return board

    def _join(self, storage: PosixStorage, trusted: TrustedStore) -> None:
        while True:
            try:
                with self.joining:
                    return enrol(self.offer, storage, DATA, trusted, FileKeys())
            except TransientError:
                self.clock.sleep(self.pace.retry_s)


@dataclass(frozen=True, slots=True)
class _WallClock:
    """The machine's clocks; waiting ends with ``Stopping`` when the fleet is switched off."""

    stop: Event
    rest: Callable[[], None]
    clock: Clock = field(default_factory=SystemClock)

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def now(self) -> datetime:
        return self.clock.now()

    def sleep(self, seconds: float) -> None:
        self.rest()
        if self.stop.wait(max(seconds, 0.0)):
            raise Stopping


def _connect(url: str, credentials: Credentials) -> HttpsServer:
    return HttpsServer(url, credentials, patience=_PATIENCE)
