# SPDX-License-Identifier: Apache-2.0
"""A hostile world around one board: the real agent on simulated flash, at a server that may answer anything.

A test makes a ``Stage``, builds an attack out of what the honest repositories signed (and of keys the attacker is said to
have stolen), and hands it to ``Stage.refused``, which asserts the four things every refusal owes, and that the next honest
update is not blocked by it. All of it is in virtual time; ``Stage.now`` is true time, ``board.clock.now()`` what the board
believes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root

from surefoot.agent.admission import Board
from surefoot.agent.boot.file import file_control
from surefoot.agent.download import Response
from surefoot.agent.home import DATA
from surefoot.agent.installer import SLOTS
from surefoot.agent.runner import Runner
from surefoot.agent.state import Phase
from surefoot.agent.storage import read_file
from surefoot.agent.transport import Polled
from surefoot.model.digest import Digest, digest_of, hex_of
from surefoot.model.event import Acknowledgement, DeploymentEvent, DeviceReport, EventBatch, Position
from surefoot.model.manifest import Manifest
from surefoot.model.slot import Installed, SlotName, SlotState
from surefoot.model.wire import ArtifactHint, PollAnswer, PollMetadata
from surefoot.simulator.board import Behaviour, SimulatedBoard, image
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import Damage, SimulatedFlash
from surefoot.trust import layout
from surefoot.trust.metadata import Files, sign_with
from surefoot.trust.repository import publish_roles, refresh
from tests.trust.repositories import DEVICE, NOW, PRODUCT, Repositories, manifest, order_for, wire_names

IMAGE_BYTES = 24 * 1024
CAPACITY = 64 * 1024
POLL_S = 300
FACTORY = image(Behaviour.GOOD, IMAGE_BYTES - 100)

Saying = PollAnswer | Callable[[str], Polled]
"""What a server says to a poll: always this answer, or whatever a function of the ETag returns or raises."""

Sending = bytes | Callable[[int], Response]
"""What a server sends for an image: these bytes, or whatever a function of the offset returns or raises."""


@dataclass(frozen=True)
class Release:
    """A release and the bytes it was signed for."""

    manifest: Manifest
    content: bytes

    @property
    def hash(self) -> Digest:
        return self.manifest.image.hash

    @property
    def url(self) -> str:
        return f"https://server/images/{self.hash}"


@dataclass
class StandIn:
    """A server in memory that says to polls and sends for images what it is told to, and keeps every report.

    Attributes:
        saying: Its answer to polls.
        images: What it sends, by URL.
        polls: The ETag of every poll, in order.
        opened: The offset of every request for an image, in order.
        events: Every event it was told, once each, by journal and number.
        reports: Every device report, in order.
    """

    saying: Saying
    images: dict[str, Sending] = field(default_factory=dict)
    polls: list[str] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    events: dict[tuple[str, int], DeploymentEvent] = field(default_factory=dict)
    reports: list[DeviceReport] = field(default_factory=list)

    def poll(self, etag: str) -> Polled:
        self.polls.append(etag)
        if callable(self.saying):
            return self.saying(etag)
        return Polled(next_poll_s=POLL_S, answer=self.saying, etag='"news"')

    def send(self, batch: EventBatch) -> Acknowledgement:
        for event in batch.events:
            known = self.events.setdefault((batch.journal, event.seq), event)
            assert known == event, f"event {event.seq} was sent twice with different content: {known} and {event}"
        if batch.report is not None:
            self.reports.append(batch.report)
        return Acknowledgement(acknowledged=Position(journal=batch.journal, seq=max((seq for _, seq in self.events), default=0)))

    def open(self, url: str, offset: int) -> Response:
        self.opened.append(offset)
        sending = self.images[url]
        if callable(sending):
            return sending(offset)
        chunks = (sending[start : start + 5000] for start in range(offset, len(sending), 5000))
        return Response(status=206, start=offset, total=len(sending), chunks=chunks, close=lambda: None)

    def refusals(self) -> list[str]:
        """Return the code of every event that carries one, in the device's order."""
        found = [self.events[key].data for key in sorted(self.events)]
        return [str(data[name]) for data in found for name in ("refused", "failed", "code") if name in data]


@dataclass(frozen=True)
class Footing:
    """What a board stands on: all that an attack must leave as it was."""

    boots: int
    slot: SlotName
    found: Digest
    primary: SlotName
    state: SlotState
    running: Installed
    release_counter: int
    trusted: Mapping[str, bytes | None]


