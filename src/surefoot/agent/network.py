# SPDX-License-Identifier: Apache-2.0
"""The agent's connections: bounded in time, through a proxy where there is one, and every failure told in one line.

- A socket's own time-out starts anew with every byte that drips in; here a whole answer has a deadline.
- TLS 1.3, to nobody but a host that the pinned CA vouches for. The end of its certificate is held against the device's clock and what
  the device knows for certain of the time (``surefoot.agent.clock.FlooredClock``). Its beginning does not count: a clock that stands in
  1970 is before it, and who could forge it needs no wrong clock. The CA's own dates do not count either (RFC 5280 §6.1).
- Nothing is retried here, and no redirect is followed.
"""

import http.client
import io
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID
from msgspec import Meta
from urllib3.exceptions import HTTPError, NameResolutionError, ProxyError

from surefoot.agent.clock import Clock
from surefoot.model.errors import ClockError, TransportError
from surefoot.model.record import Record, utc_text

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 64 * 1024
"""The largest piece that is read at a time."""

PORTAL = "is that the login page of a network (captive portal)?"

_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: the ssl module has no name for it
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}

ProxyUrl = Annotated[str, Meta(pattern=r"\A(|none|http://[^\s/]+/?)\Z", description="http://HOST:PORT, or none")]


class NetworkSettings(Record, frozen=True, kw_only=True):
    """The table ``[network]``: ``proxy`` is taken for every request; empty leaves it to the environment, ``none`` asks for none."""

    proxy: ProxyUrl = ""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a device is, as far as its connections must know.

    Attributes:
        settings: What the integrator says of the network.
        environment: Environment variables: ``https_proxy``, ``http_proxy`` and ``no_proxy``, in capitals too.
    """

    settings: NetworkSettings = field(default_factory=NetworkSettings)
    environment: Mapping[str, str] = field(default_factory=dict)


def proxy_for(url: str, settings: NetworkSettings, environment: Mapping[str, str]) -> str:
    """Return the proxy that a request goes through; empty when it goes straight, as it does to this machine unless the settings say so.

    Raises:
        TransportError: What the environment names is none that is understood.
    """
    if settings.proxy:
        return "" if settings.proxy == "none" else settings.proxy
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_here(host) or _is_exempt(host, _variable(environment, "no_proxy")):
        return ""
    proxy = _variable(environment, f"{parts.scheme}_proxy")
    if proxy and not (proxy.startswith("http://") and urlsplit(proxy).hostname):
        raise TransportError(f"{parts.scheme}_proxy names no proxy that is understood.", hint="Write http://HOST:PORT.")
    return proxy


class Network:
    """Connections under one TLS context, kept open between requests."""

    def __init__(self, context: ssl.SSLContext, clock: Clock, *, patience: Patience, surroundings: Surroundings) -> None:
        """Take over ``context``; nothing is connected yet."""
        # Its dates are held against what the device knows of the time, when a connection stands: see the module's rules.
        context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        self._context = context
        self._clock = clock
        self._patience = patience
        self._surroundings = surroundings
        self._deadline = _Deadline(clock)
        self._managers: dict[str, urllib3.PoolManager] = {}

    def request(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None) -> urllib3.BaseHTTPResponse:
        """Send a request and return the head of its answer; the body is read under ``reading``, and is the caller's to close.

        Raises:
            ClockError: The server's certificate has ended, by this device's time.
            TransportError: There is no answer; the message says who or what is in the way.
        """
        self.wait_anew()
        with self.reading(url, "did not answer"):
            proxy = proxy_for(url, self._surroundings.settings, self._surroundings.environment)
            return self._manager(proxy).request(
                method, url, body=body, headers=dict(headers), preload_content=False, redirect=False, retries=False
            )

    def wait_anew(self) -> None:
        """Let the time for an answer, or for a piece of it, begin now."""
        self._deadline.set(self._patience.answer_s)

    def read(self, answer: urllib3.BaseHTTPResponse, url: str, most_bytes: int) -> bytes:
        """Return the body as it was sent, and close it; ``TransportError`` when it breaks off or is longer than ``most_bytes``."""
        content = bytearray()
        with self.reading(url, "did not answer"), closing(answer):
            while len(content) <= most_bytes and (piece := answer.read1(CHUNK_BYTES, decode_content=False)):
                content += piece
            # Only a body read to its end leaves a connection that can be used again.
            if len(content) <= most_bytes:
                answer.drain_conn()
                answer.release_conn()
        if len(content) > most_bytes:
            raise TransportError(f"{url} answered with more than {most_bytes} bytes.")
        return bytes(content)

    @contextmanager
    def reading(self, url: str, happened: str) -> Iterator[None]:
        """Turn whatever goes wrong with a connection into a ``TransportError``: ``happened`` begins its words."""
        try:
            yield
        except HTTPError as error:
            raise TransportError(f"{url} {happened}: {self._explain(url, error)}.") from error
        except ValueError as error:  # an address that is none, for urllib3 or for the resolver
            raise TransportError(f"{url} {happened}: {error}.") from error

    def close(self) -> None:
        """Close every connection that nobody uses."""
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, proxy: str) -> urllib3.PoolManager:
        if proxy not in self._managers:
            self._managers[proxy] = self._connect(proxy)
        return self._managers[proxy]

    def _connect(self, proxy: str) -> urllib3.PoolManager:
        deadline, check = self._deadline, self._check_dates

        class PromptResponse(http.client.HTTPResponse):
            def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
                super().__init__(sock, debuglevel, method, url)
                self.fp = io.BufferedReader(_Prompt(self.fp.detach(), deadline))

        class PlainConnection(urllib3.connection.HTTPConnection):
            response_class = PromptResponse

        class TlsConnection(urllib3.connection.HTTPSConnection):
            response_class = PromptResponse

            def connect(self) -> None:
                super().connect()
                if isinstance(self.sock, ssl.SSLSocket):
                    check(self.host, self.sock)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = PlainConnection

        class TlsPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = TlsConnection

        timeout = urllib3.Timeout(connect=self._patience.connect_s, read=self._patience.wait_s)
        if proxy:
            manager: urllib3.PoolManager = urllib3.ProxyManager(
                _without_password(proxy),
                proxy_headers=_proxy_headers(proxy),
                ssl_context=self._context,
                timeout=timeout,
                retries=False,
                maxsize=2,
            )
        else:
            manager = urllib3.PoolManager(ssl_context=self._context, timeout=timeout, retries=False, maxsize=2)
        manager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
        return manager

    def _check_dates(self, host: str, connection: ssl.SSLSocket) -> None:
        said = connection.getpeercert() or {}
        begin, end = (datetime.fromtimestamp(ssl.cert_time_to_seconds(str(said[name])), tz=UTC) for name in ("notBefore", "notAfter"))
        now = self._clock.now()
        if now > end:
            raise ClockError(
                f"The certificate of {host} was valid from {utc_text(begin)} until {utc_text(end)}, and it is {utc_text(now)} here.",
                hint="Renew the server's certificate, or set this device's clock: one of the two is wrong.",
            )

    def _explain(self, url: str, error: HTTPError) -> str:
        """Return what went wrong, in words that say who or what is in the way."""
        parts = urlsplit(url)
        if isinstance(error, ProxyError):
            return f"the proxy does not let it through: {_plain(error.original_error)}"
        for cause in _causes(error):
            match cause:
                case ssl.SSLCertVerificationError():
                    return self._another(parts, cause)
                case ssl.SSLError(reason=reason) if reason in _NO_TLS:
                    return f"what is there speaks no TLS; {PORTAL}"
                case NameResolutionError():
                    return f"the name {parts.hostname} leads nowhere (DNS)"
                case _:
                    pass
        return _plain(error)

    def _another(self, parts: SplitResult, cause: ssl.SSLCertVerificationError) -> str:
        why = f"certificate verify failed: {cause.verify_message.rstrip('.')}"
        # Through a proxy nobody is asked a second time.
        certificate = _who_answers(parts, self._patience.connect_s) if "" in self._managers else None
        if certificate is None:
            return why
        stranger = "" if self._vouches_for(certificate) else f", which the CA of this device's server does not vouch for; {PORTAL}"
        return f"another host is there, {_names(certificate)}{stranger} ({why})"

    def _vouches_for(self, certificate: x509.Certificate) -> bool:
        for der in self._context.get_ca_certs(binary_form=True):
            with suppress(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
                certificate.verify_directly_issued_by(x509.load_der_x509_certificate(der))
                return True
        return False


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


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the innermost errors that a library has wrapped in others first."""
    for inner in (*error.args, getattr(error, "reason", None), getattr(error, "original_error", None), error.__cause__):
        if isinstance(inner, BaseException) and inner is not error:
            yield from _causes(inner)
    yield error


