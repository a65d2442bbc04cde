# SPDX-License-Identifier: Apache-2.0
import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from securesystemslib.signer import Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from surefoot.model.assignment import DeviceId
from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import (
    ExpiredError,
    MetadataError,
    MetadataRollbackError,
    MismatchError,
    NotInImageRepositoryError,
    SignatureError,
    TrustError,
    WrongDeviceError,
)
from surefoot.trust import offline
from surefoot.trust.director import Directed, refresh_view, sign_view
from surefoot.trust.metadata import Files, sign_with
from surefoot.trust.repository import initial, publish
from surefoot.trust.signer import generate
from surefoot.trust.verify import Verdict, load, search, verify
from tests.trust.repositories import DEVICE, NOW, PRODUCT, Repositories, manifest, order_for, view_files, wire_names

GOOD = manifest("1.1.0", b"good image" * 500)
OTHER = DeviceId("t-2")


@dataclass
class Device:
    """What a device has trusted so far; ``meets`` is one poll."""

    director: Files
    image: Files
    device_id: DeviceId = DEVICE

    def meets(self, director: Files, image: Files, now: datetime = NOW) -> Verdict:
        verdict = verify(
            director=self.director,
            image=self.image,
            fetched_director=director,
            fetched_image=image,
            device_id=self.device_id,
            now=now,
        )
        self.director, self.image = verdict.director, verdict.image
        return verdict


@dataclass
class World(Repositories):
    """Repositories that list and order the good release."""

    device: Device = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.release(GOOD)
        self.order(GOOD)
        self.device = Device(self.trusted_director(), self.trusted_image())

    def poll(self, now: datetime = NOW) -> Verdict:
        return self.device.meets(self.director_answer(), self.image_answer(), now)


@pytest.fixture
def world() -> World:
    return World()


