# SPDX-License-Identifier: Apache-2.0
"""HTTP over mutual TLS to the server: polls, reports and image bytes.

Signatures decide, never the origin: what arrives here is believed by nobody. Redirects are not followed, answers are capped in
size and in time, and every failure to get one is a ``TransportError``.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, TypeVar

import urllib3

from surefoot.agent.clock import Clock
from surefoot.agent.download import Response
from surefoot.agent.network import CHUNK_BYTES, PORTAL, Network, Patience, Surroundings
from surefoot.agent.posix import SystemClock
from surefoot.model.errors import FormatError, InvalidInput, TransportError
from surefoot.model.event import Acknowledgement, EventBatch
from surefoot.model.record import from_json, to_json
from surefoot.model.wire import NEXT_POLL_HEADER, RENEW_HEADER, EnrolmentAnswer, PollAnswer, RenewalRequest

MAX_ANSWER_BYTES = 4 * 1024 * 1024
DEFAULT_POLL_S = 300

_CHUNK_BYTES = 64 * 1024
_NO_IDENTITY = "Run 'surefoot agent enroll'; if a token holds the key, OPENSSL_CONF must load its provider."
_REDIRECTS = range(300, 400)
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


class HttpsServer:
    """A server behind a URL."""

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        patience: Patience | None = None,
        surroundings: Surroundings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Talk to ``base_url`` (``https://host:port``) with the device's certificate; nothing is sent yet.

        Args:
            base_url: The device listener.
            credentials: Who the device is.
            patience: How long a server may take; the defaults of ``Patience``.
            surroundings: What lies between it and the device, and what the time is at the least; by default nothing of it is known.
            clock: What that is measured by; the system's.

        Raises:
            InvalidInput: The credentials cannot be read.
        """
        self._base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._patience = patience or Patience()
        self._surroundings = surroundings or Surroundings()
        self._clock = clock or SystemClock()
        self._network = self._connect()
        self._renew_at_s: float | None = None

    def reload(self) -> None:
        """Use the credentials as they now lie on disk; connections made with the old ones are closed."""
        fresh = self._connect()
        self._network.close()
        self._network = fresh

    def _connect(self) -> Network:
        return Network(_context(self._credentials), self._clock, patience=self._patience, surroundings=self._surroundings)

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
        answer = self._network.request("GET", url, headers=headers)
        try:
            _require_no_portal(url, answer.status, answer.headers)
            start, total = _range(answer)
        except TransportError:
            answer.close()
            raise
        return Response(status=answer.status, start=start, total=total, chunks=self._chunks(answer, url), close=answer.close)

    def _request(self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str]) -> "_Answer":
        url = self._base_url + path
        answer = self._network.request(method, url, body=body, headers=headers)
        content = self._network.read(answer, url, MAX_ANSWER_BYTES)
        return _Answer(url=url, status=answer.status, headers=answer.headers, body=content)

    def _chunks(self, answer: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        while True:
            self._network.wait_anew()
            with self._network.reading(url, "broke off"):
                piece = answer.read1(CHUNK_BYTES, decode_content=False)
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


def _context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=credentials.server_ca)
        context.load_cert_chain(credentials.certificate)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(f"The device's identity cannot be read: {error}.", hint=_NO_IDENTITY) from error
    return context


def _require_no_portal(url: str, status: int, headers: Mapping[str, str]) -> None:
    """Tell a login page for what it is: a network that wants its users to log in first answers in everybody's place."""
    if status in _REDIRECTS:
        where = headers.get("Location", "")
        raise TransportError(f"{url} answered with status {status} and sends to {where[:100]!r}; {PORTAL}")
    if status == HTTPStatus.OK and headers.get("Content-Type", "").lower().startswith("text/html"):
        raise TransportError(f"{url} answered with a page for people; {PORTAL}")


def _decoded(answer: _Answer, kind: type[_R]) -> _R:
    _require_no_portal(answer.url, answer.status, answer.headers)
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
