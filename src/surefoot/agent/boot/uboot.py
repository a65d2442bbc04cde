# SPDX-License-Identifier: Apache-2.0
"""U-Boot's environment, through libubootenv's ``fw_printenv`` and ``fw_setenv``.

- The variables are those of ``surefoot.agent.boot.variables``; all others are left alone.
- A change is one call of ``fw_setenv`` with a script of all variables: with a *redundant* environment (two lines in
  ``fw_env.config``) it overwrites the older copy and syncs it, so that a power cut leaves the old state or the new one. An
  environment in one copy is not safe against that.
- A damaged environment is an error: the tools would go on with a default environment, and are given an empty one.

``integration/uboot/boot.cmd`` is the loader's side.
"""

from surefoot.agent.boot.state import BootState
from surefoot.agent.boot.tool import run_tool
from surefoot.agent.boot.variables import NAMES, from_variables, to_variables
from surefoot.model.errors import BootError


class UBootStore:
    """A ``StateStore`` in U-Boot's environment."""

    def __init__(
        self, config: str = "/etc/fw_env.config", *, printenv: str = "fw_printenv", setenv: str = "fw_setenv", timeout_s: float
    ) -> None:
        """Use the environment that the file ``config`` describes; the two tools may be named with their paths."""
        self._options = ("-c", config, "-f", "/dev/null")
        self._printenv = printenv
        self._setenv = setenv
        self._timeout_s = timeout_s

    def read(self) -> BootState:
        """Return the state; ``BootError`` when the tool fails or a variable makes no sense."""
        said = run_tool([self._printenv, *self._options, *NAMES], timeout_s=self._timeout_s)
        return from_variables(parse_lines(said, "U-Boot's environment"), "U-Boot's environment")

    def write(self, state: BootState) -> None:
        """Set all variables in one call; ``BootError`` when the tool fails."""
        script = "".join(f"{name}={value}\n" for name, value in to_variables(state).items())
        run_tool([self._setenv, *self._options, "-s", "/dev/stdin"], timeout_s=self._timeout_s, stdin=script)


def parse_lines(said: str, where: str) -> dict[str, str]:
    """Return the variables that a tool printed, one ``name=value`` a line; one without a value counts as missing.

    Raises:
        BootError: A variable of ``NAMES`` is there twice.
    """
    variables: dict[str, str] = {}
    for line in said.splitlines():
        name, _, value = line.partition("=")
        if name in variables and name in NAMES:
            raise BootError(f"{where} has {name} twice.", hint="Set it anew by hand.")
        if value:
            variables[name] = value
    return variables
