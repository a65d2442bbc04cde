# SPDX-License-Identifier: Apache-2.0
"""Files that are never half there, whenever the power goes; for their owner alone unless said otherwise."""

import os
from pathlib import Path


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file of that mode in place of what has its name; durable on return, and until then the old one or none is there.

    Raises:
        OSError: It cannot be written.
    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync(path.parent)


def remove_durably(path: Path) -> None:
    """Remove a file; it is gone for good on return.

    Raises:
        OSError: It cannot be removed.
    """
    path.unlink()
    _sync(path.parent)


def _sync(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
