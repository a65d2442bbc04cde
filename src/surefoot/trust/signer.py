# SPDX-License-Identifier: Apache-2.0
"""Keys that sign metadata, all behind ``securesystemslib``'s signer port and one door: ``open_signer``.

- ``pem:PATH``, or a path alone: ECDSA P-256 as PKCS#8 PEM, encrypted or not. (The library's own ``file2:`` cannot be encrypted.)
- ``pkcs11:…``: a key on a token or HSM (RFC 7512), see ``surefoot.trust.hsm``.
- Every other scheme of ``securesystemslib`` (``awskms:``, ``azurekms:``, ``gcpkms:``, ``hv:`` …); the public key must be given.

Nothing above this module knows where a key lives. A key has the same id wherever that is.
"""

from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Key, SecretsHandler, Signer
from tuf.api.metadata import Role

from surefoot.model.errors import Error, InvalidInput, SignerUnavailableError
from surefoot.trust.key_file import key_of, read_key_file, write_new
from surefoot.trust.secret import NO_SECRETS, Secrets

_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


class Door(Signer):
    """``open_signer`` as ``securesystemslib`` calls it for the schemes ``pem:`` and ``pkcs11:``; it signs nothing itself."""

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None) -> Signer:
        """Implement ``Signer``; errors as for ``open_signer``."""
        return open_signer(priv_key_uri, _Handed(secrets_handler), public_key)


SIGNER_FOR_URI_SCHEME.update({"pem": Door, "pkcs11": Door})


def open_signer(uri: str, secrets: Secrets, public_key: Key | None = None) -> Signer:
    """Return the signer behind a URI or path.

    Args:
        uri: One of the schemes above; a path without a scheme is taken as ``pem:``.
        secrets: Asked for a passphrase or PIN when one is needed; for a token again at each login.
        public_key: The key's public part. With it, a token is asked for nothing before the first signature.

    Raises:
        InvalidInput: The key is not there, not of a usable kind, not the one of ``public_key``, or its secret is wrong.
        SignerUnavailableError: The token or key service cannot be reached.
    """
    scheme, rest = _split(uri)
    if scheme == "pem":
        return _matching(load(Path(rest), secrets), public_key, rest)
    if scheme == "pkcs11":
        return _open_token(uri, secrets, public_key)
    if public_key is None:
        raise InvalidInput(f"The public key of a '{scheme}:' key must be given.", hint="Lay it beside the URI as NAME.pub.")
    return _open_foreign(uri, scheme, secrets, public_key)


def generate() -> CryptoSigner:
    """Return a new ECDSA P-256 key."""
    return _signer(ec.generate_private_key(ec.SECP256R1()))


def load(path: Path, secrets: Secrets = NO_SECRETS) -> CryptoSigner:
    """Return the signer whose private key lies at ``path`` as PKCS#8 PEM; ``secrets`` is asked only if it is encrypted.

    Raises:
        InvalidInput: There is no such file, it holds no ECDSA P-256 key, or the passphrase is wrong.
    """
    data = _read(path)
    needs_passphrase = _ENCRYPTED in data
    passphrase = secrets.secret(f"{path.stem}.passphrase").encode() if needs_passphrase else None
    try:
        key = load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if needs_passphrase:
            raise InvalidInput(f"The passphrase does not open {path}.", hint="Try again with the right one.") from error
        raise InvalidInput(f"{path} is not a readable private key: {error}.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise InvalidInput(f"{path} is not an ECDSA P-256 key.")
    return _signer(key)


def is_encrypted(path: Path) -> bool:
    """Say whether a passphrase opens the private key at ``path``; ``InvalidInput`` when there is no file of a key."""
    return _ENCRYPTED in _read(path)


def write_key(path: Path, signer: CryptoSigner, passphrase: str | None) -> None:
    """Write a private key as PKCS#8 PEM, durably, readable by its owner alone; it never overwrites.

    Args:
        path: Where.
        signer: The key.
        passphrase: Encrypts it; ``None`` leaves it in the clear.

    Raises:
        InvalidInput: There is something at ``path``, it cannot be written, or the passphrase is empty.
    """
    if passphrase == "":
        raise InvalidInput("An empty passphrase protects nothing.", hint="Give one, or say '--no-passphrase'.")
    protection: KeySerializationEncryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    key = load_pem_private_key(signer.private_bytes, None)
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection), 0o600)


def choose(signers: Iterable[Signer], role: Role, keys: dict[str, Key], *, name: str) -> list[Signer]:
    """Return the signers that may sign for ``role``: as many as its threshold asks for.

    Raises:
        InvalidInput: Fewer of its keys are at hand than the threshold.
    """
    fitting = [signer for signer in signers if signer.public_key.keyid in role.keyids and signer.public_key.keyid in keys]
    if len(fitting) < role.threshold:
        raise InvalidInput(
            f"The role '{name}' needs {role.threshold} signatures, and {len(fitting)} of its keys are here.",
            hint="Bring the keys that 'surefoot trust init' made for it.",
        )
    return fitting[: role.threshold]


def _read(path: Path) -> bytes:
    try:
        return read_key_file(path)
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no key at {path}.", hint="Make keys with 'surefoot trust init'.") from error
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is not a readable private key: {error}.") from error


class _Handed:
    """The secrets that a caller of ``securesystemslib``'s own interface handed in."""

    def __init__(self, handler: SecretsHandler | None) -> None:
        self._handler = handler or NO_SECRETS.secret

    def secret(self, what: str) -> str:
        return self._handler(what)


def _split(uri: str) -> tuple[str, str]:
    scheme, colon, rest = uri.partition(":")
    if not colon or "/" in scheme or scheme.startswith("."):
        return "pem", uri
    if scheme not in SIGNER_FOR_URI_SCHEME:
        known = ", ".join(f"{name}:" for name in sorted(SIGNER_FOR_URI_SCHEME))
        raise InvalidInput(f"No key is found by '{scheme[:20]}:'.", hint=f"Known are {known} and paths.")
    return scheme, rest


def _matching(signer: CryptoSigner, public_key: Key | None, where: str) -> Signer:
    if public_key is not None and public_key.keyid != signer.public_key.keyid:
        raise InvalidInput(
            f"{where} holds the key {signer.public_key.keyid}, and {public_key.keyid} is wanted.", hint="Bring the private key that fits."
        )
    return signer


def _open_token(uri: str, secrets: Secrets, public_key: Key | None) -> Signer:
    try:
        from surefoot.trust.hsm import open_key  # noqa: PLC0415  # an extra that few need
    except ModuleNotFoundError as error:
        raise InvalidInput("Keys on tokens need packages that are not installed.", hint="Install surefoot[hsm].") from error
    return open_key(uri, secrets, public_key)


def _open_foreign(uri: str, scheme: str, secrets: Secrets, public_key: Key) -> Signer:
    try:
        return Signer.from_priv_key_uri(uri, public_key, secrets.secret)
    except Error:
        raise
    except (UnsupportedLibraryError, ValueError) as error:
        raise InvalidInput(f"The '{scheme}:' key cannot be opened: {error}.", hint="Correct the URI, or install what it needs.") from error
    except Exception as error:  # each service has errors of its own, which its signer lets through
        raise SignerUnavailableError(
            f"The '{scheme}:' key service does not answer ({type(error).__name__}).", hint="Look at its address and your rights there."
        ) from error


def _signer(key: ec.EllipticCurvePrivateKey) -> CryptoSigner:
    return CryptoSigner(key, key_of(key.public_key()))
