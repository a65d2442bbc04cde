# SPDX-License-Identifier: Apache-2.0
"""TLS of the two outer listeners, and who is at the other end of a connection.

- TLS 1.3 only. Session tickets are off: a resumed session would skip the look at the certificate, and full handshakes are small.
- The device listener asks for a certificate of the device CA; what it says is read once a connection and put into the ASGI scope
  under ``PEER``, so that every request can be checked against it.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from surefoot.model.assignment import DeviceId
from surefoot.model.wire import DEVICE_URN
from surefoot.server.services.ports import Peer

PEER = "surefoot.peer"
"""Key in the ASGI scope: a ``Peer``, or ``None`` when the connection has no device certificate."""

_GOODBYE_S = 0.5
_FIRST_REQUEST_S = 20
_MOST_PIPELINED = 16
_MOST_HEADER_BYTES = 64 * 1024


class PeerProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also says who the verified peer is.

    A subclass, since uvicorn has no other way in; it touches nothing but the scope, and bounds what a stranger may make us keep:
    the headers of a request, the requests sent ahead of their answers, and a connection on which nothing is asked.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn itself
        """Read the peer's certificate, once."""
        super().connection_made(transport)
        self._peer = _peer(transport.get_extra_info("ssl_object"))
        self._header_bytes: int | None = 0
        self._silence = self.loop.call_later(_FIRST_REQUEST_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._silence.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; whoever sends headers or requests without end is hung up on."""
        if self._header_bytes is not None:
            self._header_bytes += len(data)
        super().data_received(data)
        if len(self.pipeline) > _MOST_PIPELINED or (self._header_bytes or 0) > _MOST_HEADER_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Count the headers as done; what follows is the body, which its route bounds."""
        self._silence.cancel()
        self._header_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count again: what follows is the next request."""
        super().on_message_complete()
        self._header_bytes = 0

    def on_message_begin(self) -> None:
        """Put the peer into the scope of each request."""
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[PEER] = self._peer

    def shutdown(self) -> None:
        """End the connection; a peer that does not answer TLS's goodbye is not waited for long."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(_GOODBYE_S, self.transport.abort)


def server_context(server_chain: Path) -> ssl.SSLContext:
    """Return the context of a listener that anyone may connect to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.load_cert_chain(server_chain)
    return context


def device_context(server_chain: Path, device_cas: str) -> ssl.SSLContext:
    """Return the context of a listener for devices alone: no certificate of one of the device CAs (PEM), no handshake."""
    context = server_context(server_chain)
    context.load_verify_locations(cadata=device_cas)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _peer(connection: ssl.SSLObject | None) -> Peer | None:
    """Return who the certificate names; the handshake has verified it against the device CA."""
    certificate = connection.getpeercert() if connection is not None else None
    if not certificate:
        return None
    names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    ids = [value.removeprefix(DEVICE_URN) for kind, value in names if kind == "URI" and value.startswith(DEVICE_URN)]
    if len(ids) != 1:
        return None
    # The same form as in the database: lower-case hex without leading zeros, which OpenSSL may put there.
    serial = f"{int(cast('str', certificate['serialNumber']), 16):x}"
    not_after = int(ssl.cert_time_to_seconds(cast("str", certificate["notAfter"])))
    issuer = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("issuer", ()))
    issuers = [value for part in issuer for kind, value in part if kind == "commonName"]
    return Peer(device_id=DeviceId(ids[0]), serial=serial, not_after=not_after, issuer="".join(issuers))