def _plain(error: BaseException) -> str:
    """Return an error of the HTTP library without the object that it happened to."""
    words = str(error)
    return words.partition("): ")[2] or words if words.startswith(("Tls", "Plain")) else words


def _who_answers(parts: SplitResult, timeout_s: float) -> x509.Certificate | None:
    """Return the certificate of whoever is there, unverified, for the words of an error; nothing of it is believed, and nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as connection,
        ):
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return None


def _names(certificate: x509.Certificate) -> str:
    subject = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        subject += [str(name.value) for name in extension]
    except (x509.ExtensionNotFound, ValueError):
        pass
    said = ", ".join(dict.fromkeys(subject)) or "which has no name"
    return "".join(letter if letter.isprintable() else "?" for letter in said[:100])


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""


def _is_here(host: str) -> bool:
    """Say whether a host is this machine: what a proxy elsewhere would take for itself."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _is_exempt(host: str, exempt: str) -> bool:
    """Say whether ``no_proxy`` names a host: itself, a domain that it is in, or ``*``."""
    named = [entry.strip().lstrip(".").lower() for entry in exempt.split(",") if entry.strip()]
    return any(entry in {"*", host} or host.endswith(f".{entry}") for entry in named)


def _without_password(proxy: str) -> str:
    parts = urlsplit(proxy)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"http://{host}:{parts.port or 3128}"


def _proxy_headers(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    return dict(urllib3.make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}"))
