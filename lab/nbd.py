# SPDX-License-Identifier: Apache-2.0
"""A network block device over a ``VolatileDisk``, for one client at a time; its end is a power cut.

It speaks the fixed newstyle negotiation of the NBD protocol (options EXPORT_NAME, INFO, GO and ABORT) and the simple replies to
READ, WRITE (with FUA), FLUSH and DISC: what QEMU needs. An ``Aim`` sees every request before it is carried out, and may say that
the power goes now; a write that it picks is torn, which is to say that it lies in the cache when the cache is lost.
"""

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from lab.volatile import SECTOR_BYTES, Survives, VolatileDisk

_FLAGS = 1 | 4 | 8  # has flags, takes FLUSH, takes FUA
_FUA = 1
_OPTION_MAGIC, _REQUEST_MAGIC = 0x49484156454F5054, 0x25609513
_OPTION_REPLY, _SIMPLE_REPLY = 0x3E889045565A9, 0x67446698
_EXPORT_NAME, _ABORT, _INFO, _GO = 1, 2, 6, 7
_ACK, _REP_INFO, _UNSUPPORTED = 1, 3, 0x80000001
_EINVAL = 22
_MOST_BYTES = 64 * 1024 * 1024


class Verb(IntEnum):
    """What a client asks for, by its number in the protocol."""

    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; ``offset`` and ``size`` are bytes."""

    verb: int
    offset: int
    size: int


Aim = Callable[[Request], bool]
"""Says of a request whether the power goes with it."""


class BlockServer:
    """Serves one disk at a socket, in a thread of its own.

    Attributes:
        disk: What it serves.
        aim: Sees every request; may be changed at any time.
        survives: What the next cut does to unflushed sectors.
        lost_sectors: How many the last cut cost.
    """

    def __init__(self, disk: VolatileDisk, path: Path, survives: Survives, on_power_loss: Callable[[], None]) -> None:
        """Listen at the socket ``path``; ``on_power_loss`` must stop the client at once when the aim says so."""
        self.disk = disk
        self.aim: Aim | None = None
        self.survives = survives
        self.lost_sectors = 0
        self._on_power_loss = on_power_loss
        self._dark = threading.Event()
        self._dark.set()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait_until_dark(self) -> None:
        """Return once no client is there and the last cut is done: the file is the disk's to read and to change."""
        self._dark.wait()

    def close(self) -> None:
        """Listen no longer; a client that is there must be gone first."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._dark.clear()
            with connection, connection.makefile("rb") as stream:
                try:
                    if _negotiate(connection, stream, self.disk.size_bytes):
                        self._carry_out(connection, stream)
                except (EOFError, ConnectionError):
                    pass
            self.lost_sectors = self.disk.cut(self.survives)
            self._dark.set()

    def _carry_out(self, connection: socket.socket, stream: BinaryIO) -> None:
        while True:
            magic, flags, verb, cookie, offset, size = struct.unpack(">IHHQQI", _exactly(stream, 28))
            if magic != _REQUEST_MAGIC or verb == Verb.DISCONNECT:
                return
            request = Request(verb=verb, offset=offset, size=size)
            if verb == Verb.WRITE and size > _MOST_BYTES:
                return
            data = _exactly(stream, size) if verb == Verb.WRITE else b""
            is_last = self.aim is not None and self.aim(request)
            if is_last:
                self._break_off(request, data)
                return
            error, answer = self._perform(request, data, is_durable=bool(flags & _FUA))
            connection.sendall(struct.pack(">IIQ", _SIMPLE_REPLY, error, cookie) + answer)

    def _break_off(self, request: Request, data: bytes) -> None:
        # A flush that the power interrupts has flushed nothing; a write lies in the cache, and fares as all that lies there.
        if request.verb == Verb.WRITE:
            self._perform(request, data, is_durable=False)
        self._on_power_loss()

    def _perform(self, request: Request, data: bytes, *, is_durable: bool) -> tuple[int, bytes]:
        end = request.offset + request.size
        is_fit = end <= self.disk.size_bytes and not (request.offset % SECTOR_BYTES or request.size % SECTOR_BYTES)
        match request.verb:
            case Verb.FLUSH:
                self.disk.flush()
            case Verb.READ if is_fit and request.size <= _MOST_BYTES:
                return 0, self.disk.read(request.offset, request.size)
            case Verb.WRITE if is_fit:
                self.disk.write(request.offset, data)
                if is_durable:
                    self.disk.flush_range(request.offset, request.size)
            case _:
                return _EINVAL, b""
        return 0, b""


def _negotiate(connection: socket.socket, stream: BinaryIO, size_bytes: int) -> bool:
    """Agree on the one export there is; return whether the client goes on to requests."""
    connection.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
    _exactly(stream, 4)
    while True:
        magic, option, length = struct.unpack(">QII", _exactly(stream, 16))
        if magic != _OPTION_MAGIC or length > _MOST_BYTES:
            return False
        _exactly(stream, length)
        match option:
            case 1:  # EXPORT_NAME is answered without a frame; clients set NO_ZEROES, which was offered.
                connection.sendall(struct.pack(">QH", size_bytes, _FLAGS))
                return True
            case 6 | 7:
                _reply(connection, option, _REP_INFO, struct.pack(">HQH", 0, size_bytes, _FLAGS))
                _reply(connection, option, _ACK)
                if option == _GO:
                    return True
            case 2:
                _reply(connection, option, _ACK)
                return False
            case _:
                _reply(connection, option, _UNSUPPORTED)


def _reply(connection: socket.socket, option: int, kind: int, data: bytes = b"") -> None:
    connection.sendall(struct.pack(">QIII", _OPTION_REPLY, option, kind, len(data)) + data)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data
