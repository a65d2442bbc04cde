# SPDX-License-Identifier: Apache-2.0
"""Ceremonies: whoever signs first, a change holds when, and only when, enough of the right people signed what was shown."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Root, Targets

from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import Error, InvalidInput, SignatureError
from surefoot.trust import ceremony
from surefoot.trust.changes import change_keys, held, renew
from surefoot.trust.metadata import read, sign_with
from surefoot.trust.proposal import Proposal
from surefoot.trust.signer import generate
from surefoot.trust.verify import load, update_root
from tests.trust.repositories import NOW, PRODUCT, Repositories, listing, manifest


@cache
def world() -> tuple[Repositories, CryptoSigner]:
    return Repositories(), generate()


def proposed() -> Proposal:
    """Dana comes, the first root key goes, and three of three must sign."""
    repositories, dana = world()
    before = repositories.image["root.json"]
    gone = repositories.image_roots[0].public_key.keyid
    after = change_keys(before, Root, "root", NOW, add=[held(dana.public_key, "dana")], remove=[gone], threshold=3)
    return Proposal(repository="image", role="root", before=before.decode(), after=after.decode())


def people() -> list[Signer]:
    repositories, dana = world()
    return [*repositories.image_roots, dana]


def is_finished(proposal: Proposal) -> bool:
    try:
        ceremony.finished(proposal)
    except InvalidInput:
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), unique=True))
def test_a_root_holds_once_the_thresholds_of_old_and_new_are_met_in_any_order(order: list[int]) -> None:
    proposal = proposed()
    for number in order:
        proposal = ceremony.sign(proposal, people()[number])
    old, new = len({0, 1, 2} & set(order)), len({1, 2, 3} & set(order))
    assert is_finished(proposal) == (old >= 2 and new >= 3)
    assert [len(tally.signed) for tally in ceremony.count(proposal)] == [old, new]


def test_a_device_follows_a_finished_root() -> None:
    proposal = proposed()
    for signer in people()[1:]:
        proposal = ceremony.sign(proposal, signer)
    root = update_root(load({"root.json": world()[0].image["root.json"]}), ceremony.finished(proposal)).root
    assert (root.version, root.roles["root"].threshold, world()[1].public_key.keyid in root.roles["root"].keyids) == (2, 3, True)


def test_the_words_name_every_key_that_changed_and_all_that_will_hold() -> None:
    text = "\n".join(ceremony.words(proposed()))
    repositories, dana = world()
    assert f"Role root gains the key of dana ({dana.public_key.keyid})." in text
    assert f"Role root loses the key of {repositories.image_roots[0].public_key.keyid}." in text
    assert "Then root needs 3 of 3: " in text
    assert "Then targets needs 2 of 2: " in text


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.sampled_from(["threshold", "expires", "targets"]))
def test_what_was_changed_after_a_signature_never_finishes(signers: int, what: str) -> None:
    proposal = proposed()
    for signer in people()[1 : 1 + signers]:
        proposal = ceremony.sign(proposal, signer)
    plain = json.loads(proposal.after)
    if what == "threshold":
        plain["signed"]["roles"]["root"]["threshold"] = 2
    elif what == "expires":
        plain["signed"]["expires"] = "2099-01-01T00:00:00Z"
    else:
        plain["signed"]["roles"]["targets"]["threshold"] = 1
    edited = msgspec.structs.replace(proposal, after=json.dumps(plain))
    with pytest.raises(SignatureError, match="was changed after it was signed"):
        ceremony.finished(edited)
    with pytest.raises(SignatureError, match="was changed after it was signed"):
        ceremony.sign(edited, people()[0])


def test_nobody_signs_twice_and_no_stranger_signs() -> None:
    proposal = ceremony.sign(proposed(), people()[1])
    with pytest.raises(InvalidInput, match="has signed this already"):
        ceremony.sign(proposal, people()[1])
    with pytest.raises(InvalidInput, match="has no say in this"):
        ceremony.sign(proposal, generate())


def test_what_is_missing_is_named() -> None:
    with pytest.raises(
        InvalidInput, match=r"root version 1 \(old\) has 1 of 2, may sign: .*root version 2 \(new\) has 1 of 3, may sign: .*dana"
    ):
        ceremony.finished(ceremony.sign(proposed(), people()[1]))


def test_a_present_root_that_nobody_signed_is_refused() -> None:
    plain = json.loads(proposed().before)
    plain["signatures"] = []
    with pytest.raises(SignatureError):
        ceremony.sign(msgspec.structs.replace(proposed(), before=json.dumps(plain)), people()[1])


def test_a_version_that_is_left_out_is_refused() -> None:
    proposal = proposed()
    skipped = renew(proposal.after.encode(), Root, NOW).decode()
    with pytest.raises(InvalidInput, match="makes version 3 of root out of 1"):
        ceremony.sign(msgspec.structs.replace(proposal, after=skipped), people()[1])


def test_targets_are_signed_by_those_the_proposed_root_names() -> None:
    repositories, dana = world()
    gone = repositories.targets[0].public_key.keyid
    root = change_keys(repositories.image["root.json"], Root, "targets", NOW, add=[dana.public_key], remove=[gone])
    before = repositories.image["targets.json"]
    after = renew(before, Targets, NOW)
    proposal = Proposal(repository="image", role="targets", delegator=root.decode(), before=before.decode(), after=after.decode())
    with pytest.raises(InvalidInput, match="has no say"):
        ceremony.sign(proposal, repositories.targets[0])
    signed = ceremony.sign(ceremony.sign(proposal, repositories.targets[1]), dana)
    assert read(ceremony.finished(signed), Targets, name="targets.json").signed.version == 2


def product_proposal(before: bytes) -> Proposal:
    """Renew a product's role, or what is said to be it."""
    delegator = world()[0].image["targets.json"]
    after = renew(before, Targets, NOW)
    return Proposal(repository="image", role=PRODUCT, delegator=delegator.decode(), before=before.decode(), after=after.decode())


