# SPDX-License-Identifier: Apache-2.0
"""A product's key is lost: all its role files are signed anew, and what only the old key signed is worth nothing."""

from datetime import timedelta

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, Targets

from surefoot.model.errors import InvalidInput, MetadataError, SignatureError
from surefoot.trust import ceremony, layout
from surefoot.trust.changes import ONLY_KEY, change_keys, find_key, held, renew
from surefoot.trust.metadata import Files, read, sign_with
from surefoot.trust.product_files import reachable, renewed, require_whole, retirements
from surefoot.trust.proposal import Part, Proposal
from surefoot.trust.repository import publish_roles
from surefoot.trust.signer import generate
from surefoot.trust.succession import resign, verify_all
from surefoot.trust.tree import parents_of
from surefoot.trust.verify import load
from tests.trust.repositories import PRODUCT, Repositories, manifest, wire_names

TOP = f"{PRODUCT}.json"
LATER = timedelta(days=1)
MANY = 200
"""Images that do not fit into one role file."""


def world(images: int, retired: str = "") -> Repositories:
    made = Repositories()
    made.release(*(manifest(f"1.{number}.0", f"image {number}".encode()) for number in range(images)))
    if retired:
        made.image |= publish_roles(
            made.image, PRODUCT, layout.retire(made.image, PRODUCT, retired, [made.product], made.now), made.online, made.now
        )
    return made


@pytest.fixture(scope="module", params=[(3, ""), (3, "1.1.0"), (MANY, "1.7.0")], ids=["small", "archive", "bins"])
def before(request: pytest.FixtureRequest) -> Repositories:
    return world(*request.param)


@pytest.fixture(scope="module")
def new_key() -> CryptoSigner:
    return generate()


def redelegated(before: Repositories, new_key: CryptoSigner) -> bytes:
    data = before.image["targets.json"]
    gone = find_key(read(data, Targets, name="targets").signed, PRODUCT, ONLY_KEY)
    unsigned = change_keys(data, Targets, PRODUCT, before.now, add=[held(new_key.public_key, "dana")], remove=[gone])
    return sign_with(read(unsigned, Targets, name="targets"), list(before.targets))


def proposed(before: Repositories, targets: bytes) -> Proposal:
    fresh = renewed({**before.image, "targets.json": targets}, PRODUCT, before.now + LATER)
    more = {
        name.removesuffix(".json"): Part(before=before.image[name].decode(), after=data.decode())
        for name, data in fresh.items()
        if name != TOP
    }
    texts = {"before": before.image[TOP].decode(), "after": fresh[TOP].decode()}
    return Proposal(repository="image", role=PRODUCT, delegator=targets.decode(), more=more, **texts)


def files_of(proposal: Proposal) -> dict[str, bytes]:
    return {TOP: ceremony.finished(proposal), **ceremony.further_files(proposal)}


def as_a_device(before: Repositories, fresh: Files) -> None:
    """Verify every role as a device would that holds what was there."""
    whole = {**before.image, **fresh}
    whole |= resign(whole, before.online, before.now)
    verify_all(load(before.image), wire_names(whole), parents_of(whole), before.now)


def test_a_device_that_holds_the_old_follows_every_file_under_the_new_key(before: Repositories, new_key: CryptoSigner) -> None:
    targets = redelegated(before, new_key)
    signed = files_of(ceremony.sign(proposed(before, targets), new_key))
    assert signed.keys() == set(reachable(before.image, PRODUCT))
    for name, data in signed.items():
        old, new = (read(files[name], Targets, name=name) for files in (before.image, {name: data}))
        assert (new.signed.version, new.signed.targets) == (old.signed.version + 1, old.signed.targets)
        assert new.signatures.keys() == {new_key.public_key.keyid}
    as_a_device(before, {**signed, "targets.json": targets})


def test_any_file_left_to_the_old_key_is_worth_nothing(before: Repositories, new_key: CryptoSigner) -> None:
    targets = redelegated(before, new_key)
    signed = files_of(ceremony.sign(proposed(before, targets), new_key))
    for name in list(signed)[:3] + list(signed)[-2:]:
        by_thief = sign_with(read(signed[name], Targets, name=name), [before.product])
        with pytest.raises(SignatureError):
            as_a_device(before, {**signed, "targets.json": targets, name: by_thief})
        with pytest.raises(SignatureError):
            require_whole({**signed, name: by_thief}, PRODUCT, read(targets, Targets, name="targets").signed)


