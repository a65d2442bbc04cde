# SPDX-License-Identifier: Apache-2.0
"""Public keys as files and as metadata lists them, and how a file of keys is written: once, whole, for its owner."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import Key, SSlibKey

from surefoot.model.errors import InvalidInput

_MOST_BYTES = 64 * 1024
"""Of any file of a key."""

KEY_ID_DIGITS = 16
"""Hex digits of a key id: the beginning of the SHA-256 that ``securesystemslib`` gives a key."""


def write_public(path: Path, key: Key) -> None:
    """Write a public key as PEM (SubjectPublicKeyInfo, as ``openssl pkey -pubin`` reads it); it never overwrites.

    Raises:
        InvalidInput: There is something at ``path``, or it cannot be written.
    """
    write_new(path, public_pem(key), 0o644)


def public_pem(key: Key) -> bytes:
    """Return a public key as PEM.

    Raises:
        InvalidInput: It is of a kind that metadata holds in another form.
    """
    pem = str(key.keyval["public"])
    if not pem.startswith("-----BEGIN PUBLIC KEY-----"):
        raise InvalidInput(f"A public key of the kind '{key.keytype}' is not kept as PEM.", hint="Use an ECDSA P-256 key.")
    return pem.encode()


def read_public(path: Path) -> Key:
    """Return the public key at ``path`` (PEM), with the id that its signer has.

    Raises:
        InvalidInput: There is none, or it is of a kind that signs no metadata.
    """
    try:
        return key_of(load_pem_public_key(read_key_file(path)))
    except OSError as error:
        raise InvalidInput(f"The public key {path} cannot be read: {error.strerror}.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{path} is not a readable public key.", hint="Write it with 'surefoot trust show-key'.") from error


def read_key_file(path: Path) -> bytes:
    """Return what a file of a key holds. Such files come from others, on sticks: no pipe, device or giant is waited for.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no plain file, or too large for a key.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no plain file")
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError("it is too large")
    return data


def key_of(public: PublicKeyTypes) -> SSlibKey:
    """Return a public key as metadata lists it; ``ValueError`` when it is of a kind that signs none."""
    full = SSlibKey.from_crypto(public)
    # The id only finds the key among those the delegator lists, and a device pays for it in every signature of every poll.
    return SSlibKey(full.keyid[:KEY_ID_DIGITS], full.keytype, full.scheme, full.keyval)


def is_called_rightly(key: Key) -> bool:
    """Say whether a key bears the id that a key like it has; metadata may call a key anything."""
    try:
        public = str(key.keyval["public"])
        is_raw = key.keytype == "ed25519"
        known = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)) if is_raw else load_pem_public_key(public.encode())
        return key.keyid == key_of(known).keyid
    except (KeyError, ValueError, UnsupportedAlgorithm):
        return False


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that does not exist yet, durably, with exactly these permissions.

    Raises:
        InvalidInput: It exists, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
