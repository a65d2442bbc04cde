# SPDX-License-Identifier: Apache-2.0
"""The plain TUF client workflow over one repository that is asked file by file (TUF specification 1.0, section 5).

A device never runs it: it is answered with all files of a round at once, and keeps all of them or none. This is for the
public conformance suite. The checks are those of ``surefoot.trust.verify``; what is added here is what TUF says of the rest:

- Roots, timestamp, snapshot, targets: in this order, and nothing is asked for that is already known.
- Each file is kept as soon as it is verified, so a root stays even when the timestamp after it is refused.
- A kept file is verified again whenever it is used. One that is damaged or no longer signed is fetched anew, but for the root.
- A timestamp of the version already kept is thrown away (TUF 5.4.3).
- Each search verifies each role by the parent that it is reached through, whatever was verified for another path.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Protocol
from urllib.parse import quote

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import MetaFile, TargetFile, Timestamp

from surefoot.agent.storage import File, Storage, read_file, replace_file
from surefoot.model.errors import DigestError, MetadataError, TrustError, UnknownError
from surefoot.trust.metadata import MAX_BYTES, verified
from surefoot.trust.verify import (
    MAX_ROOTS,
    Trusted,
    listed,
    load,
    search,
    settle_root,
    update_root,
    update_snapshot,
    update_targets,
    update_timestamp,
)


class Folder(Protocol):
    """Where a repository's files lie."""

    def open(self, name: str) -> Iterator[bytes] | None:
        """Return a file in pieces, or ``None`` when the folder has none of that name; ``TransportError`` for any trouble."""
        ...


class TufClient:
    """One repository as a client knows it, kept in a folder under un-versioned names."""

    def __init__(self, metadata: Folder, kept: Storage, now: datetime) -> None:
        """Start from what is kept; nothing is fetched yet.

        Args:
            metadata: The repository's metadata.
            kept: The client's own folder.
            now: Aware, UTC: the start of the update (TUF 5.1).

        Raises:
            MetadataError: No root is kept, or it cannot be read.
            SignatureError: It is not signed by its own threshold.
        """
        self._metadata = metadata
        self._kept = kept
        self._now = now
        self._trusted = _restored(kept)

    def refresh(self) -> None:
        """Bring the top-level metadata up to date.

        Raises:
            TrustError: Some file is missing, unsigned, expired, older than the kept one or not as it was announced; what was
                verified before it stays kept.
            TransportError: The repository does not answer.
        """
        self._refresh_root()
        self._refresh_timestamp()
        self._refresh_snapshot()
        self._trusted = self._with_targets(self._trusted, "targets", "root")

    def find(self, path: str) -> TargetFile:
        """Return what the repository says of a target, after ``refresh``.

        Raises:
            NotInImageRepositoryError: No role that may speak for the path lists it.
            TrustError: A role on the way does not verify.
            TransportError: The repository does not answer.
        """
        # What the search trusts ends with it: another path may reach the same role through another parent.
        return search(self._trusted, path, self._with_targets)[1]

    def download(self, target: TargetFile, source: Folder, place: Storage) -> None:
        """Bring a target into ``place`` under its URL-encoded path, unless it already lies there.

        Raises:
            DigestError: What the repository has is not of the signed length and hashes; nothing is left of it.
            UnknownError: The repository does not have it.
            TransportError: The repository does not answer.
        """
        name = quote(target.path, safe="")
        if _holds(place, name, target):
            return
        # With consistent snapshots a target's hash stands before its name (TUF 6.2).
        remote = target.get_prefixed_paths()[0] if self._trusted.root.consistent_snapshot else target.path
        pieces = source.open(remote)
        if pieces is None:
            raise UnknownError(f"The repository does not have {remote}.")
        _store(place, name, target, pieces)

    def _refresh_root(self) -> None:
        for _ in range(MAX_ROOTS):
            data = self._fetch(f"{self._trusted.root.version + 1}.root.json", MAX_BYTES["root"])
            if data is None:
                break
            self._keep(update_root(self._trusted, data), "root")
        settle_root(self._trusted, self._now)

    def _refresh_timestamp(self) -> None:
        data = self._fetched("timestamp.json", MAX_BYTES["timestamp"])
        offered = verified(data, Timestamp, self._trusted.root, "timestamp", name="timestamp.json")
        if self._trusted.timestamp is not None and offered.version == self._trusted.timestamp.version:
            self._trusted = update_timestamp(self._trusted, self._trusted.files["timestamp.json"], self._now)
        else:
            self._keep(update_timestamp(self._trusted, data, self._now), "timestamp")

    def _refresh_snapshot(self) -> None:
        assert self._trusted.timestamp is not None  # noqa: S101  # the order of steps in refresh
        meta, known = self._trusted.timestamp.snapshot_meta, self._trusted
        self._trusted = self._described("snapshot", "snapshot", meta, lambda data: update_snapshot(known, data, self._now))

    def _with_targets(self, trusted: Trusted, role: str, parent: str) -> Trusted:
        meta = listed(trusted, f"{role}.json")
        name = f"{meta.version}.{role}.json"
        return self._described(role, "targets", meta, lambda data: update_targets(trusted, {name: data}, role, parent, self._now))

    def _described(self, role: str, kind: str, meta: MetaFile, verify: Callable[[bytes], Trusted]) -> Trusted:
        """Take the kept file of a role if it is the one that ``meta`` describes, and else the repository's."""
        kept = read_file(self._kept, _stored(role))
        if kept is not None:
            with suppress(TrustError):
                return verify(kept)
        version = f"{meta.version}." if self._trusted.root.consistent_snapshot else ""
        limit = MAX_BYTES[kind] if meta.length is None else min(meta.length, MAX_BYTES[kind])
        trusted = verify(self._fetched(f"{version}{_stored(role)}", limit))
        replace_file(self._kept, _stored(role), trusted.files[f"{role}.json"])
        return trusted

    def _keep(self, trusted: Trusted, role: str) -> None:
        replace_file(self._kept, _stored(role), trusted.files[f"{role}.json"])
        self._trusted = trusted

    def _fetched(self, name: str, limit: int) -> bytes:
        data = self._fetch(name, limit)
        if data is None:
            raise MetadataError(f"The repository does not have {name}.")
        return data

    def _fetch(self, name: str, limit: int) -> bytes | None:
        pieces = self._metadata.open(name)
        if pieces is None:
            return None
        data = bytearray()
        for piece in pieces:
            data += piece
            if len(data) > limit:
                raise MetadataError(f"{name} has more than {limit} bytes.")
        return bytes(data)


