# SPDX-License-Identifier: Apache-2.0
"""Poll: what changed for a device since it last asked.

- An idle poll is one row and one comparison; it costs the same whatever the size of the fleet.
- The ETag says which versions the device then holds: ``<director root>.<targets>.<snapshot>.<timestamp>`` of its view, a
  bar, and ``<root>:<timestamp>:<snapshot>:<targets>`` of the image repository, then ``:<role>=<version>`` for the product's role, for the
  bin if there is one, and for the archive if the release is retired. A semicolon and the
  number of the last change of maintenance windows end it. It is opaque to the device, and a hint to us: one that cannot be read
  means that the device holds nothing.
- The snapshot's version stands for every role's, so an idle poll looks at no role, and its cost does not grow with the catalogue.
- Files of the image repository are sent only when the view orders something.
- While a key cannot sign, a view that is due and still holds is served as it is; signing is tried again once in a while, not at each poll.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.metadata import Targets

from surefoot.fleet.attempt import Attempt
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import SignerUnavailableError
from surefoot.model.record import to_json
from surefoot.model.wire import ArtifactHint, PollAnswer, PollMetadata
from surefoot.server.services.ports import CheckIn, Ledger, Reads, StoredView, Write
from surefoot.server.services.views import Outage, artifact_url, director_root, is_behind, renew, still_holds
from surefoot.trust.director import DirectorSigners
from surefoot.trust.layout import bits_of, way_to
from surefoot.trust.metadata import read

_JITTER_STEPS = 2_000
_SHARED = ("root", "timestamp", "snapshot", "targets")
_SHARED_FILES = tuple(f"{name}.json" for name in _SHARED)
_TOO_LONG = 16
_SIGN_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class PollSettings:
    """How devices are told to poll.

    Attributes:
        interval_s: Seconds between two polls of a device, before jitter.
        device_url: Where devices reach the device listener; without a slash at its end.
    """

    interval_s: int
    device_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """An answer with a body, and the ETag of what the device then holds."""

    etag: str
    body: bytes


class Poll:
    """The verb, with what it keeps in memory: the newest versions of both repositories' shared files, and whether keys sign."""

    def __init__(self, *, reads: Reads, write: Write, signers: DirectorSigners, settings: PollSettings) -> None:
        """Read the versions; ``reload`` after every change of a repository."""
        self._reads = reads
        self._write = write
        self._signers = signers
        self._settings = settings
        self._director_root = ""
        self._image_tag = self._windows_tag = ""
        self._bits: dict[str, tuple[int, int]] = {}
        self._outage: Outage | None = None
        self._is_outage_told = True
        self.reload()

    def reload(self) -> None:
        """Read the versions of the shared files again."""
        self._image_tag = _shared_tag(self._reads.metadata("image", _SHARED_FILES).versions)
        self._director_root = f"{director_root(self._reads)}."
        self._windows_tag = f";{self._reads.windows_version()}"

    def is_idle(self, row: CheckIn, etag: str, now_s: int) -> bool:
        """Say whether nothing changed for a device that holds what ``etag`` says; ``now_s`` in seconds since 1970."""
        director, _, image = etag.partition("|")
        return (
            now_s < row.due_at
            and director == self._director_root + row.tag
            and (not row.product or (image.startswith(f"{self._image_tag}:{row.product}=") and image.endswith(self._windows_tag)))
        )

    async def answer(self, device_id: DeviceId, etag: str, now: datetime) -> Changed:
        """Return all that the device lacks, signing its view first where that is due.

        Raises:
            SignerUnavailableError: No view that still holds is there, and none can be signed at present.
            StoreError: The new view could not be stored.
        """
        stored = self._reads.view(device_id)
        if (
            stored is None
            or now >= stored.due_at
            or stored.root_version != director_root(self._reads)
            or is_behind(stored, self._reads.windows_version())
        ):
            stored = await self._renewed(device_id, stored, now)
        director, _, image = etag.partition("|")
        director_tag, director_files = _director_part(self._reads, stored, director)
        image_tag, image_files = image, dict[str, bytes]()
        hints: list[ArtifactHint] = []
        if stored.attempt is not None:
            image_tag, image_files = _image_part(self._reads, self._way(stored.attempt), image.partition(";")[0])
            image_tag += f";{stored.windows_version}"
            url = artifact_url(self._settings.device_url, stored.attempt.hash)
            hints = [ArtifactHint(hash=stored.attempt.hash, urls=[url], size=stored.attempt.size)]
        answer = PollAnswer(
            next_poll_s=self.next_poll_s(device_id),
            metadata=PollMetadata(director=director_files, image=image_files),
            artifacts=hints,
        )
        return Changed(etag=f"{director_tag}|{image_tag}", body=to_json(answer))

    def _way(self, attempt: Attempt) -> list[str]:
        """Return the roles of the product that lead to the ordered path; its own is parsed once a version."""
        name = f"{attempt.product}.json"
        version = self._reads.metadata("image", (name,)).versions[name]
        known, bits = self._bits.get(attempt.product, (0, 0))
        if known != version:
            bits = bits_of(read(self._reads.metadata("image", (name,)).files[name], Targets, name=name).signed)
            self._bits[attempt.product] = (version, bits)
        is_retired = self._reads.is_retired(attempt.product, attempt.version)
        return way_to(attempt.product, bits, attempt.path, is_retired=is_retired)

    def take_outage(self) -> Outage | None:
        """Return the present outage if signing has failed since this was last asked."""
        outage = None if self._is_outage_told else self._outage
        self._is_outage_told = True
        return outage

    async def _renewed(self, device_id: DeviceId, stored: StoredView | None, now: datetime) -> StoredView:
        try:
            self._require_rested(now)
            return await self._write(lambda ledger: self._sign(ledger, device_id, now))
        except SignerUnavailableError:
            if stored is None or not still_holds(self._reads, stored, now):
                raise
            return stored

    def _sign(self, ledger: Ledger, device_id: DeviceId, now: datetime) -> StoredView:
        """Sign in the writer; of the jobs that waited together, only the first meets a key that does not sign."""
        self._require_rested(now)
        try:
            renewed = renew(ledger, device_id, self._signers, now)
        except SignerUnavailableError as error:
            since = now if self._outage is None else self._outage.since
            self._outage, self._is_outage_told = Outage(since=since, latest=now, error=error), False
            raise
        self._outage = None
        return renewed

    def _require_rested(self, now: datetime) -> None:
        outage = self._outage
        if outage is not None and now < outage.latest + _SIGN_AGAIN:
            raise SignerUnavailableError(outage.error.message, hint=outage.error.hint)

    def next_poll_s(self, device_id: DeviceId) -> int:
        """Return the seconds until this device's next poll: the interval, moved by up to a tenth by the device's own hash."""
        step = zlib.crc32(device_id.encode()) % (_JITTER_STEPS + 1) - _JITTER_STEPS // 2
        return min(86_399, max(1, self._settings.interval_s + self._settings.interval_s * step // (_JITTER_STEPS * 5)))


def _director_part(reads: Reads, stored: StoredView, held_tag: str) -> tuple[str, dict[str, bytes]]:
    # The root that the view goes with, be it the newest or not: a device that holds another is then not idle.
    view, root = stored.view, stored.root_version
    current = {"root": root, "targets": view.targets_version, "snapshot": view.snapshot_version, "timestamp": view.timestamp_version}
    held = _held(held_tag.split("."), current)
    lacking = _roots(reads, "director", held["root"], root)
    if held["timestamp"] != view.timestamp_version:
        lacking["timestamp.json"] = view.timestamp
    if held["snapshot"] != view.snapshot_version:
        lacking[f"{view.snapshot_version}.snapshot.json"] = view.snapshot
    if held["targets"] != view.targets_version:
        lacking[f"{view.targets_version}.targets.json"] = view.targets
    return ".".join(str(version) for version in current.values()), lacking


def _image_part(reads: Reads, way: list[str], held_tag: str) -> tuple[str, dict[str, bytes]]:
    names = [*_SHARED, *way]
    published = reads.metadata("image", tuple(f"{name}.json" for name in names))
    words = held_tag.split(":")
    roles = dict(word.rpartition("=")[::2] for word in words[len(_SHARED) :])
    said = [*words[: len(_SHARED)], *roles.values()]
    held = dict.fromkeys(names, 0) | _held(said, [*_SHARED, *roles])
    current = {name: published.versions[f"{name}.json"] for name in names}
    lacking = _roots(reads, "image", held["root"], current["root"])
    for name in names[1:]:
        if held[name] != current[name]:
            file = "timestamp.json" if name == "timestamp" else f"{current[name]}.{name}.json"
            lacking[file] = published.files[f"{name}.json"]
    return ":".join([_shared_tag(published.versions), *(f"{role}={current[role]}" for role in way)]), lacking


def _roots(reads: Reads, repository: str, held: int, newest: int) -> dict[str, bytes]:
    """Return every root after the held one; a device never fetches its first (TUF 5.3)."""
    names = tuple(f"{n}.root.json" for n in range(max(held, 1) + 1, newest + 1))
    return reads.metadata(repository, names).files if names else {}


def _held(words: list[str], names: Iterable[str]) -> dict[str, int]:
    listed = list(names)
    if len(words) != len(listed) or not all(word.isascii() and word.isdigit() and len(word) < _TOO_LONG for word in words):
        return dict.fromkeys(listed, 0)
    return {name: int(word) for name, word in zip(listed, words, strict=True)}


def _shared_tag(published: Mapping[str, int]) -> str:
    return ":".join(str(published[name]) for name in _SHARED_FILES)
