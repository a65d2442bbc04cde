# SPDX-License-Identifier: Apache-2.0
"""Attacks D01 to D08 on the device: foreign software, stolen keys, orders of others, images for other boards."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from surefoot.agent.state import Phase
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import digest_of, hex_of
from surefoot.model.slot import SlotName
from surefoot.model.version import RevertTo
from surefoot.model.wire import PollAnswer, PollMetadata
from surefoot.simulator.board import Behaviour, image
from surefoot.simulator.flash import Damage
from surefoot.trust.signer import generate
from tests.attacks.stage import IMAGE_BYTES, Release, Stage, edited, forged, sending, successor
from tests.trust.repositories import DEVICE, PRODUCT, order_for

Change = Callable[[dict[str, Any]], object]
OTHER = DeviceId("t-2")


@pytest.fixture
def stage() -> Stage:
    return Stage()


def only_target(signed: dict[str, Any]) -> dict[str, Any]:
    (target,) = signed["targets"].values()
    found: dict[str, Any] = target
    return found


def by_the_director(stage: Stage, change: Change) -> PollAnswer:
    """Return an answer whose director targets were changed by somebody who has the director's keys."""
    view = stage.repositories.views[DEVICE]
    targets = edited(view.targets, [stage.repositories.director.targets], change)
    return stage.answer(director={f"{view.targets_version}.targets.json": targets})


def by_the_product_key(stage: Stage, change: Change) -> PollAnswer:
    """Return an answer whose product role was changed by somebody who has the product's key, and the server's online keys."""
    it = stage.repositories
    role = successor(it.image[f"{PRODUCT}.json"], [it.product], change)
    return stage.answer(image=stage.republished(f"{PRODUCT}.json", role))


def by_both(stage: Stage, change: Change) -> PollAnswer:
    """Return an answer in which director and product role say the same after both were changed by a thief of all those keys."""
    image = by_the_product_key(stage, change).metadata.image
    director = by_the_director(stage, change)
    return structs.replace(director, metadata=PollMetadata(director=director.metadata.director, image=image))


# --- D01: arbitrary software ------------------------------------------------------------------------------------------------


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


