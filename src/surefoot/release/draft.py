# SPDX-License-Identifier: Apache-2.0
"""Drafts: a bundle is written beside its place, synced, and only then given its name, so that none is ever half there."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from surefoot.model.errors import InvalidInput, StoreError
from surefoot.release.archive import PIECE_BYTES, Member, write_archive
from surefoot.release.bundle import Bundle
from surefoot.release.layout import SIGNED, check_names


@contextmanager
def draft_bundle(target: Path) -> Iterator[Path]:
    """Give an empty folder that becomes ``target``, a folder or ``.tar``, when the block ends without an error.

    Missing folders above ``target`` are made at the end. When the block raises, nothing is left.

    Raises:
        InvalidInput: There is something at ``target`` already, other than an empty folder.
        StoreError: The disk is full, or may not be written to.
    """
    target = Path(os.path.realpath(target))
    _refuse_occupied(target)
    with _errors_in_words(target), _folder_beside(target) as beside:
        draft = beside / "bundle"
        draft.mkdir()
        yield draft
        _settle(draft)
        if is_archive(target):
            _pack(draft, beside / "bundle.tar")
            draft = beside / "bundle.tar"
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(target)
        _sync(target.parent)


def is_archive(target: Path) -> bool:
    """Say whether a bundle of this name is an archive, not a folder."""
    return target.suffix == ".tar"


def add_signed(bundle: Bundle, signed: Mapping[str, bytes]) -> None:
    """Put files into ``signed/`` of a bundle, replacing those of the same name; the bundle's digest stays as it is.

    Args:
        bundle: Where to.
        signed: Content by name, the name without ``signed/``.

    Raises:
        ManifestError: A name does not fit.
        StoreError: The disk is full, or may not be written to.
    """
    check_names(bundle.path, {SIGNED + name: len(data) for name, data in signed.items()})
    path = Path(os.path.realpath(bundle.path))
    with _errors_in_words(path), _folder_beside(path) as beside:
        if path.is_dir():
            for name, data in signed.items():
                _place(beside / "file", path / SIGNED / name, [data])
        else:
            _repack(bundle, {SIGNED + name: data for name, data in signed.items()}, beside / "bundle.tar")
            (beside / "bundle.tar").replace(path)
            _sync(path.parent)


def _refuse_occupied(target: Path) -> None:
    if not target.exists():
        return
    if is_archive(target) or not target.is_dir():
        raise InvalidInput(f"There is already a file {target}.", hint="Remove it, or choose another name.")
    if any(target.iterdir()):
        raise InvalidInput(f"The folder {target} is not empty.", hint="Empty it, or choose another one.")


@contextmanager
def _errors_in_words(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"Cannot write {target}: {error.strerror}.", hint="Make room or choose another place, and try again.") from error


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    existing = next(folder for folder in target.parents if folder.is_dir())
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=existing))
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _settle(draft: Path) -> None:
    """Give every file and folder the mode that any umask would leave, and sync it."""
    for path in [*draft.rglob("*"), draft]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _pack(draft: Path, archive: Path) -> None:
    members = [Member(name=str(path.relative_to(draft)), size=path.stat().st_size) for path in draft.rglob("*") if path.is_file()]
    with archive.open("wb") as file:
        write_archive(file, members, lambda member: _pieces(draft / member.name))
    _settle(archive)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _repack(bundle: Bundle, added: Mapping[str, bytes], archive: Path) -> None:
    sizes = {**bundle.files.sizes(), **{name: len(data) for name, data in added.items()}}
    members = [Member(name=name, size=size) for name, size in sizes.items()]
    with archive.open("wb") as file:
        write_archive(file, members, lambda member: [added[member.name]] if member.name in added else bundle.files.pieces(member.name))
    _settle(archive)


def _place(draft: Path, target: Path, pieces: Iterable[bytes]) -> None:
    with draft.open("wb") as file:
        file.writelines(pieces)
    _settle(draft)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(target)
    _sync(target.parent)
