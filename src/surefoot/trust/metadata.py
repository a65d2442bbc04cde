# SPDX-License-Identifier: Apache-2.0
"""TUF metadata as bytes: read strictly, written compactly, with the life of each role (TUF specification 1.0).

- Read: a size cap before parsing, no duplicate keys, no numbers but integers below 2^53, nothing behind the end, nothing
  unsigned but the signatures, those in lower-case hexadecimal, one expected type.
- A threshold counts distinct keys. A key id is only a name: it need not be the key's hash, and two of them may not make one
  key count twice.
- Written: compact JSON; the signature covers the canonical form, so white space never matters to it.
- Every failure is a ``TrustError``; nothing of ``tuf``'s own errors leaves this package.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.exceptions import FormatError
from securesystemslib.signer import Key, Signature, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from surefoot.model.errors import Error, MetadataError, SignatureError, SignerUnavailableError

Files = Mapping[str, bytes]
"""Metadata files by name: un-versioned where they are stored (``snapshot.json``), versioned on the wire (``7.snapshot.json``)."""

IMAGE_LIFE = {"root": timedelta(days=365), "targets": timedelta(days=90), "snapshot": timedelta(days=7), "timestamp": timedelta(days=1)}
DIRECTOR_LIFE = {"root": timedelta(days=365), "targets": timedelta(days=7), "snapshot": timedelta(days=7), "timestamp": timedelta(days=1)}

DEVICE_FIELD = "device_id"
"""Field of the director's targets, snapshot and timestamp that names the one device they are for."""

ISSUED_FIELD = "issued_at"
"""Field of the director's timestamp from which a device learns that time has passed."""

MAX_BYTES = {"root": 64 * 1024, "timestamp": 16 * 1024, "snapshot": 512 * 1024, "targets": 512 * 1024}
"""How large a file of each kind may be; larger ones are refused before they are parsed."""

_TYPES = {Root: "root", Timestamp: "timestamp", Snapshot: "snapshot", Targets: "targets"}
_COUNTS = frozenset({"version", "threshold", "length"})
_MOST_DIGITS = 16
_KEY_ID = re.compile(r"[0-9a-f]{8,64}")
_HEX = re.compile(r"([0-9a-f]{2})*")
_WRITER = JSONSerializer(compact=True)

_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)


def read(data: bytes, kind: type[_S], *, name: str) -> Metadata[_S]:
    """Parse one file without verifying any signature.

    Args:
        data: The file.
        kind: ``Root``, ``Timestamp``, ``Snapshot`` or ``Targets``.
        name: What to call the file in messages.

    Raises:
        MetadataError: Too large, not strict JSON, or not metadata of that kind.
    """
    return _parsed(data, kind, name)[0]


def verified(data: bytes, kind: type[_S], delegator: Root | Targets, role: str, *, name: str) -> _S:
    """Parse one file and verify it against the role that ``delegator`` gives it.

    Raises:
        MetadataError: As in ``read``, or the delegator does not know the role.
        SignatureError: Fewer valid signatures by distinct keys than the role's threshold.
    """
    metadata, signed_bytes = _parsed(data, kind, name)
    with refusals(name):
        result = delegator.get_verification_result(role, signed_bytes, metadata.signatures)
        # A threshold counts keys, whatever they are called: one that stands under two ids is still in one hand.
        keys = {_material(key) for key in result.signed.values()}
    if len(keys) < result.threshold:
        raise SignatureError(f"{name}: {role} was signed by {len(keys)} of the {result.threshold} keys it needs.")
    return metadata.signed


def product_role(targets: Targets, product: str) -> tuple[dict[str, Key], int]:
    """Return the keys of a product's role by their id, and how many of them must sign.

    Raises:
        SignatureError: The top-level targets delegate no such product, so nobody may sign for it.
    """
    delegations = targets.delegations
    role = (delegations.roles or {}).get(product) if delegations is not None else None
    if delegations is None or role is None:
        raise SignatureError(f"Nobody may release the product '{product}'.", hint=f"Add it with 'surefoot trust add-product {product}'.")
    return {keyid: delegations.keys[keyid] for keyid in role.keyids if keyid in delegations.keys}, role.threshold


def identity(key: Key) -> bytes:
    """Return what tells a key from all others, whatever it is called; where that cannot be read, its id."""
    try:
        return _material(key)
    except (ValueError, KeyError, UnsupportedAlgorithm):
        return key.keyid.encode()


def same_key(one: Key, other: Key) -> bool:
    """Say whether two keys are one, whatever they are called; where that cannot be read, the id tells."""
    return identity(one) == identity(other)


def is_half_spent(signed: Signed, life: timedelta, now: datetime) -> bool:
    """Say whether at least half of a file's life is gone, so that it is time to sign it again."""
    return now >= signed.expires - life / 2


