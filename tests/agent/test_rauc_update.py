# SPDX-License-Identifier: Apache-2.0
"""Whole updates through the agent and a real RAUC: installed, kept, taken back, and refused."""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from surefoot.agent.admission import Board
from surefoot.agent.boot.rauc import RaucLoader
from surefoot.agent.boot.raucbus import RaucBus
from surefoot.agent.boot.twostate import TwoStateBootControl
from surefoot.agent.health import Health
from surefoot.agent.home import open_journal
from surefoot.agent.installers.devices import open_to_read
from surefoot.agent.installers.rauc import Bundled, Check, RaucInstaller
from surefoot.agent.installers.staging import PATH, Staging
from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.runner import Parts, Runner, factory_state
from surefoot.agent.signals import Event
from surefoot.agent.state import Phase, Policy
from surefoot.agent.storage import read_file, replace_file
from surefoot.agent.trusted import TrustedStore
from surefoot.model.digest import digest_of
from surefoot.model.errors import BootError, DigestError, InstallerError
from surefoot.model.event import EventType
from surefoot.model.record import from_json
from surefoot.model.slot import Installed, SlotName, SlotState
from surefoot.model.wire import ArtifactHint, PollAnswer, PollMetadata
from surefoot.simulator.clock import VirtualClock
from tests.agent.loaders import CountingScript
from tests.agent.raucd import SLOT_BYTES, Raucd, bundle
from tests.agent.rigs import NAMES, uboot_environment, write_environment
from tests.powerfail.pocket import PocketServer
from tests.trust.repositories import DEVICE, NOW, Repositories, manifest

A, B = SlotName.A, SlotName.B
FACTORY = os.urandom(100_000)
ROOTFS = os.urandom(64 * 4096)
CAPACITY = 2 * SLOT_BYTES


class Rebooting(BaseException):
    """The agent asked for a reboot."""


