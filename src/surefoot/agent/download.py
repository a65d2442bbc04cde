# SPDX-License-Identifier: Apache-2.0
"""Downloads: an image streamed into a slot in steps that can be resumed after any interruption.

- What a step returns, or an interruption names as received, is durable; nothing else counts.
- Bytes are hashed as they are written. Those written by another process are hashed again from the slot.
- No byte past the signed size is written, and a peer that sends one is refused.
- No more bytes a second are taken than the integrator lets the device have.
- Who sends less than ``MIN_PROGRESS_BYTES`` in ``PATIENCE_S`` is left, and so is anybody once the attempt's time is over.
- Bytes that turn out wrong are discarded before the error is raised.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from surefoot.agent.clock import Clock
from surefoot.agent.rate import Bucket
from surefoot.agent.storage import File
from surefoot.model.digest import Digest, from_hex
from surefoot.model.errors import CorruptDownloadError, RefusedDownloadError, SpaceError, TransportError
from surefoot.model.slot import SlotName

BLOCK = 4096
"""Bytes are written in multiples of this, but for the last of a step."""

MIN_PROGRESS_BYTES = 64 * 1024
PATIENCE_S = 120.0
"""How long a peer may be waited for in all until that many bytes are here; what the device does with them does not count."""

_REHASH_BYTES = 64 * 1024
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A peer's answer to a request for bytes.

    Attributes:
        status: 206 for a range, 200 for all of it; anything else is refused.
        start: Offset of the first byte of ``chunks``, from Content-Range; 0 for a 200.
        total: Length of the whole file as the peer states it, if it does.
        chunks: The body in pieces of any size; raises ``TransportError`` when the connection breaks, and ends at the
            end of the body.
        close: Gives the connection back; may be called at any time.
    """

    status: int
    start: int
    total: int | None
    chunks: Iterator[bytes]
    close: Callable[[], None]


class ByteSource(Protocol):
    """Where bytes come from."""

    def open(self, url: str, offset: int) -> Response:
        """Ask for all bytes from ``offset``; ``TransportError`` when the peer cannot be reached."""
        ...


class Slots(Protocol):
    """Where bytes go to: of an ``Installer``, what a download needs."""

    @property
    def capacity_bytes(self) -> int:
        """How large an image may be."""
        ...

    def writer(self, slot: SlotName) -> File:
        """Return the open file that bytes for a slot go to; it is not the caller's to close."""
        ...


class InterruptedDownloadError(TransportError):
    """The connection could not be made, or broke.

    Attributes:
        received: Bytes from the start of the image that are durable in the slot; go on from there.
    """

    def __init__(self, message: str, *, received: int) -> None:
        """Add how far the download had come."""
        super().__init__(message, hint="Try again later.")
        self.received = received


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadTarget:
    """What to download, and where to.

    Attributes:
        urls: Where the image may be fetched; one after the other is tried.
        size: Its signed length.
        hash: Its signed digest.
        slot: Where it goes.
    """

    urls: tuple[str, ...]
    size: int
    hash: Digest
    slot: SlotName


