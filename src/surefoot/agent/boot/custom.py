# SPDX-License-Identifier: Apache-2.0
"""A bootloader behind an executable of the integrator's, with the protocol of RAUC's custom bootloader backend.

========================  ==============================================================================================
``get-primary``           print the name of the slot that the next boot tries first
``set-primary NAME``      make it that one
``get-state NAME``        print ``good`` when the loader may start it, else ``bad``
``set-state NAME STATE``  ``good``: the loader may start it, with a full number of tries; ``bad``: never again
========================  ==============================================================================================

Status 0 means done and durable. A backend written for RAUC works unchanged. ``trying`` is ``good`` to it: see
``surefoot.agent.boot.twostate``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from surefoot.agent.boot.tool import run_tool
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName


class CustomLoader:
    """A ``TwoStateLoader`` behind an executable."""

    def __init__(self, command: Sequence[str], names: Mapping[SlotName, str], *, folder: Path, timeout_s: float) -> None:
        """Run ``command`` in ``folder`` with each verb's words behind it; ``names`` are the slots' names there, each another."""
        self._command = tuple(command)
        self._names = dict(names)
        self._slots = {name: slot for slot, name in names.items()}
        self._folder = folder
        self._timeout_s = timeout_s

    def get_primary(self) -> SlotName:
        """Return the slot that the next boot tries first; ``BootError`` when the executable does not name one."""
        name = self._run("get-primary")
        if name not in self._slots:
            raise self._strange("get-primary", name)
        return self._slots[name]

    def set_primary(self, slot: SlotName) -> None:
        """Make ``slot`` the one that the next boot tries first; ``BootError`` when the executable fails."""
        self._run("set-primary", self._names[slot])

    def is_startable(self, slot: SlotName) -> bool:
        """Say whether the loader may start ``slot``; ``BootError`` when the executable does not."""
        said = self._run("get-state", self._names[slot])
        if said not in {"good", "bad"}:
            raise self._strange(f"get-state {self._names[slot]}", said)
        return said == "good"

    def mark(self, slot: SlotName, *, startable: bool) -> None:
        """Mark ``slot`` good or bad; ``BootError`` when the executable fails."""
        self._run("set-state", self._names[slot], "good" if startable else "bad")

    def _run(self, *words: str) -> str:
        return run_tool([*self._command, *words], timeout_s=self._timeout_s, folder=self._folder).strip()

    def _strange(self, verb: str, said: str) -> BootError:
        return BootError(
            f"{self._command[0]} {verb} says {said!r:.60}.", hint="Let it print one of the names in agent.toml, or good or bad."
        )
