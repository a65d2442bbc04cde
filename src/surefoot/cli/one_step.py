# SPDX-License-Identifier: Apache-2.0
"""Several files of a folder change in one step: after a kill at any instant all of them are old, or all become new.

- What is to be done is written down whole, in one file of the folder, durably.
- Then it is done; each part may be done again without harm.
- Then the file goes. Whoever opens the folder next finishes what is still written down.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from surefoot.model.errors import InvalidInput
from surefoot.model.record import Record, from_json, to_json
from surefoot.trust.key_file import write_new

_STEP = ".step.json"
_KEY = ".pem"


class _Step(Record, frozen=True, kw_only=True):
    """What is to be done; paths are relative to the folder."""

    write: dict[str, bytes] = {}
    remove: list[str] = []


def change(folder: Path, write: Mapping[str, bytes], remove: Iterable[str] = ()) -> None:
    """Write and remove files of a folder in one step; a file that is there is replaced.

    Args:
        folder: Where.
        write: Content by path relative to the folder. Private keys (``.pem``) are readable by their owner alone.
        remove: Files that go, likewise; one that is gone already does no harm.

    Raises:
        InvalidInput: The folder cannot be written in. What was written down by then is finished at the next opening.
    """
    finish(folder)
    with _as_refusal(folder):
        _put(folder / _STEP, to_json(_Step(write=dict(write), remove=list(remove))), 0o600)
        # A power cut must not undo this rename, and leave what is done after it.
        _sync(folder)
    finish(folder)


def finish(folder: Path) -> None:
    """Finish what an interrupted ``change`` left; nothing happens when there is nothing.

    Raises:
        InvalidInput: The folder cannot be written in, or what is written down cannot be read.
    """
    place = folder / _STEP
    if not place.exists():
        return
    with _as_refusal(folder):
        step = from_json(place.read_bytes(), _Step, what=str(place))
        for name, data in step.write.items():
            _put(folder / name, data, 0o600 if name.endswith(_KEY) else 0o644)
        for name in step.remove:
            (folder / name).unlink(missing_ok=True)
        for changed in {(folder / name).parent for name in (*step.write, *step.remove)}:
            _sync(changed)
        place.unlink()


def _put(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    write_new(draft, data, mode)
    draft.replace(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_refusal(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be changed: {error.strerror}.", hint="Work as the owner of the folder.") from error
