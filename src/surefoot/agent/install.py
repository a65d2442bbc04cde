# SPDX-License-Identifier: Apache-2.0
"""The order in which a bootloader is told of an installation.

- A slot is made bad before its first byte changes, and on trial only after its bytes are verified and durable.
- A slot becomes primary after it is on trial, and another one becomes primary before it is bad: at no step does the
  bootloader find a primary that it cannot start.
- The slot that runs is startable before anything is written: it was verified, and it runs.
- Every step may be performed again.
"""

from surefoot.agent.boot.control import BootControl
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName, SlotState


def prepare(boot: BootControl, slot: SlotName, running: SlotName) -> None:
    """Tell the bootloader that ``slot`` is about to be overwritten while ``running`` runs.

    Raises:
        BootError: ``slot`` is the running one, or the bootloader's state cannot be changed.
    """
    if slot is running:
        raise BootError(f"Slot {slot} is running and cannot be overwritten.", hint="Install into the other slot.")
    if boot.get_state(running) is SlotState.BAD:
        # Nothing better was there to start, or it was to be left and could not be: after a cut it must start, not what is half written.
        boot.set_state(running, SlotState.GOOD)
    if boot.get_primary() is slot:
        boot.set_primary(running)
    boot.set_state(slot, SlotState.BAD)


def activate(boot: BootControl, slot: SlotName) -> None:
    """Let the next boot try ``slot``, whose bytes are verified and durable."""
    boot.set_state(slot, SlotState.TRYING)
    boot.set_primary(slot)


def commit(boot: BootControl, slot: SlotName) -> None:
    """Keep ``slot`` for good."""
    boot.set_state(slot, SlotState.GOOD)


def keep(boot: BootControl, running: SlotName) -> None:
    """Tell a bootloader that counts every start that the kept slot, which runs, has started well; nothing changes for others.

    A slot on trial, or one that was given up, is left as it is.
    """
    if boot.get_state(running) is SlotState.GOOD:
        boot.set_state(running, SlotState.GOOD)


def revert(boot: BootControl, from_: SlotName, to: SlotName) -> None:
    """Let the next boot start ``to``, and never ``from_`` again.

    Raises:
        BootError: ``to`` is bad: leaving ``from_`` would leave the board without a slot to start.
    """
    if boot.get_state(to) is SlotState.BAD:
        raise BootError(f"Slot {to} is bad: there is nothing to go back to from slot {from_}.", hint="Install a good release.")
    boot.set_primary(to)
    boot.set_state(from_, SlotState.BAD)
