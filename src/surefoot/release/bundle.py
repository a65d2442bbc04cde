# SPDX-License-Identifier: Apache-2.0
"""Bundles: the folder or ``.tar`` that carries a release, written whole and read with suspicion.

- ``release.json`` is the root: it names every manifest, the bill of materials and the provenance by hash, manifests name
  images by hash. Its own digest is therefore the bundle's.
- Every file has one form, so that a changed byte anywhere is noticed: JSON as we write it, archives as ``archive`` writes them.
- ``signed/`` holds what signing adds; it is no part of the digest and is not judged here.
- Anything else in a bundle is refused.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from surefoot.model import record
from surefoot.model.digest import Digest, digest_of, from_hex
from surefoot.model.errors import DigestError, FormatError, ManifestError
from surefoot.model.manifest import Manifest, ManifestEntry, ReleaseIndex, as_built
from surefoot.release import provenance, sbom
from surefoot.release.archive import PIECE_BYTES, Member, read_members
from surefoot.release.layout import INDEX, PROVENANCE, SBOM, SIGNED, check_names, image_file, manifest_file
from surefoot.release.sbom import Listed

_SAME = ("release_counter", "data_format", "min_bootloader_version", "requires", "revert_to", "metadata")
"""What all manifests of a release must say alike."""

_R = TypeVar("_R")


class Files(Protocol):
    """The files of a bundle, wherever they lie."""

    def sizes(self) -> Mapping[str, int]:
        """Return the length of every file by its name."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield the content of a file, piece by piece."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A release as it lies in a bundle; its manifests are read and agree with ``release.json``, its images are not yet.

    Attributes:
        path: The folder or archive.
        digest: The digest of ``release.json``, and so of everything but ``signed/``.
        manifests: Every manifest, by the name of its file, in the order of ``release.json``.
        sbom: The bill of materials, as its bytes.
        provenance: How it was built, as its bytes.
        signed: What signing added, by name without ``signed/``.
    """

    path: Path
    files: Files
    digest: Digest
    index: ReleaseIndex
    manifests: Mapping[str, Manifest]
    sbom: bytes
    provenance: bytes
    signed: Mapping[str, bytes]

    def image_pieces(self, manifest: Manifest) -> Iterator[bytes]:
        """Yield the bytes of a manifest's image; they are checked as they pass.

        Raises:
            ManifestError: The bundle has no such image.
            DigestError: The image has another length or hash; raised at its end.
        """
        name = image_file(manifest.image.hash)
        if name not in self.files.sizes():
            raise ManifestError(f"{self.path}: the file {name} is missing.", hint="Build or fetch the bundle again.")
        yield from _checked(self.files.pieces(name), manifest, f"{self.path}: {name}")


def entry_of(manifest: Manifest) -> ManifestEntry:
    """Return how ``release.json`` names this manifest."""
    hardware = manifest.target_hardware[0]
    digest = digest_of(record.to_pretty_json(manifest))
    return ManifestEntry(hardware=hardware, variant=manifest.variant, file=manifest_file(hardware, manifest.variant), hash=digest)


def read_bundle(path: Path) -> Bundle:
    """Read all of a bundle but its images.

    Raises:
        ManifestError: There is no bundle, a file is missing or unknown, or two of them contradict each other.
        FormatError: A file is not of its form.
        DigestError: A manifest, the bill of materials or the provenance has been changed.
    """
    files = _open_files(path)
    check_names(path, files.sizes())
    index_bytes = _read(path, files, INDEX)
    index = _in_one_form(path, INDEX, index_bytes, ReleaseIndex)
    manifests = {entry.file: _read_manifest(path, files, index, entry) for entry in index.manifests}
    return Bundle(
        path=path,
        files=files,
        digest=digest_of(index_bytes),
        index=index,
        manifests=manifests,
        sbom=_read_as(path, files, SBOM, index.sbom),
        provenance=_read_as(path, files, PROVENANCE, index.provenance),
        signed={name.removeprefix(SIGNED): _read(path, files, name) for name in files.sizes() if name.startswith(SIGNED)},
    )


def verify_bundle(bundle: Bundle) -> None:
    """Check every byte of a bundle and that its files say the same.

    Raises:
        ManifestError: A file is missing or superfluous, or two contradict each other.
        FormatError: The bill of materials is not of its form.
        DigestError: An image has been changed.
    """
    wanted = {INDEX, SBOM, PROVENANCE, *bundle.manifests, *(image_file(manifest.image.hash) for manifest in bundle.manifests.values())}
    for name in sorted(set(bundle.files.sizes()) - wanted):
        if not name.startswith(SIGNED):
            raise ManifestError(f"{bundle.path}: nothing names the file {name}.", hint="Build or fetch the bundle again.")
    _compare_manifests(bundle)
    _compare_sbom(bundle)
    provenance.require_predicate(provenance.read_predicate(bundle.provenance), bundle.index, bundle.manifests.values())
    for manifest in bundle.manifests.values():
        for _ in bundle.image_pieces(manifest):
            pass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A bundle as a folder."""

    path: Path
    names: Mapping[str, int]

    def sizes(self) -> Mapping[str, int]:
        return self.names

    def pieces(self, name: str) -> Iterator[bytes]:
        with (self.path / name).open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece


