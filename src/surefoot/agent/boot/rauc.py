# SPDX-License-Identifier: Apache-2.0
"""Whatever bootloader RAUC drives, through RAUC's D-Bus service (``de.pengutronix.rauc.Installer``).

RAUC is asked for the primary and the slots' boot status, and told ``Mark`` with ``good``, ``bad`` or ``active``.

- ``trying`` is ``good`` to it: see ``surefoot.agent.boot.twostate``.
- A slot that becomes primary gets all its tries back.
- Nobody else may mark slots: disable ``rauc-mark-good.service``, which would keep a release on trial.

Needs the extra ``rauc``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jeepney import DBusAddress, DBusErrorResponse, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.wrappers import unwrap_msg

from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName

_RAUC = DBusAddress("/", bus_name="de.pengutronix.rauc", interface="de.pengutronix.rauc.Installer")


class RaucLoader:
    """A ``TwoStateLoader`` behind RAUC."""

    def __init__(self, names: Mapping[SlotName, str], *, timeout_s: float, bus: str = "SYSTEM") -> None:
        """Speak to RAUC on ``bus`` (an address, or ``SYSTEM``); ``names`` are the ``bootname`` of each slot in its ``system.conf``."""
        self._names = dict(names)
        self._timeout_s = timeout_s
        self._bus = bus

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first; ``BootError`` when RAUC cannot say."""
        with self._connected() as connection:
            (name,) = self._call(connection, "GetPrimary")
            status = self._status(connection)
        slot = next((slot for slot, (found, _) in status.items() if found == name), None)
        if slot is None:
            raise BootError(f"RAUC's primary is {name!r:.60}, and not one of the slots in agent.toml.", hint=_NAMES)
        return slot

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first; ``BootError`` when RAUC refuses."""
        self._tell("active", slot)

    def is_startable(self, slot: SlotName) -> bool:
        """Say whether the bootloader may start ``slot``; ``BootError`` when RAUC cannot say."""
        with self._connected() as connection:
            states = {slot: state for slot, (_, state) in self._status(connection).items()}
            if "good" not in states.values():
                self._need_sight(connection)
        if states[slot] not in {"good", "bad"}:
            raise BootError(f"RAUC cannot say whether slot {slot} may be started.", hint=_SERVICE)
        return states[slot] == "good"

    def mark(self, slot: SlotName, *, startable: bool) -> None:
        """Mark ``slot`` good or bad; ``BootError`` when RAUC refuses."""
        self._tell("good" if startable else "bad", slot)
        if startable and not self.is_startable(slot):
            # For U-Boot, RAUC takes a bad slot out of the order, and only making it primary puts it back.
            primary = self.get_primary()
            self._tell("active", slot)
            self._tell("active", primary)

    def _tell(self, state: str, slot: SlotName) -> None:
        with self._connected() as connection:
            name, _ = self._status(connection)[slot]
            self._call(connection, "Mark", "ss", (state, name))

    def _need_sight(self, connection: DBusConnection) -> None:
        """Raise ``BootError`` if RAUC cannot read what the bootloader remembers: it calls all slots bad then, and does not say so."""
        try:
            self._call(connection, "GetPrimary")
        except DBusErrorResponse as error:
            if _NOTHING_LEFT not in str(error.data):
                raise

    def _status(self, connection: DBusConnection) -> dict[SlotName, tuple[str, str]]:
        """Return RAUC's name and the boot status of each slot."""
        (found,) = self._call(connection, "GetSlotStatus")
        by_bootname = {_text(facts, "bootname"): (name, _text(facts, "boot-status")) for name, facts in found}
        missing = [name for name in self._names.values() if name not in by_bootname]
        if missing:
            raise BootError(f"RAUC has no slot with the bootname {missing[0]!r:.60}.", hint=_NAMES)
        return {slot: by_bootname[name] for slot, name in self._names.items()}

    def _call(self, connection: DBusConnection, verb: str, signature: str = "", body: tuple[object, ...] = ()) -> tuple[Any, ...]:
        message = new_method_call(_RAUC, verb, signature or None, body)
        answer: tuple[Any, ...] = unwrap_msg(connection.send_and_get_reply(message, timeout=self._timeout_s))
        return answer

    @contextmanager
    def _connected(self) -> Iterator[DBusConnection]:
        try:
            with open_dbus_connection(self._bus, auth_timeout=self._timeout_s) as connection:
                yield connection
        except TimeoutError as error:
            raise BootError(f"RAUC does not answer within {self._timeout_s:g} s.", hint=_SERVICE) from error
        except DBusErrorResponse as error:
            raise BootError(f"RAUC refuses: {error.name}: {' '.join(map(str, error.data)):.200}", hint=_SERVICE) from error
        except (OSError, KeyError, ValueError) as error:
            raise BootError(f"RAUC cannot be reached on D-Bus: {error}.", hint=_SERVICE) from error


# What RAUC says when it can read everything, and no slot has a start left.
_NOTHING_LEFT = "Unable to find primary boot slot"
_NAMES = "Give boot.names in agent.toml the bootnames of RAUC's system.conf."
_SERVICE = "Look at 'rauc status' and at the service rauc on the device."


def _text(facts: Mapping[str, tuple[str, object]], key: str) -> str:
    """Return a text of RAUC's, or nothing when it has none; each value is a pair of its type and itself."""
    return str(facts[key][1]) if key in facts else ""
