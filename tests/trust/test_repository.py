# SPDX-License-Identifier: Apache-2.0
"""The image repository as a server keeps it: what may be published over what, and what a device then finds."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from surefoot.model.errors import Error, MetadataError, MetadataRollbackError, SignatureError
from surefoot.model.manifest import Manifest, must_match
from surefoot.trust import offline
from surefoot.trust.metadata import Files, read, sign_with
from surefoot.trust.repository import listed, publish, refresh, require_signature, versions
from surefoot.trust.signer import generate
from surefoot.trust.verify import find_target
from surefoot.trust.verify import load as load_trusted
from surefoot.trust.verify import refresh as client_refresh
from tests.trust.repositories import NOW, PRODUCT, Repositories, add_product, create_product, listing, manifest, wire_names

ROLE = f"{PRODUCT}.json"
ONE, TWO = manifest("1.0.0", b"one"), manifest("1.1.0", b"two")
BLANK = Repositories()


@pytest.fixture
def world() -> Repositories:
    world = Repositories()
    world.release(ONE)
    return world


def signed(world: Repositories, change: Callable[[Targets], None], version: int = 3) -> bytes:
    """Return the product's role with another content, honestly signed."""
    metadata = Metadata[Targets].from_bytes(world.image[ROLE])
    metadata.signed.version = version
    change(metadata.signed)
    return sign_with(metadata, [world.product])


def finds(world: Repositories, path: str, now: datetime = NOW) -> bool:
    """Say whether a device that knows only the root finds an image."""
    files = wire_names(world.image)
    trusted = client_refresh(load_trusted(world.trusted_image()), files, now)
    return find_target(trusted, files, path, now)[1].path == path


def test_what_is_published_is_found_by_a_device(world: Repositories) -> None:
    assert versions(world.image) == {"root.json": 1, "targets.json": 1, ROLE: 2, "snapshot.json": 2, "timestamp.json": 2}
    assert finds(world, "thermostat/1.0.0/thermostat-v1-release")
    world.release(TWO)
    assert finds(world, "thermostat/1.1.0/thermostat-v1-release")


def test_publishing_the_same_again_changes_nothing(world: Repositories) -> None:
    assert publish(world.image, PRODUCT, world.image[ROLE], world.online, NOW) == {}


def test_the_files_that_change_are_returned_and_no_others(world: Repositories) -> None:
    role = listing(world.image[ROLE], [TWO], [world.product], NOW)
    assert set(publish(world.image, PRODUCT, role, world.online, NOW)) == {ROLE, "snapshot.json", "timestamp.json"}


def test_a_first_role_of_a_product_is_taken(world: Repositories) -> None:
    key = generate()
    targets = add_product(world.image["targets.json"], "fridge", key.public_key, world.targets)
    world.image |= publish(world.image, "targets", targets, world.online, NOW)
    role = listing(create_product(key, NOW), [manifest("1.0.0", b"cold", product="fridge")], [key], NOW)
    world.image |= publish(world.image, "fridge", role, world.online, NOW)
    assert finds(world, "fridge/1.0.0/thermostat-v1-release")


def drop(targets: Targets) -> None:
    targets.targets.clear()


def swap(targets: Targets) -> None:
    target = next(iter(targets.targets.values()))
    target.length += 1


def keep(_targets: Targets) -> None:
    pass


def expire(targets: Targets) -> None:
    targets.expires = NOW - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("change", "version", "refusal", "says"),
    [
        (drop, 3, MetadataError, "drops or changes thermostat/1.0.0/thermostat-v1-release"),
        (swap, 3, MetadataError, "drops or changes"),
        (keep, 1, MetadataRollbackError, "thermostat.json 1 is not newer than the published 2"),
        (expire, 2, MetadataError, "expired already"),
        (swap, 2, MetadataRollbackError, "2 is not newer"),
    ],
)
def test_a_role_that_takes_back_what_is_published_is_refused(
    world: Repositories, change: Callable[[Targets], None], version: int, refusal: type[Error], says: str
) -> None:
    with pytest.raises(refusal, match=says):
        publish(world.image, PRODUCT, signed(world, change, version), world.online, NOW)


def test_a_role_by_a_key_that_is_not_the_products_is_refused(world: Repositories) -> None:
    role = sign_with(Metadata[Targets].from_bytes(world.image[ROLE]), [generate()])
    with pytest.raises(SignatureError):
        publish(world.image, PRODUCT, role, world.online, NOW)


@pytest.mark.parametrize("product", ["fridge", "root", "snapshot", "timestamp"])
def test_a_product_that_nobody_delegated_is_refused(world: Repositories, product: str) -> None:
    with pytest.raises(SignatureError, match="surefoot trust add-product") as refused:
        publish(world.image, product, signed(world, keep), world.online, NOW)
    assert product in refused.value.message


def test_before_anything_is_delegated_nobody_may_release(world: Repositories) -> None:
    world.image["targets.json"] = sign_with(Metadata(Targets(expires=NOW)), world.targets)
    with pytest.raises(SignatureError, match="Nobody may release"):
        publish(world.image, PRODUCT, signed(world, keep), world.online, NOW)


# --- signatures of published manifests --------------------------------------------------------------------------------------


