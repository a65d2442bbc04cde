# SPDX-License-Identifier: Apache-2.0
"""Keys that sign metadata: ECDSA P-256 in PEM files, behind ``securesystemslib``'s signer port.

An HSM or a cloud KMS is another implementation of the same port; nothing above this module knows where a key lives.
"""

from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey
from tuf.api.metadata import Role

from surefoot.model.errors import InvalidInput

KEY_ID_DIGITS = 16
"""Hex digits of a key id: the beginning of the SHA-256 that ``securesystemslib`` gives a key."""


def generate() -> CryptoSigner:
    """Return a new ECDSA P-256 key."""
    return _signer(ec.generate_private_key(ec.SECP256R1()))


def load(path: Path) -> Signer:
    """Return the signer whose private key lies at ``path`` as unencrypted PKCS#8 PEM.

    Raises:
        InvalidInput: There is no such file, or it holds no ECDSA P-256 key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no key at {path}.", hint="Make keys with 'surefoot trust init'.") from error
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{path} is not a readable private key: {error}.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise InvalidInput(f"{path} is not an ECDSA P-256 key.")
    return _signer(key)


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


def _signer(key: ec.EllipticCurvePrivateKey) -> CryptoSigner:
    full = SSlibKey.from_crypto(key.public_key())
    # The id only finds the key among those the delegator lists, and a device pays for it in every signature of every poll.
    return CryptoSigner(key, SSlibKey(full.keyid[:KEY_ID_DIGITS], full.keytype, full.scheme, full.keyval))
