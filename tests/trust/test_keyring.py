# SPDX-License-Identifier: Apache-2.0
"""A folder of keys: found by id, whatever their names and wherever they live."""

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from surefoot.model.errors import InvalidInput, SignerUnavailableError
from surefoot.trust.hsm import generate_on_token
from surefoot.trust.key_file import write_public
from surefoot.trust.keyring import Keyring, read_ring, signers_in
from surefoot.trust.metadata import read
from surefoot.trust.secret import NO_SECRETS
from surefoot.trust.signer import generate, write_key
from tests.trust.repositories import NOW, create_root
from tests.trust.tokens import Given, new_token

ROLES = ("targets", "snapshot", "timestamp")
KEYS = {role: generate() for role in ROLES}


def root_over(keys: dict[str, CryptoSigner]) -> Root:
    online = {role: [signer.public_key] for role, signer in keys.items()}
    return read(create_root([generate(), generate()], online, NOW, thresholds={}), Root, name="root.json").signed


def lay(folder: Path, **keys: CryptoSigner) -> Path:
    for name, signer in keys.items():
        write_key(folder / f"{name}.pem", signer, None)
    return folder


def test_keys_are_found_by_id_whatever_they_are_called(tmp_path: Path) -> None:
    ring = read_ring(lay(tmp_path, a=KEYS["timestamp"], b=KEYS["targets"], c=KEYS["snapshot"]), NO_SECRETS)
    director = ring.director(root_over(KEYS))
    assert [director.targets.public_key, director.snapshot.public_key, director.timestamp.public_key] == [
        KEYS[role].public_key for role in ROLES
    ]
    image = ring.image(root_over(KEYS))
    assert [image.snapshot.public_key, image.timestamp.public_key] == [KEYS[role].public_key for role in ROLES[1:]]


def test_a_new_key_beside_the_old_waits_for_a_root_that_names_it(tmp_path: Path) -> None:
    new = generate()
    ring = read_ring(lay(tmp_path, timestamp=KEYS["timestamp"], timestamp2=new), NO_SECRETS)
    assert ring.for_role(root_over(KEYS), "timestamp").public_key == KEYS["timestamp"].public_key
    assert ring.for_role(root_over({**KEYS, "timestamp": new}), "timestamp").public_key == new.public_key


def test_a_role_without_a_key_is_named_with_the_ids_wanted(tmp_path: Path) -> None:
    ring = read_ring(lay(tmp_path, timestamp=KEYS["timestamp"]), NO_SECRETS)
    with pytest.raises(InvalidInput, match=f"'snapshot': {KEYS['snapshot'].public_key.keyid} is wanted"):
        ring.image(root_over(KEYS))
    with pytest.raises(InvalidInput, match="'targets'"):
        Keyring(folder=tmp_path, signers=()).director(root_over(KEYS))


def test_a_uri_leads_to_a_token_or_a_file(tmp_path: Path) -> None:
    token = new_token()
    made = generate_on_token(token.uri("ann"), Given())
    (tmp_path / "elsewhere").mkdir()
    write_key(tmp_path / "elsewhere/k.pem", KEYS["targets"], None)
    (tmp_path / "token.uri").write_text(token.uri("ann") + "\n")
    (tmp_path / "file.uri").write_text(f"pem:{tmp_path}/elsewhere/k.pem")
    ids = {signer.public_key.keyid for signer in read_ring(tmp_path, Given()).signers}
    assert ids == {made.public_key.keyid, KEYS["targets"].public_key.keyid}


def test_a_token_that_is_away_keeps_no_one_from_starting_when_its_public_part_is_here(tmp_path: Path) -> None:
    token = new_token()
    made = generate_on_token(token.uri("ann"), Given())
    (tmp_path / "ann.uri").write_text(token.uri("ann"))
    token.take_away()
    with pytest.raises(SignerUnavailableError):
        read_ring(tmp_path, Given())
    write_public(tmp_path / "ann.pub", made.public_key)
    (signer,) = read_ring(tmp_path, Given()).signers
    assert signer.public_key == made.public_key
    token.bring_back()
    made.public_key.verify_signature(signer.sign(b"data"), b"data")


def test_keys_that_are_not_wanted_are_not_opened(tmp_path: Path) -> None:
    for role, signer in KEYS.items():
        write_key(tmp_path / f"{role}.pem", signer, "passphrase")
        write_public(tmp_path / f"{role}.pub", signer.public_key)
    secrets = Given("passphrase")
    wanted = KEYS["snapshot"].public_key.keyid
    assert [signer.public_key.keyid for signer in signers_in(tmp_path, secrets, [wanted])] == [wanted]
    assert secrets.asked == ["snapshot.passphrase"]


@pytest.mark.parametrize("content", ["", "\n", "a\nb\n", " "])
def test_a_uri_file_holds_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "ann.uri").write_text(content)
    with pytest.raises(InvalidInput, match="does not hold one line"):
        read_ring(tmp_path, NO_SECRETS)


def test_a_uri_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "ann.uri").mkdir()
    with pytest.raises(InvalidInput, match=r"ann\.uri cannot be read"):
        read_ring(tmp_path, NO_SECRETS)
