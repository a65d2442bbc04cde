# SPDX-License-Identifier: Apache-2.0
"""Boards of every kind: each bootloader with each installer, on flash that loses power.

A bootloader that a real tool drives is a model of it on flash here (``tests/powerfail/bootloaders.py`` cuts the real tools), and so are
RAUC and an install script: they write the same files in the same order. GRUB and EFI, which are documented not to survive every cut,
are left out.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from surefoot.agent.boot.raucbus import Progress, RaucSlot
from surefoot.agent.boot.state import TRIES
from surefoot.agent.boot.twostate import TwoStateBootControl
from surefoot.agent.clock import Clock
from surefoot.agent.installer import SLOTS
from surefoot.agent.installers.archive import SlotTrees
from surefoot.agent.installers.block import BlockFacts
from surefoot.agent.installers.devices import DeviceFile, SlotDevices
from surefoot.agent.installers.port import Installer
from surefoot.agent.installers.rauc import RaucInstaller
from surefoot.agent.installers.script import ScriptInstaller
from surefoot.agent.installers.settings import ScriptInstall
from surefoot.agent.installers.staging import PATH, Staging
from surefoot.agent.installers.tree import digest_on
from surefoot.agent.storage import File, read_file, replace_file
from surefoot.model.digest import Digest, digest_of
from surefoot.model.slot import SlotName
from surefoot.simulator.board import FILE_LOADER, Behaviour, Loader, file_content, slot_files, stored
from surefoot.simulator.clock import VirtualClock
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.rigs import BLOCK, ENV, block_bytes, block_store, link_store
from tests.agent.trees import FlashLink, FlashTree
from tests.powerfail.bootloaders import CountingLoader, uboot_bytes, uboot_store
from tests.powerfail.pocket import CAPACITY, Plan, PocketWorld

A, B = SlotName.A, SlotName.B
NOTES = "data/installed"

Content = Callable[[SimulatedFlash, SlotName], tuple[bytes, Digest]]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A bootloader on flash.

    Attributes:
        name: What it is called in the table.
        loader: Both sides of it.
        prepare: Writes what a new board has.
    """

    name: str
    loader: Loader
    prepare: Callable[[SimulatedFlash], None]


@dataclass(frozen=True, kw_only=True)
class Filler:
    """An installer on flash.

    Attributes:
        name: What it is called in the table.
        pack: Makes an image of a program.
        installer: Fills the slots.
        prepare: Moves the factory's image, which lies in the file of slot a, to where it belongs.
        content: Finds the program in a slot, and the digest of the image that it came in, among some images.
    """

    name: str
    pack: Callable[[bytes], bytes]
    installer: Callable[[SimulatedFlash, SlotName, int], Installer]
    prepare: Callable[[SimulatedFlash, bytes], None]
    content: Callable[[list[bytes]], Content]


def _nothing(_flash: SimulatedFlash) -> None:
    return


def _counting_loader() -> Loader:
    return Loader(
        control=lambda flash, running: TwoStateBootControl(CountingLoader(flash), flash, running, "data/boot-said.json"),
        start=lambda flash: CountingLoader(flash).boot(),
    )


def _as_device(flash: SimulatedFlash, factory: bytes) -> None:
    flash.remove(SLOTS[A])
    for slot, content in ((A, factory), (B, b"")):
        replace_file(flash, f"dev/{slot}", content.ljust(CAPACITY, b"\0"))


def _open_device(flash: SimulatedFlash, path: Path) -> DeviceFile:
    return DeviceFile(path, flash.open(str(path)), lambda: True)


def _devices(flash: SimulatedFlash, running: SlotName, capacity_bytes: int) -> Installer:
    return SlotDevices(
        {slot: Path(f"dev/{slot}") for slot in SlotName},
        running,
        capacity_bytes,
        look=lambda _: BlockFacts(exists=True, is_block=True),
        open_=lambda path, _flags: _open_device(flash, path),
    )


def _beginning_with(programs: Mapping[bytes, Digest]) -> Content:
    """Return what finds on a device one of the programs that it may begin with."""

    def content(flash: SimulatedFlash, slot: SlotName) -> tuple[bytes, Digest]:
        found = read_file(flash, f"dev/{slot}") or b""
        for program, image in programs.items():
            if found.startswith(program):
                return program, image
        return found, digest_of(found)

    return content


