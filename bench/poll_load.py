# SPDX-License-Identifier: Apache-2.0
"""The load generator: kept connections, on which volleys of requests are sent before any answer is read.

A volley keeps that many requests waiting at the server at once. Every answer is checked: a server that refuses is not fast.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from surefoot.model.errors import TransportError

VOLLEY = 64
"""Requests sent before the first answer is read; fewer when there are fewer callers."""

PATIENCE_S = 60
_PIECE_BYTES = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ETAG = re.compile(rb'\r\netag: *"([^"]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer; ``etag`` is without its quotes, and empty when there is none."""

    status: int
    etag: str
    body: bytes


class Line:
    """A kept HTTP/1.1 connection on which one request is under way at a time; it owns its socket."""

    def __init__(self, connection: socket.socket) -> None:
        """Talk over ``connection``."""
        self._connection = connection

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self._connection.sendall(request)

    def receive(self) -> Answer:
        """Return the answer to what was sent.

        Raises:
            TransportError: The server has hung up, or takes longer than ``PATIENCE_S``.
        """
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._piece()
        head, _, body = received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        while length is not None and len(body) < int(length[1]):
            body += self._piece()
        etag = _ETAG.search(head)
        return Answer(status=int(head.split(b" ", 2)[1]), etag="" if etag is None else etag[1].decode(), body=body)

    def ask(self, request: bytes) -> Answer:
        """Send a request and return its answer; errors as for ``receive``."""
        self.send(request)
        return self.receive()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _piece(self) -> bytes:
        try:
            piece = self._connection.recv(_PIECE_BYTES)
        except OSError as error:
            raise TransportError(f"A server under load does not answer: {error}.") from error
        if not piece:
            raise TransportError("A server under load has hung up.", hint="Look into its log.")
        return piece


class Caller(Protocol):
    """Somebody who asks the same kind of thing again and again on a line of their own."""

    @property
    def line(self) -> Line:
        """The line."""
        ...

    def request(self) -> bytes:
        """Return the next request."""
        ...

    def check(self, answer: Answer) -> None:
        """Look at the answer to the last request.

        Raises:
            TransportError: It is not what it must be.
        """
        ...


Callers = Sequence[Caller]


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept-Encoding: identity", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def expect(answer: Answer, status: int, what: str) -> None:
    """Raise ``TransportError`` when an answer has another status; ``what`` begins the sentence."""
    if answer.status != status:
        raise TransportError(f"{what} was answered with status {answer.status}, not {status}: {answer.body[:200]!r}.")


def fire(callers: Callers, *, volleys: int, chance: Random) -> int:
    """Send volleys, each from callers drawn at random, and return how many requests were answered.

    Raises:
        TransportError: An answer did not come, or was not what it must be.
    """
    width = min(VOLLEY, len(callers))
    for _ in range(volleys):
        drawn = chance.sample(callers, width)
        for caller in drawn:
            caller.line.send(caller.request())
        for caller in drawn:
            caller.check(caller.line.receive())
    return volleys * width
