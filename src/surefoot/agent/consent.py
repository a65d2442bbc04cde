# SPDX-License-Identifier: Apache-2.0
"""What people at the device said: that updates are put off until an instant. A file of its own, so that it can be said while an agent runs.

- It is about every order that has not started; what has started finishes. How far it counts, the order says (``consent_until``).
- A file that cannot be read is nobody's word: it is passed over, and that is told. No damage keeps a device from its updates for ever.
"""

import logging
from datetime import datetime, timedelta

from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.errors import DeviceError, FormatError, InvalidInput
from surefoot.model.record import Record, from_json, parse_utc, to_json, utc_text

LONGEST = timedelta(days=30)
"""How far ahead updates may be put off at a time."""

_FILE = "deferral.json"
_LOG = logging.getLogger("surefoot.agent")


class Deferral(Record, frozen=True, kw_only=True):
    """The file ``deferral.json``: until when updates are put off, RFC 3339 UTC."""

    until: str


def put_off(storage: Storage, folder: str, until: datetime, now: datetime) -> None:
    """Note durably that updates are put off; what was said before counts no more.

    Raises:
        InvalidInput: That instant has passed, or is too far away.
        SpaceError: There is no room; what was said before still counts.
    """
    if until <= now:
        raise InvalidInput(f"{utc_text(until)} has passed.", hint="Name a later instant, or say for how long: --for 4h.")
    if until - now > LONGEST:
        raise InvalidInput(f"{utc_text(until)} is more than {LONGEST.days} days away.", hint="Put it off for less, and again if need be.")
    replace_file(storage, _path(folder), to_json(Deferral(until=utc_text(until))))


def end(storage: Storage, folder: str) -> None:
    """Note durably that updates are put off no longer."""
    storage.remove(_path(folder))
    storage.sync_folder(_path(folder))


def put_off_until(storage: Storage, folder: str) -> datetime | None:
    """Return until when updates are put off, past instants too; nothing when nobody said so."""
    try:
        data = read_file(storage, _path(folder))
        return None if data is None else parse_utc(from_json(data, Deferral, what=_FILE).until)
    except (FormatError, DeviceError, FileNotFoundError) as error:
        _LOG.warning("what people at the device said of updates cannot be read: %s", error)
        return None


def _path(folder: str) -> str:
    return f"{folder}/{_FILE}"
