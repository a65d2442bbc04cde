# SPDX-License-Identifier: Apache-2.0
"""When the agent wakes next: a note outside of its flash, for ``surefoot agent status``.

- It lies in a folder that a boot finds empty (``/run/surefoot``); where there is none, nothing is noted. An idle device writes no flash.
- It counts by the clock that all processes of a boot share and that never jumps, so a wall clock that is set meanwhile changes nothing.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from surefoot.agent.clock import Clock
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import FormatError
from surefoot.model.record import Hint, from_json, to_json


class Wake(Hint, frozen=True, kw_only=True):
    """The file ``DEVICE_ID.json``: when the agent wakes, in seconds of the boot's monotonic clock."""

    at_s: float


def note_wake(folder: Path, device_id: DeviceId, clock: Clock, seconds: float) -> None:
    """Note that the agent sleeps for ``seconds`` from now on; nothing happens where that cannot be written."""
    path = _path(folder, device_id)
    draft = path.with_suffix(".new")
    with suppress(OSError):
        draft.write_bytes(to_json(Wake(at_s=clock.monotonic() + seconds)))
        draft.replace(path)


def next_wake(folder: Path, device_id: DeviceId, clock: Clock) -> datetime | None:
    """Return when the agent wakes by the wall clock, aware; nothing when nobody says so, or that has passed."""
    try:
        left_s = from_json(_path(folder, device_id).read_bytes(), Wake, what="the note").at_s - clock.monotonic()
        return clock.now() + timedelta(seconds=left_s) if left_s >= 0 else None
    except (OSError, FormatError, OverflowError):
        return None


def _path(folder: Path, device_id: DeviceId) -> Path:
    return folder / f"{device_id}.json"
