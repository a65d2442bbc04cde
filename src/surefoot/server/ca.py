# SPDX-License-Identifier: Apache-2.0
"""The server's two certificate authorities: one behind its own certificate, one for devices; separate trees.

Neither has anything to do with the keys that sign updates. Files in ``ca/``, all 0600: ``server-ca.pem``, ``server.pem`` and
``device-ca.pem``, each with a key and its certificate.

A device CA that rolled over is followed by ``device-ca-2.pem`` and so on: the newest issues, all are accepted. Of one that is not the
newest only the certificate is read, so a CA whose key is lost may stay until its devices have renewed.
"""

import ipaddress
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from surefoot.fleet.enroll import CertificateTerms
from surefoot.model.errors import FormatError, InvalidInput, StoreError
from surefoot.server.durable import remove_durably, write_durably
from surefoot.server.services.ports import IssuedCertificate, Peer

_CA_LIFE = timedelta(days=3_650)
_SERVER_LIFE = timedelta(days=398)
_SERVER_RENEWAL = timedelta(days=60)
_SKEW = timedelta(minutes=5)
_DEVICE_CURVES = ("secp256r1", "secp384r1")
_DEVICE_CA = re.compile(r"device-ca(?:-([1-9]\d{0,5}))?\.pem")

RENEWAL_WINDOW_S = 86_400
"""Over how long a roll-over spreads the early renewals of devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate and the key behind it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedCa:
    """A device CA whose certificates are accepted.

    Attributes:
        name: Of its file, without the ending; what ``surefoot ca retire`` takes.
        certificate: The CA's own.
    """

    name: str
    certificate: x509.Certificate

    @property
    def issuer(self) -> str:
        """Return the name by which device certificates call it: the CN of its subject, which no other CA has."""
        return _common_name(self.certificate)

    @property
    def pem(self) -> str:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM).decode()


class DeviceCa:
    """Issues device certificates; implements ``DeviceCertificates``."""

    def __init__(self, authority: Authority) -> None:
        """Issue in the name of ``authority``."""
        self._authority = authority
        self._issuer = _common_name(authority.certificate)
        self._begun_s = int(authority.certificate.not_valid_before_utc.timestamp())

    def renew_in_s(self, peer: Peer, now_s: int) -> int | None:
        """Return the seconds after which a device is to renew early, since another CA issued its certificate; else ``None``.

        Each device has its own moment in the ``RENEWAL_WINDOW_S`` after the CA was made, by its own hash; past it, the answer is 0.
        """
        if peer.issuer == self._issuer:
            return None
        return max(0, self._begun_s + zlib.crc32(peer.device_id.encode()) % RENEWAL_WINDOW_S - now_s)

    def issue(self, csr: str, terms: CertificateTerms) -> IssuedCertificate:
        """Return a certificate for the public key of a request; all else in the request is ignored.

        Raises:
            FormatError: Not a request, not signed by its own key, or a key type that devices may not use.
        """
        names = [x509.UniformResourceIdentifier(terms.uri)]
        builder = _builder(terms.common_name, self._authority.certificate.subject, _device_key(csr), terms.not_before, terms.not_after)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_issued_by(self._authority), critical=False)
            .sign(self._authority.key, hashes.SHA256())
        )
        return IssuedCertificate(
            pem=certificate.public_bytes(Encoding.PEM).decode(), serial=f"{certificate.serial_number:x}", issuer=self._issuer
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """What lies in ``ca/``.

    Attributes:
        server_chain: File with the server's own key and certificate.
        server_ca: PEM of the CA that devices check the server against.
        device_ca: The CA that issues device certificates.
        accepted: All CAs whose device certificates are accepted, oldest first; the last is ``device_ca``.
    """

    server_chain: Path
    server_ca: str
    device_ca: Authority
    accepted: tuple[AcceptedCa, ...]


def open_authorities(folder: Path, hostnames: Sequence[str], now: datetime) -> Authorities:
    """Return the authorities in ``folder``, making what is missing.

    The server's own certificate is made again when it lacks one of ``hostnames`` or nears its end; its CA stays.

    Raises:
        StoreError: The folder cannot be read or written, or a file in it is damaged.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        server_ca = _load(folder, "server-ca") or _save(
            folder, "server-ca", _create_ca("Surefoot server CA", now, ec.generate_private_key(ec.SECP256R1()))
        )
        if not _numbers(folder):
            _save(folder, "device-ca", _create_device_ca(now))
        accepted = _accepted(folder)
        device_ca = _require(_load(folder, accepted[-1].name))
        names = _server_names(hostnames)
        server = _load(folder, "server")
        if server is None or not _covers(server.certificate, names, now):
            _save(folder, "server", _create_server(names, server_ca, now))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(folder, error) from error
    return Authorities(server_chain=folder / "server.pem", server_ca=server_ca.pem, device_ca=device_ca, accepted=accepted)