def edited(data: bytes, signers: list[Signer], change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return metadata with another content, honestly signed by these keys."""
    plain = json.loads(data)
    change(plain["signed"])
    return sign_with(Metadata.from_dict(plain), signers)


def test_an_order_that_both_repositories_list_is_accepted(world: World) -> None:
    ordered = world.poll().ordered
    assert ordered is not None
    assert (ordered.hash, ordered.size, ordered.must_match.version) == (GOOD.image.hash, GOOD.image.size, "1.1.0")


def test_an_empty_view_orders_nothing_and_needs_no_image_repository(world: World) -> None:
    world.order(None)
    verdict = world.device.meets(world.director_answer(), {})
    assert verdict.ordered is None
    assert verdict.image == world.trusted_image()


def test_files_that_the_device_has_need_not_be_sent_again(world: World) -> None:
    world.poll()
    world.views[DEVICE] = refresh_view(world.views[DEVICE], None, world.director, NOW + timedelta(hours=13))
    verdict = world.device.meets({"timestamp.json": world.views[DEVICE].timestamp}, {}, NOW + timedelta(hours=13))
    assert verdict.ordered is not None
    assert verdict.issued_at == NOW + timedelta(hours=13)


def test_director_only_an_image_that_the_image_repository_does_not_list_is_refused(world: World) -> None:
    world.order(manifest("6.6.6", b"evil"))
    with pytest.raises(NotInImageRepositoryError):
        world.poll()


def test_director_only_without_any_image_metadata_is_refused(world: World) -> None:
    with pytest.raises(MetadataError):
        world.device.meets(world.director_answer(), {})


def test_image_only_without_the_director_nothing_is_ordered_and_the_answer_is_refused(world: World) -> None:
    with pytest.raises(MetadataError):
        world.device.meets({}, world.image_answer())


def test_a_release_that_is_listed_but_not_ordered_is_not_installed(world: World) -> None:
    world.order(None)
    assert world.poll().ordered is None


@pytest.mark.parametrize("names", [("timestamp",), ("timestamp", "snapshot"), ("timestamp", "snapshot", "targets")])
def test_another_devices_metadata_is_refused_its_timestamp_alone_too(world: World, names: tuple[str, ...]) -> None:
    world.order(GOOD, device=OTHER)
    foreign = {name: data for name, data in world.director_answer(OTHER).items() if any(part in name for part in names)}
    with pytest.raises(WrongDeviceError):
        world.device.meets({**world.director_answer(), **foreign}, world.image_answer())
    assert world.poll().ordered is not None, "the device must not be locked out afterwards"


def test_another_devices_empty_list_is_refused(world: World) -> None:
    world.order(None, device=OTHER)
    with pytest.raises(WrongDeviceError):
        world.device.meets(world.director_answer(OTHER), world.image_answer())


def test_another_devices_snapshot_under_ones_own_timestamp_is_refused(world: World) -> None:
    world.order(GOOD, device=OTHER)
    foreign = world.director_answer(OTHER)
    with pytest.raises(MetadataError):
        world.device.meets({**world.director_answer(), "1.snapshot.json": foreign["1.snapshot.json"]}, world.image_answer())


def test_an_order_for_another_device_inside_ones_own_view_is_refused(world: World) -> None:
    world.order(GOOD, order=order_for(OTHER, GOOD, 1, NOW))
    with pytest.raises(WrongDeviceError):
        world.poll()


@pytest.mark.parametrize(
    "change",
    [{"release_counter": 2}, {"target_hardware": ["thermostat-v1", "other"]}, {"min_bootloader_version": "0.0.0"}, {"revert_to": "none"}],
)
def test_a_must_match_block_that_the_director_changed_is_refused(world: World, change: Mapping[str, Any]) -> None:
    order = order_for(DEVICE, GOOD, 1, NOW)
    world.order(GOOD, order=structs.replace(order, must_match=structs.replace(order.must_match, **change)))
    with pytest.raises(MismatchError):
        world.poll()


def test_a_manifest_that_the_director_swapped_is_refused(world: World) -> None:
    evil = structs.replace(GOOD, metadata=structs.replace(GOOD.metadata, required=True))
    world.order(GOOD, order=order_for(DEVICE, evil, 1, NOW))
    with pytest.raises(MismatchError):
        world.poll()


@pytest.mark.parametrize("change", [{"size": GOOD.image.size + 1}, {"hash": "sha256:" + "0" * 64}])
def test_an_image_that_the_director_swapped_is_refused(world: World, change: Mapping[str, Any]) -> None:
    world.order(structs.replace(GOOD, image=structs.replace(GOOD.image, **change)), order=order_for(DEVICE, GOOD, 1, NOW))
    with pytest.raises(MismatchError):
        world.poll()


def test_a_genuine_image_under_another_path_is_refused(world: World) -> None:
    view = world.views[DEVICE]
    order = order_for(DEVICE, GOOD, 1, NOW)
    directed = Directed(path=f"{PRODUCT}/9.9.9/x-release", size=GOOD.image.size, hash=GOOD.image.hash, order=order)
    world.views[DEVICE] = sign_view(view, DEVICE, directed, world.director, NOW)
    with pytest.raises(NotInImageRepositoryError):
        world.poll()


def test_two_orders_at_once_are_refused(world: World) -> None:
    def twice(signed: dict[str, Any]) -> None:
        signed["targets"]["thermostat/1.1.0/again-release"] = copy.deepcopy(next(iter(signed["targets"].values())))

    view = world.views[DEVICE]
    world.views[DEVICE] = replace(view, targets=edited(view.targets, [world.director.targets], twice))
    with pytest.raises(MetadataError, match="2 images"):
        world.poll()


def test_a_director_that_delegates_is_refused(world: World) -> None:
    key = generate().public_key

    def delegate(signed: dict[str, Any]) -> None:
        role = {"name": "evil", "keyids": [key.keyid], "threshold": 1, "terminating": True, "paths": ["*"]}
        signed["delegations"] = {"keys": {key.keyid: key.to_dict()}, "roles": [role]}

    view = world.views[DEVICE]
    world.views[DEVICE] = replace(view, targets=edited(view.targets, [world.director.targets], delegate))
    with pytest.raises(MetadataError, match="delegates"):
        world.poll()


@pytest.mark.parametrize(
    ("later", "refusal"),
    [(timedelta(hours=24, seconds=-1), None), (timedelta(hours=24, seconds=1), ExpiredError), (timedelta(days=400), ExpiredError)],
)
def test_a_frozen_timestamp_expires(world: World, later: timedelta, refusal: type[TrustError] | None) -> None:
    if refusal is None:
        assert world.poll(NOW + later).ordered is not None
        return
    with pytest.raises(refusal):
        world.poll(NOW + later)


def test_an_older_timestamp_is_refused_after_a_newer_one(world: World) -> None:
    old = world.director_answer()
    world.order(None)
    world.poll()
    with pytest.raises(MetadataRollbackError):
        world.device.meets(old, world.image_answer())


def test_an_older_image_repository_is_refused_after_a_newer_one(world: World) -> None:
    old = world.image_answer()
    world.release(manifest("1.2.0", b"newer"))
    world.poll()
    world.order(GOOD, assignment=2)
    with pytest.raises(MetadataRollbackError):
        world.device.meets(world.director_answer(), old)


def test_files_of_two_publications_do_not_mix(world: World) -> None:
    before = world.image_answer()
    world.release(manifest("1.2.0", b"newer"))
    mixed = {**world.image_answer(), f"3.{PRODUCT}.json": before[f"2.{PRODUCT}.json"]}
    with pytest.raises(MetadataError):
        world.device.meets(world.director_answer(), mixed)


def test_one_timestamp_version_with_two_contents_is_refused(world: World) -> None:
    world.poll()
    view = world.views[DEVICE]
    other = edited(view.timestamp, [world.director.timestamp], lambda signed: signed.update(issued_at="2026-11-23T09:00:00Z"))
    with pytest.raises(MetadataError, match="twice"):
        world.device.meets({**world.director_answer(), "timestamp.json": other}, world.image_answer())


@pytest.mark.parametrize(
    ("issued_at", "is_believed"), [("2026-11-30T07:59:59Z", True), ("2026-11-30T08:00:00Z", False), ("2099-01-01T00:00:00Z", False)]
)
def test_an_online_key_cannot_lift_the_clock_past_what_the_director_signed_besides(
    world: World, issued_at: str, *, is_believed: bool
) -> None:
    def ahead(signed: dict[str, Any]) -> None:
        signed.update(issued_at=issued_at, expires="2099-01-02T00:00:00Z")

    world.order(None)
    lifted = edited(world.views[DEVICE].timestamp, [world.director.timestamp], ahead)
    answer = {**world.director_answer(), "timestamp.json": lifted}
    if is_believed:
        verdict = world.device.meets(answer, {})
        assert (verdict.issued_at, verdict.fresh_until) == (NOW + timedelta(days=7, seconds=-1), NOW + timedelta(days=7))
        return
    with pytest.raises(ExpiredError, match="before its timestamp"):
        world.device.meets(answer, {})


def test_what_the_image_repository_let_expire_before_the_director_spoke_is_refused_without_a_clock(world: World) -> None:
    old = world.image_answer()
    world.views[DEVICE] = refresh_view(world.views[DEVICE], None, world.director, NOW + timedelta(hours=25))
    with pytest.raises(ExpiredError):
        world.device.meets(world.director_answer(), old, NOW)


@pytest.mark.parametrize("issued_at", ["2026-11-25T00:00:00Z", "9999-12-31T23:59:59-23:00", "yesterday"])
def test_a_timestamp_that_was_issued_after_its_end_or_never_is_refused(world: World, issued_at: str) -> None:
    strange = edited(world.views[DEVICE].timestamp, [world.director.timestamp], lambda signed: signed.update(issued_at=issued_at))
    with pytest.raises(MetadataError):
        world.device.meets({**world.director_answer(), "timestamp.json": strange}, world.image_answer())


def test_a_product_key_cannot_speak_for_another_product(world: World) -> None:
    foreign = manifest("1.0.0", b"foreign", product="boiler")
    listing = {entry.path: entry.to_dict() for entry in offline.entries(foreign)}
    role = edited(world.image[f"{PRODUCT}.json"], [world.product], lambda signed: signed.update(targets=listing, version=9))
    with pytest.raises(MetadataError, match="does not belong"):
        publish(world.image, PRODUCT, role, world.online, NOW)
    world.image = initial(world.image["root.json"], world.image["targets.json"], {PRODUCT: role}, world.online, NOW)
    world.order(foreign)
    with pytest.raises(NotInImageRepositoryError):
        world.poll()


def test_a_role_signed_by_a_foreign_key_is_not_published_and_not_believed(world: World) -> None:
    stranger = generate()
    evil = edited(world.image[f"{PRODUCT}.json"], [stranger], lambda signed: signed.update(version=9))
    with pytest.raises(SignatureError):
        publish(world.image, PRODUCT, evil, world.online, NOW)


def next_root(world: World, signers: Sequence[Signer], change: Callable[[Root], None] = lambda _: None) -> bytes:
    metadata = Metadata[Root].from_bytes(world.image["root.json"])
    metadata.signed.version += 1
    change(metadata.signed)
    return sign_with(metadata, signers)


def test_a_root_rotation_signed_by_two_of_three_is_followed(world: World) -> None:
    world.poll()
    fresh = generate()

    def rotate(root: Root) -> None:
        root.revoke_key(world.image_roots[2].public_key.keyid, "root")
        root.add_key(fresh.public_key, "root")

    root = next_root(world, world.image_roots[:2], rotate)
    world.order(GOOD, assignment=2)
    verdict = world.device.meets(world.director_answer(), {**world.image_answer(), "2.root.json": root})
    assert verdict.image["root.json"] == root


@pytest.mark.parametrize("signers", [slice(0, 1), slice(0, 0)])
def test_a_root_signed_by_too_few_is_refused(world: World, signers: slice) -> None:
    root = next_root(world, world.image_roots[signers])
    with pytest.raises(SignatureError):
        world.device.meets(world.director_answer(), {**world.image_answer(), "2.root.json": root})


def hand_over(world: World, strangers: Sequence[Signer]) -> Callable[[Root], None]:
    """Return the change that gives the root to others."""

    def change(root: Root) -> None:
        for signer in world.image_roots:
            root.revoke_key(signer.public_key.keyid, "root")
        for stranger in strangers:
            root.add_key(stranger.public_key, "root")

    return change


def test_a_root_signed_by_only_the_new_keys_is_refused(world: World) -> None:
    strangers = [generate() for _ in range(3)]
    root = next_root(world, strangers, hand_over(world, strangers))
    with pytest.raises(SignatureError):
        world.device.meets(world.director_answer(), {**world.image_answer(), "2.root.json": root})


def test_a_root_signed_by_only_the_old_keys_of_a_rotation_is_refused(world: World) -> None:
    root = next_root(world, world.image_roots, hand_over(world, [generate() for _ in range(3)]))
    with pytest.raises(SignatureError):
        world.device.meets(world.director_answer(), {**world.image_answer(), "2.root.json": root})


def test_a_root_that_skips_a_version_is_refused(world: World) -> None:
    def skip(root: Root) -> None:
        root.version = 3

    with pytest.raises(MetadataRollbackError):
        world.device.meets(world.director_answer(), {**world.image_answer(), "2.root.json": next_root(world, world.image_roots, skip)})


def test_an_expired_root_stops_everything(world: World) -> None:
    def expire(root: Root) -> None:
        root.expires = NOW - timedelta(seconds=1)

    root = next_root(world, world.image_roots, expire)
    with pytest.raises(ExpiredError):
        world.device.meets(world.director_answer(), {**world.image_answer(), "2.root.json": root})


def test_rotating_the_online_key_ends_a_fast_forward(world: World) -> None:
    world.poll()
    jumped = edited(world.image["timestamp.json"], [world.online.timestamp], lambda signed: signed.update(version=2**31 - 1))
    world.order(GOOD, assignment=2)
    world.device.meets(world.director_answer(), {**world.image_answer(), "timestamp.json": jumped})
    fresh = generate()

    def rotate(root: Root) -> None:
        root.revoke_key(world.online.timestamp.public_key.keyid, "timestamp")
        root.add_key(fresh.public_key, "timestamp")

    root = next_root(world, world.image_roots, rotate)
    honest = edited(world.image["timestamp.json"], [fresh], lambda signed: signed.update(version=5))
    world.order(GOOD, assignment=3)
    verdict = world.device.meets(world.director_answer(), {**world.image_answer(), "2.root.json": root, "timestamp.json": honest})
    assert verdict.ordered is not None


def test_a_snapshot_that_forgets_a_file_is_refused(world: World) -> None:
    world.release(manifest("1.2.0", b"newer"))
    world.poll()
    world.release(manifest("1.3.0", b"newest"))
    snapshot = edited(world.image["snapshot.json"], [world.online.snapshot], lambda signed: signed["meta"].pop(f"{PRODUCT}.json"))

    def point(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        signed["meta"]["snapshot.json"] |= {"length": len(snapshot), "hashes": {"sha256": hex_of(digest_of(snapshot))}}

    timestamp = edited(world.image["timestamp.json"], [world.online.timestamp], point)
    world.order(GOOD, assignment=2)
    with pytest.raises(MetadataRollbackError, match="no longer lists"):
        world.device.meets(world.director_answer(), {**world.image_answer(), "timestamp.json": timestamp, f"{4}.snapshot.json": snapshot})


def test_without_a_root_nothing_is_believed(world: World) -> None:
    world.device.director = {}
    with pytest.raises(MetadataError, match="Enrol"):
        world.poll()


@pytest.mark.parametrize(
    "tricked",
    [
        lambda data: data.replace(b'"version":1', b'"version":1,"version":1', 1),
        lambda data: data.replace(b'"version":1', b'"version":1.0', 1),
        lambda data: data.replace(b'"version":1', b'"version":NaN', 1),
        lambda data: data + b"{}",
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data[:-1],
        lambda _: b"[" * 10_000,
        lambda _: b"",
        lambda data: data.ljust(20_000),
    ],
)
def test_json_tricks_are_refused(world: World, tricked: Callable[[bytes], bytes]) -> None:
    answer = world.director_answer()
    answer["timestamp.json"] = tricked(answer["timestamp.json"])
    with pytest.raises(TrustError):
        world.device.meets(answer, world.image_answer())


def test_an_order_with_a_field_that_this_agent_does_not_know_is_refused(world: World) -> None:
    view = world.views[DEVICE]
    targets = edited(view.targets, [world.director.targets], lambda s: next(iter(s["targets"].values()))["custom"].update(surprise=1))
    with pytest.raises(MetadataError):
        world.device.meets({**view_files(view), "1.targets.json": targets}, world.image_answer())


@pytest.mark.parametrize("field", ["issued_at", "start_before", "consent_until"])
def test_an_order_with_a_time_that_is_none_is_refused(world: World, field: str) -> None:
    view = world.views[DEVICE]
    targets = edited(view.targets, [world.director.targets], lambda s: next(iter(s["targets"].values()))["custom"].update({field: "soon"}))
    with pytest.raises(MetadataError, match="'soon' is not an RFC 3339 time"):
        world.device.meets({**view_files(view), "1.targets.json": targets}, world.image_answer())


@pytest.mark.parametrize("hashes", [{"sha256": "0" * 64, "sha512": "0" * 128}, {"md5": "0" * 32}, {"sha256": " " + "0" * 63}])
def test_strange_hashes_are_refused_even_when_both_say_them(world: World, hashes: dict[str, str]) -> None:
    def strange(signed: dict[str, Any]) -> None:
        next(iter(signed["targets"].values()))["hashes"] = hashes

    role = edited(world.image[f"{PRODUCT}.json"], [world.product], strange)
    view = world.views[DEVICE]
    snapshot = {**world.image, f"{PRODUCT}.json": role}
    snapshot = resnapshot(world, snapshot)
    targets = edited(view.targets, [world.director.targets], strange)
    with pytest.raises(MetadataError):
        world.device.meets({**view_files(view), "1.targets.json": targets}, wire_names(snapshot))


def resnapshot(world: World, files: Files) -> dict[str, bytes]:
    """Return snapshot and timestamp that honestly name whatever these files are."""
    roles = {PRODUCT: files[f"{PRODUCT}.json"]}
    return initial(files["root.json"], files["targets.json"], roles, world.online, NOW)


def all_files(world: Repositories) -> list[tuple[str, str]]:
    return [("director", name) for name in world.director_answer()] + [
        ("image", name) for name in world.image_answer() if "root" not in name
    ]


SHARED = World()
SHARED_FILES = all_files(SHARED)


@settings(max_examples=300, deadline=None)
@given(file=st.sampled_from(SHARED_FILES), where=st.floats(min_value=0, max_value=1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_in_any_signed_file_is_ever_accepted(file: tuple[str, str], where: float, bit: int) -> None:
    repository, name = file
    answers = {"director": SHARED.director_answer(), "image": SHARED.image_answer()}
    data = bytearray(answers[repository][name])
    data[int(where * len(data))] ^= 1 << bit
    answers[repository][name] = bytes(data)
    device = Device(SHARED.trusted_director(), SHARED.trusted_image())
    with pytest.raises(TrustError):
        device.meets(answers["director"], answers["image"])
    assert device.director == SHARED.trusted_director()


def honest_timestamp(world: World, snapshot: bytes, version: int) -> bytes:
    """Return the director's timestamp over whatever this snapshot is."""
    meta = {"version": version, "length": len(snapshot), "hashes": {"sha256": hex_of(digest_of(snapshot))}}
    return edited(world.views[DEVICE].timestamp, [world.director.timestamp], lambda s: s["meta"].update({"snapshot.json": meta}))


def test_a_snapshot_of_another_version_than_the_timestamp_says_is_refused(world: World) -> None:
    view = world.views[DEVICE]
    answer = {**world.director_answer(), "timestamp.json": honest_timestamp(world, view.snapshot, 2), "2.snapshot.json": view.snapshot}
    with pytest.raises(MetadataError, match=r"has version 1; timestamp\.json says 2"):
        world.device.meets(answer, world.image_answer())


def test_a_snapshot_that_lists_no_targets_is_refused(world: World) -> None:
    snapshot = edited(world.views[DEVICE].snapshot, [world.director.snapshot], lambda s: s.update(meta={"other.json": {"version": 1}}))
    answer = {**world.director_answer(), "timestamp.json": honest_timestamp(world, snapshot, 1), "1.snapshot.json": snapshot}
    with pytest.raises(MetadataError, match=r"does not list targets\.json"):
        world.device.meets(answer, world.image_answer())


def test_targets_of_another_version_than_the_snapshot_says_are_refused(world: World) -> None:
    snapshot = edited(world.views[DEVICE].snapshot, [world.director.snapshot], lambda s: s["meta"]["targets.json"].update(version=2))
    answer = {**world.director_answer(), "timestamp.json": honest_timestamp(world, snapshot, 1), "1.snapshot.json": snapshot}
    answer["2.targets.json"] = world.views[DEVICE].targets
    with pytest.raises(MetadataError, match=r"targets\.json has version 1; snapshot\.json says 2"):
        world.device.meets(answer, world.image_answer())


@pytest.mark.parametrize("change", [lambda s: s.pop("issued_at"), lambda s: s.update(issued_at=1), lambda s: s.update(issued_at="soon")])
def test_a_timestamp_that_does_not_say_when_it_was_made_is_refused(world: World, change: Callable[[dict[str, Any]], None]) -> None:
    timestamp = edited(world.views[DEVICE].timestamp, [world.director.timestamp], change)
    with pytest.raises(MetadataError, match="when it was issued"):
        world.device.meets({**world.director_answer(), "timestamp.json": timestamp}, world.image_answer())


def only_target(signed: dict[str, Any]) -> dict[str, Any]:
    target: dict[str, Any] = next(iter(signed["targets"].values()))
    return target


def both_say(world: World, change: Callable[[dict[str, Any]], None]) -> tuple[Files, Files]:
    """Return the answers of two repositories that honestly sign the same nonsense."""
    role = edited(world.image[f"{PRODUCT}.json"], [world.product], change)
    targets = edited(world.views[DEVICE].targets, [world.director.targets], change)
    image = wire_names(resnapshot(world, {**world.image, f"{PRODUCT}.json": role}))
    return {**world.director_answer(), "1.targets.json": targets}, image


@pytest.mark.parametrize("custom", [None, {}, [], {"must_match": None}])
def test_an_image_without_a_must_match_block_is_refused_even_when_both_list_it(world: World, custom: object) -> None:
    with pytest.raises(MetadataError):
        world.device.meets(*both_say(world, lambda s: only_target(s).update(custom=custom)))


@pytest.mark.parametrize("name", ["issued_at", "start_before"])
def test_an_order_whose_times_cannot_be_read_is_refused(world: World, name: str) -> None:
    targets = edited(world.views[DEVICE].targets, [world.director.targets], lambda s: only_target(s)["custom"].update({name: "soon"}))
    with pytest.raises(MetadataError, match="'soon' is not an RFC 3339 time"):
        world.device.meets({**world.director_answer(), "1.targets.json": targets}, world.image_answer())


def test_a_path_that_its_block_does_not_give_is_refused_even_when_both_list_it(world: World) -> None:
    def move(signed: dict[str, Any]) -> None:
        signed["targets"] = {f"{PRODUCT}/9.9.9/thermostat-v1-release": only_target(signed)}

    with pytest.raises(MismatchError, match=r"thermostat/9\.9\.9/thermostat-v1-release is not one that its must-match block gives"):
        world.device.meets(*both_say(world, move))


@dataclass
class Roles:
    """Targets roles that delegate to one another as a test draws them, with one key for all of them but the top."""

    world: World
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, *children: str, terminating: bool = False, lists: bool = False) -> None:
        """Add the role ``name``, which delegates every path to ``children``, and may list the good release itself."""
        key = self.world.product.public_key
        listed = Metadata[Targets].from_bytes(self.world.image[f"{PRODUCT}.json"]).signed.targets if lists else {}
        roles = [
            {"name": child, "keyids": [key.keyid], "threshold": 1, "terminating": terminating, "paths": ["*/*/*"]} for child in children
        ]

        def delegate(signed: dict[str, Any]) -> None:
            signed["delegations"] = {"keys": {key.keyid: key.to_dict()}, "roles": roles}

        signers = self.world.targets if name == "targets" else [self.world.product]
        plain = sign_with(Metadata(Targets(expires=NOW + timedelta(days=1), targets=dict(listed))), signers)
        self.files[f"{name}.json"] = edited(plain, signers, delegate) if children else plain

    def answer(self) -> Files:
        files = initial(
            self.world.image["root.json"],
            self.files["targets.json"],
            {name.removesuffix(".json"): data for name, data in self.files.items() if name != "targets.json"},
            self.world.online,
            NOW,
        )
        return wire_names(files)