@dataclass(frozen=True, slots=True, kw_only=True)
class _Archive:
    """A bundle as an archive."""

    path: Path
    members: Mapping[str, Member]

    def sizes(self) -> Mapping[str, int]:
        return {name: member.size for name, member in self.members.items()}

    def pieces(self, name: str) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            yield from _slice(file, self.members[name])


def _slice(file: BinaryIO, member: Member) -> Iterator[bytes]:
    file.seek(member.offset)
    left = member.size
    while left and (piece := file.read(min(left, PIECE_BYTES))):
        left -= len(piece)
        yield piece


def _open_files(path: Path) -> Files:
    try:
        if path.is_dir():
            return _Folder(path=path, names=dict(_listed(path, "")))
        with path.open("rb") as file:
            return _Archive(path=path, members={member.name: member for member in read_members(file, file=str(path))})
    except OSError as error:
        raise ManifestError(
            f"Cannot read the bundle {path}: {error.strerror}.", hint="Name a folder or .tar that holds a bundle."
        ) from error


def _listed(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    for entry in sorted(folder.iterdir()):
        name = prefix + entry.name
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            raise ManifestError(f"{entry} is neither a file nor a folder.", hint="Remove it, or build the bundle again.")
        if entry.is_dir() and (name == "images" or f"{name}/".startswith(SIGNED)):
            yield from _listed(entry, f"{name}/")
        else:
            yield name, entry.stat().st_size


def _read(path: Path, files: Files, name: str) -> bytes:
    if name not in files.sizes():
        raise ManifestError(f"{path}: the file {name} is missing.", hint="Build or fetch the bundle again.")
    return b"".join(files.pieces(name))


def _read_as(path: Path, files: Files, name: str, digest: Digest) -> bytes:
    data = _read(path, files, name)
    if digest_of(data) != digest:
        raise DigestError(f"{path}: the file {name} has been changed: it hashes to {digest_of(data)}, {INDEX} says {digest}.")
    return data


def _in_one_form(path: Path, name: str, data: bytes, kind: type[_R]) -> _R:
    value = record.from_json(data, kind, what=f"{path}: {name}")
    if record.to_pretty_json(value) != data:
        raise FormatError(f"{path}: {name} is not written as surefoot writes it.", hint="Build or fetch the bundle again.")
    return value


def _read_manifest(path: Path, files: Files, index: ReleaseIndex, entry: ManifestEntry) -> Manifest:
    if entry.file != manifest_file(entry.hardware, entry.variant):
        raise ManifestError(
            f"{path}: {INDEX} names the manifest of {entry.hardware} {entry.variant} '{entry.file}'.", hint="Build it again."
        )
    manifest = _in_one_form(path, entry.file, _read_as(path, files, entry.file, entry.hash), Manifest)
    if manifest != as_built(manifest):
        raise ManifestError(f"{path}: {entry.file} has a URL or a signature.", hint="They belong in what signing and publishing add.")
    if (manifest.target_hardware, manifest.variant) != ([entry.hardware], entry.variant):
        raise ManifestError(f"{path}: {entry.file} is for other hardware or another variant than {INDEX} says.", hint="Build it again.")
    for field in ("product", "version", "build_id"):
        said, wanted = getattr(manifest, field), getattr(index, field)
        if said != wanted:
            raise ManifestError(f"{path}: {entry.file} says {field} '{said}', {INDEX} says '{wanted}'.", hint="Build the release again.")
    return manifest


def _checked(pieces: Iterator[bytes], manifest: Manifest, place: str) -> Iterator[bytes]:
    sha256, size = hashlib.sha256(), 0
    for piece in pieces:
        sha256.update(piece)
        size += len(piece)
        yield piece
    if (from_hex(sha256.hexdigest()), size) != (manifest.image.hash, manifest.image.size):
        raise DigestError(
            f"{place} has been changed: it has {size} bytes and hashes to {sha256.hexdigest()}; {manifest.image.size} were built."
        )


def _compare_manifests(bundle: Bundle) -> None:
    if len(bundle.manifests) != len(bundle.index.manifests):
        raise ManifestError(f"{bundle.path}: {INDEX} names a manifest twice.", hint="Build the release again.")
    first_file, first = next(iter(bundle.manifests.items()))
    for file, manifest in bundle.manifests.items():
        for field in _SAME:
            if getattr(manifest, field) != getattr(first, field):
                raise ManifestError(f"{bundle.path}: {file} and {first_file} disagree on {field}.", hint="Build the release again.")


def _compare_sbom(bundle: Bundle) -> None:
    product, version, listed = sbom.read_sbom(bundle.sbom)
    if (product, version) != (bundle.index.product, bundle.index.version):
        raise ManifestError(f"{bundle.path}: {SBOM} is of {product} {version}, not of this release.", hint="Build the release again.")
    built = {Listed(name=c.name, version=c.version, hash=c.hash) for manifest in bundle.manifests.values() for c in manifest.components}
    for odd in sorted(listed ^ built):
        holder = SBOM if odd in listed else "a manifest"
        raise ManifestError(f"{bundle.path}: only {holder} lists {odd.name} {odd.version} {odd.hash}.", hint="Build the release again.")