class Downloader:
    """Streams one image at a time; the connection stays open between steps."""

    def __init__(
        self, source: ByteSource, slots: Slots, clock: Clock, bucket: Bucket | None = None, *, pause: Callable[[float], None] | None = None
    ) -> None:
        """Fetch from ``source`` into ``slots``; ``clock`` says who is too slow, ``bucket`` what is too fast; ``pause`` waits for that."""
        self._source = source
        self._slots = slots
        self._clock = clock
        self._bucket = bucket
        self._pause = pause or clock.sleep
        self._attempts = 0
        self._session: _Session | None = None

    def step(self, target: DownloadTarget, received: int, until: int, *, within_s: float = math.inf) -> int:
        """Download the bytes from ``received`` up to ``until``; durable on return.

        Args:
            target: What to download; another one than last time ends the open connection.
            received: What the step before returned or named; 0 to start anew.
            until: Where to stop; the size of the image if it is less.
            within_s: How long it may take in all, in seconds.

        Returns:
            How many bytes from the start are durable. When this is the size, their digest is the signed one.

        Raises:
            InterruptedDownloadError: Connection trouble, or a peer that is too slow; it names what is durable.
            RefusedDownloadError: The peer will not give the image, or nobody says where it is.
            CorruptDownloadError: The bytes are not the signed ones, or the peer has fewer or more; the slot is empty now.
            SpaceError: The image is larger than the slot, or the disk is full.
        """
        self._require_room(target)
        session = self._resume(target, received)
        session.pace.until_s = self._clock.monotonic() + within_s
        # Whatever goes wrong, the next step reads the slot again and believes nothing this process remembers.
        with ExitStack() as on_failure:
            on_failure.callback(session.close)
            self._fill(session, min(until, target.size))
            if session.position < target.size:
                on_failure.pop_all()
                self._session = session
        return session.position

    def require_ready(self, target: DownloadTarget) -> None:
        """See that the slot can be written, before anything of what it holds is given up.

        Raises:
            SpaceError: The image is larger than the slot.
            DeviceError: The slot cannot be opened, of the kind that says why.
        """
        self._require_room(target)
        self._slots.writer(target.slot)

    def _require_room(self, target: DownloadTarget) -> None:
        if target.size > self._slots.capacity_bytes:
            message = f"The image has {target.size} bytes, slot {target.slot} holds {self._slots.capacity_bytes}."
            raise SpaceError(message, hint="Order a release that fits this device.")

    def discard(self, slot: SlotName) -> None:
        """Empty ``slot`` durably and forget what was being downloaded."""
        if self._session is not None:
            self._session.close()
            self._session = None
        file = self._slots.writer(slot)
        file.truncate(0)
        file.sync()

    def _resume(self, target: DownloadTarget, received: int) -> "_Session":
        session, self._session = self._session, None
        if session is not None and session.target == target and session.position == received:
            return session
        if session is not None:
            session.close()
        session = _Session(target, self._slots.writer(target.slot), _Pace(self._clock, self._bucket, self._pause))
        if not session.reread(received):
            self.discard(target.slot)
            raise CorruptDownloadError(f"Slot {target.slot} lost bytes that were downloaded.", hint=_AGAIN)
        return session

    def _fill(self, session: "_Session", until: int) -> None:
        try:
            if session.position < until:
                self._connect(session)
                session.receive(until)
            session.flush(until)
            if session.position == session.target.size:
                session.check_end()
        except CorruptDownloadError:
            self.discard(session.target.slot)
            raise
        except TransportError as error:
            session.flush(until)
            raise InterruptedDownloadError(error.message, received=session.position) from error

    def _connect(self, session: "_Session") -> None:
        if session.response is not None:
            return
        urls = session.target.urls
        if not urls:
            raise RefusedDownloadError("The server named no place to download the image from.")
        url = urls[self._attempts % len(urls)]
        self._attempts += 1
        session.attach(url, self._source.open(url, session.position))


_AGAIN = "It is downloaded again from the start."


class _Pace:
    """How fast a peer sends, and until when it may; ``until_s`` is an instant of the monotonic clock."""

    def __init__(self, clock: Clock, bucket: Bucket | None, pause: Callable[[float], None]) -> None:
        self.until_s = math.inf
        self._clock = clock
        self._bucket = bucket
        self._pause = pause
        self._arrived = 0
        self._waited_s = 0.0

    def restart(self) -> None:
        """Begin anew with another connection."""
        self._arrived, self._waited_s = 0, 0.0

    def wait(self, chunks: Iterator[bytes], url: str) -> bytes | None:
        """Return the next piece, ``None`` at the end; ``TransportError`` when those before it came too slowly."""
        begun_s = self._clock.monotonic()
        if self._waited_s > PATIENCE_S:
            raise TransportError(f"{url} is too slow: {self._arrived} bytes in {self._waited_s:.0f} s.")
        if begun_s > self.until_s:
            raise TransportError(f"The time for the image is over, and {url} has not sent it.")
        chunk = next(chunks, None)
        now_s = self._clock.monotonic()
        self._waited_s += now_s - begun_s
        if self._bucket is not None:
            self._pause(min(self._bucket.take(len(chunk or b""), now_s), max(0.0, self.until_s - now_s) + 1))
        self._arrived += len(chunk or b"")
        if self._arrived >= MIN_PROGRESS_BYTES:
            self.restart()
        return chunk


