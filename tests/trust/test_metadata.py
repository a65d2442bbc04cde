# SPDX-License-Identifier: Apache-2.0
"""Metadata as bytes: read strictly, written so that it can be read again, and never another kind than asked for."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner, Key, Signature
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from surefoot.model.errors import MetadataError, SignatureError, TrustError
from surefoot.trust.metadata import DIRECTOR_LIFE, IMAGE_LIFE, expiry, is_half_spent, read, sign_with, verified
from surefoot.trust.signer import generate
from tests.trust.repositories import NOW, Repositories

WORLD = Repositories()
ROOT = WORLD.image["root.json"]
TIMESTAMP = WORLD.image["timestamp.json"]
READERS: dict[str, Callable[[bytes, str], Metadata[Any]]] = {
    "root.json": lambda data, name: read(data, Root, name=name),
    "timestamp.json": lambda data, name: read(data, Timestamp, name=name),
    "snapshot.json": lambda data, name: read(data, Snapshot, name=name),
    "targets.json": lambda data, name: read(data, Targets, name=name),
}


WORDS = st.sampled_from(["signed", "signatures", "_type", "keyid", "sig", "version", "meta"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def edited(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    plain = json.loads(data)
    change(plain)
    return json.dumps(plain).encode()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("asked", READERS)
def test_a_file_is_read_as_its_own_kind_and_no_other(name: str, asked: str) -> None:
    if name == asked:
        assert READERS[name](WORLD.image[name], name).signed.version == 1
        return
    with pytest.raises(MetadataError, match="expected") as refused:
        READERS[asked](WORLD.image[name], name)
    assert name in refused.value.message


@pytest.mark.parametrize(
    ("name", "cap"), [("root.json", 64 * 1024), ("timestamp.json", 16 * 1024), ("snapshot.json", 512 * 1024), ("targets.json", 512 * 1024)]
)
def test_a_file_is_read_up_to_its_cap_and_not_a_byte_beyond(name: str, cap: int) -> None:
    data = WORLD.image[name].ljust(cap)
    assert READERS[name](data, name).signed.version == 1
    with pytest.raises(MetadataError, match=f"has {cap + 1} bytes; at most {cap} are read"):
        READERS[name](data + b" ", name)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("signatures"),
        lambda m: m.pop("signed"),
        lambda m: m.update(signatures={"keyid": "sig"}),
        lambda m: m.update(signatures=[1]),
        lambda m: m.update(signatures=None),
        lambda m: m["signatures"].append(m["signatures"][0]),
        lambda m: m["signatures"][0].update(sig=m["signatures"][0]["sig"].upper()),
        lambda m: m["signatures"][0].update(sig=m["signatures"][0]["sig"][:-1]),
        lambda m: m["signatures"][0].update(sig=1),
        lambda m: m["signatures"][0].update(keyid="../root"),
        lambda m: m["signatures"][0].update(keyid=m["signatures"][0]["keyid"].upper() + "A"),
        lambda m: m["signed"].update(version=0),
        lambda m: m["signed"].update(version="1"),
        lambda m: m["signed"].update(expires="tomorrow"),
        lambda m: m["signed"].update(expires="2026-11-24T08:00:00+01:00"),
        lambda m: m["signed"].update(spec_version="9.0.0"),
        lambda m: m["signed"].update(_type="mirrors"),
        lambda m: m["signed"].pop("_type"),
        lambda m: m["signed"].update(meta={}),
    ],
)
def test_what_is_not_of_the_form_is_refused_by_name(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(MetadataError, match=r"timestamp\.json"):
        read(edited(TIMESTAMP, change), Timestamp, name="timestamp.json")


@given(st.binary(max_size=200))
def test_no_bytes_at_all_lead_to_anything_but_a_refusal(data: bytes) -> None:
    with pytest.raises(TrustError):
        read(data, Root, name="root.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["signed", "signatures", "_type", "keyid", "sig", "version", "meta"]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_no_json_at_all_leads_to_anything_but_a_refusal(value: object) -> None:
    with pytest.raises(TrustError):
        read(json.dumps(value).encode(), Timestamp, name="timestamp.json")


def test_a_delegation_that_is_unknown_vouches_for_nothing() -> None:
    root = read(ROOT, Root, name="root.json").signed
    with pytest.raises(TrustError):
        verified(TIMESTAMP, Timestamp, root, "mirrors", name="timestamp.json")


def test_a_role_that_another_key_signed_is_refused() -> None:
    root = read(ROOT, Root, name="root.json").signed
    assert verified(TIMESTAMP, Timestamp, root, "timestamp", name="timestamp.json").version == 1
    foreign = sign_with(Metadata[Timestamp].from_bytes(TIMESTAMP), [generate()])
    with pytest.raises(SignatureError, match=r"timestamp\.json"):
        verified(foreign, Timestamp, root, "timestamp", name="timestamp.json")


def test_signing_anew_keeps_no_old_signature_and_writes_what_can_be_read() -> None:
    signer = generate()
    signed = sign_with(Metadata[Root].from_bytes(ROOT), [signer])
    assert [signature["keyid"] for signature in json.loads(signed)["signatures"]] == [signer.public_key.keyid]
    assert read(signed, Root, name="root.json").signed == read(ROOT, Root, name="root.json").signed
    assert b" " not in signed.replace(b"PUBLIC KEY", b"").split(b'"keyval"')[0]


@given(role=st.sampled_from(sorted(IMAGE_LIFE)), microseconds=st.integers(0, 999_999))
def test_a_file_expires_in_whole_seconds_and_is_half_spent_in_the_middle(role: str, microseconds: int) -> None:
    now = NOW + timedelta(microseconds=microseconds)
    for life in (IMAGE_LIFE, DIRECTOR_LIFE):
        until = expiry(role, now, life)
        assert until == NOW + life[role]
        signed = Targets(expires=until)
        assert not is_half_spent(signed, life[role], NOW + life[role] / 2 - timedelta(seconds=1))
        assert is_half_spent(signed, life[role], NOW + life[role] / 2)


@pytest.mark.parametrize("spelling", [str.lower, lambda text: text.replace("-0", "-"), lambda text: text.replace("T0", "T")])
def test_a_date_that_only_a_kind_parser_would_take_is_refused(spelling: Callable[[str], str]) -> None:
    soon = sign_with(Metadata(Timestamp(expires=NOW.replace(month=1, day=5, hour=4))), [generate()])
    read(soon, Timestamp, name="x")
    kind = edited(soon, lambda plain: plain["signed"].update(expires=spelling(plain["signed"]["expires"])))
    with pytest.raises(MetadataError):
        read(kind, Timestamp, name="x")


def twice(data: bytes, key: Key, alias: str, role: str) -> bytes:
    """Return a root that lists a key of a role under another name as well, written in another way."""

    def list_again(plain: dict[str, Any]) -> None:
        entry = key.to_dict()
        entry["keyval"] = {"public": "\n" + entry["keyval"]["public"].rstrip()}
        plain["signed"]["keys"][alias] = entry
        plain["signed"]["roles"][role]["keyids"].append(alias)

    return edited(data, list_again)


def test_one_key_under_two_ids_counts_once() -> None:
    one, other = WORLD.targets
    root = read(twice(ROOT, one.public_key, "0123456789abcdef", "targets"), Root, name="root.json").signed
    metadata = read(WORLD.image["targets.json"], Targets, name="targets.json")
    signature = one.sign(metadata.signed_bytes)
    metadata.signatures = {one.public_key.keyid: signature, "0123456789abcdef": Signature("0123456789abcdef", signature.signature)}
    with pytest.raises(SignatureError, match="1 of the 2 keys"):
        verified(metadata.to_bytes(), Targets, root, "targets", name="targets.json")
    metadata.signatures[other.public_key.keyid] = other.sign(metadata.signed_bytes)
    assert verified(metadata.to_bytes(), Targets, root, "targets", name="targets.json").version == 1


def test_keys_of_the_other_kind_are_counted_too() -> None:
    keys = [CryptoSigner.generate_ed25519() for _ in range(2)]
    root = Root()
    for signer in keys:
        root.add_key(signer.public_key, "timestamp")
    root.roles["timestamp"].threshold = 2
    data = sign_with(Metadata(Timestamp()), keys)
    assert verified(data, Timestamp, root, "timestamp", name="timestamp.json").version == 1
