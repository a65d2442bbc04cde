# SPDX-License-Identifier: Apache-2.0
"""What people sign: which keys, which thresholds, which versions, and what a signature never does twice."""

from base64 import b64decode
from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from securesystemslib.signer import Signer
from tuf.api.metadata import DelegatedRole, Metadata, Root, Targets

from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import ConflictError, InvalidInput, SignatureError
from surefoot.model.manifest import Manifest, as_built, must_match
from surefoot.model.record import to_json, to_plain
from surefoot.trust import offline
from surefoot.trust.changes import add_delegation
from surefoot.trust.metadata import read, sign_with, verified
from surefoot.trust.signer import generate
from tests.trust.repositories import NOW, PRODUCT, create_product, create_root, create_targets, listing, manifest

ROOTS = [generate() for _ in range(3)]
TARGETS = [generate() for _ in range(2)]
ONLINE = {role: [generate().public_key] for role in ("snapshot", "timestamp")}
SIGNER = generate()
LATER = NOW + timedelta(days=30)
ONE = manifest("1.0.0", b"one")
TWO = manifest("1.1.0", b"two")


def new_root() -> bytes:
    keys = {"targets": [signer.public_key for signer in TARGETS], **ONLINE}
    return create_root(ROOTS, keys, NOW, thresholds={"targets": 2})


def new_targets() -> bytes:
    return create_targets(TARGETS, {PRODUCT: SIGNER.public_key}, NOW)


def new_role(*released: Manifest) -> bytes:
    return listing(create_product(SIGNER, NOW), released, [SIGNER], NOW)


def test_a_root_has_three_keys_of_which_two_suffice() -> None:
    root = read(new_root(), Root, name="root.json").signed
    assert (root.version, root.expires, root.consistent_snapshot) == (1, NOW + timedelta(days=365), True)
    assert (len(root.roles["root"].keyids), root.roles["root"].threshold) == (3, 2)
    assert {name: (len(role.keyids), role.threshold) for name, role in root.roles.items() if name != "root"} == {
        "targets": (2, 2),
        "snapshot": (1, 1),
        "timestamp": (1, 1),
    }


@pytest.mark.parametrize(
    ("signers", "suffice"),
    [(ROOTS, True), (ROOTS[:2], True), (ROOTS[1:], True), (ROOTS[:1], False), ([ROOTS[0]] * 2, False), (TARGETS, False)],
)
def test_two_people_sign_a_root_and_one_of_them_twice_does_not(signers: Sequence[Signer], *, suffice: bool) -> None:
    trusted = read(new_root(), Root, name="root.json").signed
    data = sign_with(Metadata[Root].from_bytes(new_root()), signers)
    if suffice:
        assert verified(data, Root, trusted, "root", name="root.json") == trusted
        return
    with pytest.raises(SignatureError):
        verified(data, Root, trusted, "root", name="root.json")


def test_each_product_is_delegated_to_its_own_key_for_its_own_paths_alone() -> None:
    other = generate().public_key
    targets = read(create_targets(TARGETS, {PRODUCT: SIGNER.public_key, "fridge": other}, NOW), Targets, name="targets.json").signed
    role = targets.get_delegated_role(PRODUCT)
    assert isinstance(role, DelegatedRole)
    assert (role.keyids, role.threshold, role.terminating, role.paths) == ([SIGNER.public_key.keyid], 1, True, ["thermostat/*/*"])
    assert role.is_delegated_path("thermostat/1.0.0/x-release")
    assert not role.is_delegated_path("fridge/1.0.0/x-release")
    assert not role.is_delegated_path("thermostat/1.0.0/deeper/x-release")


def test_a_product_is_added_to_those_that_are_there() -> None:
    other = generate()
    after = read(add_delegation(new_targets(), "fridge", [other.public_key], 1, LATER), Targets, name="targets.json").signed
    assert after.delegations is not None
    assert list(after.delegations.roles or {}) == [PRODUCT, "fridge"]
    assert (after.version, after.expires) == (2, LATER + timedelta(days=90))
    assert verified(create_product(other, NOW), Targets, after, "fridge", name="fridge.json").targets == {}


