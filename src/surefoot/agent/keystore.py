# SPDX-License-Identifier: Apache-2.0
"""Where a device's private key is made and kept: in a file of its own, or in a TPM or token behind a provider of OpenSSL.

- A key comes with a certificate request that it has signed; nothing else of it ever leaves the device.
- With a provider, the PEM that is kept is a blob that only that TPM can use, or a name that only that token knows. A provider
  that hands out the key itself is refused: then the settings promise what the device does not do.
- The TLS library uses such a PEM as any other, if its own settings load the provider (``OPENSSL_CONF``).
"""

import re
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec import Meta

from surefoot.agent.boot.tool import run_tool
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import BootError, DeviceError
from surefoot.model.record import Record

Provider = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9_-]{0,31}\Z", description="the name of a provider of OpenSSL")]
Seconds = Annotated[float, Meta(gt=0, le=600)]

_OPEN_KEY = re.compile(r"-----BEGIN (?:ENCRYPTED |EC |RSA )?PRIVATE KEY-----")
_CSR = re.compile(r"-----BEGIN CERTIFICATE REQUEST-----(?P<der>[A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----")
_MAX_NAME = 64  # X.520, ub-common-name

# RFC 5758 §3.2: ecdsa-with-SHA256 has no parameters; tpm2-openssl 1.1 writes a NULL there, which strict readers refuse.
_WITH_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")
_WITHOUT = bytes.fromhex("300a06082a8648ce3d040302")


class FileKey(Record, frozen=True, kw_only=True, tag_field="key", tag="file"):
    """A key in the file of the certificate, made anew for each certificate."""


class OpensslKey(Record, frozen=True, kw_only=True, tag_field="key", tag="openssl"):
    """A key that a provider of OpenSSL holds.

    Attributes:
        provider: Its name, as ``openssl list -providers`` has it: ``tpm2``, ``pkcs11``.
        pem: File with a key that is there already, from the folder of agent.toml; if empty, the provider makes one for each certificate.
        timeout_s: How long one command of ``openssl`` may take; a TPM takes a second for a key.
    """

    provider: Provider
    pem: str = ""
    timeout_s: Seconds = 60


KeySettings = FileKey | OpensslKey


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKey:
    """A key as the TLS library reads it (PEM), and a certificate request (PKCS#10, PEM) that it has signed."""

    pem: str
    csr: str


class KeyStore(Protocol):
    """What makes keys."""

    def key_for(self, device_id: DeviceId) -> DeviceKey:
        """Return the key for the next certificate; the server uses nothing of its request but the public key.

        Raises:
            DeviceError: There is none to be had now.
        """
        ...


class FileKeys:
    """ECDSA P-256 keys from the system's randomness."""

    def key_for(self, device_id: DeviceId) -> DeviceKey:
        """Implement ``KeyStore``."""
        key = ec.generate_private_key(ec.SECP256R1())
        return DeviceKey(pem=pem_of(key), csr=csr_for(key, device_id))


class OpensslKeys:
    """Keys of a provider, through the command ``openssl``, whose settings load it."""

    def __init__(self, settings: OpensslKey, folder: Path) -> None:
        """Take keys as ``settings`` say; ``folder`` is where its paths start."""
        self._settings = settings
        self._folder = folder

    def key_for(self, device_id: DeviceId) -> DeviceKey:
        """Implement ``KeyStore``."""
        pem = self._given() if self._settings.pem else self._made()
        if _OPEN_KEY.search(pem):
            raise DeviceError(
                f"The key is not held by the provider {self._settings.provider}: it lies there for everybody to copy.",
                hint="Name a key of the provider in [identity], or let it make one.",
            )
        words = ["req", "-new", "-outform", "PEM", "-key", "/dev/stdin", "-subj", f"/CN={device_id[:_MAX_NAME]}"]
        csr = _request(self._openssl(words, stdin=pem))
        if csr is None:
            raise DeviceError(f"The provider {self._settings.provider} signed no certificate request.", hint="Try it by hand with openssl.")
        return DeviceKey(pem=pem, csr=csr)

    def _given(self) -> str:
        path = self._folder / self._settings.pem
        try:
            return path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise DeviceError(f"The key {path} cannot be read: {error}.", hint="Name another in [identity] of agent.toml.") from error

    def _made(self) -> str:
        # The property is demanded, not wished for: without the provider this fails instead of making a key in the open.
        wanted = ["-propquery", f"provider={self._settings.provider}", "-algorithm", "EC", "-pkeyopt", "group:P-256"]
        return self._openssl(["genpkey", *wanted])

    def _openssl(self, words: list[str], *, stdin: str = "") -> str:
        try:
            return run_tool(["openssl", *words], timeout_s=self._settings.timeout_s, stdin=stdin)
        except BootError as error:
            raise DeviceError(
                f"The provider {self._settings.provider} gives no key: {error.message}",
                hint="Let OPENSSL_CONF name settings that load it, and see that the TPM or token answers.",
            ) from error


def open_keys(settings: KeySettings, folder: Path) -> KeyStore:
    """Return the keys that ``settings`` name; ``folder`` is where their paths start. Nothing is read yet."""
    match settings:
        case FileKey():
            return FileKeys()
        case OpensslKey():
            return OpensslKeys(settings, folder)


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as PEM (PKCS#8), not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def csr_for(key: ec.EllipticCurvePrivateKey, device_id: DeviceId) -> str:
    """Return a certificate request (PKCS#10, PEM) signed by ``key``."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id[:_MAX_NAME])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def _request(pem: str) -> str | None:
    """Return a certificate request as the standards have it, or ``None`` if it is none, or not signed by its own key."""
    match = _CSR.search(pem)
    try:
        der = _without_null(b64decode(match["der"] if match else ""))
        csr = x509.load_der_x509_csr(der)
        return csr.public_bytes(Encoding.PEM).decode() if csr.is_signature_valid else None
    except (ValueError, UnsupportedAlgorithm):
        return None


def _without_null(der: bytes) -> bytes:
    """Drop the parameters of the request's algorithm, which is no part of what is signed."""
    if _WITH_NULL not in der:
        return der
    content = der[2 + (der[1] & 0x7F if der[1] & 0x80 else 0) :].replace(_WITH_NULL, _WITHOUT)
    # X.690 §8.1.3.5: no request is so short that its length would take the short form.
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return b"\x30" + bytes([0x80 | len(size)]) + size + content
