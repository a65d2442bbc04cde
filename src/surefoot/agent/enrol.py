# SPDX-License-Identifier: Apache-2.0
"""How a device joins: a key of its own, a single-use token, a certificate, and the two roots it will trust from then on.

The private key never leaves the device. The roots come with the offer, out of band, and are never fetched. A device that is
cut off anywhere in between can be enrolled again with a new token.
"""

import ssl
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from surefoot.agent.clock import Clock
from surefoot.agent.keystore import KeyStore
from surefoot.agent.network import Network, Patience, Surroundings
from surefoot.agent.posix import SystemClock
from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.agent.transport import Credentials
from surefoot.agent.trusted import TrustedStore
from surefoot.model.errors import ClockError, DeniedError, Error, FormatError, InvalidInput, TransportError
from surefoot.model.record import Hint, Record, from_json, to_json
from surefoot.model.wire import EnrolmentAnswer, EnrolmentOffer, EnrolmentRequest
from surefoot.trust.verify import load

_CERTIFICATE = "identity/device.pem"
_SERVER_CA = "identity/server-ca.pem"
_SERVER = "identity/server.json"
_MAX_ANSWER_BYTES = 64 * 1024


class Home(Record, frozen=True, kw_only=True):
    """Where the device polls."""

    device_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the device is to the server, and where that is."""

    device_url: str
    credentials: Credentials


def enrol(
    offer: EnrolmentOffer,
    storage: Storage,
    folder: str,
    trusted: TrustedStore,
    keys: KeyStore,
    *,
    patience: Patience | None = None,
    surroundings: Surroundings | None = None,
    clock: Clock | None = None,
) -> None:
    """Join a fleet, leaving the one before: all of the identity is on disk when this returns.

    Args:
        offer: The content of ``enrol.json``.
        storage: Where the identity is kept.
        folder: Folder of the agent's own data in ``storage``.
        trusted: Where the roots are kept.
        keys: Where the device's key comes from.
        keys: Where the device's key comes from.
        patience: How long the server may take; the defaults of ``Patience``.
        surroundings: What lies between it and the device; by default nothing.
        clock: What that is measured by; the system's.

    Raises:
        DeniedError: The server does not take the token.
        TransportError: The server could not be asked, or issued something else than a certificate for the device's key.
        TrustError: A root of the offer is not signed by its own keys.
        DeviceError: There is no key to be had, or no room for the identity.
    """
    roots = {"director": offer.director_root.encode(), "image": offer.image_root.encode()}
    for root in roots.values():
        load({"root.json": root})
    key = keys.key_for(offer.device_id)
    network = Network(
        _context(offer.server_ca), clock or SystemClock(), patience=patience or Patience(), surroundings=surroundings or Surroundings()
    )
    certificate = _request(offer, key.csr, network)
    require_match(certificate, key.csr)
    _leave(storage, folder)
    trusted.save("director", {"root.json": roots["director"]})
    trusted.save("image", {"root.json": roots["image"]})
    keep_certificate(storage, folder, key.pem, certificate)
    replace_file(storage, f"{folder}/{_SERVER_CA}", offer.server_ca.encode())
    # Written last: a device with this file has all the others.
    replace_file(storage, f"{folder}/{_SERVER}", to_json(Home(device_url=offer.device_url)))


def is_enrolled(storage: Storage, folder: str) -> bool:
    """Say whether the device has joined a fleet."""
    return storage.exists(f"{folder}/{_SERVER}")


def read_identity(storage: Storage, root: Path, folder: str) -> Identity:
    """Return what ``enrol`` wrote.

    Args:
        storage: Where the identity is kept.
        root: The same place as a path, for the TLS library.
        folder: Folder of the agent's own data.

    Raises:
        InvalidInput: The device is not enrolled.
    """
    data = read_file(storage, f"{folder}/{_SERVER}")
    if data is None:
        raise InvalidInput("This device is not enrolled.", hint="Run 'surefoot agent enroll --with enrol.json'.")
    home = root / folder
    return Identity(
        device_url=from_json(data, Home, what=_SERVER).device_url,
        credentials=Credentials(certificate=home / _CERTIFICATE, server_ca=home / _SERVER_CA),
    )


def require_match(certificate: str, csr: str) -> None:
    """Check what a server issued before anything is given up for it.

    Raises:
        TransportError: It is not a certificate for the key behind ``csr``.
    """
    wanted = x509.load_pem_x509_csr(csr.encode()).public_key()
    try:
        is_ours = x509.load_pem_x509_certificate(certificate.encode()).public_key() == wanted
    except (ValueError, UnsupportedAlgorithm):
        is_ours = False
    if not is_ours:
        raise TransportError("What the server issued is not a certificate for this device's key.", hint="Look into the server's log.")


def keep_certificate(storage: Storage, folder: str, pem: str, certificate: str) -> None:
    """Write key and certificate (PEM) in one file: a power cut cannot leave one with the other's predecessor."""
    replace_file(storage, f"{folder}/{_CERTIFICATE}", (pem + certificate).encode())


def read_certificate(storage: Storage, folder: str) -> x509.Certificate:
    """Return the device's certificate; ``InvalidInput`` when there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(read_file(storage, f"{folder}/{_CERTIFICATE}") or b"")
    except ValueError as error:
        raise InvalidInput(f"The device's certificate cannot be read: {error}.", hint="Enrol the device again.") from error


def _leave(storage: Storage, folder: str) -> None:
    """End an older identity before any part of it changes, so that a power cut cannot mix two fleets."""
    path = f"{folder}/{_SERVER}"
    if storage.exists(path):
        storage.remove(path)
        storage.sync_folder(path)


def _request(offer: EnrolmentOffer, csr: str, network: Network) -> str:
    url = offer.enroll_url.rstrip("/") + "/v1/enroll"
    request = EnrolmentRequest(device_id=offer.device_id, hardware=offer.hardware, token=offer.token, csr=csr)
    try:
        answer = network.request("POST", url, body=to_json(request), headers={"Content-Type": "application/json"})
        content = network.read(answer, url, _MAX_ANSWER_BYTES)
    except ClockError:
        raise
    except TransportError as error:
        raise TransportError(error.message, hint="Is the server running and reachable?") from error
    finally:
        network.close()
    if answer.status != HTTPStatus.OK:
        raise _refusal(url, answer.status, content)
    try:
        return from_json(content, EnrolmentAnswer, what=url).certificate
    except FormatError as error:
        raise TransportError(error.message) from error


def _refusal(url: str, status: int, content: bytes) -> Error:
    try:
        problem = from_json(content, _Problem, what=url)
    except FormatError:
        problem = _Problem(detail=f"{url} answered with status {status}.", hint="Is this the enrolment address of a Surefoot server?")
    kind = DeniedError if status < HTTPStatus.INTERNAL_SERVER_ERROR else TransportError
    return kind(problem.detail, hint=problem.hint)


class _Problem(Hint, frozen=True, kw_only=True):
    detail: str
    hint: str = ""


def _context(server_ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=server_ca)
    except ssl.SSLError as error:
        raise InvalidInput(f"The server CA in the offer cannot be read: {error}.", hint="Make a new enrol.json.") from error
    return context