def test_a_product_is_added_once() -> None:
    with pytest.raises(ConflictError, match="has a role already"):
        add_delegation(new_targets(), PRODUCT, [generate().public_key], 1, NOW)


@pytest.mark.parametrize("name", sorted(offline.RESERVED))
def test_no_product_is_called_like_a_role(name: str) -> None:
    with pytest.raises(InvalidInput, match="Choose another name"):
        add_delegation(new_targets(), name, [generate().public_key], 1, NOW)


def test_targets_without_any_delegation_can_get_their_first() -> None:
    bare = sign_with(Metadata(Targets(expires=LATER)), TARGETS)
    after = read(add_delegation(bare, PRODUCT, [SIGNER.public_key], 1, NOW), Targets, name="targets.json").signed
    assert after.get_delegated_role(PRODUCT).threshold == 1


def test_a_release_is_listed_with_its_length_its_hash_and_what_must_match() -> None:
    role = read(new_role(ONE), Targets, name="role").signed
    target = role.targets["thermostat/1.0.0/thermostat-v1-release"]
    assert (target.length, target.hashes) == (3, {"sha256": hex_of(digest_of(b"one"))})
    assert target.custom == {"must_match": to_plain(must_match(ONE))}
    assert role.version == 2


def test_an_image_for_several_boards_is_listed_for_each() -> None:
    both = structs.replace(ONE, target_hardware=["thermostat-v1", "thermostat-v2"])
    assert list(read(new_role(both), Targets, name="role").signed.targets) == [
        "thermostat/1.0.0/thermostat-v1-release",
        "thermostat/1.0.0/thermostat-v2-release",
    ]


def test_a_later_release_keeps_the_earlier_ones_and_lives_longer() -> None:
    role = read(listing(new_role(ONE), [TWO], [SIGNER], LATER), Targets, name="role").signed
    assert (role.version, len(role.targets), role.expires) == (3, 2, LATER + timedelta(days=90))


def test_signing_the_same_release_again_changes_nothing() -> None:
    role = new_role(ONE, TWO)
    assert listing(role, [TWO, ONE], [SIGNER], LATER) == role


def test_signing_the_same_release_again_late_lets_its_role_live_on() -> None:
    role, late = new_role(ONE), NOW + timedelta(days=45)
    again = read(listing(role, [ONE], [SIGNER], late), Targets, name="role").signed
    assert (again.version, again.expires) == (3, late + timedelta(days=90))
    assert again.targets == read(role, Targets, name="role").signed.targets


def test_a_version_is_released_once() -> None:
    with pytest.raises(
        ConflictError, match=r"thermostat/1\.0\.0/thermostat-v1-release is signed already.*Raise the version|signed already"
    ):
        listing(new_role(ONE), [manifest("1.0.0", b"other")], [SIGNER], NOW)


@given(st.lists(st.sampled_from([ONE, TWO, manifest("1.2.0", b"three")]), max_size=6))
def test_in_whatever_order_releases_are_signed_the_same_are_listed(released: list[Manifest]) -> None:
    role, news = create_product(SIGNER, NOW), 0
    for number, item in enumerate(released):
        news += item not in released[:number]
        role = listing(role, [item], [SIGNER], NOW)
    signed = read(role, Targets, name="role").signed
    assert signed.version == 1 + news
    assert {path.split("/")[1] for path in signed.targets} == {item.version for item in released}


def test_the_signature_of_a_manifest_can_be_checked_with_plain_tools() -> None:
    published = structs.replace(ONE, image=structs.replace(ONE.image, url="https://server/x"))
    text = offline.sign_manifest(published, SIGNER)
    public = load_pem_public_key(SIGNER.public_key.keyval["public"].encode())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert text.startswith("base64:")
    public.verify(b64decode(text.removeprefix("base64:")), to_json(as_built(ONE)), ec.ECDSA(hashes.SHA256()))