def test_the_first_role_in_preorder_that_lists_the_image_speaks_for_it(world: World) -> None:
    roles = Roles(world)
    roles.add("targets", "one", "two")
    roles.add("one", "deeper")
    roles.add("deeper")
    roles.add("two", lists=True)
    assert world.device.meets(world.director_answer(), roles.answer()).ordered is not None


def test_a_terminating_role_that_does_not_list_the_image_ends_the_search(world: World) -> None:
    roles = Roles(world)
    roles.add("targets", "one", "two", terminating=True)
    roles.add("one")
    roles.add("two", lists=True)
    with pytest.raises(NotInImageRepositoryError):
        world.device.meets(world.director_answer(), roles.answer())


class Once(Delegations):
    """Delegations that may be asked once."""

    was_asked = False

    def get_roles_for_target(self, target_filepath: str) -> Iterator[tuple[str, bool]]:
        assert not self.was_asked
        self.was_asked = True
        return super().get_roles_for_target(target_filepath)


def test_roles_that_delegate_in_a_circle_are_each_asked_once(world: World) -> None:
    circle = {"targets": ("one", "two"), "one": ("two", "one"), "two": ("one", "two")}
    drawn = {
        name: Targets(delegations=Once({}, {child: DelegatedRole(child, [], 1, terminating=False, paths=["*"]) for child in children}))
        for name, children in circle.items()
    }
    trusted = replace(load(world.image), targets=drawn)
    with pytest.raises(NotInImageRepositoryError):
        search(trusted, "path", lambda *_: trusted)
    roles = Roles(world)
    roles.add("targets", "one", "two")
    roles.add("one", "two", "one")
    roles.add("two", "one", "two")
    with pytest.raises(NotInImageRepositoryError):
        world.device.meets(world.director_answer(), roles.answer())