def expiry(role: str, now: datetime, life: Mapping[str, timedelta] = IMAGE_LIFE) -> datetime:
    """Return when a file of ``role`` signed ``now`` expires; whole seconds, as TUF writes them."""
    return now.replace(microsecond=0) + life[role]


def sign_with(metadata: Metadata[_S], signers: Iterable[Signer]) -> bytes:
    """Sign a file anew by these signers alone and return its bytes; ``SignerUnavailableError`` as for ``sign_bytes``."""
    payload = metadata.signed_bytes
    signatures = [sign_bytes(payload, signer, what=metadata.signed.type) for signer in signers]
    metadata.signatures.clear()
    metadata.signatures.update({signature.keyid: signature for signature in signatures})
    return metadata.to_bytes(_WRITER)


def join_signatures(metadata: Metadata[_S], signatures: Iterable[Signature]) -> bytes:
    """Return the bytes of a file with these signatures beside those it bears already."""
    metadata.signatures.update({signature.keyid: signature for signature in signatures})
    return metadata.to_bytes(_WRITER)


def sign_bytes(payload: bytes, signer: Signer, *, what: str) -> Signature:
    """Return a signature; ``what`` is signed, for messages.

    Raises:
        SignerUnavailableError: The token or key service that holds the key does not sign.
    """
    try:
        return signer.sign(payload)
    except Error as error:
        raise SignerUnavailableError(
            f"The {what} key {signer.public_key.keyid} cannot sign now: {error.message}", hint=error.hint
        ) from error
    except Exception as error:  # each key service has errors of its own, which its signer lets through
        raise SignerUnavailableError(
            f"The {what} key {signer.public_key.keyid} cannot sign now ({type(error).__name__}).", hint="Look at its key service."
        ) from error


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """Turn what ``tuf`` raises about the file ``name`` into a ``TrustError``."""
    try:
        yield
    except (DeserializationError, RepositoryError, ValueError) as error:
        raise MetadataError(f"{name}: {str(error)[:200]}.") from error


def _parsed(data: bytes, kind: type[_S], name: str) -> tuple[Metadata[_S], bytes]:
    """Return a file as ``read`` does, and the bytes that its signatures cover: to write them takes longer than all else."""
    cap = MAX_BYTES[_TYPES[kind]]
    if len(data) > cap:
        raise MetadataError(f"{name} has {len(data)} bytes; at most {cap} are read.")
    with refusals(name):
        metadata, signed_bytes = _strictly(data)
    if not isinstance(metadata.signed, kind):
        raise MetadataError(f"{name} is {metadata.signed.type} metadata; expected {_TYPES[kind]}.")
    return metadata, signed_bytes


def _strictly(data: bytes) -> tuple[Metadata[Any], bytes]:
    try:
        plain = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_int=_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        _require_strict_envelope(plain)
        said = json.dumps(plain["signed"], sort_keys=True)
        metadata: Metadata[Any] = Metadata.from_dict(plain)
        _require_canonical(said, metadata)
        return metadata, metadata.signed_bytes
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError) as error:
        raise DeserializationError(f"not TUF metadata ({type(error).__name__}: {error})") from error


def _require_canonical(said: str, metadata: Metadata[Any]) -> None:
    # What is verified is what was read: no spelling that a parser puts right (a small t in a date) may pass. Values that are equal in
    # JSON have one canonical form, and to compare them so takes a fifth of the time.
    if json.dumps(metadata.signed.to_dict(), sort_keys=True) != said:
        raise ValueError("it is not in its one canonical form")


def _material(key: Key) -> bytes:
    """Return what makes a key itself, in the one form that does not depend on how it was written."""
    public: str = key.keyval["public"]
    if key.keytype == "ed25519":
        return bytes.fromhex(public)
    return load_pem_public_key(public.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _require_strict_envelope(envelope: dict[str, Any]) -> None:
    # Whatever else stood here nobody signed, and it would be kept: nested deep enough, a later start could not read it again.
    if envelope.keys() != {"signatures", "signed"} or any(entry.keys() != {"keyid", "sig"} for entry in envelope["signatures"]):
        raise ValueError("it carries more, or less, than what is signed and its signatures")
    # A decoder that takes upper case as well would let one signature have many spellings.
    for signature in envelope["signatures"]:
        if _KEY_ID.fullmatch(signature["keyid"]) is None or _HEX.fullmatch(signature["sig"]) is None:
            raise ValueError("a signature or key id is not lower-case hexadecimal")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice in one object")
    # Python takes true for 1.
    if any(isinstance(value.get(name), bool) for name in _COUNTS):
        raise ValueError("a count is true or false")
    return value


def _integer(text: str) -> int:
    # Beyond 2^53 readers differ in what a number is (RFC 8259 section 6).
    if len(text) > _MOST_DIGITS or abs(int(text)) >= 2**53:
        raise ValueError(f"{text[:_MOST_DIGITS]} is too large a number")
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not an integer")
