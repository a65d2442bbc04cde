# SPDX-License-Identifier: Apache-2.0
"""Whatever bootloader RAUC drives, through RAUC's D-Bus service (``de.pengutronix.rauc.Installer``).

RAUC is asked for the primary and the slots' boot status, and told ``Mark`` with ``good``, ``bad`` or ``active``.

- ``trying`` is ``good`` to it: see ``surefoot.agent.boot.twostate``.
- A slot that becomes primary gets all its tries back.
- Nobody else may mark slots: disable ``rauc-mark-good.service``, which would keep a release on trial.

Needs the extra ``rauc``.
"""

from collections.abc import Iterable, Mapping

from surefoot.agent.boot.raucbus import SERVICE, RaucBus, RaucSlot
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName


class RaucLoader:
    """A ``TwoStateLoader`` behind RAUC."""

    def __init__(self, names: Mapping[SlotName, str], *, timeout_s: float, bus: str = "SYSTEM") -> None:
        """Speak to RAUC on ``bus`` (an address, or ``SYSTEM``); ``names`` are the ``bootname`` of each slot in its ``system.conf``."""
        self._names = dict(names)
        self._rauc = RaucBus(timeout_s=timeout_s, bus=bus)

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first; ``BootError`` when RAUC cannot say."""
        (name,) = self._rauc.call("GetPrimary")
        slot = next((slot for slot, found in self._status().items() if found.name == name), None)
        if slot is None:
            raise BootError(f"RAUC's primary is {name!r:.60}, and not one of the slots in agent.toml.", hint=_NAMES)
        return slot

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first; ``BootError`` when RAUC refuses."""
        self._tell("active", slot)

    def is_startable(self, slot: SlotName) -> bool:
        """Say whether the bootloader may start ``slot``; ``BootError`` when RAUC cannot say."""
        states = {slot: found.boot_status for slot, found in self._status().items()}
        if "good" not in states.values():
            self._need_sight()
        if states[slot] not in {"good", "bad"}:
            raise BootError(f"RAUC cannot say whether slot {slot} may be started.", hint=SERVICE)
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
        self._rauc.call("Mark", "ss", (state, self._status()[slot].name))

    def _need_sight(self) -> None:
        """Raise ``BootError`` if RAUC cannot read what the bootloader remembers: it calls all slots bad then, and does not say so."""
        try:
            self._rauc.call("GetPrimary")
        except BootError as error:
            if _NOTHING_LEFT not in error.message:
                raise

    def _status(self) -> dict[SlotName, RaucSlot]:
        return by_slot(self._rauc.slots(), self._names)


def by_slot(found: Iterable[RaucSlot], names: Mapping[SlotName, str]) -> dict[SlotName, RaucSlot]:
    """Return RAUC's status of each slot, by the ``bootname`` that agent.toml gives it; ``BootError`` when RAUC has no such slot."""
    by_bootname = {each.bootname: each for each in found}
    missing = [name for name in names.values() if name not in by_bootname]
    if missing:
        raise BootError(f"RAUC has no slot with the bootname {missing[0]!r:.60}.", hint=_NAMES)
    return {slot: by_bootname[name] for slot, name in names.items()}


# What RAUC says when it can read everything, and no slot has a start left.
_NOTHING_LEFT = "Unable to find primary boot slot"
_NAMES = "Give boot.names in agent.toml the bootnames of RAUC's system.conf."
