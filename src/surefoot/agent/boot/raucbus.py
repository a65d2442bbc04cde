# SPDX-License-Identifier: Apache-2.0
"""RAUC's D-Bus service (``de.pengutronix.rauc.Installer``): calls, the status of its slots, and installations.

Needs the extra ``rauc``.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jeepney import DBusAddress, DBusErrorResponse, HeaderFields, MatchRule, Message, Properties, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection
from jeepney.wrappers import unwrap_msg

from surefoot.agent.clock import Clock
from surefoot.model.errors import BootError

_PATH, _INTERFACE = "/", "de.pengutronix.rauc.Installer"
_RAUC = DBusAddress(_PATH, bus_name="de.pengutronix.rauc", interface=_INTERFACE)
_LOOK_S = 2.0

Progress = Callable[[int, str], None]
"""Told how far an installation is, in percent, and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaucSlot:
    """What RAUC says of one slot.

    Attributes:
        name: Its own name for it, ``rootfs.0``.
        bootname: What the bootloader calls it; empty for a slot that is not started.
        boot_status: ``good``, ``bad``, or empty when it does not know.
        device: What it writes to.
        status: ``ok`` once it was installed whole; empty when it knows nothing.
        sha256: Digest of what it last wrote there, as hexadecimal digits; empty when it knows nothing.
        size: Its length in bytes.
        count: How often it was installed.
    """

    name: str
    bootname: str
    boot_status: str
    device: str
    status: str
    sha256: str
    size: int
    count: int


class RaucBus:
    """One D-Bus. Every verb opens a connection of its own and raises ``BootError`` when RAUC is not there, refuses or is silent."""

    def __init__(self, *, timeout_s: float, bus: str = "SYSTEM") -> None:
        """Speak on ``bus``, an address or ``SYSTEM``; an answer may take ``timeout_s``."""
        self._timeout_s = timeout_s
        self._bus = bus

    def call(self, verb: str, signature: str = "", body: tuple[object, ...] = ()) -> tuple[Any, ...]:
        """Call one method and return what it answers."""
        with self.connected() as connection:
            return self._call(connection, verb, signature, body)

    def slots(self) -> list[RaucSlot]:
        """Return the status of every slot."""
        (found,) = self.call("GetSlotStatus")
        return [_slot(name, facts) for name, facts in found]

    def install(self, bundle: str, clock: Clock, within_s: float, progress: Progress) -> str:
        """Let RAUC install the bundle at the absolute path ``bundle``, after what it is doing now, and wait for the end of it.

        Args:
            bundle: A path that RAUC can read.
            clock: Counts the seconds.
            within_s: How long it may take in all.
            progress: Told how far it is, in percent, and what it does.

        Returns:
            What went wrong, in RAUC's words; nothing when all went well.
        """
        until_s = clock.monotonic() + within_s
        with self.connected() as connection:
            self._wait_until_idle(connection, clock, until_s)
            with self._signals(connection) as signals:
                self._call(connection, "InstallBundle", "sa{sv}", (bundle, {}))
                return self._follow(connection, signals, clock, until_s, progress)

    @contextmanager
    def connected(self) -> Iterator[DBusConnection]:
        """Give a connection; what goes wrong on it is said as ``BootError``."""
        try:
            with open_dbus_connection(self._bus, auth_timeout=self._timeout_s) as connection:
                yield connection
        except TimeoutError as error:
            raise BootError(f"RAUC does not answer within {self._timeout_s:g} s.", hint=SERVICE) from error
        except DBusErrorResponse as error:
            raise BootError(f"RAUC refuses: {error.name}: {' '.join(map(str, error.data)):.200}", hint=SERVICE) from error
        except (OSError, KeyError, ValueError) as error:
            raise BootError(f"RAUC cannot be reached on D-Bus: {error}.", hint=SERVICE) from error

    def _follow(self, connection: DBusConnection, signals: deque[Message], clock: Clock, until_s: float, progress: Progress) -> str:
        while (left_s := until_s - clock.monotonic()) > 0:
            try:
                message = connection.recv_until_filtered(signals, timeout=min(left_s, _LOOK_S))
            except TimeoutError:
                # A service that was restarted tells nobody that it no longer installs.
                if self._property(connection, "Operation") == "idle":
                    return self._last_error(connection) or "RAUC has stopped without saying how it ended"
                continue
            if message.header.fields.get(HeaderFields.member) == "Completed":
                return "" if message.body[0] == 0 else self._last_error(connection) or f"RAUC ended with {message.body[0]}"
            _tell(message, progress)
        return "it took too long"

    def _wait_until_idle(self, connection: DBusConnection, clock: Clock, until_s: float) -> None:
        while self._property(connection, "Operation") != "idle":
            if clock.monotonic() > until_s:
                raise BootError("RAUC is still busy with something else.", hint=SERVICE)
            clock.sleep(_LOOK_S)

    def _last_error(self, connection: DBusConnection) -> str:
        return str(self._property(connection, "LastError"))

    def _property(self, connection: DBusConnection, name: str) -> object:
        answer = unwrap_msg(connection.send_and_get_reply(Properties(_RAUC).get(name), timeout=self._timeout_s))
        return answer[0][1]

    @contextmanager
    def _signals(self, connection: DBusConnection) -> Iterator[deque[Message]]:
        rule = MatchRule(type="signal", path=_PATH, sender="de.pengutronix.rauc")
        Proxy(message_bus, connection, timeout=self._timeout_s).AddMatch(rule)
        # The bus gives signals the unique name of their sender, so that name is not asked for here.
        with connection.filter(MatchRule(type="signal", path=_PATH), bufsize=1000) as signals:
            yield signals

    def _call(self, connection: DBusConnection, verb: str, signature: str, body: tuple[object, ...]) -> tuple[Any, ...]:
        message = new_method_call(_RAUC, verb, signature or None, body)
        answer: tuple[Any, ...] = unwrap_msg(connection.send_and_get_reply(message, timeout=self._timeout_s))
        return answer


SERVICE = "Look at 'rauc status' and at the service rauc on the device."
"""The hint for whatever RAUC does not do."""


def _slot(name: str, facts: Mapping[str, tuple[str, Any]]) -> RaucSlot:
    """Return a slot's status; each value is a pair of its type and itself, and missing where RAUC knows nothing."""
    known = {key: value for key, (_, value) in facts.items()}
    return RaucSlot(
        name=name,
        bootname=str(known.get("bootname", "")),
        boot_status=str(known.get("boot-status", "")),
        device=str(known.get("device", "")),
        status=str(known.get("status", "")),
        sha256=str(known.get("sha256", "")),
        size=int(known.get("size", 0)),
        count=int(known.get("installed.count", 0)),
    )


def _tell(message: Message, progress: Progress) -> None:
    if message.header.fields.get(HeaderFields.member) != "PropertiesChanged":
        return
    _, changed, _ = message.body
    if "Progress" in changed:
        percent, what, _ = changed["Progress"][1]
        progress(int(percent), str(what))
