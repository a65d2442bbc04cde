# SPDX-License-Identifier: Apache-2.0
"""Attacks D17, D19, D21, D22 and D24 on the device: metadata that is signed, and still not to be believed."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Targets

from surefoot.agent.posix import PosixStorage
from surefoot.agent.trusted import TrustedStore
from surefoot.model.errors import ConflictError, DeviceError
from surefoot.model.wire import PollAnswer
from surefoot.trust.changes import add_delegation
from surefoot.trust.director import View
from surefoot.trust.metadata import expiry, sign_with
from surefoot.trust.repository import initial
from surefoot.trust.signer import generate
from tests.attacks.stage import Release, Stage
from tests.trust.repositories import DEVICE, PRODUCT, create_product, listing, wire_names

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def crafted(data: bytes, signers: Sequence[Signer], change: Change) -> bytes:
    """Return metadata with any content at all, honestly signed over its canonical form: what no library would write."""
    plain = json.loads(data)
    change(plain["signed"])
    payload = str(encode_canonical(plain["signed"])).encode()
    plain["signatures"] = [signer.sign(payload).to_dict() for signer in signers]
    return json.dumps(plain).encode()


def ordered(stage: Stage) -> tuple[Release, View]:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    return wanted, stage.repositories.views[DEVICE]


def with_timestamp(stage: Stage, timestamp: Callable[[bytes], bytes]) -> PollAnswer:
    _, view = ordered(stage)
    return stage.answer(director={"timestamp.json": timestamp(view.timestamp)})


# --- D17: thresholds and lists of signatures that ask for nothing ---------------------------------------------------------


@pytest.mark.parametrize("role", ["root", "timestamp"])
@pytest.mark.parametrize("threshold", [0, -1, "2", True, None, [2], 2**53])
def test_d17_a_threshold_that_is_no_number_of_people_is_refused(stage: Stage, role: str, threshold: object) -> None:
    def weaken(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        signed["roles"][role]["threshold"] = threshold

    root = crafted(stage.repositories.director_root, stage.repositories.director_roots, weaken)
    ordered(stage)
    stage.refused(stage.answer(director={"2.root.json": root}), "bad_metadata")


@pytest.mark.parametrize("keyids", [[], "84bf", [1], [[1]]])
def test_d17_a_role_that_nobody_can_sign_is_signed_by_nobody(stage: Stage, keyids: object) -> None:
    def empty(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        signed["roles"]["timestamp"]["keyids"] = keyids

    root = crafted(stage.repositories.director_root, stage.repositories.director_roots, empty)
    ordered(stage)
    stage.refused(stage.answer(director={"2.root.json": root}), "bad_metadata" if keyids == [[1]] else "bad_signature")


def test_d17_a_threshold_above_the_number_of_keys_is_never_met(stage: Stage) -> None:
    def raise_it(signed: dict[str, Any]) -> None:
        signed["version"] = 2
        signed["roles"]["timestamp"]["threshold"] = 2

    root = crafted(stage.repositories.director_root, stage.repositories.director_roots, raise_it)
    ordered(stage)
    stage.refused(stage.answer(director={"2.root.json": root}), "bad_signature")


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
@pytest.mark.parametrize("repository", ["director", "image"])
def test_d17_a_file_without_any_signature_is_refused(stage: Stage, repository: str, name: str) -> None:
    ordered(stage)
    answer = stage.answer()
    files = dict(getattr(answer.metadata, repository))
    wire_name = next(known for known in files if known.endswith(name) and "root" not in known)
    plain = json.loads(files[wire_name])
    stripped = {wire_name: json.dumps({**plain, "signatures": []}).encode()}
    # A snapshot is named by its hash, so that one without signatures is another file already.
    code = "bad_metadata" if name == "snapshot.json" else "bad_signature"
    stage.refused(stage.answer(**{repository: stripped}), code)


# --- D19: one role, two parents -------------------------------------------------------------------------------------------


def diamond(stage: Stage, wanted: Release, *, by_left: Signer, by_right: Signer, leaf: Signer, left_paths: list[str]) -> PollAnswer:
    """Return an answer in which ``left`` and ``right`` both delegate ``leaf``, each to a key of its own."""
    repositories = stage.repositories
    keys = {name: generate() for name in ("left", "right")}
    now = repositories.now

    def parent(name: str, to: Signer, paths: list[str]) -> bytes:
        targets = Targets(expires=expiry("targets", now), delegations=Delegations({}, roles={}))
        delegate(targets, "leaf", to, paths)
        return sign_with(Metadata(targets), [keys[name]])

    top = Targets(expires=expiry("targets", now), delegations=Delegations({}, roles={}))
    for name, signer in keys.items():
        delegate(top, name, signer, [f"{PRODUCT}/*/*"])
    roles = {
        "left": parent("left", by_left, left_paths),
        "right": parent("right", by_right, [f"{PRODUCT}/*/*"]),
        "leaf": listing(create_product(leaf, now), [wanted.manifest], [leaf], now),
    }
    files = initial(repositories.image["root.json"], sign_with(Metadata(top), repositories.targets), roles, repositories.online, now)
    return stage.answer(image=wire_names(files))


def delegate(targets: Targets, role: str, to: Signer, paths: list[str]) -> None:
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles[role] = DelegatedRole(role, [], 1, terminating=False, paths=paths)
    targets.add_key(to.public_key, role)


@pytest.mark.parametrize("left_paths", [["another/*/*"], [f"{PRODUCT}/*/*"]])
def test_d19_a_role_is_believed_by_the_key_of_the_parent_that_was_asked(stage: Stage, left_paths: list[str]) -> None:
    wanted, left, right = stage.release("1.1.0", publish=False), generate(), generate()
    stage.order(wanted)
    asked, other = (right, left) if left_paths == ["another/*/*"] else (left, right)
    mixed = diamond(stage, wanted, by_left=left, by_right=right, leaf=other, left_paths=left_paths)
    stage.refused(mixed, "bad_signature", recovers=False)
    assert stage.board.released is not None
    stage.board.released = {*stage.board.released, wanted.hash}
    stage.says(diamond(stage, wanted, by_left=left, by_right=right, leaf=asked, left_paths=left_paths))
    stage.run(lambda runner: runner.running.found == wanted.hash)


def test_d19_who_releases_gives_a_role_no_second_parent(stage: Stage) -> None:
    repositories = stage.repositories
    with pytest.raises(ConflictError, match="has a role already"):
        add_delegation(repositories.image["targets.json"], PRODUCT, [generate().public_key], 1, repositories.now)


# --- D21: strange hashes and signatures -----------------------------------------------------------------------------------

HASHES: dict[str, Callable[[str, bytes], dict[str, Any]]] = {
    "leading blank": lambda good, _: {"sha256": f" {good}"},
    "upper case": lambda good, _: {"sha256": good.upper()},
    "63 digits": lambda good, _: {"sha256": good[:-1]},
    "65 digits": lambda good, _: {"sha256": f"{good}0"},
    "no digits": lambda *_: {"sha256": ""},
    "0x": lambda good, _: {"sha256": f"0x{good}"},
    "md5 alone": lambda _, data: {"md5": hashlib.md5(data, usedforsecurity=False).hexdigest()},
    "sha1 alone": lambda _, data: {"sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()},
    "md5 beside": lambda good, data: {"sha256": good, "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()},
    "unknown beside": lambda good, _: {"sha256": good, "rot13": "00"},
    "of any length": lambda good, _: {"sha256": good, "shake_128": ""},
    "none at all": lambda *_: {},
    "a number": lambda *_: {"sha256": 7},
}


@pytest.mark.parametrize("strange", HASHES.values(), ids=HASHES)
def test_d21_a_snapshot_named_by_a_strange_hash_is_refused(stage: Stage, strange: Callable[[str, bytes], dict[str, Any]]) -> None:
    _, view = ordered(stage)

    def rename(signed: dict[str, Any]) -> None:
        named = signed["meta"]["snapshot.json"]
        named["hashes"] = strange(named["hashes"]["sha256"], view.snapshot)

    timestamp = crafted(view.timestamp, [stage.repositories.director.timestamp], rename)
    stage.refused(stage.answer(director={"timestamp.json": timestamp}), "bad_metadata")


@pytest.mark.parametrize("strange", HASHES.values(), ids=HASHES)
def test_d21_an_image_of_a_strange_hash_is_refused_though_both_say_it(
    stage: Stage, strange: Callable[[str, bytes], dict[str, Any]]
) -> None:
    wanted, _ = ordered(stage)

    def rename(signed: dict[str, Any]) -> None:
        for entry in signed["targets"].values():
            entry["hashes"] = strange(entry["hashes"]["sha256"], wanted.content)

    stage.refused(both_say(stage, rename), "bad_metadata")


def both_say(stage: Stage, change: Change) -> PollAnswer:
    """Return an answer in which director and product role were changed alike, and all that names them follows."""
    repositories, view = stage.repositories, stage.repositories.views[DEVICE]
    targets = crafted(view.targets, [repositories.director.targets], change)
    role = crafted(repositories.image[f"{PRODUCT}.json"], [repositories.product], change)
    version = json.loads(role)["signed"]["version"]
    return stage.answer(director={f"{view.targets_version}.targets.json": targets}, image={f"{version}.{PRODUCT}.json": role})


SIGNATURES: dict[str, Change] = {
    "upper case": lambda one: one.update(sig=one["sig"].upper()),
    "leading blank": lambda one: one.update(sig=" " + one["sig"]),
    "odd length": lambda one: one.update(sig=one["sig"][:-1]),
    "a number": lambda one: one.update(sig=7),
    "another field": lambda one: one.update(method="none"),
    "key id in upper case": lambda one: one.update(keyid="F" + one["keyid"][1:]),
    "key id with a blank": lambda one: one.update(keyid=one["keyid"] + " "),
    "key id that climbs": lambda one: one.update(keyid="../../root"),
    "no key id": lambda one: one.pop("keyid"),
}


@pytest.mark.parametrize("spoil", SIGNATURES.values(), ids=SIGNATURES)
def test_d21_a_signature_in_strange_spelling_is_refused(stage: Stage, spoil: Change) -> None:
    def spoiled(data: bytes) -> bytes:
        plain = json.loads(data)
        spoil(plain["signatures"][0])
        return json.dumps(plain).encode()

    stage.refused(with_timestamp(stage, spoiled), "bad_metadata")


def test_d21_an_empty_signature_signs_nothing(stage: Stage) -> None:
    def emptied(data: bytes) -> bytes:
        plain = json.loads(data)
        plain["signatures"][0]["sig"] = ""
        return json.dumps(plain).encode()

    stage.refused(with_timestamp(stage, emptied), "bad_signature")


# --- D22: names that lead elsewhere ---------------------------------------------------------------------------------------

NAMES = [
    "../x",
    "/etc/passwd",
    "a/../../x",
    "a\0b",
    "CON",
    "a" * 300,
    "r\u0435lease",
    "\uff52elease",
    "..",
    ".",
    "",
    " ",
    "a\\b",
    "a\nb",
    "%2e%2e",
]


@pytest.mark.parametrize("name", NAMES)
def test_d22_an_image_under_a_strange_path_is_refused_though_both_list_it(stage: Stage, name: str) -> None:
    ordered(stage)
    stage.refused(both_say(stage, lambda signed: renamed(signed, name)), "not_in_image_repo")


@pytest.mark.parametrize("name", NAMES)
def test_d22_an_image_of_a_strange_variant_is_refused_though_both_list_it(stage: Stage, name: str) -> None:
    ordered(stage)
    # With a slash in it, the path is none that the product's role may speak for.
    code = "not_in_image_repo" if "/" in name else "repositories_disagree"
    stage.refused(both_say(stage, lambda signed: renamed(signed, f"{PRODUCT}/1.1.0/thermostat-v1-{name}")), code)


def renamed(signed: dict[str, Any], path: str) -> None:
    (entry,) = signed["targets"].values()
    signed["targets"] = {path: entry}


@pytest.mark.parametrize("field", ["product", "version", "target_hardware"])
@pytest.mark.parametrize("name", ["../x", "a\0b", "CON", "a" * 300, "\uff52elease", ""])
def test_d22_a_block_with_a_strange_name_is_refused_though_both_sign_it(stage: Stage, field: str, name: str) -> None:
    ordered(stage)

    def spoil(signed: dict[str, Any]) -> None:
        for entry in signed["targets"].values():
            entry["custom"]["must_match"][field] = [name] if field == "target_hardware" else name

    stage.refused(both_say(stage, spoil), "bad_metadata")


@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_d22_no_name_of_a_role_becomes_a_name_on_the_device(stage: Stage, name: str) -> None:
    wanted, key, repositories = stage.release("1.1.0", publish=False), generate(), stage.repositories
    stage.order(wanted)
    top = Targets(expires=expiry("targets", repositories.now), delegations=Delegations({}, roles={}))
    delegate(top, name, key, [f"{PRODUCT}/*/*"])
    role = listing(create_product(key, repositories.now), [wanted.manifest], [key], repositories.now)
    signed = sign_with(Metadata(top), repositories.targets)
    files = initial(repositories.image["root.json"], signed, {name: role}, repositories.online, repositories.now)
    stage.board.released = {wanted.hash, stage.footing().found}
    stage.says(stage.answer(image=wire_names(files)))
    stage.run(lambda runner: runner.running.found == wanted.hash)
    assert set(stage.board.flash._names) == ON_FLASH


@pytest.mark.parametrize("link", ["data/trusted/director.json", "data/trusted", "data/trusted/director.json.new"])
def test_d22_a_link_where_trusted_files_lie_is_not_followed(tmp_path: Path, link: str) -> None:
    (tmp_path / "device/data/trusted").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    victim = tmp_path / "elsewhere/director.json"
    victim.write_bytes(b'{"root.json":"evil"}')
    path = tmp_path / "device" / link
    if path.is_dir():
        path.rmdir()
    path.symlink_to(victim.parent if link == "data/trusted" else victim)
    store = TrustedStore(PosixStorage(tmp_path / "device"), "data/trusted")
    with pytest.raises(DeviceError, match="symbolic link"):
        store.save("director", {"root.json": b"good"})
    assert victim.read_bytes() == b'{"root.json":"evil"}'
    if not link.endswith(".new"):
        with pytest.raises(DeviceError, match="symbolic link"):
            store.load("director")


ON_FLASH = {
    "boot.json",
    "data/journal",
    "data/kept.json",
    "data/trusted/director.json",
    "data/trusted/image.json",
    "slots/a.img",
    "slots/b.img",
}


# --- D24: JSON that two readers read in two ways --------------------------------------------------------------------------

TRICKS: dict[str, Callable[[bytes], bytes]] = {
    "a key twice": lambda data: data.replace(b'"version":2', b'"version":2,"version":2', 1),
    "an escaped key twice": lambda data: data.replace(b'"version":2', b'"version":2,"versio\\u006e":1', 1),
    "signed twice": lambda data: data[:-1] + b',"signed":{}}',
    "1e0": lambda data: data.replace(b'"version":2', b'"version":2e0', 1),
    "1.0": lambda data: data.replace(b'"version":2', b'"version":2.0', 1),
    "1e3": lambda data: data.replace(b'"version":2', b'"version":2e3', 1),
    "NaN": lambda data: data.replace(b'"version":2', b'"version":NaN', 1),
    "Infinity": lambda data: data.replace(b'"version":2', b'"version":Infinity', 1),
    "5000 digits": lambda data: data.replace(b'"version":2', b'"version":' + b"1" * 5000, 1),
    "BOM": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "bytes that are no text": lambda data: data[:-1] + b',"x":"\xff"}',
    "trailing object": lambda data: data + b"{}",
    "trailing zero": lambda data: data + b"\0",
    "cut": lambda data: data[:-1],
    "nothing": lambda _: b"",
    "a list": lambda data: b"[" + data + b"]",
    "deep": lambda data: data[:-1] + b',"x":' + b"[" * 7000 + b"]" * 7000 + b"}",
    "not so deep": lambda data: data[:-1] + b',"x":' + b"[" * 300 + b"]" * 300 + b"}",
    "deep beside a signature": lambda data: data.replace(b'"sig":', b'"x":[[[[[[[[]]]]]]]],"sig":', 1),
    "a lone surrogate outside": lambda data: data[:-1] + b',"x":"\\ud800"}',
    "a lone surrogate inside": lambda data: data.replace(b'"_type"', b'"x":"\\ud800","_type"', 1),
    "a time in small letters": lambda data: data.replace(b"T08:00:00Z", b"t08:00:00z"),
}


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
def test_d24_a_file_that_can_be_read_in_two_ways_is_refused(stage: Stage, trick: Callable[[bytes], bytes]) -> None:
    def tricked(data: bytes) -> bytes:
        assert trick(data) != data
        return trick(data)

    stage.refused(with_timestamp(stage, tricked), "bad_metadata")


SIGNED: dict[str, Change] = {
    "true for one": lambda signed: signed.update(version=True),
    "a version beyond all readers": lambda signed: signed.update(version=2**53),
    "a version in words": lambda signed: signed.update(version="1"),
    "less than nothing": lambda signed: signed.update(version=-1),
    "null": lambda signed: signed.update(version=None),
}


@pytest.mark.parametrize("change", SIGNED.values(), ids=SIGNED)
def test_d24_a_number_that_is_none_is_refused_though_it_is_signed(stage: Stage, change: Change) -> None:
    signer = stage.repositories.director.timestamp
    stage.refused(with_timestamp(stage, lambda data: crafted(data, [signer], change)), "bad_metadata")