def test_the_old_key_has_no_say_in_the_proposal(before: Repositories, new_key: CryptoSigner) -> None:
    with pytest.raises(InvalidInput, match="has no say in this"):
        ceremony.sign(proposed(before, redelegated(before, new_key)), before.product)


def test_the_words_say_that_the_releases_stay(before: Repositories, new_key: CryptoSigner) -> None:
    said = ceremony.words(proposed(before, redelegated(before, new_key)))
    assert not [line for line in said if line.startswith("Release ")]
    count = sum(len(read(before.image[name], Targets, name=name).signed.targets) for name in reachable(before.image, PRODUCT))
    assert len([line for line in said if line.startswith(f"Then {count} releases are listed")]) == 1
    # The old key signed what was, and it has no say any more: so each is shown.
    assert len([line for line in said if " release: " in line]) == count


@pytest.fixture
def binned(new_key: CryptoSigner) -> Proposal:
    made = world(MANY, "1.7.0")
    return proposed(made, redelegated(made, new_key))


def changed(proposal: Proposal, role: str, change: dict[str, object]) -> Proposal:
    metadata: Metadata[Targets] = Metadata.from_bytes(proposal.more[role].after.encode())
    for name, value in change.items():
        setattr(metadata.signed, name, value)
    part = msgspec.structs.replace(proposal.more[role], after=sign_with(metadata, []).decode())
    return msgspec.structs.replace(proposal, more={**proposal.more, role: part})


def test_a_part_that_was_forged_is_told_or_refused(binned: Proposal, new_key: CryptoSigner) -> None:
    leaf = next(role for role in binned.more if f"{role}+archive" in binned.more)
    dropped = "\n".join(ceremony.words(changed(binned, leaf, {"targets": {}})))
    assert " is DROPPED." in dropped
    stranger = layout.archive_delegations(leaf, {generate().public_key.keyid: generate().public_key}, 1)
    with pytest.raises(MetadataError, match="lets others sign for"):
        ceremony.sign(changed(binned, leaf, {"delegations": stranger}), new_key)
    with pytest.raises(InvalidInput, match="makes version 9 of"):
        ceremony.sign(changed(binned, leaf, {"version": 9}), new_key)


def test_parts_are_signed_all_or_none(binned: Proposal, new_key: CryptoSigner) -> None:
    signed = ceremony.sign(binned, new_key)
    assert not ceremony.is_alike(signed, changed(binned, next(iter(binned.more)), {"targets": {}}))
    assert ceremony.is_alike(signed, binned)
    first = next(iter(binned.more))
    with pytest.raises(SignatureError, match="does not fit"):
        ceremony.count(msgspec.structs.replace(signed, more={**signed.more, first: binned.more[first]}))
    fewer = {role: part for role, part in signed.more.items() if role != first}
    with pytest.raises(MetadataError, match="is delegated and missing"):
        ceremony.finished(msgspec.structs.replace(signed, more=fewer))


def test_two_who_signed_copies_of_a_product_have_both_signed_all_of_it() -> None:
    before, other = world(3, "1.1.0"), generate()
    data = change_keys(before.image["targets.json"], Targets, PRODUCT, before.now, add=[held(other.public_key, "dana")], threshold=2)
    targets = sign_with(read(data, Targets, name="targets"), list(before.targets))
    open_to_all = proposed(before, targets)
    copies = [ceremony.sign(open_to_all, signer) for signer in (before.product, other)]
    for copy in copies:
        with pytest.raises(InvalidInput, match="has 1 of 2"):
            ceremony.finished(copy)
    joined = ceremony.join(*copies)
    require_whole(files_of(joined), PRODUCT, read(targets, Targets, name="targets").signed)


def test_a_root_has_one_file(binned: Proposal) -> None:
    repositories = Repositories()
    root = repositories.image["root.json"]
    after = renew(root, Root, repositories.now).decode()
    with pytest.raises(InvalidInput, match="has one file"):
        ceremony.count(Proposal(repository="image", role="root", before=root.decode(), after=after, more=binned.more))


def test_what_stands_in_an_archive_is_retired() -> None:
    assert retirements(_roles(world(3, "1.1.0"))) == {
        "1.0.0": False,
        "1.1.0": True,
        "1.2.0": False,
    }


def _roles(made: Repositories) -> Files:
    return {name: made.image[name] for name in reachable(made.image, PRODUCT)}
