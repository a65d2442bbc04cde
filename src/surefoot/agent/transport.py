# SPDX-License-Identifier: Apache-2.0
"""HTTP over mutual TLS to the server: polls, reports and image bytes.

Signatures decide, never the origin: what arrives here is believed by nobody. Redirects are not followed, answers are capped in
size and in time, and every failure to get one is a ``TransportError``.
"""

import http.client
import io
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import urllib3
from urllib3.exceptions import HTTPError

from surefoot.agent.clock import Clock
from surefoot.agent.download import Response
from surefoot.agent.posix import SystemClock
from surefoot.model.errors import FormatError, InvalidInput, TransportError
from surefoot.model.event import Acknowledgement, EventBatch
from surefoot.model.record import from_json, to_json
from surefoot.model.wire import NEXT_POLL_HEADER, RENEW_HEADER, EnrolmentAnswer, PollAnswer, RenewalRequest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_ANSWER_BYTES = 4 * 1024 * 1024
DEFAULT_POLL_S = 300

_CHUNK_BYTES = 64 * 1024
_NO_IDENTITY = "Run 'surefoot agent enroll'; if a token holds the key, OPENSSL_CONF must load its provider."
_DIGITS = re.compile(r"[0-9]{1,18}")
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,512}"')
_CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<total>\d{1,18}|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """An answer to a poll; ``answer`` is ``None`` when nothing changed."""

    next_poll_s: int
    answer: PollAnswer | None
    etag: str


