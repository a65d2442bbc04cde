# SPDX-License-Identifier: Apache-2.0
"""Applications in two trees and a symbolic link ``current`` to the one that is started: the agent is its own bootloader.

- The primary is the slot that ``current`` leads to, whatever else is noted. It is changed in one rename.
- What may be done with each slot lies beside that, in a file that is replaced whole. It is written first: a power cut between
  the two leaves the former primary, with the states that it would have had a moment later.
- The agent counts a start of the application as a loader counts a boot (``surefoot.agent.boot.store.start``): when it starts
  itself, and when it restarts the application.
"""

from typing import Protocol

from msgspec import structs

from surefoot.agent.boot.state import BootState
from surefoot.agent.boot.store import StateStore
from surefoot.model.errors import BootError, DeviceError
from surefoot.model.slot import SlotName

CURRENT = "current"
"""What the link is called."""


class Link(Protocol):
    """A symbolic link."""

    def read(self) -> str | None:
        """Return where it leads, or ``None`` when there is none; ``DeviceError`` when something else is in its place."""
        ...

    def point(self, target: str) -> None:
        """Let it lead to ``target``: before or after, never between, and durable on return; ``DeviceError`` when that fails."""
        ...


class LinkStore:
    """A ``StateStore`` whose primary is where a link leads."""

    def __init__(self, link: Link, states: StateStore) -> None:
        """Keep the primary in ``link``, and all else in ``states``."""
        self._link = link
        self._states = states

    def read(self) -> BootState:
        """Return the state; ``BootError`` when the link or what lies beside it cannot be read."""
        return structs.replace(self._states.read(), primary=self._primary())

    def write(self, state: BootState) -> None:
        """Write what has changed, the states first; ``BootError`` when that fails, and the link leads where it did."""
        # The primary that is noted beside means nothing, and a note that only differs in it is not worth a write.
        noted = structs.replace(state, primary=SlotName.A)
        if self._states.read() != noted:
            self._states.write(noted)
        if self._primary() is state.primary:
            return
        try:
            self._link.point(state.primary)
        except DeviceError as error:
            raise BootError(f"The link {CURRENT} cannot be changed. {error.message}", hint=error.hint) from error

    def _primary(self) -> SlotName:
        try:
            target = self._link.read()
        except DeviceError as error:
            raise BootError(f"The link {CURRENT} cannot be read. {error.message}", hint=error.hint) from error
        if target not in list(SlotName):
            where = "leads nowhere" if target is None else f"leads to {target!r:.60}"
            raise BootError(f"The link {CURRENT} {where}, and not to a slot.", hint="Run 'ln -sfn a current', or b.")
        return SlotName(target)
