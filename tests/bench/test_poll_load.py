# SPDX-License-Identifier: Apache-2.0
"""Tests of the load generator: what it takes for an answer, and what it does not."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from random import Random

import pytest

from bench.poll_load import VOLLEY, Answer, Line, expect, fire, request
from surefoot.model.errors import TransportError

CHANCE = Random(1)  # noqa: S311  # draws callers, not secrets


@contextmanager
def line_to(*pieces: bytes) -> Iterator[Line]:
    """A line whose other end has sent these pieces and hung up."""
    ours, theirs = socket.socketpair()
    with closing(Line(ours)) as line, theirs:
        for piece in pieces:
            theirs.sendall(piece)
        theirs.shutdown(socket.SHUT_WR)
        yield line


class Echo:
    """A caller who is answered at once, and counts what was asked and checked."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.line = Line(ours)
        self.asked = 0
        self.checked = 0

    def request(self) -> bytes:
        self.asked += 1
        self.theirs.sendall(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        return b"poll"

    def check(self, answer: Answer) -> None:
        expect(answer, 304, "A poll")
        self.checked += 1

    def close(self) -> None:
        self.line.close()
        self.theirs.close()


def test_an_answer_is_read_to_the_end_of_its_body() -> None:
    with line_to(b"HTTP/1.1 200 OK\r\nContent-Le", b'ngth: 5\r\nETag: "1.2|3"\r\n\r\nab', b"cde") as line:
        assert line.receive() == Answer(status=200, etag="1.2|3", body=b"abcde")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"])
def test_an_answer_that_ends_early_is_none(sent: bytes) -> None:
    with line_to(sent) as line, pytest.raises(TransportError, match="has hung up"):
        line.receive()


def test_an_unexpected_status_is_named() -> None:
    with pytest.raises(TransportError, match="A poll was answered with status 500, not 304"):
        expect(Answer(status=500, etag="", body=b""), 304, "A poll")


def test_a_body_is_announced_with_its_length() -> None:
    head, _, body = request("POST", "/v1/events", body=b"{}").partition(b"\r\n\r\n")
    assert (head.splitlines()[0], body) == (b"POST /v1/events HTTP/1.1", b"{}")
    assert b"Content-Length: 2" in head


@pytest.mark.parametrize("callers", [3, VOLLEY + 3])
def test_every_request_of_every_volley_is_answered_and_checked(callers: int) -> None:
    echoes = [Echo() for _ in range(callers)]
    try:
        requests = fire(echoes, volleys=4, chance=CHANCE)
        assert requests == 4 * min(callers, VOLLEY)
        assert sum(echo.asked for echo in echoes) == sum(echo.checked for echo in echoes) == requests
    finally:
        for echo in echoes:
            echo.close()