class RaucBoard:
    """A board whose slots RAUC fills, with a server that orders a bundle.

    Attributes:
        failing: What is wrong with the release on trial, in words.
        dies: Whether the release on trial does not start its agent.
    """

    def __init__(self, folder: Path, stack: ExitStack, *, activates: bool = False) -> None:
        self.folder = folder
        self.failing = ""
        self.dies = False
        self.boots: list[SlotName] = []
        self.clock = VirtualClock(NOW)
        config = write_environment(folder, {"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "0"})
        self.raucd = stack.enter_context(Raucd(folder, config, activates=activates))
        environment = uboot_environment(folder)
        self.script = CountingScript(
            read=lambda: environment.load()[2],
            write=lambda changed: environment.save({**environment.load()[2], **changed}),
            order=lambda state: state["BOOT_ORDER"].split(),
            left="BOOT_{}_LEFT",
        )
        (folder / "home").mkdir()
        self.storage = PosixStorage(folder / "home")
        (folder / "a.img").write_bytes(FACTORY.ljust(SLOT_BYTES, b"\0"))

    def order(self, image: bytes) -> None:
        """Leave the factory, enrolled at a server that orders this bundle."""
        self.image = image
        repositories, wanted = Repositories(), manifest("1.1.0", image)
        repositories.release(wanted)
        repositories.order(wanted)
        answer = PollAnswer(
            next_poll_s=300,
            metadata=PollMetadata(director=repositories.director_answer(), image=repositories.image_answer()),
            artifacts=[ArtifactHint(hash=wanted.image.hash, urls=["u"], size=wanted.image.size)],
        )
        self.server = PocketServer(answer=answer, images={"u": image})
        trusted = TrustedStore(self.storage, "data/trusted")
        trusted.save("director", {"root.json": repositories.director_root})
        trusted.save("image", {"root.json": repositories.image["root.json"]})
        running = Installed(
            product="thermostat", version="1.0.0", build_id="f", release_counter=1, hash=digest_of(FACTORY), size=len(FACTORY)
        )
        open_journal(self.storage).append(factory_state(running, A, NOW))

    def installer(self, *, check: Check = Check.BYTES, within_s: float = 60, answers_s: float = 5) -> RaucInstaller:
        return RaucInstaller(
            RaucBus(timeout_s=answers_s, bus=self.raucd.bus),
            NAMES,
            self.storage,
            Staging(self.storage, CAPACITY),
            lambda device: open_to_read(Path(device)),
            bundle=str(self.storage.path(PATH)),
            notes="data/installed",
            clock=SystemClock(),
            within_s=within_s,
            check=check,
        )

    def control(self, running: SlotName) -> TwoStateBootControl:
        return TwoStateBootControl(RaucLoader(NAMES, timeout_s=5, bus=self.raucd.bus), self.storage, running, "data/said.json")

    def boot(self) -> Runner | None:
        """Start a slot, RAUC in it, and the agent unless the release does not get that far."""
        slot = self.script.boot()
        self.boots.append(slot)
        self.raucd.boot(NAMES[slot])
        if self.dies and slot is B:
            return None
        parts = Parts(
            device_id=DEVICE,
            agent_version="0",
            board=Board(hardware="thermostat-v1", bootloader_version="2.0.0", slot_capacity_bytes=CAPACITY),
            journal=open_journal(self.storage),
            trusted=TrustedStore(self.storage, "data/trusted"),
            slots=self.installer(),
            boot=self.control(slot),
            server=self.server,
            monitor=self,
            clock=self.clock,
            reboot=self._reboot,
            renew=lambda: None,
            policy=Policy(settle_s=2, trial_s=20),
        )
        return Runner(parts, slot)

    brokers: frozenset[str] = frozenset()

    def check(self, owed: Collection[str] = (), *, pace_s: float = 0.0) -> Health:  # noqa: ARG002  # it has no brokers, and no pace
        return Health(healthy_s=0 if self.failing else 60, failing=self.failing)

    def reached(self) -> frozenset[str]:
        return frozenset()

    def rest_s(self, *, pace_s: float) -> float:
        return pace_s

    def run(self, between: Callable[[Event], None] = lambda _: None) -> Runner:
        """Boot until an order has ended and nothing waits."""
        for _ in range(10):
            runner = self.boot()
            try:
                event: Event | None = None if runner is None else runner.booted()
                while runner is not None and event is not None:
                    if runner.state.finished is not None and runner.state.phase is Phase.IDLE and not runner.parts.journal.pending:
                        return runner
                    event = runner.advance(event)
                    between(event)
            except Rebooting:
                continue
        raise AssertionError(self.boots)

    def events(self, kind: EventType) -> list[dict[str, object]]:
        return [event.data for event in self.server.events.values() if event.type == kind]

    def _reboot(self) -> None:
        raise Rebooting


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def board(tmp_path: Path, stack: ExitStack) -> RaucBoard:
    return RaucBoard(tmp_path, stack)


def test_a_good_bundle_is_installed_and_kept(board: RaucBoard) -> None:
    board.order(bundle(board.folder, ROOTFS))
    runner = board.run()
    report = board.server.reports[-1]
    assert (board.boots, report.version, report.hash) == ([A, B], "1.1.0", digest_of(board.image))
    assert (board.folder / "b.img").read_bytes().startswith(ROOTFS)
    assert (runner.parts.boot.get_primary(), runner.parts.boot.get_state(A), runner.parts.boot.get_state(B)) == (
        B,
        SlotState.GOOD,
        SlotState.GOOD,
    )
    note = from_json(read_file(board.storage, "data/installed/b.json") or b"", Bundled, what="note")
    assert note == Bundled(image=digest_of(board.image), size=len(board.image), content=digest_of(ROOTFS), content_size=len(ROOTFS))
    assert read_file(board.storage, PATH) == b""
    assert [board.boot() is not None and board.boots[-1] for _ in range(2)] == [B, B]


def test_an_unhealthy_bundle_is_taken_back(board: RaucBoard) -> None:
    board.order(bundle(board.folder, ROOTFS))
    board.failing = "it does not work"
    runner = board.run()
    assert (board.boots, runner.slot, runner.parts.boot.get_state(B)) == ([A, B, A], A, SlotState.BAD)
    assert [data["reason"] for data in board.events(EventType.ROLLBACK_COMPLETED)] == ["unhealthy"]
    assert board.server.reports[-1].hash == digest_of(FACTORY)


def test_a_bundle_that_does_not_start_is_given_up_by_the_loader(board: RaucBoard) -> None:
    board.order(bundle(board.folder, ROOTFS))
    board.dies = True
    board.run()
    assert board.boots == [A, B, B, B, A]
    assert [data["reason"] for data in board.events(EventType.ROLLBACK_COMPLETED)] == ["did_not_boot"]


def test_a_slot_that_is_changed_behind_raucs_back_is_not_kept(board: RaucBoard) -> None:
    board.order(bundle(board.folder, ROOTFS))

    def spoil(_event: Event) -> None:
        if (board.folder / "home/data/installed/b.json").exists():
            with (board.folder / "b.img").open("r+b") as file:
                file.seek(5000)
                file.write(b"evil")

    board.run(spoil)
    assert [data["reason"] for data in board.events(EventType.ROLLBACK_COMPLETED)] == ["wrong_image"]
    assert board.boots == [A, B, A]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (lambda folder: bundle(folder, ROOTFS, compatible="other"), "Compatible mismatch"),
        (lambda _: b"no bundle" * 1000, "Invalid bundle format"),
    ],
)
def test_what_rauc_refuses_is_reported_with_its_words(board: RaucBoard, image: Callable[[Path], bytes], says: str) -> None:
    board.order(image(board.folder))
    runner = board.run()
    (failed,) = board.events(EventType.INSTALL_FAILED)
    assert failed["code"] == InstallerError.code
    assert says in str(failed["detail"])
    assert (board.boots, runner.parts.boot.get_primary(), runner.parts.boot.get_state(B)) == ([A], A, SlotState.BAD)


