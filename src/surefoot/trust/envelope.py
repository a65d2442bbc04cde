# SPDX-License-Identifier: Apache-2.0
"""Signed envelopes around in-toto statements: DSSE v1, by the keys of a product's role and as many as its threshold asks.

- One form: compact JSON with sorted keys, base64 with its padding and no stray bits, so that a changed byte is a refused one.
- Every signature in it counts: one by a stranger, or a second one by the same key, is not passed over.
- Every failure is a ``TrustError``; nothing of ``securesystemslib``'s own errors leaves this module.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, Signer
from tuf.api.metadata import Targets

from surefoot.model.errors import FormatError, MetadataError, SignatureError
from surefoot.model.record import Record, from_json, to_json
from surefoot.trust.metadata import product_role

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 4 << 20
"""Longest envelope that is read or made."""

_NAME = "the signed provenance"


class _Signature(Record, frozen=True, kw_only=True):
    keyid: Annotated[str, Meta(pattern=r"\A[0-9a-f]{8,64}\Z")]
    sig: Annotated[str, Meta(max_length=4_096)]


class _Envelope(Record, frozen=True, kw_only=True):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"] = msgspec.field(name="payloadType")
    signatures: Annotated[list[_Signature], Meta(min_length=1, max_length=100)]


def sign_envelope(payload: bytes, signers: Sequence[Signer]) -> bytes:
    """Return the envelope of a statement, signed by all these signers.

    Raises:
        MetadataError: It is longer than anybody reads.
    """
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    for signer in signers:
        envelope.sign(signer)
    data = to_json(envelope.to_dict())
    _require_short(data)
    return data


def open_envelope(data: bytes, targets: Targets, product: str) -> bytes:
    """Return the statement in an envelope, once its signatures are verified.

    Args:
        data: The envelope.
        targets: The top-level targets, verified by the caller, which delegate the product.
        product: Whose keys must have signed.

    Raises:
        MetadataError: Too large, or no envelope of the one form.
        SignatureError: Fewer signatures than the threshold of the product's role, or one that is not by a key of it.
    """
    envelope = _read(data)
    keys, threshold = product_role(targets, product)
    try:
        envelope.verify(list(keys.values()), max(threshold, len(envelope.signatures)))
    except (UnverifiedSignatureError, ValueError) as error:
        raise SignatureError(
            f"{_NAME} is not signed by the keys of the product '{product}': {error}.", hint="Sign the bundle again."
        ) from error
    return envelope.payload


def strict_base64(text: str) -> bytes:
    """Return what a base64 text says; ``ValueError`` for any but its one spelling (RFC 4648, section 3.5)."""
    data = b64decode(text, validate=True)
    if b64encode(data).decode() != text:
        raise ValueError("not the one spelling of base64")
    return data


def _read(data: bytes) -> Envelope:
    _require_short(data)
    try:
        plain = from_json(data, _Envelope, what=_NAME)
        signatures = {one.keyid: Signature(one.keyid, strict_base64(one.sig).hex()) for one in plain.signatures}
        payload = strict_base64(plain.payload)
    except (FormatError, ValueError) as error:
        raise MetadataError(f"{_NAME} is no readable envelope: {error}.", hint="Sign the bundle again.") from error
    if len(signatures) != len(plain.signatures):
        raise MetadataError(f"{_NAME} has two signatures by one key.", hint="Sign the bundle again.")
    if to_json(plain) != data:
        raise MetadataError(f"{_NAME} is not written as surefoot writes it.", hint="Sign the bundle again.")
    return Envelope(payload, PAYLOAD_TYPE, signatures)


def _require_short(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise MetadataError(f"{_NAME} has {len(data)} bytes; at most {MAX_BYTES} are read.", hint="Split the release.")