@pytest.mark.parametrize("signers", [[], [generate()]], ids=["by nobody", "by a stranger"])
def test_a_forged_past_hides_no_change(signers: list[Signer]) -> None:
    honest = world()[0].image[f"{PRODUCT}.json"]
    real = product_proposal(honest)
    assert not any("CANNOT BE VERIFIED" in sentence for sentence in ceremony.words(real))
    # The attacker's image stands in what is said to be the past already, so that nothing seems to change.
    forged = sign_with(read(listing(honest, [manifest("6.6.6", b"hostile")], [generate()], NOW), Targets, name="forged"), signers)
    told = ceremony.words(product_proposal(forged))
    assert any("CANNOT BE VERIFIED" in sentence for sentence in told)
    assert not any("is added" in sentence for sentence in told)
    (shown,) = (sentence for sentence in told if "6.6.6" in sentence)
    assert hex_of(digest_of(b"hostile")) in shown


def test_an_expired_proposal_is_refused_at_its_second() -> None:
    proposal = product_proposal(world()[0].image[f"{PRODUCT}.json"])
    expires = read(proposal.after.encode(), Targets, name="after").signed.expires
    ceremony.require_unexpired(proposal, expires - timedelta(seconds=1))
    with pytest.raises(InvalidInput, match=r"The proposed image thermostat 2 expired on .*Z"):
        ceremony.require_unexpired(proposal, expires)


def test_two_copies_that_two_people_signed_are_one() -> None:
    one, other = (ceremony.sign(proposed(), people()[number]) for number in (1, 2))
    joined = ceremony.join(one, other)
    assert [len(tally.signed) for tally in ceremony.count(joined)] == [2, 2]
    assert is_finished(ceremony.join(joined, ceremony.sign(proposed(), people()[3])))


def test_a_copy_of_something_else_is_not_joined() -> None:
    other = renew(world()[0].image["root.json"], Root, NOW + timedelta(days=1))
    foreign = ceremony.sign(msgspec.structs.replace(proposed(), after=other.decode()), people()[1])
    with pytest.raises(SignatureError):
        ceremony.join(proposed(), foreign)


# --- changes ----------------------------------------------------------------------------------------------------------------


def root_with(**more: object) -> Callable[[], bytes]:
    return lambda: change_keys(world()[0].image["root.json"], Root, "root", NOW, **more)  # type: ignore[arg-type]  # what a caller may get wrong


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (root_with(threshold=1), "would need 1 signatures and have 3 keys"),
        (root_with(threshold=4), "would need 4 signatures and have 3 keys"),
        (root_with(threshold=0), "would need 0 signatures"),
        (
            root_with(remove=[signer.public_key.keyid for signer in world()[0].image_roots[:2]]),
            "would need 2 signatures and have 1",
        ),
        (root_with(add=[world()[0].targets[0].public_key]), "has a role already, and no key has two"),
        (root_with(add=[world()[1].public_key], elsewhere=[world()[1].public_key]), "has a role already, and no key has two"),
        (root_with(remove=["nobody"]), "'nobody' names 0 keys"),
        (lambda: held(world()[1].public_key, "Dana\x1b[2J"), "is no name for who holds a key"),
        (lambda: change_keys(world()[0].image["targets.json"], Targets, "fridge", NOW), "There is no role 'fridge'"),
    ],
)
def test_a_change_that_cannot_hold_is_refused(change: Callable[[], bytes], says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        change()
    assert says in str(refused.value)
    assert refused.value.hint


def test_one_key_under_two_ids_has_one_role() -> None:
    key = world()[0].image_roots[0].public_key
    alias = type(key)("0123456789abcdef", key.keytype, key.scheme, dict(key.keyval))
    with pytest.raises(Error, match="no key has two"):
        root_with(add=[alias])()


def test_a_product_may_need_two_signatures() -> None:
    repositories, dana = world()
    before = repositories.image["targets.json"]
    delegator = change_keys(before, Targets, PRODUCT, NOW, add=[dana.public_key], threshold=2)
    role = repositories.image[f"{PRODUCT}.json"]
    proposal = Proposal(
        repository="image", role=PRODUCT, delegator=delegator.decode(), before=role.decode(), after=renew(role, Targets, NOW).decode()
    )
    one = ceremony.sign(proposal, repositories.product)
    assert (is_finished(one), is_finished(ceremony.sign(one, dana))) == (False, True)
