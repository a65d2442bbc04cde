# SPDX-License-Identifier: Apache-2.0
"""The block server as a client of the protocol sees it, and the power cut that its end is."""

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

import pytest

from lab.nbd import BlockServer, Verb
from lab.volatile import SECTOR_BYTES, VolatileDisk, kept, lost

SIZE = 64 * SECTOR_BYTES
ONE, TWO = b"1" * SECTOR_BYTES, b"2" * SECTOR_BYTES


class Client:
    """A client by the letter of the protocol."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.stream: BinaryIO = self.socket.makefile("rb")
        assert self.stream.read(18) == b"NBDMAGICIHAVEOPT\x00\x03"
        self.socket.sendall(struct.pack(">I", 3))

    def option(self, number: int, data: bytes = b"") -> list[tuple[int, bytes]]:
        """Ask for an option; return every reply up to the last."""
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
        replies = []
        while True:
            magic, asked, kind, length = struct.unpack(">QIII", self.stream.read(20))
            assert (magic, asked) == (0x3E889045565A9, number)
            replies.append((kind, self.stream.read(length)))
            if kind != 3:
                return replies

    def go(self) -> Self:
        assert [kind for kind, _ in self.option(7, struct.pack(">IH", 0, 0))] == [3, 1]
        return self

    def ask(self, verb: int, offset: int = 0, size: int = 0, data: bytes = b"", flags: int = 0) -> tuple[int, bytes]:
        """Send a request; return the error and what was read. ``EOFError`` when the server hangs up."""
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, verb, 77, offset, size or len(data)) + data)
        head = self.stream.read(16)
        if len(head) < 16:
            raise EOFError
        magic, error, cookie = struct.unpack(">IIQ", head)
        assert (magic, cookie) == (0x67446698, 77)
        return error, self.stream.read(size) if verb == Verb.READ and not error else b""

    def end(self) -> None:
        self.stream.close()
        self.socket.close()


class Bench:
    """A server on a file, and its clients."""

    def __init__(self, folder: Path, on_power_loss: Callable[[], None] = lambda: None) -> None:
        self.path = folder / "disk"
        self.path.write_bytes(bytes(SIZE))
        self._file = self.path.open("r+b")
        self._socket = folder / "socket"
        self.server = BlockServer(VolatileDisk(self._file.fileno()), self._socket, lost, on_power_loss)
        self._clients: list[Client] = []

    def client(self) -> Client:
        self._clients.append(Client(self._socket))
        return self._clients[-1]

    def cut(self) -> bytes:
        """End the client and return what the disk holds then."""
        for client in self._clients:
            client.end()
        self._clients.clear()
        self.server.wait_until_dark()
        return self.path.read_bytes()

    def close(self) -> None:
        self.cut()
        self.server.close()
        self._file.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_size_and_flags_are_told_before_the_requests(bench: Bench) -> None:
    replies = bench.client().option(6, struct.pack(">IH", 0, 0))
    assert replies == [(3, struct.pack(">HQH", 0, SIZE, 1 | 4 | 8)), (1, b"")]


def test_an_unknown_option_is_refused_and_the_client_may_go_on(bench: Bench) -> None:
    client = bench.client()
    assert client.option(5) == [(0x80000001, b"")]
    assert client.go().ask(Verb.READ, 0, SECTOR_BYTES) == (0, bytes(SECTOR_BYTES))


def test_an_export_by_name_begins_at_once(bench: Bench) -> None:
    client = bench.client()
    client.socket.sendall(b"IHAVEOPT" + struct.pack(">II", 1, 0))
    assert client.stream.read(10) == struct.pack(">QH", SIZE, 1 | 4 | 8)
    assert client.ask(Verb.WRITE, 0, data=ONE) == (0, b"")


def test_a_client_that_aborts_is_let_go(bench: Bench) -> None:
    client = bench.client()
    assert client.option(2) == [(1, b"")]
    assert client.stream.read(1) == b""


def test_what_is_written_is_read_and_gone_with_the_power_unless_flushed(bench: Bench) -> None:
    client = bench.client().go()
    client.ask(Verb.WRITE, 0, data=ONE)
    client.ask(Verb.FLUSH)
    client.ask(Verb.WRITE, SECTOR_BYTES, data=TWO + TWO)
    assert client.ask(Verb.READ, 0, 3 * SECTOR_BYTES) == (0, ONE + TWO + TWO)
    assert bench.cut() == ONE.ljust(SIZE, b"\0")
    assert bench.server.lost_sectors == 2


def test_a_write_that_asks_for_it_is_durable_alone(bench: Bench) -> None:
    client = bench.client().go()
    client.ask(Verb.WRITE, 0, data=ONE)
    client.ask(Verb.WRITE, SECTOR_BYTES, data=TWO, flags=1)
    assert bench.cut() == (bytes(SECTOR_BYTES) + TWO).ljust(SIZE, b"\0")


@pytest.mark.parametrize(
    ("verb", "offset", "size"),
    [(Verb.READ, SIZE, SECTOR_BYTES), (Verb.READ, 1, SECTOR_BYTES), (Verb.READ, 0, 100), (4, 0, SECTOR_BYTES)],
    ids=["beyond the end", "between sectors", "part of a sector", "a verb that was not offered"],
)
def test_a_request_that_makes_no_sense_is_refused_and_the_next_one_answered(bench: Bench, verb: int, offset: int, size: int) -> None:
    client = bench.client().go()
    assert client.ask(verb, offset, size) == (22, b"")
    assert client.ask(Verb.READ, 0, SECTOR_BYTES) == (0, bytes(SECTOR_BYTES))


def test_a_write_beyond_the_end_is_refused_and_changes_nothing(bench: Bench) -> None:
    client = bench.client().go()
    assert client.ask(Verb.WRITE, SIZE - SECTOR_BYTES, data=ONE + TWO) == (22, b"")
    bench.server.survives = kept
    assert bench.cut() == bytes(SIZE)


def test_the_next_client_finds_the_disk_as_the_cut_left_it(bench: Bench) -> None:
    bench.client().go().ask(Verb.WRITE, 0, data=ONE)
    bench.cut()
    assert bench.client().go().ask(Verb.READ, 0, SECTOR_BYTES) == (0, bytes(SECTOR_BYTES))


@pytest.mark.parametrize(("survives", "left"), [(lost, bytes(SECTOR_BYTES)), (kept, ONE)], ids=["lost", "kept"])
def test_the_aim_cuts_the_power_inside_the_write_it_picks(tmp_path: Path, survives: Callable[[int], bool], left: bytes) -> None:
    gone: list[str] = []
    bench = Bench(tmp_path, on_power_loss=lambda: gone.append("power"))
    bench.server.aim = lambda request: request.verb == Verb.WRITE and request.offset == 0
    bench.server.survives = survives
    client = bench.client().go()
    assert client.ask(Verb.WRITE, SECTOR_BYTES, data=TWO, flags=1) == (0, b"")
    with pytest.raises(EOFError):
        # Even one that asked to be durable: it was never answered.
        client.ask(Verb.WRITE, 0, data=ONE, flags=1)
    assert gone == ["power"]
    assert bench.cut() == (left + TWO).ljust(SIZE, b"\0")
    bench.close()


def test_a_flush_that_the_power_interrupts_has_flushed_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.server.aim = lambda request: request.verb == Verb.FLUSH
    client = bench.client().go()
    client.ask(Verb.WRITE, 0, data=ONE)
    with pytest.raises(EOFError):
        client.ask(Verb.FLUSH)
    assert bench.cut() == bytes(SIZE)
    bench.close()
