# SPDX-License-Identifier: Apache-2.0
"""Proposals that somebody forged on their way: what people sign is what they were shown, or nothing."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Root, TargetFile, Targets

from surefoot.model.errors import Error, MetadataError
from surefoot.trust import ceremony, layout
from surefoot.trust.changes import held, renew
from surefoot.trust.metadata import read, sign_with
from surefoot.trust.proposal import Part, Proposal
from surefoot.trust.repository import publish_roles
from surefoot.trust.signer import generate
from tests.trust.repositories import NOW, PRODUCT, Repositories, listing, manifest

EVIL = "6.6.6"

_S = TypeVar("_S", Root, Targets)


@pytest.fixture(scope="module")
def made() -> Repositories:
    """A product with one live and one retired release, so that it has two files."""
    repositories = Repositories()
    repositories.release(manifest("1.0.0", b"one"), manifest("1.1.0", b"two"))
    roles = layout.retire(repositories.image, PRODUCT, "1.0.0", [repositories.product], NOW)
    repositories.image |= publish_roles(repositories.image, PRODUCT, roles, repositories.online, NOW)
    return repositories


def of_product(made: Repositories) -> Proposal:
    role, archive = made.image[f"{PRODUCT}.json"], made.image[f"{PRODUCT}+archive.json"]
    return Proposal(
        repository="image",
        role=PRODUCT,
        delegator=made.image["targets.json"].decode(),
        before=role.decode(),
        after=renew(role, Targets, NOW).decode(),
        more={f"{PRODUCT}+archive": Part(before=archive.decode(), after=renew(archive, Targets, NOW).decode())},
    )


def of_root(made: Repositories, change: Callable[[Root], None]) -> Proposal:
    before = made.image["root.json"]
    return Proposal(repository="image", role="root", before=before.decode(), after=_changed(renew(before, Root, NOW), Root, change))


def of_targets(made: Repositories, change: Callable[[Targets], None]) -> Proposal:
    before = made.image["targets.json"]
    after = _changed(renew(before, Targets, NOW), Targets, change)
    return Proposal(repository="image", role="targets", delegator=made.image["root.json"].decode(), before=before.decode(), after=after)


def _changed(data: bytes, kind: type[_S], change: Callable[[_S], None], signers: list[CryptoSigner] | None = None) -> str:
    metadata = read(data, kind, name="metadata")
    change(metadata.signed)
    return sign_with(metadata, signers or []).decode()


def refuses(proposal: Proposal, signer: Signer) -> str:
    """Return why, of both what shows a proposal and what signs it; neither says a word of what it would hide."""
    with pytest.raises(Error) as shown:
        ceremony.words(proposal)
    with pytest.raises(Error) as signed:
        ceremony.sign(proposal, signer)
    assert shown.value.message == signed.value.message
    return signed.value.message


def test_the_honest_ones_are_signed(made: Repositories) -> None:
    assert ceremony.finished(ceremony.sign(of_product(made), made.product))
    assert not any("CANNOT BE VERIFIED" in line for line in ceremony.words(of_product(made)))


def test_a_key_under_the_id_of_another_is_refused(made: Repositories) -> None:
    """The holders compare ids: a thief's key that is called as theirs would pass."""

    def disguise(root: Root) -> None:
        thief = generate().public_key
        keyid = made.targets[0].public_key.keyid
        root.keys[keyid] = SSlibKey(keyid, thief.keytype, thief.scheme, dict(thief.keyval))

    assert "is not the id of" in refuses(of_root(made, disguise), made.image_roots[0])


@pytest.mark.parametrize("role", ["timestamp", "targets"])
def test_a_key_that_gets_a_second_role_is_refused(made: Repositories, role: str) -> None:
    def double(root: Root) -> None:
        root.add_key(made.image_roots[0].public_key, role)

    assert "twice" in refuses(of_root(made, double), made.image_roots[0])


def test_a_disguised_key_in_what_vouches_is_refused(made: Repositories) -> None:
    def disguise(targets: Targets) -> None:
        assert targets.delegations is not None
        thief, keyid = generate().public_key, made.product.public_key.keyid
        targets.delegations.keys[keyid] = SSlibKey(keyid, thief.keytype, thief.scheme, dict(thief.keyval))

    forged = _changed(made.image["targets.json"], Targets, disguise)
    assert "is not the id of" in refuses(msgspec.structs.replace(of_product(made), delegator=forged), made.product)


