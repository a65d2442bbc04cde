# SPDX-License-Identifier: Apache-2.0
"""Each check of the director's files alone: everything else about the answer is honest, down to lengths and hashes."""

import json
from typing import Any

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Timestamp

from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import ExpiredError, MetadataError, MetadataRollbackError, SignatureError, TrustError, WrongDeviceError
from surefoot.trust.metadata import Files, read, sign_with
from surefoot.trust.signer import generate
from surefoot.trust.verify import Verdict, load, verify
from tests.trust.repositories import DEVICE, NOW, Repositories, manifest

GOOD = manifest("1.1.0", b"good image" * 500)
PAST = "2026-11-23T07:00:00Z"


@pytest.fixture
def world() -> Repositories:
    world = Repositories()
    world.release(GOOD)
    world.order(GOOD)
    return world


def changed(data: bytes, signer: Signer, fields: dict[str, Any]) -> bytes:
    plain = json.loads(data)
    plain["signed"].update(fields)
    return sign_with(Metadata.from_dict(plain), [signer])


def names(data: bytes) -> dict[str, Any]:
    return {"version": json.loads(data)["signed"]["version"], "length": len(data), "hashes": {"sha256": hex_of(digest_of(data))}}


def answer(
    world: Repositories,
    *,
    targets: dict[str, Any] | None = None,
    snapshot: dict[str, Any] | None = None,
    timestamp: dict[str, Any] | None = None,
    snapshot_signer: Signer | None = None,
) -> dict[str, bytes]:
    """Return the director's files with these fields changed, each file naming the next as it now is."""
    view, director = world.views[DEVICE], world.director
    top = changed(view.targets, director.targets, targets or {})
    listing = {"meta": {"targets.json": names(top)}, **(snapshot or {})}
    middle = changed(view.snapshot, snapshot_signer or director.snapshot, listing)
    last = changed(view.timestamp, director.timestamp, {"meta": {"snapshot.json": names(middle)}, **(timestamp or {})})
    return {
        "timestamp.json": last,
        f"{names(middle)['version']}.snapshot.json": middle,
        f"{names(top)['version']}.targets.json": top,
    }


def meet(world: Repositories, files: Files, trusted: Files | None = None) -> Verdict:
    return verify(
        director=trusted or world.trusted_director(),
        image=world.trusted_image(),
        fetched_director=files,
        fetched_image=world.image_answer(),
        device_id=DEVICE,
        now=NOW,
    )


def test_an_answer_in_which_nothing_is_changed_is_accepted(world: Repositories) -> None:
    assert meet(world, answer(world)).ordered is not None


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
@pytest.mark.parametrize(("fields", "refusal"), [({"device_id": "t-2"}, WrongDeviceError), ({"expires": PAST}, ExpiredError)])
def test_one_file_for_another_device_or_past_its_end_is_enough(
    world: Repositories, role: str, fields: dict[str, Any], refusal: type[TrustError]
) -> None:
    with pytest.raises(refusal, match=role):
        meet(world, answer(world, **{role: fields}))  # type: ignore[arg-type]  # the parameters by name


def test_a_snapshot_that_somebody_else_signed_is_refused_though_the_timestamp_names_it(world: Repositories) -> None:
    with pytest.raises(SignatureError, match="snapshot"):
        meet(world, answer(world, snapshot_signer=generate()))


def test_targets_that_the_right_key_signed_but_the_snapshot_does_not_name_are_refused(world: Repositories) -> None:
    files = answer(world)
    files["1.targets.json"] = answer(world, targets={"expires": "2026-11-29T08:00:00Z"})["1.targets.json"]
    with pytest.raises(MetadataError, match=r"targets\.json"):
        meet(world, files)


def test_an_older_timestamp_is_refused_though_all_it_names_is_trusted(world: Repositories) -> None:
    trusted = meet(world, answer(world, timestamp={"version": 5})).director
    with pytest.raises(MetadataRollbackError, match="timestamp"):
        meet(world, answer(world, timestamp={"version": 4}), trusted)


def test_a_newer_timestamp_does_not_bring_an_older_snapshot_back(world: Repositories) -> None:
    trusted = meet(world, answer(world, snapshot={"version": 5}, timestamp={"version": 5})).director
    with pytest.raises(MetadataRollbackError, match=r"snapshot\.json 4"):
        meet(world, answer(world, snapshot={"version": 4}, timestamp={"version": 6}), trusted)


def test_a_newer_snapshot_does_not_bring_older_targets_back(world: Repositories) -> None:
    first = answer(world, targets={"version": 5}, snapshot={"version": 5}, timestamp={"version": 5})
    trusted = meet(world, first).director
    second = answer(world, targets={"version": 4}, snapshot={"version": 6}, timestamp={"version": 6})
    with pytest.raises(MetadataRollbackError, match=r"targets\.json 4"):
        meet(world, second, trusted)


def test_a_first_root_that_its_own_keys_did_not_sign_is_no_root(world: Repositories) -> None:
    root = changed(world.director_root, generate(), {})
    with pytest.raises(SignatureError):
        load({"root.json": root})


@pytest.mark.parametrize("number", [b"1.5", b"1e3", b"NaN", b"Infinity"])
def test_a_number_that_is_no_integer_is_refused_wherever_it_stands(world: Repositories, number: bytes) -> None:
    data = world.views[DEVICE].timestamp.replace(b'"signed":{', b'"signed":{"extra":' + number + b",", 1)
    with pytest.raises(MetadataError, match="not an integer"):
        read(data, Timestamp, name="timestamp.json")
