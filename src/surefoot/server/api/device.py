# SPDX-License-Identifier: Apache-2.0
"""The device listener, written by hand since every device calls it all day: poll, events, artifacts, renewal.

Every request is checked: the certificate has not expired or been revoked since the connection was opened, and the device still
belongs to the fleet. Identity comes from the certificate alone.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from surefoot.fleet.device import may_call
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest, from_hex
from surefoot.model.errors import DeniedError, Error, FormatError, UnknownError
from surefoot.model.event import EventBatch
from surefoot.model.record import from_json, to_json
from surefoot.model.wire import NEXT_POLL_HEADER, RENEW_HEADER, RenewalRequest
from surefoot.server.api.http import (
    JSON,
    Header,
    MethodError,
    RangeError,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    send_answer,
    send_problem,
)
from surefoot.server.api.metadata import DIRECTOR, IMAGE, send_metadata
from surefoot.server.services.metadata_files import director_file, image_file
from surefoot.server.services.poll import Poll
from surefoot.server.services.ports import CheckIn, DeviceCertificates, Peer, Reads, Write
from surefoot.server.services.renew import renew
from surefoot.server.services.report import report
from surefoot.store.blobs import BlobStore
from surefoot.trust.director import DirectorSigners

_LOG = logging.getLogger("surefoot.server")
_ARTIFACTS = "/v1/artifacts/"
_MOST_BATCH_BYTES = 1 << 20
_MOST_CSR_BYTES = 16 << 10
_PIECE_BYTES = 1 << 18
_NEXT_POLL = NEXT_POLL_HEADER.lower().encode()
_RENEW = RENEW_HEADER.lower().encode()
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")


class Presence:
    """Who polled since the last look: kept in memory, written in batches, so that a poll writes nothing."""

    def __init__(self) -> None:
        """Begin with nobody seen."""
        self._seen: dict[DeviceId, tuple[int, int]] = {}

    def note(self, device_id: DeviceId, now_s: int) -> None:
        """Count one poll."""
        seen = self._seen.get(device_id)
        self._seen[device_id] = (now_s, 1 if seen is None else seen[1] + 1)

    def take(self) -> dict[DeviceId, tuple[int, int]]:
        """Return (last seen in seconds since 1970, polls) by device, and begin again."""
        seen, self._seen = self._seen, {}
        return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceApi:
    """The ASGI application of the device listener.

    Attributes:
        reads: Reads by primary key, on the event loop.
        write: The way to the writer.
        poll: The verb.
        signers: The director's online keys.
        blobs: The images.
        ca: The device CA.
        presence: Where polls are counted.
        peer_key: Key in the scope under which the listener puts the ``Peer``.
        clock: Now, aware, UTC.
    """

    reads: Reads
    write: Write
    poll: Poll
    signers: DirectorSigners
    blobs: BlobStore
    ca: DeviceCertificates
    presence: Presence
    peer_key: str
    clock: Callable[[], datetime]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        now = self.clock()
        try:
            row = self._admit(scope.get(self.peer_key), int(now.timestamp()))
            await self._route(scope, receive, send, row, now)
        except Error as error:
            await send_problem(send, error)

    def _admit(self, peer: Peer | None, now_s: int) -> CheckIn:
        row = None if peer is None else self.reads.check_in(peer.serial)
        # One answer for every reason: a stranger learns nothing.
        if peer is None or row is None or row.device_id != peer.device_id or not _may_call(row, peer, now_s):
            raise DeniedError("This certificate does not let you in.", hint="Enrol the device again.")
        return row

    async def _route(self, scope: Scope, receive: Receive, send: Send, row: CheckIn, now: datetime) -> None:
        path, method = scope["path"], scope["method"]
        if path == "/v1/poll":
            _require(method, "GET")
            await self._poll(scope, send, row, now)
        elif path == "/v1/events":
            _require(method, "POST")
            await self._events(scope, receive, send, row, now)
        elif path == "/v1/renew":
            _require(method, "POST")
            await self._renew(scope, receive, send, row, now)
        elif path.startswith(_ARTIFACTS):
            _require(method, "GET", "HEAD")
            await self._artifact(scope, send, row)
        elif path.startswith(IMAGE):
            _require(method, "GET", "HEAD")
            name = path.removeprefix(IMAGE)
            await send_metadata(scope, send, name, image_file(self.reads, name), visibility="public")
        elif path.startswith(DIRECTOR):
            _require(method, "GET", "HEAD")
            name = path.removeprefix(DIRECTOR)
            await send_metadata(scope, send, name, director_file(self.reads, row.device_id, name), visibility="private")
        else:
            raise UnknownError("There is nothing here.", hint="Devices call /v1/poll, /v1/events, /v1/artifacts/<hex> and /v1/renew.")

    async def _poll(self, scope: Scope, send: Send, row: CheckIn, now: datetime) -> None:
        now_s = int(now.timestamp())
        self.presence.note(row.device_id, now_s)
        etag = header(scope, b"if-none-match").removeprefix("W/").strip('"')
        said = self._said(scope[self.peer_key], now_s)
        if self.poll.is_idle(row, etag, now_s):
            await _not_modified(send, etag, said)
            return
        changed = await self.poll.answer(row.device_id, etag, now)
        if changed.etag == etag:
            await _not_modified(send, etag, said)
            return
        await send_answer(send, 200, changed.body, [JSON, (b"etag", _quoted(changed.etag)), *said])

    def _said(self, peer: Peer, now_s: int) -> list[Header]:
        """Return what every answer to a poll says: when to poll next, and when to renew if that is to be early."""
        next_poll = (_NEXT_POLL, str(self.poll.next_poll_s(peer.device_id)).encode())
        renew_in_s = self.ca.renew_in_s(peer, now_s)
        return [next_poll] if renew_in_s is None else [next_poll, (_RENEW, str(renew_in_s).encode())]

    async def _events(self, scope: Scope, receive: Receive, send: Send, row: CheckIn, now: datetime) -> None:
        body = await read_body(scope, receive, _MOST_BATCH_BYTES)
        batch = from_json(body, EventBatch, what="Event batch")
        acknowledgement = await report(row.device_id, batch, self.write, self.signers, now)
        await send_answer(send, 200, to_json(acknowledgement), [JSON])

    async def _renew(self, scope: Scope, receive: Receive, send: Send, row: CheckIn, now: datetime) -> None:
        body = await read_body(scope, receive, _MOST_CSR_BYTES)
        request = from_json(body, RenewalRequest, what="Renewal request")
        answer = await renew(row.device_id, request, self.ca, self.write, now)
        await send_answer(send, 200, to_json(answer), [JSON])

    async def _artifact(self, scope: Scope, send: Send, row: CheckIn) -> None:
        digest = self._ordered(row.device_id, scope["path"].removeprefix(_ARTIFACTS))
        size = self.blobs.size(digest)
        if size is None:
            raise _no_artifact()
        span = _span(header(scope, b"range"), size)
        start, end = span or (0, size)
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(end - start).encode()),
            (b"etag", _quoted(digest)),
            (b"accept-ranges", b"bytes"),
        ]
        if span is not None:
            headers.append((b"content-range", f"bytes {start}-{end - 1}/{size}".encode()))
        await send({"type": "http.response.start", "status": 200 if span is None else 206, "headers": headers})
        # uvicorn sends no body for HEAD, whatever it is given; reading it would be for nothing.
        is_sent = scope["method"] != "HEAD"
        found = await self._send_blob(send, digest, start if is_sent else end, end)
        if is_sent and end - start == size and found != digest:
            await self._put_aside(digest)

    def _ordered(self, device_id: DeviceId, hex_digits: str) -> Digest:
        try:
            digest = from_hex(hex_digits)
        except FormatError as error:
            raise _no_artifact() from error
        if not self.reads.is_ordered(device_id, digest):
            raise _no_artifact()
        return digest

    async def _send_blob(self, send: Send, digest: Digest, start: int, end: int) -> Digest:
        """Send these bytes of a blob; return the digest of what was sent."""
        sha256 = hashlib.sha256()

        def next_piece() -> bytes:
            piece = self.blobs.read_range(digest, start, min(_PIECE_BYTES, end - start))
            sha256.update(piece)
            return piece

        while start < end:
            try:
                piece = await asyncio.to_thread(next_piece)
            except Error:
                piece = b""
            if not piece:
                # The headers are out: an early end is all that is left to say, and the device asks again.
                break
            start += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return from_hex(sha256.hexdigest())

    async def _put_aside(self, digest: Digest) -> None:
        """Let the store look at a blob of which other bytes were sent: a changed one goes into quarantine, and is told."""
        try:
            await asyncio.to_thread(self.blobs.verify, digest)
        except Error as error:
            _LOG.error("%s", error)  # the sentence says it; a trace would hide it


def _may_call(row: CheckIn, peer: Peer, now_s: int) -> bool:
    return may_call(state=row.state, certificate_is_revoked=row.is_revoked, not_after=peer.not_after, now=now_s)


def _require(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise MethodError(f"{method} means nothing here.", hint=f"Use {' or '.join(allowed)}.")


async def _not_modified(send: Send, etag: str, said: list[Header]) -> None:
    await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", _quoted(etag)), *said]})
    await send({"type": "http.response.body", "body": b""})


def _quoted(etag: str) -> bytes:
    return f'"{etag}"'.encode("latin-1")


def _no_artifact() -> UnknownError:
    """Return the one answer for an image that is not ordered for the caller and for one that is not there."""
    return UnknownError("No such artifact is ordered for this device.", hint="Poll again.")


def _span(text: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last of a single range; ``None`` for the whole (RFC 9110 §14.2)."""
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last, tail = match.groups()
    if tail is not None:
        start, end = max(0, size - int(tail)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RangeError(f"The file has {size} bytes, and none of them is in the range asked for.")
    return start, end