class _Session:
    """One image on its way into one slot; ``position`` bytes of it are hashed and written."""

    def __init__(self, target: DownloadTarget, file: File, pace: _Pace) -> None:
        self.target = target
        self.pace = pace
        self.position = 0
        self.response: Response | None = None
        self._file = file
        self._sha256 = hashlib.sha256()
        self._url = ""
        self._skip = 0
        self._has_progress = False
        self._arrived = bytearray()

    def reread(self, received: int) -> bool:
        """Hash what an earlier process wrote and cut what lies behind it; say whether all of it is there."""
        while self.position < received:
            piece = self._file.read_at(self.position, min(_REHASH_BYTES, received - self.position))
            if not piece:
                return False
            self._sha256.update(piece)
            self.position += len(piece)
        if self._file.size() != received:
            self._file.truncate(received)
        return True

    def attach(self, url: str, response: Response) -> None:
        """Take the answer of ``url``, if it is one to the question asked."""
        self._url, self.response, self._has_progress = url, response, False
        self.pace.restart()
        if 400 <= response.status < 500 and response.status not in _LATER:  # noqa: PLR2004  # the client errors of RFC 9110
            raise RefusedDownloadError(f"{url} answered with status {response.status}.", hint=_AGAIN)
        if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise TransportError(f"{url} answered with status {response.status}.")
        # A server may ignore the range and send everything (RFC 9110 §14.2).
        self._skip = self.position if response.status == HTTPStatus.OK else 0
        if response.start + self._skip != self.position:
            raise TransportError(f"{url} sent bytes from {response.start} and not from {self.position}.")
        if response.total not in {None, self.target.size}:
            raise CorruptDownloadError(f"{url} has {response.total} bytes and not {self.target.size}.", hint=_AGAIN)

    def receive(self, until: int) -> None:
        """Take what arrives until ``until`` bytes are there, and write whole blocks of it on the way."""
        while self.position + len(self._arrived) < until:
            chunk = self._next_chunk()
            if not chunk:
                raise self._ended_early()
            self._has_progress = True
            self._arrived += chunk
            ready = min(until, self.position + len(self._arrived))
            self._write(ready - ready % BLOCK)

    def flush(self, until: int) -> None:
        """Write what has arrived of the first ``until`` bytes, and make all that is written durable."""
        self._write(min(until, self.position + len(self._arrived)))
        self._file.sync()

    def check_end(self) -> None:
        """Compare all bytes with what was signed, and see that no more follow."""
        if self._arrived or self._has_more():
            raise CorruptDownloadError(f"{self._url} sends more than {self.target.size} bytes.", hint=_AGAIN)
        found = from_hex(self._sha256.hexdigest())
        if found != self.target.hash:
            raise CorruptDownloadError(f"The download has {found} and not the signed {self.target.hash}.", hint=_AGAIN)

    def close(self) -> None:
        """Give the connection back."""
        if self.response is not None:
            self.response.close()
            self.response = None

    def _next_chunk(self) -> bytes:
        chunks: Iterator[bytes] = iter(()) if self.response is None else self.response.chunks
        while (chunk := self.pace.wait(chunks, self._url)) is not None:
            new = chunk[self._skip :]
            self._skip -= len(chunk) - len(new)
            if new:
                return new
        return b""

    def _ended_early(self) -> TransportError | CorruptDownloadError:
        if self._has_progress:
            return TransportError(f"{self._url} ended before the image did.")
        return CorruptDownloadError(f"{self._url} has no bytes after {self.position}; the image is longer.", hint=_AGAIN)

    def _write(self, until: int) -> None:
        count = until - self.position
        if count > 0:
            piece = bytes(self._arrived[:count])
            self._file.write_at(self.position, piece)
            self._sha256.update(piece)
            self.position = until
            del self._arrived[:count]

    def _has_more(self) -> bool:
        try:
            return bool(self._next_chunk())
        except TransportError:
            # All bytes are here; how the connection ended says nothing about them.
            return False
