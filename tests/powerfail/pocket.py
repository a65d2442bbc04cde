# SPDX-License-Identifier: Apache-2.0
"""A whole small world around one board: real repositories, a server in memory, and what must hold after any power cut."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs

from surefoot.agent.admission import Board
from surefoot.agent.download import Response
from surefoot.agent.runner import Runner
from surefoot.agent.state import Phase
from surefoot.agent.transport import Polled
from surefoot.model.digest import digest_of
from surefoot.model.event import Acknowledgement, DeploymentEvent, DeviceReport, EventBatch, EventType, Position
from surefoot.model.manifest import Manifest
from surefoot.model.slot import Installed
from surefoot.model.window import Window
from surefoot.model.wire import ArtifactHint, PollAnswer, PollMetadata
from surefoot.simulator.board import Behaviour, SimulatedBoard, image
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from tests.trust.repositories import DEVICE, NOW, Repositories, manifest, order_for

IMAGE_BYTES = 128 * 1024
# Other bytes than those of the release from the first block on, so that half of one never looks like the other.
FACTORY = image(Behaviour.GOOD, IMAGE_BYTES - 100).replace(b"\n", b"\nfrom the factory\n", 1)
CAPACITY = 256 * 1024


@dataclass
class PocketServer:
    """Orders one release for one device, keeps what it reports, and notices what a database would not forgive."""

    answer: PollAnswer
    images: dict[str, bytes]
    events: dict[tuple[str, int], DeploymentEvent] = field(default_factory=dict)
    reports: list[DeviceReport] = field(default_factory=list)
    etag: str = "1"

    def poll(self, etag: str) -> Polled:
        if etag == self.etag:
            return Polled(next_poll_s=300, answer=None, etag=etag)
        return Polled(next_poll_s=300, answer=self.answer, etag=self.etag)

    def send(self, batch: EventBatch) -> Acknowledgement:
        for event in batch.events:
            known = self.events.setdefault((batch.journal, event.seq), event)
            assert known == event, f"event {event.seq} was sent twice with different content: {known} and {event}"
        if batch.report is not None:
            self.reports.append(batch.report)
        last = max((seq for journal, seq in self.events if journal == batch.journal), default=0)
        return Acknowledgement(acknowledged=Position(journal=batch.journal, seq=last))

    def open(self, url: str, offset: int) -> Response:
        data = self.images[url]
        return Response(status=206, start=offset, total=len(data), chunks=_chunks(data[offset:]), close=lambda: None)

    def story(self) -> list[EventType]:
        """Return the types of all stored events, in the device's order."""
        return [EventType(self.events[key].type) for key in sorted(self.events)]


@dataclass(frozen=True)
class Plan:
    """An update to one release: made once, since keys and signatures cost the most."""

    repositories: Repositories
    wanted: Manifest
    content: bytes
    factory: bytes = FACTORY

    @classmethod
    def to(cls, behaviour: Behaviour, windows: Sequence[Window] = (), pack: Callable[[bytes], bytes] = bytes) -> "Plan":
        """Make an update to a release that behaves so; ``pack`` makes an image of a program."""
        content = pack(image(behaviour, IMAGE_BYTES))
        repositories = Repositories()
        wanted = manifest("1.1.0", content)
        repositories.release(wanted)
        repositories.order(wanted, order=structs.replace(order_for(DEVICE, wanted, 1, NOW), windows=list(windows)))
        return cls(repositories=repositories, wanted=wanted, content=content, factory=pack(FACTORY))

    def world(self, flash: SimulatedFlash | None = None) -> "PocketWorld":
        """Return a fresh board at a fresh server."""
        url = "https://server/image"
        answer = PollAnswer(
            next_poll_s=300,
            metadata=PollMetadata(director=self.repositories.director_answer(), image=self.repositories.image_answer()),
            artifacts=[ArtifactHint(hash=self.wanted.image.hash, urls=[url], size=self.wanted.image.size)],
        )
        server = PocketServer(answer=answer, images={url: self.content})
        board = SimulatedBoard(
            device_id=DEVICE,
            board=Board(hardware="thermostat-v1", bootloader_version="2.0.0", slot_capacity_bytes=CAPACITY),
            flash=flash or SimulatedFlash(),
            server=server,
            released={digest_of(self.factory), digest_of(self.content)},
            clock=VirtualClock(NOW),
        )
        running = Installed(
            product="thermostat",
            version="1.0.0",
            build_id="factory",
            release_counter=1,
            hash=digest_of(self.factory),
            size=len(self.factory),
        )
        board.leave_factory(running, self.factory, self.repositories.director_root, self.repositories.image["root.json"])
        return PocketWorld(plan=self, board=board, server=server, factory_operations=board.flash.operations)


@dataclass
class PocketWorld:
    """One board and its server, from the factory to the end of an update."""

    plan: Plan
    board: SimulatedBoard
    server: PocketServer
    factory_operations: int

    def run_to_the_end(self) -> None:
        self.board.run(self.is_over)

    def is_over(self, runner: Runner) -> bool:
        is_done = runner.state.finished is not None and runner.state.phase is Phase.IDLE
        return is_done and not runner.parts.journal.pending

    def check(self, *, commits: bool) -> None:
        """Assert what must hold once the board has come to rest: it converged, and the server knows exactly what happened."""
        report = self.server.reports[-1]
        expected = self.plan.wanted.version if commits else "1.0.0"
        assert report.version == expected, f"ended on {report.version}, not {expected}"
        assert report.hash == self.board.boots[-1][1], "the device reports other bytes than it booted"
        self.check_events(commits=commits)

    def check_events(self, *, commits: bool) -> None:
        journals = {journal for journal, _ in self.server.events}
        assert len(journals) == 1, "a journal was lost"
        seqs = sorted(seq for _, seq in self.server.events)
        assert seqs == list(range(1, len(seqs) + 1)), f"events are missing: {seqs}"
        counts: Counter[Any] = Counter(self.server.story())
        once = {
            EventType.DOWNLOAD_STARTED,
            EventType.DOWNLOAD_COMPLETED,
            EventType.INSTALL_COMPLETED,
            EventType.REBOOT_STARTED,
        }
        once |= (
            {EventType.REBOOT_COMPLETED, EventType.HEALTH_OK} if commits else {EventType.ROLLBACK_TRIGGERED, EventType.ROLLBACK_COMPLETED}
        )
        wrong = {kind: counts[kind] for kind in once if counts[kind] != 1}
        assert not wrong, f"not exactly once: {wrong} in {self.server.story()}"
        never = {EventType.ROLLBACK_COMPLETED, EventType.DOWNLOAD_FAILED, EventType.INSTALL_FAILED} if commits else {EventType.HEALTH_OK}
        assert not never & counts.keys(), f"should not have happened: {never & counts.keys()}"


def _chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 5000):
        yield data[start : start + 5000]