FOREIGN: dict[str, Callable[[bytes], bytes]] = {
    "a foreign image": lambda content: image(Behaviour.CRASHES, len(content)),
    "a bit in the first block": lambda content: flipped(content, 0),
    "a bit in the middle": lambda content: flipped(content, len(content) // 2),
    "a bit in the last block": lambda content: flipped(content, len(content) - 1),
    "truncated": lambda content: content[:-1],
    "truncated at a block": lambda content: content[:4096],
    "nothing": lambda _: b"",
    "one byte longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("spoil", FOREIGN.values(), ids=list(FOREIGN))
def test_d01_other_bytes_than_were_signed_are_never_installed(stage: Stage, spoil: Callable[[bytes], bytes], *, says_length: bool) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    spoiled = spoil(wanted.content)
    silent = lambda offset: replace(sending(iter([spoiled[offset:]])), start=offset, status=206)  # noqa: E731
    report = stage.refused(stage.answer(), "corrupt_download", images={wanted.url: spoiled if says_length else silent}, is_verified=True)
    assert report.data["tries"] == 3


@pytest.mark.parametrize("is_signed", [False, True], ids=["not signed anew", "signed by a stranger"])
@pytest.mark.parametrize("file", ["targets.json", f"{PRODUCT}.json"])
def test_d01_metadata_that_names_a_foreign_image_is_not_believed_without_the_keys(stage: Stage, file: str, *, is_signed: bool) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    evil = image(Behaviour.CRASHES, IMAGE_BYTES)

    def swap(signed: dict[str, Any]) -> None:
        only_target(signed).update(length=len(evil), hashes={"sha256": hex_of(digest_of(evil))})

    honest = stage.answer().metadata
    files = honest.director if file == "targets.json" else honest.image
    (name,) = (name for name in files if name.endswith(f".{file}"))
    spoiled = edited(files[name], [generate()], swap) if is_signed else forged(files[name], lambda plain: swap(plain["signed"]))
    answer = stage.answer(director={name: spoiled}) if files is honest.director else stage.answer(image={name: spoiled})
    stage.refused(answer, "bad_signature", images={wanted.url: evil})


# --- D02, D03: the director's keys are stolen -------------------------------------------------------------------------------


def test_d02_an_image_that_nobody_released_is_not_installed_though_the_director_orders_it(stage: Stage) -> None:
    stage.order(stage.release("6.6.6", publish=False))
    stage.refused(stage.answer(), "not_in_image_repo")


def test_d02_without_the_image_repositorys_files_an_order_is_not_believed(stage: Stage) -> None:
    stage.order(stage.release("6.6.6", publish=False))
    answer = stage.answer()
    answer.metadata.image.clear()
    stage.refused(answer, "bad_metadata")


def test_d02_a_device_that_knows_the_image_repository_already_refuses_as_well(stage: Stage) -> None:
    stage.update("1.1.0")
    stage.order(stage.release("6.6.6", publish=False))
    answer = stage.answer()
    answer.metadata.image.clear()
    stage.refused(answer, "not_in_image_repo")


SWAPS: dict[str, Change] = {
    "hash": lambda signed: only_target(signed).update(hashes={"sha256": "0" * 64}),
    "length": lambda signed: only_target(signed).update(length=only_target(signed)["length"] + 1),
    "a second hash": lambda signed: only_target(signed)["hashes"].update(sha512="0" * 128),
    "another hash": lambda signed: only_target(signed).update(hashes={"sha512": "0" * 128}),
    "manifest": lambda signed: only_target(signed)["custom"]["must_match"].update(manifest="sha256:" + "0" * 64),
    "release counter": lambda signed: only_target(signed)["custom"]["must_match"].update(release_counter=9),
    "hardware": lambda signed: only_target(signed)["custom"]["must_match"].update(target_hardware=["thermostat-v1", "other"]),
}


@pytest.mark.parametrize("swap", SWAPS.values(), ids=list(SWAPS))
def test_d03_a_known_path_with_other_bytes_or_rules_is_not_installed(stage: Stage, swap: Change) -> None:
    stage.order(stage.release("1.1.0"))
    stage.refused(by_the_director(stage, swap), "repositories_disagree")


# --- D04: a genuine but old image -------------------------------------------------------------------------------------------


def test_d04_an_image_below_the_release_counter_is_refused_and_a_power_cut_forgets_no_counter(stage: Stage) -> None:
    old = stage.release("1.1.0")
    stage.update("1.2.0", counter=2, revert_to="minor")
    stage.restart(Damage.LOST)
    stage.order(old)
    stage.refused(stage.answer(), "version_regression", is_verified=True)


@pytest.mark.parametrize(
    ("running", "revert_to", "older", "is_allowed"),
    [
        ("1.1.1", "patch", "1.1.0", True),
        ("1.2.0", "patch", "1.1.0", False),
        ("1.1.1", "none", "1.1.0", False),
        ("1.2.0", "minor", "1.1.0", True),
        ("1.2.0", "minor", "0.9.0", False),
        ("1.2.0", ["1.1.0"], "1.1.0", True),
        ("1.2.0", ["1.1.5"], "1.1.0", False),
    ],
)
def test_d04_at_an_equal_counter_the_running_release_says_how_far_back(
    stage: Stage, running: str, revert_to: RevertTo, older: str, *, is_allowed: bool
) -> None:
    old = stage.release(older)
    stage.update(running, revert_to=revert_to)
    if is_allowed:
        stage.carry_out(old)
        return
    stage.order(old)
    stage.refused(stage.answer(), "version_regression", is_verified=True)


def test_d04_what_the_old_image_itself_allows_does_not_count(stage: Stage) -> None:
    old = stage.release("1.1.0", revert_to="minor")
    stage.update("1.2.0", revert_to="none")
    stage.order(old)
    stage.refused(stage.answer(), "version_regression", is_verified=True)


def test_d04_data_of_a_newer_format_is_not_given_to_an_older_release(stage: Stage) -> None:
    old = stage.release("1.1.0", data_format=1)
    stage.update("1.2.0", data_format=2, revert_to="minor")
    stage.order(old)
    stage.refused(stage.answer(), "version_regression", is_verified=True, recovers=False)
    stage.update("1.3.0", data_format=2)


def fail_on_trial(stage: Stage, version: str, counter: int) -> None:
    bad = stage.release(version, content=image(Behaviour.CRASHES, IMAGE_BYTES), counter=counter)
    stage.order(bad)
    stage.says(stage.answer())
    stage.run(lambda runner: runner.state.phase is Phase.REPORTING and bad.hash in {found for _, found in stage.board.boots})
    stage.poll()


def test_d04_a_counter_survives_a_roll_back_and_one_that_was_never_committed_does_not_count(stage: Stage) -> None:
    old = stage.release("1.1.0", counter=1)
    stage.update("1.2.0", counter=2, revert_to="minor")
    fail_on_trial(stage, "1.3.0", counter=3)
    assert stage.footing().release_counter == 2
    stage.order(old)
    stage.refused(stage.answer(), "version_regression", is_verified=True)


# --- D05, D06: a product's key is stolen ------------------------------------------------------------------------------------


def test_d05_what_the_director_does_not_order_is_not_installed_whoever_signed_it(stage: Stage) -> None:
    stage.poll()
    before = stage.footing()
    stage.release("6.6.6", content=image(Behaviour.CRASHES, IMAGE_BYTES))
    stage.order(None)
    stage.says(stage.answer())
    stage.poll(3)
    after = stage.footing()
    assert replace(after, trusted=before.trusted) == before
    assert stage.server.opened == []
    assert stage.server.refusals() == []
    stage.recovers()


def test_d05_an_ordered_path_that_the_thief_signs_with_other_bytes_is_not_installed(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    evil = image(Behaviour.CRASHES, IMAGE_BYTES)
    swap = {"length": len(evil), "hashes": {"sha256": hex_of(digest_of(evil))}}
    answer = by_the_product_key(stage, lambda signed: only_target(signed).update(swap))
    stage.refused(answer, "repositories_disagree", images={wanted.url: evil})


OUTSIDE = {
    "of another product": ("boiler/1.1.0/thermostat-v1-release", "not_in_image_repo"),
    "of a longer name": ("thermostat-pro/1.1.0/thermostat-v1-release", "not_in_image_repo"),
    "up and down again": ("thermostat/../boiler/thermostat-v1-release", "not_in_image_repo"),
    "up": ("thermostat/../boiler", "repositories_disagree"),
    "up, encoded": ("thermostat/%2e%2e/boiler", "repositories_disagree"),
    "capital": ("Thermostat/1.1.0/thermostat-v1-release", "not_in_image_repo"),
    "capitals": ("THERMOSTAT/1.1.0/thermostat-v1-release", "not_in_image_repo"),
    "encoded slashes": ("thermostat%2F1.1.0%2Fthermostat-v1-release", "not_in_image_repo"),
    "an encoded slash": ("boiler%2F..%2Fthermostat/1.1.0/thermostat-v1-release", "not_in_image_repo"),
    "back slashes": ("thermostat\\1.1.0\\thermostat-v1-release", "not_in_image_repo"),
    "absolute": ("/thermostat/1.1.0/thermostat-v1-release", "not_in_image_repo"),
    "deeper": ("thermostat/1.1.0/x/thermostat-v1-release", "not_in_image_repo"),
    "nothing between": ("thermostat//thermostat-v1-release", "repositories_disagree"),
    "of another version": ("thermostat/9.9.9/thermostat-v1-release", "repositories_disagree"),
}


@pytest.mark.parametrize(("path", "code"), OUTSIDE.values(), ids=list(OUTSIDE))
def test_d06_a_product_key_speaks_for_no_path_but_its_own(stage: Stage, path: str, code: str) -> None:
    stage.order(stage.release("1.1.0"))

    def move(signed: dict[str, Any]) -> None:
        signed["targets"] = {path: copy.deepcopy(only_target(signed))}

    stage.refused(by_both(stage, move), code)


def test_d06_a_block_that_names_another_product_is_not_installed_under_ones_own_path(stage: Stage) -> None:
    stage.order(stage.release("1.1.0"))

    def rename(signed: dict[str, Any]) -> None:
        only_target(signed)["custom"]["must_match"].update(product="boiler")

    stage.refused(by_both(stage, rename), "repositories_disagree")


# --- D07: orders of another device ------------------------------------------------------------------------------------------

PARTS = {
    "all": ("timestamp", "snapshot", "targets"),
    "the timestamp alone": ("timestamp",),
    "timestamp and snapshot": ("timestamp", "snapshot"),
}


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("orders", [True, False])
@pytest.mark.parametrize("parts", PARTS.values(), ids=list(PARTS))
def test_d07_another_devices_metadata_means_nothing_here(stage: Stage, parts: tuple[str, ...], *, orders: bool, is_known: bool) -> None:
    wanted = stage.release("1.1.0")
    if is_known:
        stage.poll()
    for _ in range(4):  # the other device's versions are ahead: whoever believes them is locked out
        stage.repositories.order(wanted.manifest if orders else None, device=OTHER)
    foreign = {name: data for name, data in stage.repositories.director_answer(OTHER).items() if any(part in name for part in parts)}
    stage.refused(stage.answer(director=foreign), "wrong_device")


def test_d07_another_devices_snapshot_and_targets_do_not_pass_under_ones_own_timestamp(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.repositories.order(wanted.manifest, device=OTHER)
    foreign = stage.repositories.director_answer(OTHER)
    del foreign["timestamp.json"]
    stage.refused(stage.answer(director=foreign), "bad_metadata")


def test_d07_an_order_for_another_device_in_ones_own_view_is_refused(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.repositories.order(wanted.manifest, order=order_for(OTHER, wanted.manifest, 1, stage.now()))
    stage.refused(stage.answer(), "wrong_device")


# --- D08: an image for other hardware ---------------------------------------------------------------------------------------

FITS_NOT = {
    "another": ["fridge-v1"],
    "part of ours": ["thermostat"],
    "ours is part of it": ["thermostat-v12"],
    "ours and more": ["thermostat-v1-pro"],
    "several others": ["thermostat-v2", "thermostat-v3"],
}


def for_hardware(stage: Stage, version: str, hardware: list[str]) -> Release:
    return stage.release(version, target_hardware=hardware)


@pytest.mark.parametrize("hardware", FITS_NOT.values(), ids=list(FITS_NOT))
def test_d08_an_image_for_other_hardware_is_not_installed(stage: Stage, hardware: list[str]) -> None:
    stage.order(for_hardware(stage, "1.1.0", hardware))
    stage.refused(stage.answer(), "wrong_hardware", is_verified=True)
    assert stage.server.opened[:1] == [0], "nothing but the honest update was fetched"


@pytest.mark.parametrize(
    "hardware", [[], ["thermostat-v1"] * 1000, ["thermostat-v1", *(f"h{n}" for n in range(999))], ["Thermostat-v1 "], "thermostat-v1"]
)
def test_d08_a_list_of_hardware_that_is_none_is_refused(stage: Stage, hardware: object) -> None:
    stage.order(stage.release("1.1.0"))

    def rewrite(signed: dict[str, Any]) -> None:
        only_target(signed)["custom"]["must_match"].update(target_hardware=hardware)

    stage.refused(by_both(stage, rewrite), "bad_metadata")


def test_d08_an_image_that_needs_a_newer_bootloader_is_not_installed(stage: Stage) -> None:
    stage.order(stage.release("1.1.0", min_bootloader_version="2.0.1"))
    stage.refused(stage.answer(), "wrong_hardware", is_verified=True)
    assert stage.footing().slot is SlotName.B, "by the honest update after it"
