# SPDX-License-Identifier: Apache-2.0
"""GRUB's environment block, through ``grub-editenv``.

The variables are those of ``surefoot.agent.boot.variables``; all others are left alone. A change is one call.

**Not safe against power cuts.** The block is one copy of 1,024 bytes. ``grub-editenv`` empties the file and writes it anew,
and GRUB's own ``save_env`` overwrites it in place. A cut in between leaves an empty or torn block, and then neither side
knows which slot was verified: the agent raises ``BootError``, GRUB stops. ``make powerfail`` prints which cuts do it. Take
another backend where the loader can be chosen.

``integration/grub/grub.cfg`` is the loader's side.
"""

from pathlib import Path

from surefoot.agent.boot.state import BootState
from surefoot.agent.boot.tool import run_tool
from surefoot.agent.boot.uboot import parse_lines
from surefoot.agent.boot.variables import from_variables, to_variables
from surefoot.model.errors import BootError


class GrubStore:
    """A ``StateStore`` in a ``grubenv`` file."""

    def __init__(self, path: Path, *, editenv: str = "grub-editenv", timeout_s: float) -> None:
        """Use the environment block ``path``, which must exist; the tool may be named with its path."""
        self._path = path
        self._editenv = editenv
        self._timeout_s = timeout_s

    def read(self) -> BootState:
        """Return the state; ``BootError`` when the tool fails or a variable makes no sense."""
        # The tool would make an empty block where there is none.
        if not self._path.is_file():
            raise BootError(f"There is no environment block {self._path}.", hint="Name the grubenv that GRUB reads in agent.toml.")
        said = run_tool([self._editenv, str(self._path), "list"], timeout_s=self._timeout_s)
        return from_variables(parse_lines(said, str(self._path)), str(self._path))

    def write(self, state: BootState) -> None:
        """Set all variables in one call; ``BootError`` when the tool fails."""
        words = [f"{name}={value}" for name, value in to_variables(state).items()]
        run_tool([self._editenv, str(self._path), "set", *words], timeout_s=self._timeout_s)
