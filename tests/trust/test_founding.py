# SPDX-License-Identifier: Apache-2.0
"""The beginning of a fleet: whoever holds the keys, it holds once all have signed, and then a device believes it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Targets

from surefoot.model.errors import InvalidInput, MetadataError, TrustError
from surefoot.trust import ceremony
from surefoot.trust.director import DirectorSigners
from surefoot.trust.founding import Authority, found, publish_first
from surefoot.trust.metadata import read
from surefoot.trust.proposal import Proposal
from surefoot.trust.repository import OnlineSigners, versions
from surefoot.trust.signer import generate
from surefoot.trust.verify import load, refresh
from tests.trust.repositories import NOW, wire_names

ROLES = ("root", "targets", "snapshot", "timestamp")


@cache
def key(_name: str) -> CryptoSigner:
    """Return the key that is called so in these tests; one name, one key."""
    return generate()


def authority(name: str, count: int = 1, threshold: int = 1) -> Authority:
    return Authority(keys=tuple(key(f"{name} {number}").public_key for number in range(count)), threshold=threshold)


def image(roots: Authority | None = None) -> dict[str, Authority]:
    return {
        "root": roots or authority("image root", 3, 2),
        "targets": authority("image targets", 2, 2),
        **{role: authority(f"image {role}") for role in ROLES[2:]},
    }


def director() -> dict[str, Authority]:
    return {"root": authority("director root", 3, 2), **{role: authority(f"director {role}") for role in ROLES[1:]}}


def lamp(count: int = 2, threshold: int = 2) -> dict[str, Authority]:
    return {"lamp": authority("lamp", count, threshold)}


def begun() -> list[Proposal]:
    return found(image(), director(), lamp(), NOW)


def signed(proposal: Proposal, names: list[str]) -> Proposal:
    for name in names:
        proposal = ceremony.sign(proposal, key(name))
    return proposal


def whole() -> dict[str, bytes]:
    root, own, top, role = begun()
    return {
        "root.json": ceremony.finished(signed(root, ["image root 0", "image root 2"])),
        "director-root.json": ceremony.finished(signed(own, ["director root 1", "director root 2"])),
        "targets.json": ceremony.finished(signed(top, ["image targets 0", "image targets 1"])),
        "lamp.json": ceremony.finished(signed(role, ["lamp 0", "lamp 1"])),
    }


def online() -> OnlineSigners:
    return OnlineSigners(snapshot=key("image snapshot 0"), timestamp=key("image timestamp 0"))


def own() -> DirectorSigners:
    return DirectorSigners(**{role: key(f"director {role} 0") for role in ROLES[1:]})


def published(files: dict[str, bytes], now: datetime = NOW) -> dict[str, bytes]:
    return publish_first(by_people(files), files["director-root.json"], online(), own(), now)


def by_people(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != "director-root.json"}


def test_a_device_with_the_root_alone_believes_the_first_repository() -> None:
    files = published(whole())
    assert versions(files) == dict.fromkeys(("root.json", "targets.json", "lamp.json", "snapshot.json", "timestamp.json"), 1)
    trusted = refresh(load({"root.json": files["root.json"]}), wire_names(files), NOW)
    assert trusted.targets["targets"].get_delegated_role("lamp").threshold == 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), unique=True))
def test_a_first_root_holds_once_its_own_threshold_is_met_in_any_order(order: list[int]) -> None:
    proposal = signed(begun()[0], [f"image root {number}" for number in order])
    (tally,) = ceremony.count(proposal)
    assert (len(tally.signed), tally.is_met) == (len(order), len(order) >= 2)
    if tally.is_met:
        assert load({"root.json": ceremony.finished(proposal)}).root.version == 1
        return
    with pytest.raises(InvalidInput, match="is not signed yet"):
        ceremony.finished(proposal)


def test_the_words_of_a_beginning_say_all_that_will_hold() -> None:
    root, _, top, _ = begun()
    assert ceremony.words(root)[0] == "image root: version 1, the first there is."
    assert any(sentence.startswith("Then root needs 2 of 3: ") for sentence in ceremony.words(root))
    assert any(sentence.startswith("Then lamp needs 2 of 2: ") for sentence in ceremony.words(top))


def test_a_stranger_signs_no_beginning() -> None:
    for proposal in begun():
        with pytest.raises(InvalidInput, match="has no say in this"):
            ceremony.sign(proposal, generate())


@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (lambda: found(image(authority("image root", 3, 1)), director(), {}, NOW), "'image-root' would need 1 signatures and have 3 keys"),
        (lambda: found(image(authority("image root", 2, 3)), director(), {}, NOW), "'image-root' would need 3 signatures and have 2 keys"),
        (lambda: found(image(authority("image root", 1, 2)), director(), {}, NOW), "would need 2 signatures and have 1"),
        (lambda: found(image(), director(), lamp(2, 3), NOW), "'product-lamp' would need 3 signatures"),
        (lambda: found(image(), director(), lamp(1, 0), NOW), "'product-lamp' would need 0 signatures"),
        (lambda: found(image(authority("director root", 3, 2)), director(), {}, NOW), "has a role already, and no key has two"),
        (lambda: found(image(), {**director(), "timestamp": authority("image timestamp")}, {}, NOW), "has a role already"),
        (lambda: found(image(), director(), {"lamp": authority("one"), "toy": authority("one")}, NOW), "has a role already"),
        (lambda: found(image(), director(), {"root": authority("one")}, NOW), "'root' cannot be the name of a product"),
    ],
)
def test_a_beginning_that_cannot_hold_is_refused(begin: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        begin()
    assert says in str(refused.value)
    assert refused.value.hint


def test_one_key_under_two_names_has_one_role() -> None:
    twin = key("image root 0").public_key
    alias = type(twin)("0123456789abcdef", twin.keytype, twin.scheme, dict(twin.keyval))
    with pytest.raises(InvalidInput, match="no key has two"):
        found(image(), {**director(), "timestamp": Authority(keys=(alias,))}, {}, NOW)


def unsigned_targets(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "targets.json": begun()[2].after.encode()}


def half_signed_product(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "lamp.json": signed(begun()[3], ["lamp 0"]).after.encode()}


def missing_product(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != "lamp.json"}


def half_signed_director(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, "director-root.json": signed(begun()[1], ["director root 0"]).after.encode()}


@pytest.mark.parametrize("spoil", [unsigned_targets, half_signed_product, missing_product, half_signed_director])
def test_what_a_device_would_refuse_is_never_published(spoil: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
    with pytest.raises(TrustError):
        published(spoil(whole()))


def test_a_beginning_that_took_too_long_is_not_published() -> None:
    with pytest.raises(TrustError, match="expired"):
        published(whole(), NOW + timedelta(days=90))


def test_a_server_whose_keys_the_roots_do_not_name_is_refused() -> None:
    files = whole()
    with pytest.raises(TrustError):
        publish_first(by_people(files), files["director-root.json"], OnlineSigners(snapshot=generate(), timestamp=generate()), own(), NOW)
    stranger = DirectorSigners(targets=generate(), snapshot=generate(), timestamp=generate())
    with pytest.raises(TrustError):
        publish_first(by_people(files), files["director-root.json"], online(), stranger, NOW)


def test_what_is_proposed_first_is_version_one_and_lives_as_long_as_its_kind() -> None:
    lives = {"root": timedelta(days=365), "targets": timedelta(days=90), "lamp": timedelta(days=90)}
    for proposal in begun():
        kind = Root if proposal.role == "root" else Targets
        after = read(proposal.after.encode(), kind, name="after").signed  # type: ignore[type-var]  # one of the two
        assert (after.version, after.expires) == (1, NOW.replace(microsecond=0) + lives[proposal.role])
    with pytest.raises(MetadataError):
        ceremony.count(Proposal(repository="image", role="root", after="{}"))