@dataclass
class Stage:
    """One board, its server, and the repositories behind it.

    A fresh stage has a board that runs version 1.0.0 from the factory, has not polled yet, and a server that answers honestly
    that nothing is ordered.

    Attributes:
        repositories: The honest repositories, with every key: what an attacker stole is taken from here.
        server: What the board talks to.
        board: The board; restart it with ``restart``.
        factory: The release it left the factory with.
        releases: What was released, by version.
    """

    repositories: Repositories = field(default_factory=Repositories)
    capacity_bytes: int = CAPACITY
    releases: dict[str, Release] = field(default_factory=dict)
    server: StandIn = field(init=False)
    board: SimulatedBoard = field(init=False)
    _assignments: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.order(None)
        self.server = StandIn(self.answer())
        self.board = SimulatedBoard(
            device_id=DEVICE,
            board=Board(hardware="thermostat-v1", bootloader_version="2.0.0", slot_capacity_bytes=self.capacity_bytes),
            flash=SimulatedFlash(),
            server=self.server,
            released={digest_of(FACTORY)},
            clock=VirtualClock(NOW),
        )
        running = Installed(
            product="thermostat", version="1.0.0", build_id="factory", release_counter=1, hash=digest_of(FACTORY), size=len(FACTORY)
        )
        self.board.leave_factory(running, FACTORY, self.repositories.director_root, self.repositories.image["root.json"])

    # --- the honest side -------------------------------------------------------------------------------------------------

    @property
    def clock(self) -> VirtualClock:
        assert isinstance(self.board.clock, VirtualClock)
        return self.board.clock

    def now(self) -> datetime:
        """Return true time, by which the repositories sign; the board's wall clock may jump without it."""
        return NOW + timedelta(seconds=int(self.clock.monotonic()))

    def release(self, version: str, *, content: bytes | None = None, publish: bool = True, **facts: Any) -> Release:  # noqa: ANN401  # fields of Manifest
        """Build a release, sign and publish it in the image repository, and let the server have its bytes.

        Args:
            version: Its version.
            content: Its image; by default a good one of ``IMAGE_BYTES`` that is different for each version.
            publish: Whether the image repository lists it.
            **facts: Fields of its manifest, or ``counter`` and ``hardware``.
        """
        content = content if content is not None else image(Behaviour.GOOD, IMAGE_BYTES) + version.encode()
        short = {name: facts.pop(name) for name in ("counter", "hardware", "product") if name in facts}
        made = Release(structs.replace(manifest(version, content, **short), **facts), content)
        self.releases[version] = made
        self.server.images[made.url] = content
        if publish:
            self.renew()
            self.repositories.release(made.manifest)
            assert self.board.released is not None
            self.board.released = {*self.board.released, made.hash}
        return made

    def retire(self, version: str) -> None:
        """Move a release into the product's archive."""
        it = self.repositories
        it.image |= publish_roles(it.image, PRODUCT, layout.retire(it.image, PRODUCT, version, [it.product], it.now), it.online, it.now)

    def order(self, wanted: Release | None, **changes: Any) -> None:  # noqa: ANN401  # fields of Order
        """Sign the device's next view: run ``wanted``, or stay as you are; ``changes`` are fields of the order."""
        self._assignments += 1
        if wanted is None:
            self.repositories.order(None)
            return
        order = order_for(DEVICE, wanted.manifest, self._assignments, self.repositories.now)
        self.repositories.order(wanted.manifest, order=structs.replace(order, **changes))

    def renew(self) -> None:
        """Let the repositories notice how late it is: what is half spent is signed again."""
        self.repositories.now = self.now()
        self.repositories.image |= refresh(self.repositories.image, self.repositories.online, self.repositories.now)

    def answer(self, *, director: Files | None = None, image: Files | None = None) -> PollAnswer:
        """Return what an honest server would answer now, with these files added or changed by their names on the wire."""
        files = PollMetadata(
            director={**self.repositories.director_answer(), **(director or {})},
            image={**self.repositories.image_answer(), **(image or {})},
        )
        return offering(files, *self.releases.values())

    def republished(self, name: str, data: bytes) -> dict[str, bytes]:
        """Return the image repository's files on the wire with one file changed, as somebody who has its online keys makes them.

        Nothing is asked of the file: unlike the honest publisher, the thief lists whatever there is.
        """
        it = self.repositories
        meta = {"version": json.loads(data)["signed"]["version"]}
        files = {**it.image, name: data}
        files["snapshot.json"] = successor(files["snapshot.json"], [it.online.snapshot], lambda signed: signed["meta"].update({name: meta}))
        files["timestamp.json"] = pointing(files["timestamp.json"], [it.online.timestamp], files["snapshot.json"])
        return wire_names(files)

    def update(self, version: str, **facts: Any) -> Release:  # noqa: ANN401  # fields of Manifest
        """Release ``version`` honestly, order it, and assert that the board comes to run it and says so."""
        wanted = self.release(version, **facts)
        self.carry_out(wanted)
        return wanted

    def carry_out(self, wanted: Release, *, director: Files | None = None, image: Files | None = None) -> None:
        """Order ``wanted`` honestly, and assert that the board comes to run it and says so.

        Args:
            wanted: A published release.
            director: Files that the honest answer has besides (a next root).
            image: Likewise, of the image repository.
        """
        self.renew()
        self.order(wanted)
        self.says(self.answer(director=director, image=image))
        self.run(lambda runner: runner.state.phase is Phase.IDLE and runner.running.found == wanted.hash)
        footing = self.footing()
        assert footing.found == wanted.hash
        assert (footing.primary, footing.state) == (footing.slot, SlotState.GOOD)
        assert self.server.reports[-1].hash == wanted.hash

    # --- the board -------------------------------------------------------------------------------------------------------

    def says(self, saying: Saying, images: Mapping[str, Sending] | None = None) -> None:
        """Let the server say this to every poll from now on, and send this for images."""
        self.server.saying = saying
        self.server.images |= images or {}

    def run(self, until: Callable[[Runner], bool]) -> None:
        """Let the board go on, through reboots, until its agent has got somewhere."""
        for _ in range(5_000):
            if self.board.step() and self.board.runner is not None and until(self.board.runner):
                return
        raise AssertionError(f"the agent does not get there: {self.server.refusals()}")

    def poll(self, times: int = 1) -> None:
        """Let the board ask the server that many times, and report what comes of it."""
        until = len(self.server.polls) + times
        self.run(lambda runner: len(self.server.polls) >= until and runner.state.phase is Phase.IDLE and not runner.parts.journal.pending)

    def restart(self, damage: Damage | None = None) -> None:
        """Boot the board again; with ``damage``, after a power cut that does that to what was not synced."""
        if damage is not None:
            self.board.flash = self.board.flash.power_cycle(damage)
        self.board.off()
        self._boot()

    def _boot(self) -> Runner:
        while self.board.runner is None:
            self.board.step()
        return self.board.runner

    def footing(self) -> Footing:
        """Return what the board stands on now, read from its flash."""
        runner = self._boot()
        boot, flash = file_control(self.board.flash), self.board.flash
        return Footing(
            boots=len(self.board.boots),
            slot=runner.slot,
            found=digest_of(read_file(flash, SLOTS[runner.slot]) or b""),
            primary=boot.get_primary(),
            state=boot.get_state(runner.slot),
            running=runner.state.running,
            release_counter=runner.state.release_counter,
            trusted={name: read_file(flash, f"{DATA}/trusted/{name}.json") for name in ("director", "image")},
        )

    # --- the attack ------------------------------------------------------------------------------------------------------

    def refused(
        self,
        saying: Saying,
        code: str,
        *,
        images: Mapping[str, Sending] | None = None,
        is_verified: bool = False,
        is_outage: bool = False,
        polls: int = 4,
        recovers: bool = True,
    ) -> DeploymentEvent:
        """Attack the board poll after poll, and assert what a refusal owes (reference: gates, 3); then update it honestly.

        1. The server is told ``code``, and no other.
        2. What runs is unchanged: its slot, the bootloader's view of it, the committed release; the other slot is as it was, or bad.
        3. The trusted folder is unchanged, byte for byte.
        4. The server is told once, however often the attack is repeated, with a restart of the agent in between.

        Args:
            saying: What the server says to each of these polls.
            code: The code of the refusal.
            images: What the server sends for images.
            is_verified: The metadata is genuine, and only the order or the image is refused: then the trusted folder does
                move on, exactly to the files of the answer, and not further.
            is_outage: There is no answer at all, and so nothing that could be refused for good: a restart tells it anew.
            polls: How often the attack is repeated.
            recovers: Whether to end with an honest update, which must succeed.

        Returns:
            The one report.
        """
        before, told = self.footing(), set(self.server.events)
        already = len(self.server.refusals())
        honest, other = dict(self.server.images), self._other()
        self.says(saying, images)
        self._endure(code, already, polls)
        assert self.server.refusals()[already:] == [code]
        after = self.footing()
        assert self._other() == other or self._other()[0] is SlotState.BAD, "the other slot could be booted"
        if is_verified:
            self._assert_trusts(saying)
        else:
            assert after.trusted == before.trusted
        assert replace(after, trusted=before.trusted) == before
        self.restart()
        self.poll(polls)
        assert self.server.refusals()[already:] == [code] * (2 if is_outage else 1), "a restart of the agent reported it again"
        assert self.server.reports[-1].hash == before.found
        self.server.images = honest
        if recovers:
            self.recovers()
        return next(event for key, event in self.server.events.items() if key not in told and code in event.data.values())

    def recovers(self, *, director: Files | None = None, image: Files | None = None) -> None:
        """Assert that an honest update is carried out, whatever was tried before."""
        self.carry_out(
            self.release(f"1.{100 + self._assignments}.0", counter=self.footing().release_counter), director=director, image=image
        )

    def _endure(self, code: str, already: int, polls: int) -> None:
        self.run(lambda runner: code in self.server.refusals()[already:] and runner.state.phase is Phase.IDLE)
        self.poll(polls)

    def _other(self) -> tuple[SlotState, Digest]:
        """Return what the bootloader thinks of the slot that does not run, and what lies in it."""
        slot = self._boot().slot.other
        return file_control(self.board.flash).get_state(slot), digest_of(read_file(self.board.flash, SLOTS[slot]) or b"")

    def _assert_trusts(self, saying: Saying) -> None:
        assert isinstance(saying, PollAnswer)
        for repository, offered in (("director", saying.metadata.director), ("image", saying.metadata.image)):
            trusted = self.board.trusted(repository)
            strangers = {name for name, data in trusted.items() if name != "root.json" and data not in offered.values()}
            assert not strangers, f"trusted, but not of this answer: {strangers}"


