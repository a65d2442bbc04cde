# SPDX-License-Identifier: Apache-2.0
"""What is flashed into simulated boards: a bundle's image for some hardware, every byte as the bundle says."""

import tarfile
from pathlib import Path

from surefoot.model.digest import Digest, digest_of, hex_of
from surefoot.model.errors import DigestError, InvalidInput, ManifestError
from surefoot.model.manifest import Manifest, ReleaseIndex
from surefoot.model.record import from_json

DEFAULT_CAPACITY_BYTES = 16 * 1024 * 1024
BOOTLOADER_VERSION = "2.1.0"


def read_release(bundle: Path, hardware: str, variant: str) -> tuple[bytes, Manifest, bytes]:
    """Return the manifest, as it lies in the bundle and read, and the image.

    Raises:
        ManifestError: It is no bundle, or has nothing for this hardware.
        FormatError: A file of it cannot be read.
        DigestError: It has been changed.
    """
    index = from_json(_read(bundle, "release.json"), ReleaseIndex, what=f"{bundle}: release.json")
    entry = next((entry for entry in index.manifests if (entry.hardware, entry.variant) == (hardware, variant)), None)
    if entry is None:
        built = ", ".join(f"{entry.hardware} {entry.variant}" for entry in index.manifests)
        raise ManifestError(f"{bundle} has no image for {hardware} {variant}.", hint=f"It has: {built}.")
    manifest_bytes = _read_as(bundle, entry.file, entry.hash)
    manifest = from_json(manifest_bytes, Manifest, what=f"{bundle}: {entry.file}")
    return manifest_bytes, manifest, _read_as(bundle, f"images/{hex_of(manifest.image.hash)}", manifest.image.hash)


def require_fit(image: bytes, slot_bytes: int) -> None:
    """Raise ``InvalidInput`` when an image is larger than a slot."""
    if len(image) > slot_bytes:
        raise InvalidInput(f"The image has {len(image)} bytes, a slot {slot_bytes}.", hint="Choose larger slots with --slot-bytes.")


def make_empty(folder: Path) -> None:
    """Make an empty folder; ``InvalidInput`` when it cannot be made, or is there and not empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise InvalidInput(f"The folder {folder} cannot be made: {error.strerror}.", hint="Name another one.") from error
    if not is_empty:
        raise InvalidInput(f"The folder {folder} is not empty.", hint="Name a new one.")


def _read_as(bundle: Path, name: str, digest: Digest) -> bytes:
    data = _read(bundle, name)
    if digest_of(data) != digest:
        raise DigestError(f"{bundle}: {name} has been changed.", hint="Build or fetch the bundle again.")
    return data


def _read(bundle: Path, name: str) -> bytes:
    try:
        return (bundle / name).read_bytes() if bundle.is_dir() else _read_member(bundle, name)
    except (OSError, KeyError, tarfile.TarError) as error:
        raise ManifestError(f"{bundle}: {name} cannot be read.", hint="Name a folder or .tar that holds a bundle.") from error


def _read_member(bundle: Path, name: str) -> bytes:
    with tarfile.open(bundle) as archive:
        file = archive.extractfile(name)
        if file is None:
            raise KeyError(name)
        return file.read()
