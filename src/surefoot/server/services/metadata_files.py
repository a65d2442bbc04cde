# SPDX-License-Identifier: Apache-2.0
"""Metadata files one by one, by the names that a TUF client asks for (TUF 1.0 §6.2, consistent snapshots).

``timestamp.json`` alone has no version in its name; of every other role only the current version is there, and of the root all.
"""

import re

from surefoot.model.assignment import DeviceId
from surefoot.model.errors import UnknownError
from surefoot.server.services.ports import Reads

_VERSIONED = re.compile(r"([1-9][0-9]{0,15})\.([a-z0-9][a-z0-9._-]{0,63})\.json")
_TIMESTAMP = "timestamp.json"


def image_file(reads: Reads, name: str) -> bytes:
    """Return a file of the image repository.

    Raises:
        UnknownError: There is none of that name and version.
    """
    version, stored = _split(name)
    if stored == "root.json":
        return _root(reads, "image", name)
    found = reads.metadata("image", (stored,))
    if stored not in found.files or (version is not None and found.versions[stored] != version):
        raise _nothing()
    return found.files[stored]


def director_file(reads: Reads, device_id: DeviceId, name: str) -> bytes:
    """Return a file of a device's own view as last signed, or a root of the director.

    Raises:
        UnknownError: There is none of that name and version; a view is signed at the device's polls alone.
    """
    version, stored = _split(name)
    if stored == "root.json":
        return _root(reads, "director", name)
    signed = reads.view(device_id)
    if signed is None:
        raise _nothing()
    view = signed.view
    files = {
        (None, _TIMESTAMP): view.timestamp,
        (view.snapshot_version, "snapshot.json"): view.snapshot,
        (view.targets_version, "targets.json"): view.targets,
    }
    found = files.get((version, stored))
    if found is None:
        raise _nothing()
    return found


def is_versioned(name: str) -> bool:
    """Say whether what has this name never changes."""
    return name != _TIMESTAMP


def _split(name: str) -> tuple[int | None, str]:
    if name == _TIMESTAMP:
        return None, name
    match = _VERSIONED.fullmatch(name)
    if match is None or match[2] == "timestamp" or match[2].endswith(".root"):
        raise _nothing()
    return int(match[1]), f"{match[2]}.json"


def _root(reads: Reads, repository: str, name: str) -> bytes:
    found = reads.metadata(repository, (name,)).files.get(name)
    if found is None:
        raise _nothing()
    return found


def _nothing() -> UnknownError:
    """Return the one answer for whatever is not there."""
    return UnknownError("There is no such metadata file.", hint="Begin with timestamp.json, or the next <n>.root.json.")
