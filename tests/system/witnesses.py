# SPDX-License-Identifier: Apache-2.0
"""Boards that bear witness: the real agent over real TLS, and a list of every event that a server has acknowledged to them.

Their clocks run ahead, so that an update takes them a second or two.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

from surefoot.agent.admission import Board
from surefoot.agent.enrol import enrol, read_identity
from surefoot.agent.home import DATA
from surefoot.agent.keystore import FileKeys
from surefoot.agent.memory import installed_from
from surefoot.agent.network import Patience
from surefoot.agent.posix import PosixStorage
from surefoot.agent.state import Policy
from surefoot.agent.transport import Credentials, HttpsServer
from surefoot.agent.trusted import TrustedStore
from surefoot.model.errors import Error
from surefoot.model.event import Acknowledgement, EventBatch
from surefoot.model.record import to_json
from surefoot.model.wire import EnrolmentOffer
from surefoot.simulator.board import SimulatedBoard
from surefoot.simulator.flash import SimulatedFlash
from surefoot.simulator.program import load_image
from surefoot.simulator.recorder import follow_flash
from surefoot.simulator.story import BoardStory, Recorder
from tests.server.running import HARDWARE
from tests.simulator.images import image
from tests.trust.repositories import manifest

FACTORY = image(note="1.0.0")

_AHEAD = 5
_POLICY = Policy(settle_s=0.5, trial_s=600, probe_s=0.1, backoff_cap_s=1)

Heard = dict[tuple[str, str, int], bytes]
"""Every acknowledged event by device, journal and sequence number, as it was sent."""


class Stopping(BaseException):
    """The boards are switched off; nothing in the agent may catch it."""


@dataclass(frozen=True, slots=True)
class FastClock:
    """The system's clocks, the monotonic one ahead of its time."""

    stop: Event
    recorder: Recorder

    def monotonic(self) -> float:
        return time.monotonic() * _AHEAD

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        self.recorder.look()
        if self.stop.wait(max(seconds, 0.0) / _AHEAD):
            raise Stopping


class WitnessedServer(HttpsServer):
    """The server as one device reaches it, which writes down what it was promised."""

    def __init__(self, url: str, credentials: Credentials, device_id: str, heard: Heard) -> None:
        super().__init__(url, credentials, patience=Patience(connect_s=5, wait_s=10, answer_s=20))
        self._device_id = device_id
        self._heard = heard

    def send(self, batch: EventBatch) -> Acknowledgement:
        answer = super().send(batch)
        position = answer.acknowledged
        for event in batch.events:
            if position.journal == batch.journal and event.seq <= position.seq:
                self._heard[self._device_id, batch.journal, event.seq] = to_json(event)
        return answer


@dataclass
class Witness:
    """One board."""

    board: SimulatedBoard
    recorder: Recorder

    @property
    def story(self) -> BoardStory:
        return self.recorder.story

    @property
    def is_up(self) -> bool:
        runner = self.board.runner
        return runner is not None and runner.is_reported

    def run(self) -> None:
        try:
            while True:
                try:
                    self.board.step()
                except Error:
                    self.board.clock.sleep(1)
        except Stopping:
            self.recorder.look()


@dataclass
class Witnesses:
    """Boards, each on a thread of its own, from their enrolment on."""

    folder: Path
    heard: Heard = field(default_factory=dict)
    boards: dict[str, Witness] = field(default_factory=dict)
    stop: Event = field(default_factory=Event)

    def join(self, offers: Sequence[EnrolmentOffer]) -> None:
        """Enrol one board for each offer; the server must be there."""
        for offer in offers:
            self.boards[offer.device_id] = self._made(offer)

    def stories(self) -> dict[str, BoardStory]:
        return {device_id: witness.story for device_id, witness in self.boards.items()}

    @contextmanager
    def powered(self) -> Iterator[None]:
        """Let the boards run while the block does."""
        threads = [Thread(target=witness.run, name=device_id) for device_id, witness in self.boards.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()
            gc.collect()

    def _made(self, offer: EnrolmentOffer) -> Witness:
        flash = SimulatedFlash(keeps_log=False)
        recorder = follow_flash(flash)
        home = self.folder / offer.device_id
        home.mkdir(parents=True)
        storage = PosixStorage(home)
        enrol(offer, storage, DATA, TrustedStore(flash, f"{DATA}/trusted"), FileKeys())
        identity = read_identity(storage, home, DATA)
        board = SimulatedBoard(
            device_id=offer.device_id,
            board=Board(hardware=HARDWARE, bootloader_version="2.1.0", slot_capacity_bytes=2**20),
            flash=flash,
            server=WitnessedServer(identity.device_url, identity.credentials, offer.device_id, self.heard),
            clock=FastClock(self.stop, recorder),
            policy=_POLICY,
            load=load_image,
            boot_s=0.1,
            at_boot=recorder.booted,
        )
        running = installed_from(manifest("1.0.0", FACTORY))
        board.leave_factory(running, FACTORY, offer.director_root.encode(), offer.image_root.encode())
        return Witness(board=board, recorder=recorder)
