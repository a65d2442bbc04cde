# SPDX-License-Identifier: Apache-2.0
"""One door to keys; keys in files: what is a key, what is none, what is encrypted, and who may sign for a role."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, Signature, Signer
from tuf.api.metadata import Role

from surefoot.model.errors import InvalidInput, SignerUnavailableError
from surefoot.trust.key_file import KEY_ID_DIGITS, public_pem, read_public, write_public
from surefoot.trust.metadata import sign_bytes
from surefoot.trust.secret import NO_SECRETS
from surefoot.trust.signer import choose, generate, is_encrypted, load, open_signer, write_key
from tests.trust.tokens import Given

SIGNERS = [generate() for _ in range(4)]
P256 = ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


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
        (pem(ec.generate_private_key(ec.SECP384R1())), "is not an ECDSA P-256 key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "is not an ECDSA P-256 key"),
        (pem(rsa.generate_private_key(65537, 2048)), "is not an ECDSA P-256 key"),
    ],
    ids=["missing", "empty", "garbage", "public", "p384", "ed25519", "rsa"],
)
def test_what_is_no_usable_key_is_named_with_its_file(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=says) as refused:
        load(path)
    assert str(path) in refused.value.message


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    path = tmp_path / "ann.pem"
    write_key(path, SIGNERS[0], "correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    right = Given("correct horse")
    assert open_signer(f"pem:{path}", right).public_key == SIGNERS[0].public_key
    assert right.asked == ["ann.passphrase"]
    with pytest.raises(InvalidInput, match="passphrase does not open") as refused:
        load(path, Given("battery staple"))
    assert "battery" not in str(refused.value)
    with pytest.raises(InvalidInput, match=r"'ann\.passphrase' is needed"):
        load(path)


def test_a_key_in_the_clear_asks_for_nothing(tmp_path: Path) -> None:
    write_key(tmp_path / "ann.pem", SIGNERS[0], None)
    secrets = Given("x")
    assert open_signer(str(tmp_path / "ann.pem"), secrets).public_key == SIGNERS[0].public_key
    assert secrets.asked == []


def test_keys_are_never_overwritten_and_an_empty_passphrase_is_none(tmp_path: Path) -> None:
    write_key(tmp_path / "ann.pem", SIGNERS[0], None)
    before = (tmp_path / "ann.pem").read_bytes()
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_key(tmp_path / "ann.pem", SIGNERS[1], None)
    with pytest.raises(InvalidInput, match="empty passphrase"):
        write_key(tmp_path / "ben.pem", SIGNERS[1], "")
    assert (tmp_path / "ann.pem").read_bytes() == before
    assert not (tmp_path / "ben.pem").exists()


def test_a_public_key_in_a_file_has_the_id_of_its_signer(tmp_path: Path) -> None:
    write_public(tmp_path / "ann.pub", SIGNERS[0].public_key)
    assert read_public(tmp_path / "ann.pub") == SIGNERS[0].public_key
    (tmp_path / "ben.pub").write_text("no key")
    with pytest.raises(InvalidInput, match=r"ben\.pub is not a readable public key"):
        read_public(tmp_path / "ben.pub")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_public(tmp_path / "none.pub")
    with pytest.raises(InvalidInput, match="not kept as PEM"):
        public_pem(CryptoSigner.generate_ed25519().public_key)


def test_a_private_key_that_does_not_fit_its_public_part_is_refused(tmp_path: Path) -> None:
    write_key(tmp_path / "ann.pem", SIGNERS[0], None)
    with pytest.raises(InvalidInput, match=f"{SIGNERS[1].public_key.keyid} is wanted"):
        open_signer(f"pem:{tmp_path}/ann.pem", NO_SECRETS, SIGNERS[1].public_key)


def test_securesystemslib_finds_our_schemes(tmp_path: Path) -> None:
    write_key(tmp_path / "ann.pem", SIGNERS[0], "correct horse")
    found = Signer.from_priv_key_uri(f"pem:{tmp_path}/ann.pem", SIGNERS[0].public_key, lambda _: "correct horse")
    SIGNERS[0].public_key.verify_signature(found.sign(b"data"), b"data")
    with pytest.raises(InvalidInput, match="passphrase"):
        Signer.from_priv_key_uri(f"pem:{tmp_path}/ann.pem", SIGNERS[0].public_key)


def test_schemes_of_securesystemslib_need_the_public_key(tmp_path: Path) -> None:
    path = tmp_path / "ann.pem"
    write_key(path, SIGNERS[0], None)
    found = open_signer(f"file2:{path}", NO_SECRETS, SIGNERS[0].public_key)
    SIGNERS[0].public_key.verify_signature(found.sign(b"data"), b"data")
    with pytest.raises(InvalidInput, match="public key of a 'file2:' key must be given"):
        open_signer(f"file2:{path}", NO_SECRETS)
    with pytest.raises(InvalidInput, match="No key is found by 'nokms:'"):
        open_signer("nokms:key", NO_SECRETS)
    with pytest.raises(InvalidInput, match="'gcpkms:' key cannot be opened"):
        open_signer("gcpkms:projects/x", NO_SECRETS, SIGNERS[0].public_key)
    with pytest.raises(SignerUnavailableError, match="does not answer"):
        open_signer(f"file2:{tmp_path}/none.pem", NO_SECRETS, SIGNERS[0].public_key)


def test_what_a_key_service_raises_is_told_by_its_kind_alone() -> None:
    class Failing(CryptoSigner):
        def sign(self, payload: bytes) -> Signature:  # noqa: ARG002  # the port has it
            raise ConnectionResetError("with a token in it")

    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(SignerUnavailableError, match=r"The timestamp key .* cannot sign now \(ConnectionResetError\)") as failed:
        sign_bytes(b"data", Failing(key), what="timestamp")
    assert "token" not in str(failed.value)


@pytest.mark.parametrize("kind", ["pipe", "device", "giant"])
def test_nothing_waits_for_a_file_that_holds_no_key(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "ann.pub"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        with place.open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(InvalidInput, match="is not a readable public key"):
        read_public(place)
    with pytest.raises(InvalidInput, match="is not a readable private key"):
        load(place)
    with pytest.raises(InvalidInput, match="is not a readable private key"):
        is_encrypted(place)


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