def _tar(program: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in (("bin/program", program), ("share/notes", b"x" * 5000)):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def _trees(flash: SimulatedFlash, _running: SlotName, capacity_bytes: int) -> Installer:
    trees = {slot: FlashTree(flash, f"trees/{slot}") for slot in SlotName}
    return SlotTrees(flash, Staging(flash, capacity_bytes), trees, NOTES)


def _unpack_factory(flash: SimulatedFlash, factory: bytes) -> None:
    flash.rename(SLOTS[A], PATH)
    flash.sync_folder(PATH)
    _trees(flash, B, CAPACITY).install(A, len(factory), digest_of(factory))


def _in_trees(images: list[bytes]) -> Content:
    """Return what finds the program in a tree, and which of the images makes that tree."""
    made: dict[Digest, Digest] = {}
    for image in images:
        scratch = SimulatedFlash(keeps_log=False)
        replace_file(scratch, SLOTS[A], image)
        _unpack_factory(scratch, image)
        made[digest_on(FlashTree(scratch, "trees/a"))] = digest_of(image)

    def content(flash: SimulatedFlash, slot: SlotName) -> tuple[bytes, Digest]:
        tree = FlashTree(flash, f"trees/{slot}")
        found = digest_on(tree)
        has_program = any(entry.path == "bin/program" for entry in tree.entries())
        return b"".join(tree.content("bin/program")) if has_program else b"", made.get(found, found)

    return content


_HEAD = b"a bundle, signed by somebody\n"


class FlashRauc:
    """RAUC on flash: it knows what it wrote from a status file, and marks a slot before it writes there."""

    def __init__(self, flash: SimulatedFlash, running: SlotName, *, syncs: bool = True) -> None:
        self._syncs = syncs
        self._flash = flash
        self._slot = running.other

    def call(self, verb: str, signature: str = "", body: tuple[object, ...] = ()) -> tuple[object, ...]:
        """Answer ``GetPrimary``: a name that no slot has, since nothing is ever activated."""
        del verb, signature, body
        return ("none",)

    def slots(self) -> list[RaucSlot]:
        known = self._known()
        blank: dict[str, Any] = {"status": "", "sha256": "", "size": 0, "count": 0}
        return [
            RaucSlot(name=slot, bootname=slot, boot_status="good", device=f"dev/{slot}", **{**blank, **known.get(slot, {})})
            for slot in SlotName
        ]

    def install(self, bundle: str, clock: Clock, within_s: float, progress: Progress) -> str:
        del clock, within_s
        content = (read_file(self._flash, bundle) or b"").removeprefix(_HEAD)
        known = self._known()
        count = known.get(self._slot, {}).get("count", 0)
        self._write({**known, self._slot: {"status": "pending", "count": count}})
        progress(50, "copying")
        with self._flash.open(f"dev/{self._slot}") as device:
            device.write_at(0, content)
            if self._syncs:
                device.sync()
        sha256 = hashlib.sha256(content).hexdigest()
        self._write({**known, self._slot: {"status": "ok", "count": count + 1, "sha256": sha256, "size": len(content)}})
        return ""

    def _known(self) -> dict[str, dict[str, Any]]:
        data = read_file(self._flash, "rauc.status")
        known: dict[str, dict[str, Any]] = {} if data is None else json.loads(data)
        return known

    def _write(self, known: dict[str, dict[str, Any]]) -> None:
        replace_file(self._flash, "rauc.status", json.dumps(known).encode())


def _rauc(flash: SimulatedFlash, running: SlotName, capacity_bytes: int, *, syncs: bool = True) -> Installer:
    def open_slot(device: str) -> File:
        return _open_device(flash, Path(device))

    return RaucInstaller(
        FlashRauc(flash, running, syncs=syncs),
        {slot: str(slot) for slot in SlotName},
        flash,
        Staging(flash, capacity_bytes),
        open_slot,
        bundle=PATH,
        notes=NOTES,
        clock=VirtualClock(),
        within_s=60,
    )


def _bundle_factory(flash: SimulatedFlash, factory: bytes) -> None:
    _as_device(flash, b"")
    replace_file(flash, PATH, factory)
    _rauc(flash, B, CAPACITY).install(A, len(factory), digest_of(factory))


_WRAPPED = b"to be unwrapped\n"


class FlashScript:
    """An install script on flash, which writes half of an image to each of two places."""

    def __init__(self, flash: SimulatedFlash) -> None:
        self._flash = flash

    def run(self, words: Sequence[str], stdin: Iterable[bytes], timeout_s: float) -> str:
        del timeout_s
        verb, slot = words
        if verb == "digest":
            found = digest_of(script_content(self._flash, SlotName(slot)))
            return json.dumps({"content": found.removeprefix("sha256:")})
        image = b"".join(stdin)
        content = image.removeprefix(_WRAPPED)
        middle = len(content) // 2
        for part, piece in (("head", content[:middle]), ("tail", content[middle:])):
            with self._flash.open(f"dev/{slot}.{part}", create=True) as file:
                file.truncate(0)
                file.write_at(0, piece)
                file.sync()
        self._flash.sync_folder("dev/any")
        return json.dumps({"sha256": hashlib.sha256(image).hexdigest()})


def script_content(flash: SimulatedFlash, slot: SlotName) -> bytes:
    """Return what a script has written to a slot."""
    return b"".join(read_file(flash, f"dev/{slot}.{part}") or b"" for part in ("head", "tail"))


def _script(flash: SimulatedFlash, _running: SlotName, capacity_bytes: int) -> Installer:
    return ScriptInstaller(FlashScript(flash), flash, Staging(flash, capacity_bytes), NOTES, ScriptInstall(command=["x"]))


def _script_factory(flash: SimulatedFlash, factory: bytes) -> None:
    flash.remove(SLOTS[A])
    replace_file(flash, PATH, factory)
    _script(flash, B, CAPACITY).install(A, len(factory), digest_of(factory))


def _by_script(images: list[bytes]) -> Content:
    """Return what finds the program that a script has written, and which of the images it came from."""
    made = {image.removeprefix(_WRAPPED): digest_of(image) for image in images}

    def content(flash: SimulatedFlash, slot: SlotName) -> tuple[bytes, Digest]:
        found = script_content(flash, slot)
        return found, made.get(found, digest_of(found))

    return content


def _install_uboot(flash: SimulatedFlash) -> None:
    replace_file(flash, ENV, uboot_bytes())


def _install_link(flash: SimulatedFlash) -> None:
    FlashLink(flash).point("a")


BACKENDS = [
    Backend(name="file", loader=FILE_LOADER, prepare=_nothing),
    Backend(name="block", loader=stored(block_store), prepare=lambda flash: replace_file(flash, BLOCK, block_bytes())),
    Backend(name="uboot", loader=stored(uboot_store), prepare=_install_uboot),
    Backend(name="custom, rauc", loader=_counting_loader(), prepare=lambda flash: replace_file(flash, "loader", f"a {TRIES} 0".encode())),
]
LINK = Backend(name="link", loader=stored(link_store), prepare=_install_link)

FILES = Filler(name="files", pack=bytes, installer=slot_files, prepare=lambda _flash, _factory: None, content=lambda _: file_content)
DEVICES = Filler(
    name="devices",
    pack=bytes,
    installer=_devices,
    prepare=_as_device,
    content=lambda images: _beginning_with({image: digest_of(image) for image in images}),
)
ARCHIVE = Filler(name="archive", pack=_tar, installer=_trees, prepare=_unpack_factory, content=_in_trees)
RAUC = Filler(
    name="rauc",
    pack=lambda program: _HEAD + program,
    installer=_rauc,
    prepare=_bundle_factory,
    content=lambda images: _beginning_with({image.removeprefix(_HEAD): digest_of(image) for image in images}),
)

SCRIPT = Filler(
    name="script",
    pack=lambda program: _WRAPPED + program,
    installer=_script,
    prepare=_script_factory,
    content=_by_script,
)
FORGETFUL_RAUC = replace(RAUC, name="a rauc that does not sync", installer=partial(_rauc, syncs=False))
"""What must be noticed."""

KINDS = [*((backend, filler) for backend in BACKENDS for filler in (FILES, DEVICES, RAUC, SCRIPT)), (LINK, ARCHIVE)]
"""Every bootloader with every installer that goes with it."""


@dataclass(frozen=True)
class Story:
    """An update of one kind of board to a release that behaves so; made once, since keys and signatures cost the most."""

    backend: Backend
    filler: Filler
    behaviour: Behaviour
    plan: Plan
    content: Content

    @classmethod
    def of(cls, backend: Backend, filler: Filler, behaviour: Behaviour) -> "Story":
        plan = Plan.to(behaviour, pack=filler.pack)
        return cls(backend, filler, behaviour, plan, filler.content([plan.factory, plan.content]))

    def __str__(self) -> str:
        """Return what kind of board and release it is."""
        return f"{self.backend.name} with {self.filler.name}, {self.behaviour} release"

    def world(self, flash: SimulatedFlash | None = None) -> PocketWorld:
        """Return a fresh board of this kind at a fresh server; what the factory wrote is durable."""
        world = self.plan.world(flash)
        board = world.board
        self.backend.prepare(board.flash)
        self.filler.prepare(board.flash, self.plan.factory)
        if self.backend.loader is not FILE_LOADER and self.backend is not LINK:
            board.flash.remove("boot.json")
        board.loader, board.installer, board.content = self.backend.loader, self.filler.installer, self.content
        board.flash.sync_folder("any")
        world.factory_operations = board.flash.operations
        return world
