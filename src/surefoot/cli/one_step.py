# SPDX-License-Identifier: Apache-2.0
"""Several files of a folder change in one step: after a kill at any instant all of them are old, or all become new.

- What is to be done is written down whole, in one file of the folder, durably.
- Then it is done; each part may be done again without harm.
- Then the file goes. Whoever opens the folder next finishes what is still written down.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from surefoot.model.errors import InvalidInput
from surefoot.model.record import Record, from_json, to_json
from surefoot.server.durable import remove_durably, write_durably

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
        InvalidInput: A file lies outside of the folder, or the folder cannot be written in; what was written down by then is finished
            at the next opening.
    """
    finish(folder)
    step = _Step(write=dict(write), remove=list(remove))
    _require_inside(folder, step)
    with _as_refusal(folder):
        write_durably(folder / _STEP, to_json(step))
    finish(folder)


def finish(folder: Path) -> None:
    """Finish what an interrupted ``change`` left; nothing happens when there is nothing.

    Raises:
        InvalidInput: The folder cannot be written in, or what is written down cannot be read or lies outside of it.
    """
    place = folder / _STEP
    if not place.exists():
        return
    with _as_refusal(folder):
        step = from_json(place.read_bytes(), _Step, what=str(place))
        _require_inside(folder, step)
        for name, data in step.write.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_durably(folder / name, data, 0o600 if name.endswith(_KEY) else 0o644)
        for name in step.remove:
            if (folder / name).exists():
                remove_durably(folder / name)
        remove_durably(place)


def _require_inside(folder: Path, step: _Step) -> None:
    """Refuse to change what lies elsewhere: whoever else can write in the folder is not to write with its keeper's rights."""
    home = folder.resolve()
    for name in (*step.write, *step.remove):
        if not (folder / name).parent.resolve().is_relative_to(home):
            raise InvalidInput(
                f"{name[:80]!r} of {folder / _STEP} lies outside of the folder.",
                hint="Remove links to other folders; if that file is there and nobody of you wrote it, remove it too.",
            )


@contextmanager
def _as_refusal(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be changed: {error.strerror}.", hint="Work as the owner of the folder.") from error
