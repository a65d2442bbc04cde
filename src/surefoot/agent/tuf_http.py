# SPDX-License-Identifier: Apache-2.0
"""A folder of a TUF repository behind a URL: https, or plain http on the machine itself, where test suites run.

What arrives is believed by nobody: signatures decide. Redirects are not followed, and who drips holds nobody up.
"""

import ipaddress
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from surefoot.agent.clock import Clock
from surefoot.agent.network import Patience
from surefoot.model.errors import InvalidInput, TransportError

# Stores behind a content network say 403 for what is not there.
_PIECE_BYTES = 64 * 1024
_ABSENT = {HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN}


class HttpFolder:
    """Files behind a URL."""

    def __init__(self, base_url: str, clock: Clock, *, patience: Patience | None = None) -> None:
        """Read below ``base_url``; nothing is sent yet.

        Raises:
            InvalidInput: It is neither https nor http on this machine.
        """
        if not _is_allowed(base_url):
            raise InvalidInput(f"{base_url[:100]!r} cannot be used.", hint="Name an https address, or http on 127.0.0.1.")
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._patience = patience or Patience()
        timeout = urllib3.Timeout(connect=self._patience.connect_s, read=self._patience.wait_s)
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False)

    def open(self, name: str) -> Iterator[bytes] | None:
        """Return a file in pieces, or ``None`` when there is none (404, 403).

        Raises:
            TransportError: No answer, or any other status; later, when the body breaks off.
        """
        url = f"{self._base_url}/{name}"
        try:
            answer = self._pool.request("GET", url, headers={"Accept-Encoding": "identity"}, preload_content=False, redirect=False)
        except HTTPError as error:
            raise TransportError(f"{url} did not answer: {error}.") from error
        if answer.status == HTTPStatus.OK:
            return self._body(answer, url)
        answer.close()
        if answer.status in _ABSENT:
            return None
        raise TransportError(f"{url} answered with status {answer.status}.")

    def _body(self, answer: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        with closing(answer):
            begun_s = self._clock.monotonic()
            while piece := self._piece(answer, url):
                if self._clock.monotonic() - begun_s > self._patience.answer_s:
                    raise TransportError(f"{url} took longer than {self._patience.answer_s:g} s.")
                yield piece

    def _piece(self, answer: urllib3.BaseHTTPResponse, url: str) -> bytes:
        try:
            return answer.read1(_PIECE_BYTES, decode_content=False)
        except HTTPError as error:
            raise TransportError(f"{url} broke off: {error}.") from error


def _is_allowed(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