def accepted_cas(folder: Path) -> tuple[AcceptedCa, ...]:
    """Return the device CAs in ``folder``, oldest first; the last one issues.

    Raises:
        StoreError: The folder cannot be read, or a file in it is damaged.
    """
    try:
        return _accepted(folder)
    except (OSError, ValueError) as error:
        raise _unusable(folder, error) from error


def rotate_device_ca(folder: Path, now: datetime) -> AcceptedCa:
    """Make a device CA that issues from the server's next start on; those before it stay accepted.

    Raises:
        InvalidInput: There is no device CA yet.
        StoreError: The folder cannot be read or written.
    """
    accepted = accepted_cas(folder)
    if not accepted:
        raise InvalidInput(f"There is no device CA in {folder}.", hint="The server makes one at its first start.")
    name = _name(max(_numbers(folder)) + 1)
    try:
        made = _save(folder, name, _create_device_ca(now))
    except OSError as error:
        raise _unusable(folder, error) from error
    return AcceptedCa(name=name, certificate=made.certificate)


def retire_device_ca(folder: Path, name: str) -> None:
    """Remove a device CA with its key; from the server's next start on its certificates open nothing.

    Raises:
        InvalidInput: There is no such CA, or it is the one that issues.
        StoreError: The folder cannot be read or written.
    """
    names = [ca.name for ca in accepted_cas(folder)]
    if name not in names:
        raise InvalidInput(f"There is no device CA {name!r}.", hint=f"There are: {', '.join(names) or 'none'}.")
    if name == names[-1]:
        raise InvalidInput(f"{name} is the CA that issues.", hint="Run 'surefoot ca rotate' first, and restart the server.")
    try:
        remove_durably(folder / f"{name}.pem")
    except OSError as error:
        raise _unusable(folder, error) from error


def _accepted(folder: Path) -> tuple[AcceptedCa, ...]:
    names = [_name(number) for number in sorted(_numbers(folder))]
    return tuple(AcceptedCa(name=name, certificate=x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())) for name in names)


def _numbers(folder: Path) -> list[int]:
    found = (_DEVICE_CA.fullmatch(path.name) for path in folder.iterdir())
    return [int(match[1] or 1) for match in found if match is not None]


def _name(number: int) -> str:
    return "device-ca" if number == 1 else f"device-ca-{number}"


def _require(authority: Authority | None) -> Authority:
    if authority is None:
        raise ValueError("a device CA went away while it was read")
    return authority


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _unusable(folder: Path, error: Exception) -> StoreError:
    hint = "Restore the folder from a backup; if only the key of the device CA is lost, run 'surefoot ca rotate'."
    return StoreError(f"The certificates in {folder} cannot be used: {error}.", hint=hint)


def _device_key(csr: str) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
        is_signed_by_its_key = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise FormatError("The certificate request cannot be read.", hint="Send a PKCS#10 request in PEM.") from error
    if not is_signed_by_its_key:
        raise FormatError("The certificate request is not signed by its own key.")
    if isinstance(key, ed25519.Ed25519PublicKey) or (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _DEVICE_CURVES):
        return key
    raise FormatError("The certificate request has a key that devices may not use.", hint="Use P-256, P-384 or Ed25519.")


def _create_device_ca(now: datetime) -> Authority:
    """Return a new device CA; its name holds the id of its key, so that the issuer of a certificate is known by name."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _create_ca(f"Surefoot device CA {x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:12]}", now, key)


def _create_ca(name: str, now: datetime, key: ec.EllipticCurvePrivateKey) -> Authority:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(name, subject, key.public_key(), now - _SKEW, now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def _create_server(names: Sequence[x509.GeneralName], authority: Authority, now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("Surefoot server", authority.certificate.subject, key.public_key(), now - _SKEW, now + _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_issued_by(authority), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def _builder(
    name: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued_by(authority: Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())


def _server_names(hostnames: Sequence[str]) -> list[x509.GeneralName]:
    return [_general_name(name) for name in dict.fromkeys(["localhost", "127.0.0.1", "::1", *hostnames])]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _covers(certificate: x509.Certificate, names: Sequence[x509.GeneralName], now: datetime) -> bool:
    said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) <= set(said) and now + _SERVER_RENEWAL < certificate.not_valid_after_utc


def _load(folder: Path, name: str) -> Authority | None:
    if not (folder / f"{name}.pem").exists():
        return None
    data = (folder / f"{name}.pem").read_bytes()
    key = load_pem_private_key(data, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{name}.pem holds no EC key")  # noqa: TRY004  # a damaged file, not a wrong argument
    return Authority(certificate=x509.load_pem_x509_certificate(data), key=key)


def _save(folder: Path, name: str, authority: Authority) -> Authority:
    # One file for both: a crash cannot leave a certificate with another one's key.
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_durably(folder / f"{name}.pem", key + authority.certificate.public_bytes(Encoding.PEM))
    return authority
