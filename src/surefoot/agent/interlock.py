# SPDX-License-Identifier: Apache-2.0
"""Why no update may start at this device now, said by programs and people there: one file for each who says so, by name.

- Whoever knows that a reboot would do harm now (a pump runs, a patient is connected) inhibits updates, with a reason and, if it likes,
  an end. What has started finishes.
- Each has a file of its own: two who speak at once never undo one another's word, and it outlives reboots.
- The file is the word: one that cannot be read inhibits until it is taken away, since a reboot may still do harm. The server is told.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import DeviceError, FormatError, InvalidInput
from surefoot.model.record import Name, Record, from_json, from_plain, parse_name, parse_utc, to_json, utc_text

LONGEST = timedelta(days=30)
"""How far ahead an inhibitor that ends may end."""

Reason = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,200}\Z", description="one line of up to 200 characters")]

_LOG = logging.getLogger("surefoot.agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibitor:
    """Somebody at the device who lets no update start.

    Attributes:
        name: Who.
        reason: Why, one line.
        until: When that ends, aware; nothing when it does not end by itself.
        is_measured: Whether the agent found it by itself, so that nobody's word ends it.
    """

    name: Name
    reason: Reason
    until: datetime | None = None
    is_measured: bool = False


class Note(Record, frozen=True, kw_only=True):
    """A file ``inhibitors/NAME.json``: why no update may start, and until when, RFC 3339 UTC; empty when that does not end by itself."""

    reason: Reason
    until: str = ""


def inhibit(storage: Storage, folder: str, inhibitor: Inhibitor, now: datetime) -> None:
    """Note durably that no update may start; what was said by the same name before counts no more.

    Raises:
        InvalidInput: The name or the reason is none, or the end has passed or is too far away.
        SpaceError: There is no room; what was said before still counts.
    """
    path = _path(folder, inhibitor.name)
    until = inhibitor.until
    if until is not None and not now < until <= now + LONGEST:
        raise InvalidInput(
            f"{utc_text(until)} has passed, or is more than {LONGEST.days} days away.",
            hint="Say for how long, as in --for 30m, or leave it out: then it lasts until 'surefoot agent allow'.",
        )
    try:
        note = from_plain({"reason": inhibitor.reason.strip(), "until": "" if until is None else utc_text(until)}, Note, what="reason")
    except FormatError as error:
        raise InvalidInput(f"{inhibitor.reason[:40]!r} is no reason.", hint="Write one line of up to 200 characters.") from error
    replace_file(storage, path, to_json(note))


def allow(storage: Storage, folder: str, name: str) -> bool:
    """Note durably that ``name`` inhibits updates no longer; say whether it did.

    Raises:
        InvalidInput: The name is none.
    """
    path = _path(folder, name)
    was_there = storage.exists(path)
    if was_there:
        storage.remove(path)
        storage.sync_folder(path)
    return was_there


def inhibitors(storage: Storage, folder: str) -> list[Inhibitor]:
    """Return everybody who let no update start, by name, those whose time is over too."""
    try:
        names = [name.removesuffix(".json") for name in storage.names(_folder(folder)) if name.endswith(".json")]
    except DeviceError as error:
        _LOG.warning("who inhibits updates cannot be read: %s", error.message)
        return [Inhibitor(name="unknown", reason=f"{_folder(folder)} cannot be read")]
    return [found for name in names if (found := _read(storage, folder, name)) is not None]


def standing(found: Sequence[Inhibitor], now: datetime) -> list[Inhibitor]:
    """Return those who let no update start now."""
    return [each for each in found if each.until is None or now < each.until]


def _read(storage: Storage, folder: str, name: str) -> Inhibitor | None:
    try:
        data = read_file(storage, _path(folder, name))
        if data is None:
            return None
        note = from_json(data, Note, what=_path(folder, name))
        return Inhibitor(name=name, reason=note.reason, until=parse_utc(note.until) if note.until else None)
    except (FormatError, DeviceError) as error:
        _LOG.warning("why %s inhibits updates cannot be read: %s", name, error.message)
        return Inhibitor(name=name, reason="its file cannot be read")
    except (InvalidInput, FileNotFoundError):
        return None  # no name that could have been given here, or taken away meanwhile


def _folder(folder: str) -> str:
    return f"{folder}/inhibitors"


def _path(folder: str, name: str) -> str:
    return f"{_folder(folder)}/{parse_name(name, what='who inhibits updates')}.json"
