# SPDX-License-Identifier: Apache-2.0
"""Live images, archive and bins: what changes when, and what a device fetches for it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, SuccinctRoles, Targets

from surefoot.model.errors import (
    ConflictError,
    MetadataError,
    MetadataRollbackError,
    NotInImageRepositoryError,
    SignatureError,
    UnknownError,
)
from surefoot.model.manifest import Manifest
from surefoot.trust import layout, offline
from surefoot.trust.metadata import Files, read, sign_with
from surefoot.trust.repository import publish_roles
from surefoot.trust.signer import generate
from surefoot.trust.tree import require_tree
from surefoot.trust.verify import Trusted, find_target, load, refresh
from tests.trust.repositories import PRODUCT, Repositories, manifest

TOP = f"{PRODUCT}.json"
ARCHIVE = f"{PRODUCT}+archive.json"
MANY = [manifest(f"1.{number}.0", f"image {number}".encode()) for number in range(200)]
NEXT = manifest("2.0.0", b"next")


def path(item: Manifest) -> str:
    return f"{item.product}/{item.version}/thermostat-v1-release"


def taken(world: Repositories, roles: Files) -> None:
    world.image |= publish_roles(world.image, PRODUCT, roles, world.online, world.now)


def retired(world: Repositories, version: str) -> dict[str, bytes]:
    return layout.retire(world.image, PRODUCT, version, [world.product], world.now)


def found(world: Repositories, item: Manifest, names: list[str]) -> Trusted:
    """Verify a path as a device does that was sent these role files and no others."""
    shared = {name: world.image[name] for name in ("timestamp.json", "snapshot.json", "targets.json")}
    files = {**shared, **{f"{name}.json": world.image[f"{name}.json"] for name in names}}
    numbered = {name if name == "timestamp.json" else f"{read_version(data)}.{name}": data for name, data in files.items()}
    trusted, entry = find_target(refresh(load(world.trusted_image()), numbered, world.now), numbered, path(item), world.now)
    assert entry.length == item.image.size
    return trusted


def read_version(data: bytes) -> int:
    metadata: Metadata[Targets] = Metadata.from_bytes(data)
    return metadata.signed.version


def changed_role(world: Repositories, name: str, data: bytes, **changes: object) -> bytes:
    metadata = read(data, Targets, name=name)
    metadata.signed.version += 1
    for field, value in changes.items():
        setattr(metadata.signed, field, value)
    return sign_with(metadata, [world.product])


@pytest.fixture
def small() -> Repositories:
    world = Repositories()
    world.release(*MANY[:3])
    return world


@pytest.fixture(scope="module")
def binned() -> Repositories:
    world = Repositories()
    world.release(*MANY)
    return world


@pytest.fixture
def many(binned: Repositories) -> Repositories:
    return replace_image(binned)


def replace_image(world: Repositories) -> Repositories:
    copy = Repositories.__new__(Repositories)
    copy.__dict__.update(world.__dict__)
    copy.image = dict(world.image)
    return copy


def test_a_product_lists_its_images_itself_until_one_more_would_be_too_much_for_one_file() -> None:
    world = Repositories()
    world.release(*MANY[:140])
    listing = b""
    for item in MANY[140:]:
        world.release(item)
        if not read(world.image[TOP], Targets, name=TOP).signed.targets:
            break
        listing = world.image[TOP]
    else:
        pytest.fail("all of them were listed in one file")
    entry = len(listing) // len(read(listing, Targets, name=TOP).signed.targets)
    assert layout.ROLE_BYTES - 2 * entry - 2_000 < len(listing) <= layout.ROLE_BYTES


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=12), st.sampled_from(["live", "retired"]))
def test_no_file_that_lists_images_is_too_large_whatever_its_entries_are(kinds: list[int], where: str) -> None:
    world = Repositories()
    images = [
        structs.replace(manifest(f"1.{number}.0", b"x"), target_hardware=[f"board-of-some-maker-{kind}" for kind in range(count)])
        for number, count in enumerate(kinds)
    ]
    world.release(*images)
    for image in images if where == "retired" else []:
        taken(world, retired(world, image.version))
    roles = {name: data for name, data in world.image.items() if name.startswith(PRODUCT)}
    assert sum(len(read(data, Targets, name=name).signed.targets) for name, data in roles.items()) == sum(kinds)
    assert max(len(data) for data in roles.values()) <= layout.ROLE_BYTES


def test_one_more_moves_all_into_bins_that_stay_small(many: Repositories) -> None:
    top = read(many.image[TOP], Targets, name=TOP).signed
    bins = layout.leaves(PRODUCT, layout.bits_of(top))
    sizes = [len(many.image[f"{name}.json"]) for name in bins]
    assert not top.targets
    assert sum(len(layout.read_leaf(many.image, name).live) for name in bins) == len(MANY)
    assert max(sizes) <= layout.ROLE_BYTES


def test_a_device_verifies_a_path_with_its_one_bin(many: Repositories) -> None:
    bits = layout.bits_of(read(many.image[TOP], Targets, name=TOP).signed)
    way = layout.way_to(PRODUCT, bits, path(MANY[7]), is_retired=False)
    assert len(way) == 2
    assert set(found(many, MANY[7], way).targets) == {"targets", *way}


def test_a_further_release_touches_its_own_bin_only(many: Repositories) -> None:
    changed = layout.add_release(many.image, [NEXT], [many.product], many.now)
    bits = layout.bits_of(read(many.image[TOP], Targets, name=TOP).signed)
    assert list(changed) == [f"{layout.leaf_of(PRODUCT, bits, path(NEXT))}.json"]
    taken(many, changed)
    found(many, NEXT, layout.way_to(PRODUCT, bits, path(NEXT), is_retired=False))


def test_a_retired_release_is_verified_through_the_archive_and_a_live_one_without_it(small: Repositories) -> None:
    taken(small, retired(small, "1.1.0"))
    found(small, MANY[1], [PRODUCT, f"{PRODUCT}+archive"])
    found(small, MANY[2], [PRODUCT])


def test_a_release_retired_from_a_bin_is_verified_through_that_bins_archive(many: Repositories) -> None:
    taken(many, retired(many, "1.1.0"))
    bits = layout.bits_of(read(many.image[TOP], Targets, name=TOP).signed)
    way = layout.way_to(PRODUCT, bits, path(MANY[1]), is_retired=True)
    found(many, MANY[1], way)
    assert len(way) == 3


def test_a_retired_release_comes_back(small: Repositories) -> None:
    taken(small, retired(small, "1.1.0"))
    taken(small, layout.restore(small.image, PRODUCT, "1.1.0", [small.product], small.now))
    found(small, MANY[1], [PRODUCT])


def test_a_retired_release_is_not_signed_again(small: Repositories) -> None:
    taken(small, retired(small, "1.1.0"))
    with pytest.raises(ConflictError, match="retired"):
        layout.add_release(small.image, [MANY[1]], [small.product], small.now)


def test_what_is_not_live_cannot_be_retired(small: Repositories) -> None:
    with pytest.raises(UnknownError):
        retired(small, "9.9.9")


def test_an_image_that_leaves_without_entering_the_archive_is_refused(small: Repositories) -> None:
    roles = retired(small, "1.1.0")
    roles[ARCHIVE] = changed_role(small, ARCHIVE, roles[ARCHIVE], targets={})
    with pytest.raises(MetadataError, match="drops or changes"):
        taken(small, roles)


def test_a_path_that_is_live_and_in_the_archive_is_refused(small: Repositories) -> None:
    roles = retired(small, "1.1.0")
    live = read(small.image[TOP], Targets, name=TOP).signed.targets
    roles[TOP] = changed_role(small, TOP, roles[TOP], targets=live)
    with pytest.raises(MetadataError, match="stands in"):
        taken(small, roles)


def test_a_bin_signed_by_another_key_is_refused(many: Repositories) -> None:
    [(name, data)] = layout.add_release(many.image, [NEXT], [many.product], many.now).items()
    with pytest.raises(SignatureError):
        taken(many, {name: sign_with(read(data, Targets, name=name), [generate()])})


def test_a_path_in_the_wrong_bin_is_refused_and_no_device_finds_it(many: Repositories) -> None:
    bits = layout.bits_of(read(many.image[TOP], Targets, name=TOP).signed)
    own = layout.leaf_of(PRODUCT, bits, path(NEXT))
    other = next(name for name in layout.leaves(PRODUCT, bits) if name != own)
    stray = {**layout.read_leaf(many.image, other).live, path(NEXT): offline.entries(NEXT)[0]}
    data = changed_role(many, other, many.image[f"{other}.json"], targets=stray)
    with pytest.raises(MetadataError, match="does not belong"):
        taken(many, {f"{other}.json": data})
    with pytest.raises(NotInImageRepositoryError):
        found(many, NEXT, [PRODUCT, own])


def test_an_older_bin_is_refused(many: Repositories) -> None:
    changed = layout.add_release(many.image, [NEXT], [many.product], many.now)
    name = next(iter(changed))
    old = many.image[name]
    taken(many, changed)
    with pytest.raises(MetadataRollbackError):
        taken(many, {name: old})


def test_a_role_of_another_product_is_refused(small: Repositories) -> None:
    with pytest.raises(MetadataError, match="no role of"):
        taken(small, {"toaster+archive.json": small.image[TOP]})


def delegating(world: Repositories, names: list[str], threshold: int = 1) -> Targets:
    key = world.product.public_key
    roles = {name: DelegatedRole(name, [key.keyid], threshold, terminating=True, paths=[f"{name.split('+')[0]}/*/*"]) for name in names}
    return Targets(expires=world.now, delegations=Delegations({key.keyid: key}, roles=roles))


@pytest.mark.parametrize(
    ("top", "below", "threshold", "said"),
    [
        (["a", "b"], {"a": ["a+archive"], "b": ["a+archive"]}, 1, "two parents"),
        (["a", "b"], {"a": ["b+archive"]}, 1, "no name"),
        (["a"], {"a": ["a+archive"], "a+archive": ["a+archive"]}, 1, "two parents"),
        (["a"], {"a": ["../x"]}, 1, "no name"),
        (["Ä"], {}, 1, "no name"),
        (["a+archive"], {}, 1, "no name"),
        (["a"], {}, 2, "asks for 2 signatures of the role a and names 1 keys"),
    ],
    ids=["diamond", "another product's", "a role above itself", "outside the alphabet", "no letter", "product with a plus", "threshold"],
)
def test_delegations_that_are_no_tree_are_refused(top: list[str], below: dict[str, list[str]], threshold: int, said: str) -> None:
    world = Repositories()
    with pytest.raises(MetadataError, match=said):
        require_tree(delegating(world, top, threshold), {name: delegating(world, names) for name, names in below.items()})


def test_two_names_of_one_key_do_not_meet_a_threshold_of_two() -> None:
    world = Repositories()
    key, role = world.product.public_key, DelegatedRole("a", ["ab" * 32, "cd" * 32], 2, terminating=True, paths=["a/*/*"])
    keys: dict[str, Key] = {keyid: SSlibKey(keyid, key.keytype, key.scheme, dict(key.keyval)) for keyid in role.keyids}
    with pytest.raises(MetadataError, match="asks for 2 signatures of the role a and names 1 keys"):
        require_tree(Targets(expires=world.now, delegations=Delegations(keys, roles={"a": role})), {})


@pytest.mark.parametrize("paths", [["b/*/*"], ["a/*/*", "*"], ["a"]])
def test_a_role_that_may_speak_for_another_product_is_refused(paths: list[str]) -> None:
    world = Repositories()
    key = world.product.public_key
    role = DelegatedRole("a", [key.keyid], 1, terminating=True, paths=paths)
    with pytest.raises(MetadataError, match="outside a/"):
        require_tree(Targets(expires=world.now, delegations=Delegations({key.keyid: key}, roles={"a": role})), {})


def test_more_bins_than_anybody_could_list_are_refused_before_they_are_named() -> None:
    world = Repositories()
    key = world.product.public_key
    bins = SuccinctRoles([key.keyid], 1, 32, "a+bin")
    below = Targets(expires=world.now, delegations=Delegations({key.keyid: key}, succinct_roles=bins))
    with pytest.raises(MetadataError, match=r"2\^32 bins"):
        require_tree(delegating(world, ["a"]), {"a": below})
