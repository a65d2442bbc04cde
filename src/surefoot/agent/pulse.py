# SPDX-License-Identifier: Apache-2.0
"""The pulse port: where the agent says that it goes on, so that a watchdog need not reset the board.

The agent beats at each step, before each request to the server, at each piece of an image, and in every pause. What lies between two
beats is one such request, one look at the health probes, one call of the bootloader's tool, or one sync of the disk; a step that reads
or fills a whole slot says before how long that may take.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from surefoot.agent.download import ByteSource, Response


class Stopping(BaseException):
    """The agent was asked to stop, and has come to a place where it may; nothing in the agent may catch it."""


class Pulse(Protocol):
    """Hears that the agent goes on."""

    def beat(self, within_s: float = 0.0) -> None:
        """Note that the agent goes on, and may take ``within_s`` to the next beat; ``Stopping`` when it was asked to stop."""
        ...

    def rest_s(self) -> float:
        """Return how long the agent may pause without a beat, in seconds."""
        ...

    def say(self, status: str) -> None:
        """Tell whoever looks after the agent what it does, in words."""
        ...


class Unheard:
    """A pulse that nobody listens to."""

    def beat(self, within_s: float = 0.0) -> None:
        """Do nothing."""

    def rest_s(self) -> float:
        """Return that any pause will do."""
        return float("inf")

    def say(self, status: str) -> None:
        """Do nothing."""


class BeatingSource:
    """A source of bytes that beats at each piece."""

    def __init__(self, source: ByteSource, beat: Callable[[], None]) -> None:
        """Fetch from ``source``."""
        self._source = source
        self._beat = beat

    def open(self, url: str, offset: int) -> Response:
        """Implement ``ByteSource``."""
        self._beat()
        answer = self._source.open(url, offset)
        return Response(
            status=answer.status, start=answer.start, total=answer.total, chunks=self._beating(answer.chunks), close=answer.close
        )

    def _beating(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._beat()
            yield chunk
