# SPDX-License-Identifier: Apache-2.0
"""Tests of blobs in a folder."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from surefoot.model.digest import Digest, digest_of, hex_of
from surefoot.model.errors import DigestError, StoreError
from surefoot.store.disk import DiskBlobs
from tests.store.contract_blobs import BlobStoreContract


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let the operating system refuse to write past ``size``, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def store(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs")


def put(store: DiskBlobs, data: bytes) -> Digest:
    digest = digest_of(data)
    draft = store.draft(digest)
    draft.append(data)
    draft.commit()
    return digest


def file_of(tmp_path: Path, digest: Digest) -> Path:
    return tmp_path / "blobs" / hex_of(digest)[:2] / hex_of(digest)[2:]


class TestContract(BlobStoreContract):
    pass


def test_s12_a_changed_blob_is_refused_when_read_and_put_into_quarantine(store: DiskBlobs, tmp_path: Path) -> None:
    digest = put(store, b"image")
    file_of(tmp_path, digest).write_bytes(b"imagE")
    with pytest.raises(DigestError, match="quarantine"):
        store.read(digest)
    assert store.size(digest) is None
    assert (tmp_path / "blobs" / "quarantine" / hex_of(digest)).read_bytes() == b"imagE"


def test_s12_verify_finds_a_change_that_ranges_would_serve(store: DiskBlobs, tmp_path: Path) -> None:
    digest = put(store, b"image")
    file_of(tmp_path, digest).write_bytes(b"imagE")
    assert store.read_range(digest, 0, 5) == b"imagE"
    with pytest.raises(DigestError):
        store.verify(digest)


def test_a_blob_in_quarantine_may_be_written_again(store: DiskBlobs, tmp_path: Path) -> None:
    digest = put(store, b"image")
    file_of(tmp_path, digest).write_bytes(b"imagE")
    with pytest.raises(DigestError):
        store.verify(digest)
    assert store.read(put(store, b"image")) == b"image"


def test_s12_a_blob_that_is_there_is_never_replaced(store: DiskBlobs, tmp_path: Path) -> None:
    before = file_of(tmp_path, put(store, b"image")).stat().st_ino
    assert file_of(tmp_path, put(store, b"image")).stat().st_ino == before


def test_a_full_disk_is_a_store_error_and_leaves_nothing(store: DiskBlobs, tmp_path: Path) -> None:
    data = bytes(100_000)
    draft = store.draft(digest_of(data))
    with files_up_to(50_000), pytest.raises(StoreError, match="could not be written"):
        draft.append(data)
    assert list((tmp_path / "blobs" / "drafts").iterdir()) == []
    assert store.size(digest_of(data)) is None


def test_drafts_of_a_crash_are_cleared_when_the_store_is_opened(store: DiskBlobs, tmp_path: Path) -> None:
    store.draft(digest_of(b"never finished")).append(b"never")
    DiskBlobs(tmp_path / "blobs")
    assert list((tmp_path / "blobs" / "drafts").iterdir()) == []


def test_a_link_in_place_of_a_blob_is_not_followed(store: DiskBlobs, tmp_path: Path) -> None:
    digest = put(store, b"image")
    (tmp_path / "elsewhere").write_bytes(b"image")
    file_of(tmp_path, digest).unlink()
    file_of(tmp_path, digest).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        store.read(digest)