@pytest.mark.parametrize(("depth", "is_found"), [(30, True), (31, True), (32, False), (60, False)])
def test_delegations_are_followed_only_so_far(world: World, depth: int, *, is_found: bool) -> None:
    roles = Roles(world)
    names = ["targets", *(f"r{number}" for number in range(depth))]
    for name, child in pairwise(names):
        roles.add(name, child)
    roles.add(names[-1], lists=True)
    if is_found:
        assert world.device.meets(world.director_answer(), roles.answer()).ordered is not None
        return
    with pytest.raises(NotInImageRepositoryError):
        world.device.meets(world.director_answer(), roles.answer())


def test_roots_are_followed_only_so_far_in_one_round_and_further_in_the_next(world: World) -> None:
    chain: dict[str, bytes] = {}
    for version in range(2, 261):
        metadata = Metadata[Root].from_bytes(world.image["root.json"])
        metadata.signed.version = version
        chain[f"{version}.root.json"] = sign_with(metadata, world.image_roots[:2])
    answer = {**world.image_answer(), **chain}
    world.device.meets(world.director_answer(), answer)
    assert Metadata[Root].from_bytes(world.device.image["root.json"]).signed.version == 257
    world.device.meets(world.director_answer(), answer)
    assert Metadata[Root].from_bytes(world.device.image["root.json"]).signed.version == 260


def test_a_targets_threshold_of_two_needs_two_people(world: World) -> None:
    metadata = Metadata[Targets].from_bytes(world.image["targets.json"])
    metadata.signed.version += 1
    with pytest.raises(SignatureError):
        publish(world.image, "targets", sign_with(metadata, world.targets[:1]), world.online, NOW)
    assert "targets.json" in publish(world.image, "targets", sign_with(metadata, world.targets), world.online, NOW)