def top_of(files: Files) -> Targets:
    return read(files["targets.json"], Targets, name="targets.json").signed


def with_signature(wanted: Manifest, text: str) -> Manifest:
    return structs.replace(wanted, image=structs.replace(wanted.image, signature=text, url="https://server/x"))


def test_a_manifest_that_the_product_signed_is_let_through() -> None:
    require_signature(top_of(BLANK.image), with_signature(ONE, offline.sign_manifest(ONE, BLANK.product)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "base64:",
        "base64:AAAA",
        "base64:!",
        "base64:é",
        offline.sign_manifest(ONE, BLANK.product).removeprefix("base64:"),
        offline.sign_manifest(ONE, BLANK.product) + "AAAA",
        offline.sign_manifest(TWO, BLANK.product),
        offline.sign_manifest(ONE, generate()),
        offline.sign_manifest(structs.replace(ONE, build_id="other"), BLANK.product),
    ],
    ids=[
        "nothing",
        "empty",
        "three zeros",
        "no base64",
        "not ASCII",
        "without its prefix",
        "with more behind it",
        "of another manifest",
        "by a stranger",
        "of another build",
    ],
)
def test_a_manifest_that_it_did_not_sign_is_refused(text: str) -> None:
    with pytest.raises(SignatureError, match=r"thermostat 1\.0\.0 for thermostat-v1 release is not signed by the product's key"):
        require_signature(top_of(BLANK.image), with_signature(ONE, text))


def test_a_manifest_of_a_product_without_a_role_is_refused() -> None:
    foreign = manifest("1.0.0", b"cold", product="fridge")
    with pytest.raises(SignatureError):
        require_signature(top_of(BLANK.image), with_signature(foreign, offline.sign_manifest(foreign, BLANK.product)))
    bare = {**BLANK.image, "targets.json": sign_with(Metadata(Targets(expires=NOW)), BLANK.targets)}
    with pytest.raises(SignatureError):
        require_signature(top_of(bare), with_signature(ONE, offline.sign_manifest(ONE, BLANK.product)))


# --- keeping it fresh -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "changed"),
    [(0, set()), (11.9, set()), (12, {"timestamp.json"}), (83.9, {"timestamp.json"}), (84, {"timestamp.json", "snapshot.json"})],
)
def test_what_has_spent_half_its_life_is_signed_again(hours: float, changed: set[str]) -> None:
    assert set(refresh(BLANK.image, BLANK.online, NOW + timedelta(hours=hours))) == changed


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 20), st.booleans()), max_size=8))
def test_a_repository_that_is_refreshed_in_time_is_always_believed(steps: list[tuple[float, bool]]) -> None:
    world, now = Repositories(), NOW
    world.release(ONE)
    for number, (hours, is_release) in enumerate(steps):
        now += timedelta(hours=hours)
        if is_release:
            world.now = now
            world.release(manifest(f"2.0.{number}", b"more"))
        before = versions(world.image)
        world.image |= refresh(world.image, world.online, now)
        assert all(version >= before[name] for name, version in versions(world.image).items())
        assert finds(world, "thermostat/1.0.0/thermostat-v1-release", now)


def test_the_timestamp_names_the_snapshot_by_length_and_hash(world: Repositories) -> None:
    timestamp = read(world.image["timestamp.json"], Timestamp, name="timestamp.json").signed
    assert timestamp.snapshot_meta.length == len(world.image["snapshot.json"])
    timestamp.snapshot_meta.verify_length_and_hashes(world.image["snapshot.json"])
    snapshot = read(world.image["snapshot.json"], Snapshot, name="snapshot.json").signed
    assert {name: meta.version for name, meta in snapshot.meta.items()} == {"targets.json": 1, ROLE: 2}


# --- what a role lists ------------------------------------------------------------------------------------------------------


def test_a_role_says_what_it_lists(world: Repositories) -> None:
    (entry,) = listed(world.image[ROLE]).values()
    assert (entry.path, entry.size, entry.hash, entry.must_match) == (
        "thermostat/1.0.0/thermostat-v1-release",
        ONE.image.size,
        ONE.image.hash,
        must_match(ONE),
    )


def without_block(targets: Targets) -> None:
    next(iter(targets.targets.values())).unrecognized_fields.clear()


def with_strange_block(targets: Targets) -> None:
    next(iter(targets.targets.values())).unrecognized_fields["custom"] = {"must_match": {"product": 1}}


def with_text(targets: Targets) -> None:
    next(iter(targets.targets.values())).unrecognized_fields["custom"] = "text"


def without_sha256(targets: Targets) -> None:
    next(iter(targets.targets.values())).hashes = {"md5": "0" * 32}


def with_short_hash(targets: Targets) -> None:
    next(iter(targets.targets.values())).hashes = {"sha256": "00"}


@pytest.mark.parametrize("change", [without_block, with_strange_block, with_text, without_sha256, with_short_hash])
def test_an_entry_that_cannot_be_read_is_named(world: Repositories, change: Callable[[Targets], None]) -> None:
    with pytest.raises(MetadataError, match=r"thermostat/1\.0\.0/thermostat-v1-release: no readable must-match block"):
        listed(signed(world, change))
