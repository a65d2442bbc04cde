# SPDX-License-Identifier: Apache-2.0
"""A bootloader's state as environment variables, in the words of loaders that have such: U-Boot and GRUB.

The names are those of RAUC's convention, and it holds what that says: a slot whose ``BOOT_x_LEFT`` is 0 may not be started,
``BOOT_ORDER`` names the primary first. Two things are added, since a release on trial and one that is kept are not the same:

- ``BOOT_A_STATE``, ``BOOT_B_STATE``: ``good``, ``trying`` or ``bad``. Only starts of a slot that is ``trying`` are counted.
- ``BOOT_LAST_GOOD``: what is started when neither slot may be.

Counts are hexadecimal digits, as U-Boot's ``setexpr`` reads and writes them. A variable that is missing, or says something
else, raises ``BootError``: doubt holds.
"""

from collections.abc import Mapping

from surefoot.agent.boot.state import TRIES, BootState, SlotRecord
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName, SlotState

ORDER = "BOOT_ORDER"
LAST_GOOD = "BOOT_LAST_GOOD"

NAMES = (ORDER, LAST_GOOD, *(f"BOOT_{slot.upper()}_{what}" for slot in SlotName for what in ("STATE", "LEFT")))
"""Every variable that is read and written; all others are left alone."""

_SLOTS = {slot.upper(): slot for slot in SlotName}
_LEFT = {f"{count:x}": count for count in range(TRIES + 1)}


def to_variables(state: BootState) -> dict[str, str]:
    """Return the value of each variable of ``NAMES``."""
    variables = {ORDER: f"{state.primary.upper()} {state.primary.other.upper()}", LAST_GOOD: state.last_good.upper()}
    for slot, record in state.slots.items():
        variables[f"BOOT_{slot.upper()}_STATE"] = str(record.state)
        variables[f"BOOT_{slot.upper()}_LEFT"] = f"{_left(record):x}"
    return variables


def from_variables(variables: Mapping[str, str], where: str) -> BootState:
    """Return the state that ``variables`` hold; others than ``NAMES`` are ignored.

    Args:
        variables: The environment.
        where: What it was read from, for messages.

    Raises:
        BootError: A variable is missing or cannot be understood.
    """
    for name in NAMES:
        if name not in variables:
            raise BootError(f"{where} has no variable {name}.", hint="Set the variables that docs/formats.md lists for bootloaders.")
    primary, _, second = variables[ORDER].partition(" ")
    if {primary, second} != _SLOTS.keys():
        raise _strange(where, ORDER, variables[ORDER])
    if variables[LAST_GOOD] not in _SLOTS:
        raise _strange(where, LAST_GOOD, variables[LAST_GOOD])
    slots = {slot: _record(variables, slot, where) for slot in SlotName}
    return BootState(primary=_SLOTS[primary], last_good=_SLOTS[variables[LAST_GOOD]], slots=slots)


def _left(record: SlotRecord) -> int:
    match record.state:
        case SlotState.GOOD:
            return TRIES
        case SlotState.TRYING:
            return record.tries_left
        case SlotState.BAD:
            return 0


def _record(variables: Mapping[str, str], slot: SlotName, where: str) -> SlotRecord:
    state_name, left_name = f"BOOT_{slot.upper()}_STATE", f"BOOT_{slot.upper()}_LEFT"
    state, left = variables[state_name], variables[left_name]
    if state not in list(SlotState):
        raise _strange(where, state_name, state)
    if left not in _LEFT:
        raise _strange(where, left_name, left)
    return SlotRecord(state=SlotState(state), tries_left=_LEFT[left] if state == SlotState.TRYING else 0)


def _strange(where: str, name: str, value: str) -> BootError:
    return BootError(f"{where} says {name}={value!r:.40}, which means nothing.", hint="Set it right, or flash the board again.")
