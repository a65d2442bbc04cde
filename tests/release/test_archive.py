# SPDX-License-Identifier: Apache-2.0
"""Archives: one form, readable by others, and nothing else is read."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.errors import FormatError
from surefoot.release.archive import Member, read_members, write_archive

NAMES = st.text(alphabet="abcé./-_", min_size=1, max_size=30).filter(lambda name: not name.endswith("/"))
FILES = st.dictionaries(NAMES, st.tuples(st.binary(max_size=2_000), st.booleans()), max_size=6)


def archive_of(files: dict[str, tuple[bytes, bool]]) -> bytes:
    members = [Member(name=name, size=len(data), is_program=is_program) for name, (data, is_program) in files.items()]
    archive = io.BytesIO()
    write_archive(archive, members, lambda member: [files[member.name][0]])
    return archive.getvalue()


def read(data: bytes) -> list[Member]:
    return list(read_members(io.BytesIO(data), file="x.tar"))


@given(FILES)
def test_what_was_written_is_read_back_in_order(files: dict[str, tuple[bytes, bool]]) -> None:
    data = archive_of(files)
    read_back = {m.name: (data[m.offset : m.offset + m.size], m.is_program) for m in read(data)}
    assert list(read_back.items()) == sorted(files.items())


@given(FILES)
def test_the_order_of_files_does_not_matter(files: dict[str, tuple[bytes, bool]]) -> None:
    assert archive_of(files) == archive_of(dict(reversed(files.items())))


def test_an_ordinary_tar_program_reads_it() -> None:
    data = archive_of({"b/app": (b"x" * 600, True), "a": (b"", False)})
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        listed = [(info.name, info.size, info.mode, info.mtime, info.uid, info.uname) for info in archive]
    assert listed == [("a", 0, 0o644, 0, 0, ""), ("b/app", 600, 0o755, 0, 0, "")]
    assert len(data) % tarfile.RECORDSIZE == 0


@pytest.mark.parametrize("flip", [1, 0x80])
def test_no_byte_outside_the_contents_can_change(flip: int) -> None:
    data = archive_of({"a": (b"content", False), "b": (b"", True)})
    content = range(512, 519)
    unnoticed = []
    for at in set(range(len(data))) - set(content):
        changed = bytearray(data)
        changed[at] ^= flip
        try:
            read(bytes(changed))
        except FormatError:
            continue
        unnoticed.append(at)
    assert unnoticed == []


@pytest.mark.parametrize("cut", [0, 100, 512, 515, 1024, 5_000, 10_239])
def test_a_cut_archive_is_refused(cut: int) -> None:
    with pytest.raises(FormatError, match=r"x\.tar is not an archive as surefoot writes it: see byte"):
        read(archive_of({"a": (b"content", False)})[:cut])


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(FormatError, match="byte 1024"):
        read(archive_of({"a": (b"content", False)}) + bytes(10_240))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.XHDTYPE])
def test_links_folders_and_extensions_are_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, "/etc/passwd"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(info)
    with pytest.raises(FormatError, match="byte 0"):
        read(archive.getvalue())


def test_a_file_that_grows_while_it_is_read_is_refused() -> None:
    with pytest.raises(FormatError, match="'a' was 3 bytes long and then 4"):
        write_archive(io.BytesIO(), [Member(name="a", size=3)], lambda _: [b"fo", b"ur"])


@pytest.mark.parametrize("member", [Member(name="é" * 51, size=0), Member(name="a", size=8 * 1024**3)])
def test_what_does_not_fit_a_header_is_refused(member: Member) -> None:
    with pytest.raises(FormatError, match="does not fit an archive"):
        write_archive(io.BytesIO(), [member], lambda _: [])
