# SPDX-License-Identifier: Apache-2.0
"""Archives: what may be unpacked, what lies there afterwards, and what is noticed when it changes."""

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.installers.archive import SlotTrees
from surefoot.agent.installers.folder import FolderTree
from surefoot.agent.installers.staging import PATH, Staging
from surefoot.agent.installers.tree import Entry, Kind, Tree, digest_on
from surefoot.agent.installers.unpack import MOST_HEADER_BYTES, entry_of, unpack
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import read_file, replace_file
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import ArchiveError, DeviceError, DigestError, SpaceError
from surefoot.model.slot import SlotName
from surefoot.release.archive import Member, write_archive
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.trees import FlashTree

A, B = SlotName.A, SlotName.B
CAPACITY = 4 * 1024 * 1024
PROGRAM = b"#!/bin/sh\necho hello\n" + os.urandom(200_000)


def member(name: str, content: bytes = b"", *, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type, info.linkname = len(content), mode, kind, link
    return info


def packed(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def one(info: tarfile.TarInfo, content: bytes = b"") -> bytes:
    return packed((info, content))


FOLDER = member("app/lib/", mode=0o750, kind=tarfile.DIRTYPE)
APP = packed(
    (member("./app", mode=0o755, kind=tarfile.DIRTYPE), b""),
    (FOLDER, b""),
    (member("app/run", PROGRAM, mode=0o755), PROGRAM),
    (member("app/lib/" + "long" * 40 + ".so", b"code"), b"code"),
    (member("app/lib/empty"), b""),
    (member("start", kind=tarfile.SYMTYPE, link="app/run"), b""),
    (member("app/lib/up", kind=tarfile.SYMTYPE, link="../run"), b""),
    (member("made/for/it", b"x", mode=0o400), b"x"),
)


class Box:
    """An installer on a real folder."""

    def __init__(self, folder: Path) -> None:
        (folder / "home").mkdir()
        (folder / "app").mkdir()
        self.app = folder / "app"
        self.storage = PosixStorage(folder / "home")
        self.trees = {slot: FolderTree(self.app / slot) for slot in SlotName}
        self.slots = self.open()

    def open(self) -> SlotTrees:
        return SlotTrees(self.storage, Staging(self.storage, CAPACITY), self.trees, "data/installed")

    def download(self, image: bytes) -> None:
        file = self.slots.writer(B)
        file.truncate(0)
        file.write_at(0, image)
        file.sync()

    def install(self, image: bytes) -> None:
        self.download(image)
        self.slots.install(B, len(image), digest_of(image))
        self.slots.verify(B, len(image), digest_of(image))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    old = os.umask(0o077)
    box = Box(tmp_path)
    yield box
    box.slots.close()
    os.umask(old)


def test_an_application_is_unpacked_as_it_was_packed(box: Box) -> None:
    box.install(APP)
    assert (box.app / "b/start").read_bytes() == PROGRAM
    assert (box.app / "b/app/lib/up").read_bytes() == PROGRAM
    modes = {path: (box.app / "b" / path).stat().st_mode & 0o7777 for path in ("", "app", "app/lib", "app/run", "made/for", "made/for/it")}
    assert modes == {"": 0o755, "app": 0o755, "app/lib": 0o750, "app/run": 0o755, "made/for": 0o755, "made/for/it": 0o400}
    assert box.slots.running_digest(B, len(APP)) == digest_of(APP)
    assert not (box.app / "a").exists()


def test_the_download_gives_its_room_back(box: Box) -> None:
    box.install(APP)
    assert read_file(box.storage, PATH) == b""


def test_installing_again_what_is_installed_does_nothing(box: Box) -> None:
    box.install(APP)
    before = (box.app / "b/app/run").stat().st_ino
    box.open().install(B, len(APP), digest_of(APP))
    assert (box.app / "b/app/run").stat().st_ino == before


def test_what_lay_in_the_slot_before_is_gone(box: Box) -> None:
    box.install(APP)
    other = one(member("other", b"1"), b"1")
    box.install(other)
    assert [path.name for path in (box.app / "b").iterdir()] == ["other"]
    with pytest.raises(DigestError):
        box.slots.verify(B, len(APP), digest_of(APP))


def test_what_the_build_makes_of_several_components_can_be_installed(box: Box) -> None:
    made = io.BytesIO()
    members = [Member(name="core/run", size=3, is_program=True), Member(name="web/index.html", size=3)]
    write_archive(made, members, lambda _: [b"abc"])
    box.install(made.getvalue())
    assert (box.app / "b/core/run").read_bytes() == b"abc"


def change_a_byte(tree: Path) -> None:
    with (tree / "app/run").open("r+b") as file:
        file.seek(150_000)
        file.write(b"evil")


def put_a_program_in_its_place(tree: Path) -> None:
    (tree / "app/run").unlink()
    (tree / "app/run").write_bytes(b"evil")


def lead_elsewhere(tree: Path) -> None:
    (tree / "start").unlink()
    (tree / "start").symlink_to("app/lib/empty")


CHANGES: list[Callable[[Path], object]] = [
    change_a_byte,
    put_a_program_in_its_place,
    lambda tree: (tree / "app/lib/more.so").write_bytes(b""),
    lambda tree: (tree / "app/lib/empty").unlink(),
    lambda tree: (tree / "app/lib/empty").chmod(0o4755),
    lambda tree: (tree / "app").chmod(0o777),
    lambda tree: (tree / "empty").mkdir(),
    lambda tree: (tree / "app/lib").rename(tree / "app/moved"),
    lambda tree: os.mkfifo(tree / "pipe"),
    lead_elsewhere,
    lambda tree: tree.rename(tree.with_name("elsewhere")),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_in_a_tree_is_noticed(box: Box, change: Callable[[Path], object]) -> None:
    box.install(APP)
    change(box.app / "b")
    assert box.slots.running_digest(B, len(APP)) != digest_of(APP)
    with pytest.raises(DigestError, match="The tree of slot b is not what the signed"):
        box.slots.verify(B, len(APP), digest_of(APP))


@pytest.mark.parametrize("note", [b"", b"{}", b'{"image":'])
def test_a_note_that_says_nothing_is_no_installation(box: Box, note: bytes) -> None:
    box.install(APP)
    replace_file(box.storage, "data/installed/b.json", note)
    assert box.slots.running_digest(B, len(APP)) == digest_on(box.trees[B])
    box.install(APP)


def test_a_download_that_is_not_what_was_signed_touches_no_tree(box: Box) -> None:
    box.install(APP)
    for wrong in (APP[:-1], APP + b"x", APP[:1000] + b"!" + APP[1001:]):
        box.download(wrong)
        with pytest.raises(DigestError, match="The download has"):
            box.slots.install(B, len(APP), digest_of(one(member("x"))))
    box.slots.verify(B, len(APP), digest_of(APP))


ROOT = "/etc/passwd"
REFUSED = {
    "an absolute path": one(member("/etc/x", b"1"), b"1"),
    "a path upwards": one(member("../x", b"1"), b"1"),
    "a path upwards inside": one(member("a/../../x", b"1"), b"1"),
    "an empty part": one(member("a//x", b"1"), b"1"),
    "no path": one(member(".", kind=tarfile.DIRTYPE)),
    "a long path": one(member("x" * 2000, b"1"), b"1"),
    "an absolute link": one(member("l", kind=tarfile.SYMTYPE, link=ROOT)),
    "a link upwards": one(member("l", kind=tarfile.SYMTYPE, link="../x")),
    "a link further upwards than it lies": one(member("a/l", kind=tarfile.SYMTYPE, link="../../x")),
    "a link up behind a name": one(member("a/b/l", kind=tarfile.SYMTYPE, link="c/../x")),
    "an empty link": one(member("l", kind=tarfile.SYMTYPE, link="")),
    "a hard link": packed((member("x", b"1"), b"1"), (member("y", kind=tarfile.LNKTYPE, link="x"), b"")),
    "a device": one(member("d", kind=tarfile.CHRTYPE)),
    "a disk": one(member("d", kind=tarfile.BLKTYPE)),
    "a pipe": one(member("p", kind=tarfile.FIFOTYPE)),
    "set-user-id": one(member("x", b"1", mode=0o4755), b"1"),
    "set-group-id": one(member("d", kind=tarfile.DIRTYPE, mode=0o2755)),
    "sticky": one(member("d", kind=tarfile.DIRTYPE, mode=0o1777)),
    "one path twice": packed((member("x", b"1"), b"1"), (member("./x", b"2"), b"2")),
    "a file below a file": packed((member("x", b"1"), b"1"), (member("x/y", b"2"), b"2")),
    "a file below a link": packed((member("x", kind=tarfile.SYMTYPE, link="y"), b""), (member("x/y", b"2"), b"2")),
    "no entries": packed(),
    "no tar": b"\x7fELF" + bytes(10_000),
    "nothing": b"",
    "a damaged header": packed((member("x", b"1"), b"1"))[:1024] + b"garbage".ljust(512, b"!") + bytes(1024),
    "a cut": packed((member("x", b"1" * 600), b"1" * 600))[:1600],
}


def around(folder: Path) -> list[str]:
    """Return all that lies in a box but for the slot's tree and the download."""
    paths = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(path for path in paths if not path.startswith(("app/b", "home/slots")))


@pytest.mark.parametrize("what", REFUSED)
def test_an_archive_with_what_may_not_be_is_refused_and_nothing_lies_outside(box: Box, tmp_path: Path, what: str) -> None:
    before = around(tmp_path)
    with pytest.raises(DeviceError) as caught:
        box.install(REFUSED[what])
    assert isinstance(caught.value, ArchiveError) or " below " in what, caught.value
    assert caught.value.hint
    assert around(tmp_path) == before
    assert box.slots.running_digest(B, len(REFUSED[what])) != digest_of(REFUSED[what])


def test_a_header_that_would_fill_the_memory_is_refused(box: Box) -> None:
    info = member("x", b"1")
    info.pax_headers = {"comment": "x" * MOST_HEADER_BYTES}
    with pytest.raises(ArchiveError, match="header of more than"):
        box.install(one(info, b"1"))


def test_too_many_entries_are_refused() -> None:
    flash = SimulatedFlash(keeps_log=False)
    replace_file(flash, "image", packed(*((member(f"{number}/x"), b"") for number in range(5))))
    tree = FlashTree(flash, "tree")
    with flash.open("image") as file:
        unpack(file, tree, CAPACITY, most_entries=10)
        tree.clear()
        with pytest.raises(ArchiveError, match="more than 9 entries"):
            unpack(file, tree, CAPACITY, most_entries=9)


def test_content_larger_than_the_slot_is_refused_before_it_is_written() -> None:
    flash = SimulatedFlash(keeps_log=False)
    image = packed((member("x", b"1" * 3000), b"1" * 3000), (member("y", b"1" * 3000), b"1" * 3000))
    replace_file(flash, "image", image)
    tree = FlashTree(flash, "tree")
    with flash.open("image") as file, pytest.raises(SpaceError, match="larger than 5000 bytes"):
        unpack(file, tree, 5000)
    assert [entry.path for entry in tree.entries()] == ["x"]


NAMES = st.text("ab./é", min_size=1, max_size=8)
INFOS = st.builds(
    member,
    NAMES,
    st.just(b""),
    mode=st.integers(0, 0o7777),
    kind=st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]),
    link=NAMES,
)


@given(INFOS)
def test_what_passes_stays_in_the_tree(info: tarfile.TarInfo) -> None:
    try:
        entry = entry_of(info)
    except ArchiveError:
        return
    assert not entry.path.startswith("/")
    assert ".." not in entry.path.split("/")
    assert entry.mode <= 0o777
    if entry.kind is Kind.LINK:
        landed = os.path.normpath(f"/root/{Path(entry.path).parent}/{entry.target}")
        assert landed == "/root" or landed.startswith("/root/")


def laws() -> list[Callable[[Tree], None]]:
    def an_entry_is_there_as_it_was_made(tree: Tree) -> None:
        made = [
            Entry(path="d", kind=Kind.FOLDER, mode=0o755),
            Entry(path="d/f", kind=Kind.FILE, mode=0o640),
            Entry(path="l", kind=Kind.LINK, target="d/f"),
        ]
        for entry in made:
            tree.add(entry, [b"con", b"tent"] if entry.kind is Kind.FILE else ())
        tree.sync()
        assert sorted(tree.entries(), key=lambda entry: entry.path) == made
        assert b"".join(tree.content("d/f")) == b"content"

    def nothing_is_made_twice(tree: Tree) -> None:
        tree.add(Entry(path="f", kind=Kind.FILE, mode=0o644), [b"1"])
        with pytest.raises(DeviceError):
            tree.add(Entry(path="f", kind=Kind.FILE, mode=0o644), [b"2"])

    def a_cleared_tree_is_empty(tree: Tree) -> None:
        tree.add(Entry(path="d", kind=Kind.FOLDER, mode=0o755))
        tree.add(Entry(path="d/f", kind=Kind.FILE, mode=0o644), [b"1"])
        tree.clear()
        assert list(tree.entries()) == []

    return [an_entry_is_there_as_it_was_made, nothing_is_made_twice, a_cleared_tree_is_empty]


@pytest.mark.parametrize("law", laws(), ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", ["folder", "flash"])
def test_every_tree_keeps_one_contract(kind: str, law: Callable[[Tree], None], tmp_path: Path) -> None:
    tree: Tree = FolderTree(tmp_path / "tree") if kind == "folder" else FlashTree(SimulatedFlash(), "tree")
    tree.clear()
    law(tree)


def test_both_trees_have_one_digest_for_one_archive(tmp_path: Path) -> None:
    flash = SimulatedFlash()
    replace_file(flash, "image", APP)
    found: set[Digest] = set()
    for tree in (FolderTree(tmp_path / "tree"), FlashTree(flash, "tree")):
        tree.clear()
        with flash.open("image") as file:
            found |= {unpack(file, tree, CAPACITY), digest_on(tree)}
    assert len(found) == 1