def test_a_rauc_that_activates_what_it_installs_is_refused_and_what_it_did_undone(tmp_path: Path, stack: ExitStack) -> None:
    board = RaucBoard(tmp_path, stack, activates=True)
    board.order(bundle(tmp_path, ROOTFS))
    runner = board.run()
    (failed,) = board.events(EventType.INSTALL_FAILED)
    assert "made slot b primary" in str(failed["detail"])
    assert (runner.parts.boot.get_primary(), runner.parts.boot.get_state(B)) == (A, SlotState.BAD)
    board.boot()
    assert board.boots == [A, A]


def test_a_rauc_that_hangs_is_not_waited_for(board: RaucBoard) -> None:
    image = bundle(board.folder, ROOTFS)
    installer = board.installer(answers_s=0.3)
    installer.writer(B).write_at(0, image)
    board.raucd.stop()
    with pytest.raises(BootError, match="does not answer within"):
        installer.install(B, len(image), digest_of(image))


def test_an_installation_that_takes_too_long_is_an_error(board: RaucBoard) -> None:
    image = bundle(board.folder, ROOTFS)
    installer = board.installer(within_s=0)
    installer.writer(B).write_at(0, image)
    with pytest.raises(InstallerError, match="it took too long"):
        installer.install(B, len(image), digest_of(image))


@pytest.fixture
def installed(board: RaucBoard) -> tuple[RaucBoard, bytes]:
    image = bundle(board.folder, ROOTFS)
    installer = board.installer()
    installer.writer(B).write_at(0, image)
    installer.install(B, len(image), digest_of(image))
    installer.verify(B, len(image), digest_of(image))
    return board, image


def test_what_is_installed_is_not_installed_again(installed: tuple[RaucBoard, bytes]) -> None:
    board, image = installed
    board.raucd.boot("A")
    board.installer().install(B, len(image), digest_of(image))
    (slot,) = [slot for slot in RaucBus(timeout_s=5, bus=board.raucd.bus).slots() if slot.bootname == "B"]
    assert slot.count == 1


def test_a_writable_root_may_be_checked_by_raucs_status_alone(installed: tuple[RaucBoard, bytes]) -> None:
    board, image = installed
    with (board.folder / "b.img").open("r+b") as file:
        file.write(b"mounted writable")
    with pytest.raises(DigestError, match="does not hold what RAUC wrote"):
        board.installer().verify(B, len(image), digest_of(image))
    board.installer(check=Check.STATUS).verify(B, len(image), digest_of(image))


@pytest.mark.parametrize("check", Check)
def test_what_rauc_installed_for_somebody_else_is_not_the_noted_bundle(installed: tuple[RaucBoard, bytes], check: Check) -> None:
    board, image = installed
    other = board.folder / "other"
    other.write_bytes(bundle(board.folder, ROOTFS[::-1]))
    assert RaucBus(timeout_s=5, bus=board.raucd.bus).install(str(other), SystemClock(), 60, lambda *_: None) == ""
    with pytest.raises(DigestError):
        board.installer(check=check).verify(B, len(image), digest_of(image))


def test_a_note_that_cannot_be_read_is_no_installation(installed: tuple[RaucBoard, bytes]) -> None:
    board, image = installed
    replace_file(board.storage, "data/installed/b.json", b"{")
    with pytest.raises(DigestError):
        board.installer().verify(B, len(image), digest_of(image))
