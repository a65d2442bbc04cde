# SPDX-License-Identifier: Apache-2.0
"""Keys in files: what is a key, what is none, and who may sign for a role."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import Role

from surefoot.model.errors import InvalidInput
from surefoot.trust.signer import KEY_ID_DIGITS, choose, generate, load

SIGNERS = [generate() for _ in range(4)]
P256 = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey, password: bytes = b"") -> bytes:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def test_a_key_that_was_written_signs_as_it_did_before(tmp_path: Path) -> None:
    made = SIGNERS[0]
    path = tmp_path / "key.pem"
    path.write_bytes(made.private_bytes)
    loaded = load(path)
    assert loaded.public_key == made.public_key
    made.public_key.verify_signature(loaded.sign(b"data"), b"data")


def test_key_ids_are_short_and_each_key_has_its_own() -> None:
    ids = {signer.public_key.keyid for signer in SIGNERS}
    assert len(ids) == len(SIGNERS)
    assert {len(keyid) for keyid in ids} == {KEY_ID_DIGITS}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "There is no key at"),
        (b"", "is not a readable private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is not a readable private key"),
        (P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "is not a readable private key"),
        (pem(P256, b"password"), "is not a readable private key"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "is not an ECDSA P-256 key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "is not an ECDSA P-256 key"),
        (pem(rsa.generate_private_key(65537, 2048)), "is not an ECDSA P-256 key"),
    ],
    ids=["missing", "empty", "garbage", "public", "encrypted", "p384", "ed25519", "rsa"],
)
def test_what_is_no_usable_key_is_named_with_its_file(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=says) as refused:
        load(path)
    assert str(path) in refused.value.message


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a readable private key"):
        load(tmp_path)


@given(
    at_hand=st.sets(st.integers(0, 3)),
    of_role=st.sets(st.integers(0, 3), min_size=1),
    known=st.sets(st.integers(0, 3)),
    threshold=st.integers(1, 4),
)
def test_as_many_of_the_roles_own_keys_are_chosen_as_it_needs(
    at_hand: set[int], of_role: set[int], known: set[int], threshold: int
) -> None:
    role = Role([SIGNERS[number].public_key.keyid for number in of_role], threshold)
    keys = {SIGNERS[number].public_key.keyid: SIGNERS[number].public_key for number in known}
    signers = [SIGNERS[number] for number in at_hand]
    fitting = at_hand & of_role & known
    if len(fitting) < threshold:
        with pytest.raises(InvalidInput, match=f"needs {threshold} signatures, and {len(fitting)} of its keys are here"):
            choose(signers, role, dict(keys), name="targets")
    else:
        chosen = choose(signers, role, dict(keys), name="targets")
        assert len(chosen) == threshold
        assert {signer.public_key.keyid for signer in chosen} <= {SIGNERS[number].public_key.keyid for number in fitting}