def test_a_part_that_stands_in_the_place_of_the_product_is_refused(made: Repositories) -> None:
    honest = of_product(made)
    hostile = listing(made.image[f"{PRODUCT}.json"], [manifest(EVIL, b"hostile")], [generate()], NOW)
    hidden = read(hostile, Targets, name="hostile")
    forged = msgspec.structs.replace(
        honest,
        after=sign_with(hidden, []).decode(),
        more={**honest.more, PRODUCT: Part(before=honest.before, after=honest.after)},
    )
    assert "more, or other, files" in refuses(forged, made.product)


def test_a_part_that_nothing_leads_to_is_refused(made: Repositories) -> None:
    honest = of_product(made)
    stray = {**honest.more, "fridge": honest.more[f"{PRODUCT}+archive"]}
    assert "more, or other, files" in refuses(msgspec.structs.replace(honest, more=stray), made.product)


def test_a_forged_past_of_a_part_hides_no_image(made: Repositories) -> None:
    honest, role = of_product(made), f"{PRODUCT}+archive"

    def list_evil(targets: Targets) -> None:
        path = f"{PRODUCT}/{EVIL}/thermostat-v1-release"
        targets.targets[path] = TargetFile(7, {"sha256": "ab" * 32}, path, {})

    part = honest.more[role]
    past = _changed(part.before.encode(), Targets, list_evil, [generate()])
    forged = msgspec.structs.replace(honest, more={role: Part(before=past, after=renew(past.encode(), Targets, NOW).decode())})
    told = ceremony.words(forged)
    assert any("CANNOT BE VERIFIED" in line for line in told)
    assert any(EVIL in line and "ab" * 32 in line for line in told)


def test_the_words_say_whose_signatures_count() -> None:
    """What vouches came with the proposal, and may be as forged as the past that it proves: whoever signs can compare."""
    thief, plain = generate(), Repositories()

    def let_in(targets: Targets) -> None:
        targets.add_key(held(thief.public_key, "mallory"), PRODUCT)

    role = plain.image[f"{PRODUCT}.json"]
    forged = _changed(plain.image["targets.json"], Targets, let_in)
    told = ceremony.words(
        Proposal(repository="image", role=PRODUCT, delegator=forged, before=role.decode(), after=renew(role, Targets, NOW).decode())
    )
    (line,) = (line for line in told if line.startswith(f"For {PRODUCT} 1 of 2 must sign"))
    assert f"mallory ({thief.public_key.keyid})" in line
    assert plain.product.public_key.keyid in line


@pytest.mark.parametrize(
    ("name", "paths"),
    [("toy", [f"{PRODUCT}/*/*"]), ("toy\x1b[2J", ["toy/*/*"])],
    ids=["another product's paths", "a name that moves the cursor"],
)
def test_a_delegation_that_no_server_takes_is_not_signed_either(made: Repositories, name: str, paths: list[str]) -> None:
    """The thief of a server needs none that takes it: a device goes by what is signed."""

    def delegate(targets: Targets) -> None:
        key: Key = generate().public_key
        delegations = targets.delegations
        assert delegations is not None
        roles = {name: DelegatedRole(name, [key.keyid], 1, terminating=True, paths=paths), **(delegations.roles or {})}
        targets.delegations = Delegations({**delegations.keys, key.keyid: key}, roles=roles)

    assert "\x1b" not in refuses(of_targets(made, delegate), made.targets[0])


def test_top_level_targets_that_list_an_image_are_not_signed(made: Repositories) -> None:
    def list_evil(targets: Targets) -> None:
        path = f"{PRODUCT}/{EVIL}/thermostat-v1-release"
        targets.targets[path] = TargetFile(7, {"sha256": "ab" * 32}, path, {})

    forged = of_targets(made, list_evil)
    with pytest.raises(MetadataError, match="lists an image itself"):
        ceremony.sign(forged, made.targets[0])
