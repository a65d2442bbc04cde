# SPDX-License-Identifier: Apache-2.0
"""A TLS server on loopback that answers each request with the very bytes a test gives it, well formed or not."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from surefoot.agent.transport import Credentials


@dataclass(frozen=True)
class Authority:
    """A certificate authority that lives as long as a test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey | None = None,
        public: ec.EllipticCurvePublicKey | None = None,
        *,
        host: str = "127.0.0.1",
        valid: tuple[datetime, datetime] | None = None,
    ) -> str:
        """Return a certificate for a host, after its key if that is given, as PEM; by default it is valid for an hour around now."""
        found = key.public_key() if key is not None else public
        assert found is not None
        builder = _builder(name, "authority", found, valid)
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host)) if host[0] in "0123456789:" else x509.DNSName(host)])
        builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        return ((_pem(key) if key is not None else b"") + certificate).decode()


def authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("authority", "authority", key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return Authority(key, builder.sign(key, hashes.SHA256()))


def credentials_of(folder: Path, ca: Authority, device_id: str = "t-1") -> Credentials:
    """Write what a device presents into a folder."""
    found = Credentials(certificate=folder / "device.pem", server_ca=folder / "ca.pem")
    found.certificate.write_text(ca.issue(device_id, ec.generate_private_key(ec.SECP256R1())))
    found.server_ca.write_text(ca.pem)
    return found


def _builder(
    name: str, issuer: str, public: ec.EllipticCurvePublicKey, valid: tuple[datetime, datetime] | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begin, end = valid or (now - timedelta(hours=1), now + timedelta(hours=1))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass
class Loopback:
    """A server, the answers it still has to give, and the requests it was sent.

    Attributes:
        url: Where it is.
        is_hasty: Whether it answers the first bytes that come, whatever they are.
        answers: One for each request in turn, in pieces, of which ``None`` is a short wait; or made from the request.
        requests: What was asked, head and body, in order.
    """

    url: str
    is_hasty: bool = False
    answers: list[Iterable[bytes | None] | Callable[[bytes], bytes]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    def will_answer(self, *answers: bytes) -> None:
        self.answers += [[answer] for answer in answers]


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    """Return an answer whose length is right unless the headers say otherwise."""
    said = {"Content-Length": str(len(body)), "Connection": "close"} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in said.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def loopback(
    folder: Path,
    ca: Authority,
    *,
    client_ca: Authority | None = None,
    tls: bool = True,
    host: str = "127.0.0.1",
    named: str = "",
    valid: tuple[datetime, datetime] | None = None,
) -> Iterator[Loopback]:
    """Serve from a thread until the block ends, with a certificate for ``host``, or for the name that is given instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = folder / "server.pem"
    file.write_text(ca.issue("server", ec.generate_private_key(ec.SECP256R1()), host=named or host, valid=valid))
    context.load_cert_chain(file)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.pem)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(0.05)
        server = Loopback(f"https://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
        stop = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, context if tls else None, server, stop))
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext | None, server: Loopback, stop: threading.Event) -> None:
    while not stop.is_set():
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(5)
            with connection if context is None else context.wrap_socket(connection, server_side=True) as stream:
                _answer(stream, server, stop)


def _answer(stream: socket.socket, server: Loopback, stop: threading.Event) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = stream.recv(65536)
        if not piece:
            return
        request += piece
        if server.is_hasty:
            break
    head, _, body = request.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += stream.recv(65536)
    server.requests.append(head + b"\r\n\r\n" + body)
    answer = server.answers.pop(0)
    for part in [answer(body)] if callable(answer) else answer:
        if stop.is_set():
            return
        if part is None:
            stop.wait(0.02)
        else:
            stream.sendall(part)
