# SPDX-License-Identifier: Apache-2.0
"""What a simulated board runs: the code in the image in its slot.

The contract of an image: a zip archive (a Python zipapp is one) with exactly one member whose name ends in ``/behaviour.py``.
That module stands alone: it may import the standard library and nothing of its own package. It has

- ``at_start(serial: str) -> None``, called first; an exception is a crash, and the agent does not start;
- ``is_healthy() -> bool``, asked by the health checks; an exception means no;
- ``agent_environment() -> dict[str, str]``, of which ``SUREFOOT_SERVER_OVERRIDE`` sends the agent to another address.

Equal images are compiled once; every start of every board gets names of its own, so that boards share no state.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import Event, Thread
from types import CodeType
from typing import Any, Protocol

from surefoot.model.errors import FormatError

SERVER_OVERRIDE = "SUREFOOT_SERVER_OVERRIDE"

_MEMBER = "/behaviour.py"
_KEPT = 16
_CONTRACT = ("at_start", "is_healthy", "agent_environment")


class Program(Protocol):
    """A release, started once on one board."""

    def at_start(self, serial: str) -> None:
        """Do what the release does first; any exception is a crash of the release."""
        ...

    def is_healthy(self) -> bool:
        """Say whether the release finds itself in order."""
        ...

    def agent_environment(self) -> Mapping[str, str]:
        """Return what the release adds to its agent's environment."""
        ...


Load = Callable[[bytes], Program]
"""Gets a program out of an image; an exception means that the image cannot be started."""


class ImageProgram:
    """The program that lies in an image."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        """Take the names of an executed behaviour module; ``load_image`` makes them."""
        self._names = names

    def at_start(self, serial: str) -> None:
        """Call the image's own."""
        self._names["at_start"](serial)

    def is_healthy(self) -> bool:
        """Ask the image's own."""
        return bool(self._names["is_healthy"]())

    def agent_environment(self) -> Mapping[str, str]:
        """Return the image's own."""
        return dict(self._names["agent_environment"]())


def load_image(image: bytes) -> ImageProgram:
    """Return the program in ``image``, started anew.

    Raises:
        FormatError: The image is no archive, or does not keep the contract.
    """
    names: dict[str, Any] = {"__name__": "behaviour"}
    # A simulated board exists to run the code in its slot, in this process; what may lie there was signed.
    exec(_compiled(image), names)  # noqa: S102  # see above
    missing = [name for name in _CONTRACT if not callable(names.get(name))]
    if missing:
        raise FormatError(f"The image's behaviour.py has no {', '.join(missing)}.", hint="See surefoot.simulator.program.")
    return ImageProgram(names)


@lru_cache(maxsize=_KEPT)
def _compiled(image: bytes) -> CodeType:
    try:
        with zipfile.ZipFile(io.BytesIO(image)) as archive:
            found = [name for name in archive.namelist() if name.endswith(_MEMBER)]
            if len(found) != 1:
                raise FormatError(f"The image has {len(found)} members that end in {_MEMBER}; a simulated board needs one.")
            return compile(archive.read(found[0]), found[0], "exec")
    except (zipfile.BadZipFile, SyntaxError, ValueError) as error:
        raise FormatError(f"The image is nothing that a simulated board can run: {error}.") from error


class HungError(RuntimeError):
    """A program did not come back in time; the watchdog resets the board."""


class Watched:
    """A program under a watchdog: one that does not come back from its start is left behind on its own thread."""

    def __init__(self, program: Program, watchdog_s: float) -> None:
        """Give ``program`` ``watchdog_s`` seconds to start."""
        self._program = program
        self._watchdog_s = watchdog_s

    def at_start(self, serial: str) -> None:
        """Start the program; ``HungError`` when it takes too long, else whatever it raises."""
        is_over, raised = Event(), list[Exception]()
        Thread(target=_start, args=(self._program, serial, is_over, raised), daemon=True).start()
        if not is_over.wait(self._watchdog_s):
            raise HungError(f"It did not start within {self._watchdog_s:g} s.")
        if raised:
            raise raised[0]

    def is_healthy(self) -> bool:
        """Ask the program."""
        return self._program.is_healthy()

    def agent_environment(self) -> Mapping[str, str]:
        """Return the program's."""
        return self._program.agent_environment()


def _start(program: Program, serial: str, is_over: Event, raised: list[Exception]) -> None:
    try:
        program.at_start(serial)
    except Exception as error:  # noqa: BLE001  # whatever a release raises is a crash of the release
        raised.append(error)
    finally:
        is_over.set()