class Server(Protocol):
    """What the agent asks of a server."""

    def poll(self, etag: str) -> Polled:
        """Ask what changed since ``etag``; ``TransportError`` when there is no usable answer."""
        ...

    def send(self, batch: EventBatch) -> Acknowledgement:
        """Deliver events; they are durable there when this returns. ``TransportError`` when there is no usable answer."""
        ...

    def open(self, url: str, offset: int) -> Response:
        """Ask for the bytes of an image from ``offset`` on; ``TransportError`` when there is no answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Files of a device's identity, PEM; ``certificate`` holds the key as well."""

    certificate: Path
    server_ca: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server may take, in seconds.

    Attributes:
        connect_s: For a connection.
        wait_s: Without a single byte.
        answer_s: For a whole answer, and for the head and each piece of an image: who drips holds nobody up.
    """

    connect_s: float = 10
    wait_s: float = 30
    answer_s: float = 120


class HttpsServer:
    """A server behind a URL."""

    def __init__(self, base_url: str, credentials: Credentials, *, patience: Patience | None = None, clock: Clock | None = None) -> None:
        """Talk to ``base_url`` (``https://host:port``) with the device's certificate; nothing is sent yet.

        Args:
            base_url: The device listener.
            credentials: Who the device is.
            patience: How long a server may take; the defaults of ``Patience``.
            clock: What that is measured by; the system's.

        Raises:
            InvalidInput: The credentials cannot be read.
        """
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._patience = patience or Patience()
        self._clock = clock or SystemClock()
        self._deadline = _Deadline(self._clock)
        self._pool = _connect(credentials, self._patience, self._deadline)
        self._renew_at_s: float | None = None

    def reload(self) -> None:
        """Use the credentials as they now lie on disk; connections made with the old ones are closed."""
        fresh = _connect(self._credentials, self._patience, self._deadline)
        self._pool.clear()
        self._pool = fresh

    def poll(self, etag: str) -> Polled:
        """Implement ``Server``."""
        headers = {"If-None-Match": etag} if etag else {}
        answer = self._request("GET", "/v1/poll", headers=headers)
        renew_in_s = _number(answer.headers.get(RENEW_HEADER, ""))
        self._renew_at_s = None if renew_in_s is None else self._clock.monotonic() + renew_in_s
        if answer.status == HTTPStatus.NOT_MODIFIED:
            return Polled(next_poll_s=_interval(answer.headers.get(NEXT_POLL_HEADER)), answer=None, etag=etag)
        poll = _decoded(answer, PollAnswer)
        return Polled(next_poll_s=poll.next_poll_s, answer=poll, etag=_etag(answer.headers.get("ETag", "")))

    def send(self, batch: EventBatch) -> Acknowledgement:
        """Implement ``Server``."""
        answer = self._request("POST", "/v1/events", body=to_json(batch), headers={"Content-Type": "application/json"})
        return _decoded(answer, Acknowledgement)

    def renew(self, csr: str) -> str:
        """Return a new certificate (PEM) for the key behind a request (PEM); ``TransportError`` when there is no usable answer."""
        request = to_json(RenewalRequest(csr=csr))
        answer = self._request("POST", "/v1/renew", body=request, headers={"Content-Type": "application/json"})
        return _decoded(answer, EnrolmentAnswer).certificate

    def is_renewal_asked(self) -> bool:
        """Say whether the last answer to a poll asked for a renewal by now."""
        return self._renew_at_s is not None and self._clock.monotonic() >= self._renew_at_s

    def open(self, url: str, offset: int) -> Response:
        """Implement ``Server``. The body is streamed; compressed encodings are not asked for."""
        if not url.startswith(("https://", "http://")):
            raise TransportError(f"{url[:100]!r} is not an address that images can be fetched from.")
        headers = {"Range": f"bytes={offset}-", "Accept-Encoding": "identity"}
        self._deadline.set(self._patience.answer_s)
        try:
            answer = self._pool.request("GET", url, headers=headers, preload_content=False, redirect=False)
        except HTTPError as error:
            raise TransportError(f"{url} did not answer: {error}.") from error
        start, total = _range(answer)
        chunks = self._chunks(answer, url)
        return Response(status=answer.status, start=start, total=total, chunks=chunks, close=answer.close)

    def _request(self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str]) -> "_Answer":
        url = self._base_url + path
        self._deadline.set(self._patience.answer_s)
        try:
            answer = self._pool.request(method, url, body=body, headers=headers, preload_content=False, redirect=False)
            with closing(answer):
                content = _read(answer)
                # Only a body read to its end leaves a connection that can be used again.
                if len(content) <= MAX_ANSWER_BYTES:
                    answer.drain_conn()
                    answer.release_conn()
        except HTTPError as error:
            raise TransportError(f"{url} did not answer: {error}.") from error
        if len(content) > MAX_ANSWER_BYTES:
            raise TransportError(f"{url} answered with more than {MAX_ANSWER_BYTES} bytes.")
        return _Answer(url=url, status=answer.status, headers=answer.headers, body=content)

    def _chunks(self, answer: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        while True:
            self._deadline.set(self._patience.answer_s)
            try:
                piece = answer.read1(_CHUNK_BYTES, decode_content=False)
            except HTTPError as error:
                raise TransportError(f"{url} broke off: {error}.") from error
            if not piece:
                return
            yield piece


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


_R = TypeVar("_R")


class _Deadline:
    """By when what the agent is waiting for must be here; it waits for one thing at a time, whatever connections are open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_s = 0.0

    def set(self, seconds: float) -> None:
        self._at_s = self._clock.monotonic() + seconds

    def check(self) -> None:
        if self._clock.monotonic() > self._at_s:
            raise TimeoutError("too slow")


class _Prompt(io.RawIOBase):
    """What a peer sends, until the deadline: a socket's own time-out starts anew with every byte that drips in."""

    def __init__(self, raw: io.RawIOBase, deadline: _Deadline) -> None:
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        self._deadline.check()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _connect(credentials: Credentials, patience: Patience, deadline: _Deadline) -> urllib3.PoolManager:
    class PromptResponse(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
            super().__init__(sock, debuglevel, method, url)
            self.fp = io.BufferedReader(_Prompt(self.fp.detach(), deadline))

    class PlainConnection(urllib3.connection.HTTPConnection):
        response_class = PromptResponse

    class TlsConnection(urllib3.connection.HTTPSConnection):
        response_class = PromptResponse

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    timeout = urllib3.Timeout(connect=patience.connect_s, read=patience.wait_s)
    manager = urllib3.PoolManager(ssl_context=_context(credentials), timeout=timeout, retries=False, maxsize=2)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
    return manager


def _read(answer: urllib3.BaseHTTPResponse) -> bytes:
    """Return the body as it was sent, or more than ``MAX_ANSWER_BYTES`` of it."""
    content = bytearray()
    while len(content) <= MAX_ANSWER_BYTES and (piece := answer.read1(_CHUNK_BYTES, decode_content=False)):
        content += piece
    return bytes(content)


def _context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=credentials.server_ca)
        context.load_cert_chain(credentials.certificate)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"The device's identity cannot be read: {error}.", hint=_NO_IDENTITY) from error
    return context


def _decoded(answer: _Answer, kind: type[_R]) -> _R:
    if answer.status != HTTPStatus.OK:
        raise TransportError(f"{answer.url} answered with status {answer.status}: {_detail(answer.body)}.")
    try:
        return from_json(answer.body, kind, what=answer.url)
    except FormatError as error:
        raise TransportError(error.message) from error


def _detail(body: bytes) -> str:
    return body[:200].decode("utf-8", "replace").strip()


def _interval(text: str | None) -> int:
    seconds = _number(text or "")
    return DEFAULT_POLL_S if seconds is None else min(max(seconds, 1), 86_399)


def _number(text: str) -> int | None:
    """Return a header's number; ``None`` when it is none, or longer than any that makes sense."""
    return int(text) if _DIGITS.fullmatch(text) else None


def _etag(text: str) -> str:
    """Return an ETag that may be sent back (RFC 9110 §8.8.3); one that no server would understand is forgotten."""
    return text if _ETAG.fullmatch(text) else ""


def _range(answer: urllib3.BaseHTTPResponse) -> tuple[int, int | None]:
    """Return where the body starts and how long the whole file is (RFC 9110 §14.4)."""
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, _number(answer.headers.get("Content-Length", "")) if answer.status == HTTPStatus.OK else None
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None:
        raise TransportError("The server sent a range without saying which.")
    return int(match["first"]), None if match["total"] == "*" else int(match["total"])
