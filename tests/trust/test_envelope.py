# SPDX-License-Identifier: Apache-2.0
"""Signed envelopes: by the product's keys, as many as asked for, in one form; read by a stranger with nothing of ours."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import Signer
from tuf.api.metadata import Targets

from surefoot.model.errors import Error, MetadataError, SignatureError, TrustError
from surefoot.model.record import to_json
from surefoot.trust.envelope import MAX_BYTES, open_envelope, sign_envelope, strict_base64
from surefoot.trust.metadata import read
from surefoot.trust.signer import generate
from tests.trust.repositories import NOW, PRODUCT, create_targets

SIGNERS = [generate() for _ in range(3)]
STRANGER = generate()
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


def targets(*signers: Signer, threshold: int = 1) -> Targets:
    """Return top-level targets whose product has these keys."""
    top = read(create_targets([generate()], {PRODUCT: signers[0].public_key}, NOW), Targets, name="targets.json").signed
    for signer in signers[1:]:
        top.add_key(signer.public_key, PRODUCT)
    top.get_delegated_role(PRODUCT).threshold = threshold
    return top


ONE = targets(SIGNERS[0])
TWO_OF_THREE = targets(*SIGNERS, threshold=2)
ENVELOPE = sign_envelope(PAYLOAD, SIGNERS[:1])


def test_what_the_products_key_signed_is_opened() -> None:
    assert open_envelope(ENVELOPE, ONE, PRODUCT) == PAYLOAD


@given(payload=st.binary(max_size=300))
def test_any_payload_comes_back_as_it_was_signed(payload: bytes) -> None:
    assert open_envelope(sign_envelope(payload, SIGNERS[1:]), TWO_OF_THREE, PRODUCT) == payload


@pytest.mark.parametrize(
    "signers",
    [[], SIGNERS[:1], [SIGNERS[0], STRANGER], [*SIGNERS[:2], STRANGER]],
    ids=["none", "one", "one and a stranger", "two and a stranger"],
)
def test_fewer_keys_than_the_threshold_or_a_stranger_are_refused(signers: list[Signer]) -> None:
    with pytest.raises(TrustError):
        open_envelope(sign_envelope(PAYLOAD, signers), TWO_OF_THREE, PRODUCT)


def test_all_three_may_sign_where_two_suffice() -> None:
    assert open_envelope(sign_envelope(PAYLOAD, SIGNERS), TWO_OF_THREE, PRODUCT) == PAYLOAD


def test_a_product_without_a_role_has_no_keys() -> None:
    with pytest.raises(SignatureError, match="Nobody may release the product 'fridge'"):
        open_envelope(ENVELOPE, ONE, "fridge")


def test_a_strangers_signature_under_the_products_key_id_is_refused() -> None:
    forged = json.loads(sign_envelope(PAYLOAD, [STRANGER]))
    forged["signatures"][0]["keyid"] = SIGNERS[0].public_key.keyid
    with pytest.raises(SignatureError, match="is not signed by the keys of the product 'thermostat'"):
        open_envelope(to_json(forged), ONE, PRODUCT)


def test_every_changed_byte_is_refused() -> None:
    for at in range(len(ENVELOPE)):
        for flip in (1, 2, 0x20):
            with pytest.raises(TrustError):
                open_envelope(ENVELOPE[:at] + bytes([ENVELOPE[at] ^ flip]) + ENVELOPE[at + 1 :], ONE, PRODUCT)


def twice(envelope: dict[str, Any]) -> None:
    envelope["signatures"] *= 2


@pytest.mark.parametrize(
    "change",
    [
        twice,
        lambda e: e.update(payloadType="application/json"),
        lambda e: e.update(payload=e["payload"].rstrip("=") + "\n"),
        lambda e: e.update(more=1),
        lambda e: e.update(signatures=[]),
        lambda e: e.update(signatures="x"),
        lambda e: e.pop("payload"),
        lambda e: e["signatures"][0].update(keyid=e["signatures"][0]["keyid"].upper() + "G"),
        lambda e: e["signatures"][0].update(sig=e["signatures"][0]["sig"] * 2),
        lambda e: e["signatures"][0].update(sig="é"),
        lambda e: e["signatures"][0].update(cert="x"),
    ],
)
def test_an_envelope_of_another_form_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    envelope = json.loads(ENVELOPE)
    change(envelope)
    with pytest.raises(TrustError):
        open_envelope(to_json(envelope), ONE, PRODUCT)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"\xff", ENVELOPE + b"\n", b"[" * 100_000, ENVELOPE.replace(b'{"keyid"', b'{"keyid":"00000000","keyid"')],
    ids=["nothing", "list", "null", "no text", "more behind it", "deep", "a key twice"],
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(MetadataError):
        open_envelope(data, ONE, PRODUCT)


def test_more_than_anybody_reads_is_neither_made_nor_read() -> None:
    with pytest.raises(MetadataError, match=f"at most {MAX_BYTES} are read"):
        sign_envelope(b"x" * MAX_BYTES, SIGNERS[:1])
    with pytest.raises(MetadataError, match=f"at most {MAX_BYTES} are read"):
        open_envelope(ENVELOPE + b" " * MAX_BYTES, ONE, PRODUCT)


@given(data=st.binary(max_size=60) | st.builds(lambda cut: ENVELOPE[:cut], st.integers(0, len(ENVELOPE) - 1)))
def test_no_bytes_make_it_fail_otherwise_than_in_a_sentence(data: bytes) -> None:
    with pytest.raises(Error):
        open_envelope(data, ONE, PRODUCT)


@given(data=st.binary(max_size=40))
def test_base64_has_one_spelling(data: bytes) -> None:
    text = b64encode(data).decode()
    assert strict_base64(text) == data
    if text.endswith("="):
        at = text.index("=") - 1
        last = text[at]
        other = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        with pytest.raises(ValueError, match="one spelling"):
            strict_base64(text[:at] + other[other.index(last) + 1] + text[at + 1 :])


# --- by hand: what docs/formats.md and the DSSE specification say, with nothing of ours ---------------------------------------


def verify_by_hand(envelope: bytes, pem: bytes) -> bytes:
    """Verify an envelope with ``cryptography`` alone: PAE of DSSE v1, ECDSA P-256 with SHA-256 in DER."""
    found = json.loads(envelope)
    payload, kind = b64decode(found["payload"]), found["payloadType"].encode()
    pae = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    key = load_pem_public_key(pem)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(b64decode(found["signatures"][0]["sig"]), pae, ec.ECDSA(hashes.SHA256()))
    return payload


def test_a_stranger_verifies_an_envelope_with_cryptography_alone() -> None:
    assert verify_by_hand(ENVELOPE, SIGNERS[0].public_key.keyval["public"].encode()) == PAYLOAD
    with pytest.raises(InvalidSignature):
        verify_by_hand(ENVELOPE, STRANGER.public_key.keyval["public"].encode())


def test_the_encoding_that_is_signed_is_the_specifications_own_example() -> None:
    signed: list[bytes] = []

    class Ear(Signer):
        public_key = SIGNERS[0].public_key

        @classmethod
        def from_priv_key_uri(cls, *_: Any, **__: Any) -> Signer:  # noqa: ANN401  # as the port has it
            return cls()

        def sign(self, payload: bytes) -> Any:  # noqa: ANN401  # a signature
            signed.append(payload)
            return SIGNERS[0].sign(payload)

    sign_envelope(b"hello world", [Ear()])
    assert signed == [b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"]