def _restored(kept: Storage) -> Trusted:
    root = read_file(kept, _stored("root"))
    if root is None:
        raise MetadataError("There is no trusted root.", hint="Run 'init' with one first.")
    trusted = load({"root.json": root})
    for role in ("timestamp", "snapshot"):
        data = read_file(kept, _stored(role))
        if data is not None:
            with suppress(TrustError):
                trusted = load({**trusted.files, f"{role}.json": data})
    return trusted


def _stored(role: str) -> str:
    return f"{quote(role, safe='')}.json"


class _ReadBack(io.RawIOBase):
    """A kept file as the stream that ``tuf`` measures and hashes."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (self._file.size() if whence == io.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # hashlib gives it nothing but views of bytes
        data = self._file.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _is(file: File, target: TargetFile) -> bool:
    try:
        target.verify_length_and_hashes(_ReadBack(file))  # type: ignore[arg-type]  # it asks for IO, and uses what is there
    except LengthOrHashMismatchError:
        return False
    return True


def _holds(place: Storage, name: str, target: TargetFile) -> bool:
    if not place.exists(name):
        return False
    with place.open(name) as file:
        return _is(file, target)


def _store(place: Storage, name: str, target: TargetFile, pieces: Iterator[bytes]) -> None:
    # A lone '%' stands in no encoded name, so the draft of one target is never another target.
    draft = f"{name}%"
    try:
        with place.open(draft, create=True) as file:
            _fill(file, target, pieces)
        place.rename(draft, name)
    finally:
        place.remove(draft)
    place.sync_folder(name)


def _fill(file: File, target: TargetFile, pieces: Iterator[bytes]) -> None:
    file.truncate(0)
    position = 0
    for piece in pieces:
        if position + len(piece) > target.length:
            raise DigestError(f"{target.path} has more than the {target.length} bytes that were signed.")
        file.write_at(position, piece)
        position += len(piece)
    if not _is(file, target):
        raise DigestError(f"{target.path} does not have the length and hashes that were signed.")
    file.sync()