def offering(files: PollMetadata, *releases: Release) -> PollAnswer:
    """Return an answer with these signed files, and where each release may be fetched."""
    hints = [ArtifactHint(hash=release.hash, urls=[release.url], size=release.manifest.image.size) for release in releases]
    return PollAnswer(next_poll_s=POLL_S, metadata=files, artifacts=hints)


def unchanged(etag: str) -> Polled:
    """Say that nothing changed, whatever was asked."""
    return Polled(next_poll_s=POLL_S, answer=None, etag=etag)


def sending(chunks: Iterator[bytes], *, total: int | None = None, status: int = 200) -> Response:
    """Return an image's answer with this body from its first byte on."""
    return Response(status=status, start=0, total=total, chunks=chunks, close=lambda: None)


def edited(data: bytes, signers: Sequence[Signer], change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return metadata whose ``signed`` part was changed, signed anew by these keys: what a thief of the keys can make."""
    plain = json.loads(data)
    change(plain["signed"])
    return sign_with(Metadata.from_dict(plain), list(signers))


def forged(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return metadata of which anything was changed, ``signatures`` too, and nothing signed anew: what anybody can make."""
    plain = json.loads(data)
    change(plain)
    return json.dumps(plain, separators=(",", ":")).encode()


def successor(data: bytes, signers: Sequence[Signer], change: Callable[[dict[str, Any]], object] = lambda _: None) -> bytes:
    """Return the next version of metadata, changed, signed by these keys."""

    def raised(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        change(signed)

    return edited(data, signers, raised)


def pointing(timestamp: bytes, signers: Sequence[Signer], snapshot: bytes) -> bytes:
    """Return the next version of a timestamp, over whatever this snapshot is."""
    meta = {
        "version": json.loads(snapshot)["signed"]["version"],
        "length": len(snapshot),
        "hashes": {"sha256": hex_of(digest_of(snapshot))},
    }
    return successor(timestamp, signers, lambda signed: signed["meta"].update({"snapshot.json": meta}))


def next_root(root: bytes, signers: Sequence[Signer], change: Callable[[Root], object] = lambda _: None) -> bytes:
    """Return the next version of a root, changed, and signed by these keys."""
    metadata = Metadata[Root].from_bytes(root)
    metadata.signed.version += 1
    change(metadata.signed)
    return sign_with(metadata, list(signers))
