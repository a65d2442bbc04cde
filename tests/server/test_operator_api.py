# SPDX-License-Identifier: Apache-2.0
"""Tests of the operator API: uploads, releases, tokens, lists, and who did what."""

import json
import socket
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Targets

from surefoot.model.digest import digest_of, hex_of
from surefoot.model.record import to_pretty_json
from surefoot.trust import layout
from surefoot.trust.envelope import sign_envelope
from surefoot.trust.signer import generate
from tests.server.running import Running, request_for, running
from tests.store.test_disk import files_up_to
from tests.trust.repositories import PRODUCT, add_product, create_product, listing, manifest


def problem(answer: urllib3.BaseHTTPResponse) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == answer.status
    assert found["title"]
    assert found["detail"]
    return answer.status, found["type"].removeprefix("urn:surefoot:problem:")


def acts(server: Running) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(server.data / "surefoot.db", timeout=20)) as database:
        return database.execute("SELECT by, what, subject FROM act ORDER BY act_id").fetchall()


def drafts(server: Running) -> list[str]:
    return [path.name for path in (server.data / "blobs" / "drafts").iterdir()]


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer wrong", "Basic YWRtaW46YWRtaW4="])
@pytest.mark.parametrize("path", ["/api/v1/devices", "/api/v1/nothing", "/schema/openapi.json"])
def test_nothing_is_told_without_a_known_token(server: Running, authorization: str | None, path: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = server.operators.request("GET", server.addresses.operator_url + path, headers=headers)
    assert problem(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_first_token_is_for_its_owner_alone_and_not_in_the_database(server: Running) -> None:
    path = server.data / "admin.token"
    assert path.stat().st_mode & 0o777 == 0o600
    stored = b"".join(file.read_bytes() for file in server.data.glob("surefoot.db*"))
    assert path.read_bytes().strip() not in stored


def test_a_blob_is_stored_once_and_found(server: Running) -> None:
    data = b"a blob" * 1_000_000
    path = f"blobs/{hex_of(digest_of(data))}"
    assert problem_free(server.call("HEAD", path)) == 404
    for _ in range(2):
        assert server.call("PUT", path, data).status == 204
    assert problem_free(server.call("HEAD", path)) == 200
    assert acts(server)[-1] == ("admin", "blob.put", digest_of(data))


def problem_free(answer: urllib3.BaseHTTPResponse) -> int:
    assert answer.data == b""
    return answer.status


def test_s12_other_bytes_than_the_address_says_are_refused(server: Running) -> None:
    path = f"blobs/{hex_of(digest_of(b'promised'))}"
    assert problem(server.call("PUT", path, b"sent")) == (422, "bad_digest")
    assert problem_free(server.call("HEAD", path)) == 404
    assert drafts(server) == []


@pytest.mark.parametrize("name", ["00", "A" * 64, "g" * 64, "..%2fsurefoot.db"])
def test_s12_an_address_that_is_not_whole_is_refused(server: Running, name: str) -> None:
    assert server.call("PUT", f"blobs/{name}", b"x").status in {400, 404}
    assert drafts(server) == []


def test_s16_a_truncated_upload_leaves_nothing(server: Running) -> None:
    data = b"z" * 100_000
    host, port = server.addresses.operator_url.removeprefix("http://").split(":")
    token = (server.data / "admin.token").read_text().strip()
    lines = [
        f"PUT /api/v1/blobs/{hex_of(digest_of(data))} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        "Content-Length: 100000",
    ]
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + data[:60_000])
        connection.shutdown(socket.SHUT_WR)
        connection.recv(10_000)
    assert problem_free(server.call("HEAD", f"blobs/{hex_of(digest_of(data))}")) == 404
    assert drafts(server) == []


def test_a_full_disk_is_told_and_leaves_nothing(server: Running) -> None:
    data = bytes(8_000_000)
    with files_up_to(4_000_000):
        answer = server.call("PUT", f"blobs/{hex_of(digest_of(data))}", data)
    assert problem(answer) == (503, "store")
    assert drafts(server) == []
    assert server.call("PUT", f"blobs/{hex_of(digest_of(data))}", data).status == 204


def test_an_oversize_body_is_refused(server: Running) -> None:
    assert problem(server.call("POST", "tokens", {"device_id": "t", "hardware": "h" * 70_000})) == (413, "too_large")
    assert problem(server.call("POST", "releases", {"index": "A" * (8 << 20)})) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nothing", 404),
        ("DELETE", "devices", 405),
        ("GET", "devices/nobody", 404),
        ("GET", "releases/thermostat/9.9.9", 404),
        ("GET", "metadata/image/nothing.json", 404),
        ("GET", "metadata/keys/root.json", 404),
        ("GET", "metadata/image/..%2F..%2Fadmin.token", 404),
        ("GET", "devices?limit=0", 400),
        ("GET", "devices?limit=many", 400),
    ],
)
def test_what_is_not_there_or_not_meant_is_a_problem(server: Running, method: str, path: str, status: int) -> None:
    assert problem(server.call(method, path))[0] == status


def test_a_wrong_field_is_named(server: Running) -> None:
    answer = server.call("POST", "tokens", {"device_id": "t-1", "hardware": "NOT A NAME"})
    assert problem(answer) == (400, "bad_format")
    assert "hardware" in answer.json()["detail"]


def test_a_release_is_published_listed_and_shown_with_its_url(server: Running) -> None:
    server.publish("2.0.0", b"image 2.0.0")
    shown = server.call("GET", f"releases/{PRODUCT}/2.0.0").json()
    assert shown["manifests"][0]["image"]["url"] == f"{server.addresses.device_url}/v1/artifacts/{hex_of(digest_of(b'image 2.0.0'))}"
    listed = server.call("GET", "releases").json()["releases"]
    line = next(line for line in listed if line["version"] == "2.0.0")
    assert {"product": PRODUCT, "version": "2.0.0", "hash": shown["hash"]}.items() <= line.items()
    dates = [line["published_at"] for line in listed]
    assert dates == sorted(dates, reverse=True)
    by, what, subject = acts(server)[-1]
    assert (by, what) == ("admin", "release.publish")
    assert subject.split()[-1] == server.repositories.product.public_key.keyid


def test_the_same_release_again_changes_nothing(server: Running) -> None:
    request = server.publish("2.1.0", b"image 2.1.0")
    server.publish("2.2.0", b"image 2.2.0")
    before = server.call("GET", "metadata/image/timestamp.json").data, acts(server)
    answer = server.call("POST", "releases", request)
    assert (answer.status, answer.json()["is_new"]) == (200, False)
    assert (server.call("GET", "metadata/image/timestamp.json").data, acts(server)) == before


def test_another_build_of_a_published_version_is_a_conflict(server: Running) -> None:
    server.publish("2.3.0", b"image 2.3.0")
    other = manifest("2.3.0", b"another image")
    server.put(b"another image")
    unchecked = create_product(server.repositories.product, server.clock())
    role = listing(unchecked, [other], [server.repositories.product], server.clock())
    assert problem(server.call("POST", "releases", request_for(other, b"sbom of 2.3.0", role, server.repositories.product))) == (
        409,
        "conflict",
    )


ROLE = f"{PRODUCT}.json"


def edit(request: dict[str, Any], name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the request with one JSON file in it changed."""
    value = request[name]
    if isinstance(value, dict):
        return {**request, name: {file: _edited(data, change) for file, data in value.items()}}
    return {**request, name: _edited(value, change)}


def _edited(data: str, change: Callable[[Any], Any]) -> str:
    plain = json.loads(b64decode(data))
    change(plain)
    return b64encode(to_pretty_json(plain)).decode()


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("index", lambda index: index.update(product="other"), (400, "bad_manifest")),
        ("index", lambda index: index.update(product="snapshot"), (400, "bad_manifest")),
        ("index", lambda index: index.update(version="3.0.1"), (400, "bad_manifest")),
        ("index", lambda index: index.update(version="three"), (400, "bad_format")),
        ("index", lambda index: index.update(sbom=digest_of(b"absent")), (404, "not_found")),
        ("index", lambda index: index["manifests"][0].update(variant="debug"), (400, "bad_manifest")),
        ("index", lambda index: index["manifests"][0].update(file="other.json"), (400, "bad_manifest")),
        ("index", lambda index: index.update(unknown=1), (400, "bad_format")),
        ("manifests", lambda manifest: manifest["image"].update(size=1), (400, "bad_manifest")),
        ("manifests", lambda manifest: manifest.update(build_id="other"), (400, "bad_manifest")),
        ("roles", lambda role: role["signed"].update(targets={}), (400, "invalid_input")),
        ("roles", lambda role: role["signed"].update(version=99), (422, "bad_signature")),
        ("roles", lambda role: role.update(signatures=[]), (422, "bad_signature")),
        ("roles", lambda role: role.update(signed={}), (422, "bad_metadata")),
    ],
)
def test_a_release_that_contradicts_itself_is_refused_whole(
    server: Running, name: str, change: Callable[[Any], Any], expected: tuple[int, str]
) -> None:
    request = edit(server.signed("3.0.0", b"image 3.0.0"), name, change)
    before = server.call("GET", "metadata/image/timestamp.json").data, server.call("GET", "releases").data
    assert problem(server.call("POST", "releases", request)) == expected
    assert (server.call("GET", "metadata/image/timestamp.json").data, server.call("GET", "releases").data) == before


def test_an_index_in_another_spelling_is_refused(server: Running) -> None:
    request = server.signed("3.0.2", b"image 3.0.2")
    index = b64encode(b64decode(request["index"]) + b"\n").decode()
    assert problem(server.call("POST", "releases", {**request, "index": index})) == (400, "bad_format")


def test_a_manifest_that_no_longer_fits_the_signed_role_is_refused(server: Running) -> None:
    request = server.signed("3.1.0", b"image 3.1.0")
    changed = edit(request, "manifests", lambda found: found.update(release_counter=9))
    file, data = next(iter(changed["manifests"].items()))
    changed = edit(changed, "index", lambda index: index["manifests"][0].update(hash=digest_of(b64decode(data))))
    assert problem(server.call("POST", "releases", changed)) == (400, "invalid_input")
    assert file == "manifest-thermostat-v1-release.json"


def test_an_image_that_is_not_in_the_store_is_refused(server: Running) -> None:
    request = server.signed("3.2.0", b"image 3.2.0")
    path = server.data / "blobs" / hex_of(digest_of(b"image 3.2.0"))[:2] / hex_of(digest_of(b"image 3.2.0"))[2:]
    path.unlink()
    assert problem(server.call("POST", "releases", request)) == (404, "not_found")


def test_a_role_signed_by_a_strange_key_is_refused(server: Running) -> None:
    request = server.signed("3.3.0", b"image 3.3.0")
    own = server.repositories.product
    server.repositories.product = generate()
    try:
        server.put(b"image 3.3.0")
        forged = {**request, "roles": {ROLE: resigned(b64decode(request["roles"][ROLE]), server)}}
    finally:
        server.repositories.product = own
    assert problem(server.call("POST", "releases", forged)) == (422, "bad_signature")


def resigned(role: bytes, server: Running) -> str:
    metadata: Metadata[Targets] = Metadata.from_bytes(role)
    metadata.sign(server.repositories.product)
    return b64encode(metadata.to_bytes()).decode()


@pytest.mark.parametrize("signature", [None, "", "base64:AAAA", "nonsense"])
def test_a_manifest_without_the_products_signature_is_refused_whole(server: Running, signature: str | None) -> None:
    request = server.signed("3.4.0", b"image 3.4.0")
    file = next(iter(request["manifests"]))
    before = server.call("GET", "metadata/image/timestamp.json").data
    forged = {**request, "signatures": {} if signature is None else {file: signature}}
    assert problem(server.call("POST", "releases", forged)) == (422, "bad_signature")
    assert server.call("GET", "metadata/image/timestamp.json").data == before


def envelope_of(request: dict[str, Any], signer: Signer) -> str:
    """Return the request's statement in an envelope signed by another key."""
    payload = b64decode(json.loads(b64decode(request["provenance"]))["payload"])
    return b64encode(sign_envelope(payload, [signer])).decode()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _, __: "", (400, "invalid_input")),
        (lambda _, __: b64encode(b"{}").decode(), (422, "bad_metadata")),
        (lambda request, _: envelope_of(request, generate()), (422, "bad_signature")),
        (lambda _, other: other["provenance"], (422, "bad_digest")),
    ],
    ids=["none", "no envelope", "by a stranger", "of another release"],
)
def test_a_release_without_its_own_signed_provenance_is_refused_whole(
    server: Running, change: Callable[[dict[str, Any], dict[str, Any]], str], expected: tuple[int, str]
) -> None:
    request, other = server.signed("3.5.0", b"image 3.5.0"), server.signed("3.5.1", b"image 3.5.1")
    before = server.call("GET", "metadata/image/timestamp.json").data
    answer = server.call("POST", "releases", {**request, "provenance": change(request, other)})
    assert problem(answer) == expected
    assert "Sign the bundle again" in answer.json()["hint"]
    assert server.call("GET", f"releases/{PRODUCT}/3.5.0/provenance").status == 404
    assert server.call("GET", "metadata/image/timestamp.json").data == before


def test_the_provenance_is_given_out_byte_for_byte(server: Running) -> None:
    request = server.publish("3.6.0", b"image 3.6.0")
    answer = server.call("GET", f"releases/{PRODUCT}/3.6.0/provenance")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.data == b64decode(request["provenance"])


def test_the_release_counter_never_goes_back(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.publish("4.0.0", b"image 4.0.0", counter=5)
        request = server.signed("4.1.0", b"image 4.1.0", counter=4)
        assert problem(server.call("POST", "releases", request)) == (409, "conflict")


def test_a_publication_carries_a_new_delegation(server: Running) -> None:
    key, now, repositories = generate(), server.clock(), server.repositories
    targets = add_product(server.call("GET", "metadata/image/targets.json").data, "toaster", key.public_key, repositories.targets)
    wanted = manifest("1.0.0", b"toast", product="toaster")
    server.put(b"toast")
    server.put(b"toaster sbom")
    role = listing(create_product(key, now), [wanted], [key], now)
    request = request_for(wanted, b"toaster sbom", role, key)
    assert problem(server.call("POST", "releases", request)) == (422, "bad_signature")
    assert server.call("POST", "releases", {**request, "targets": b64encode(targets).decode()}).status == 200
    assert server.call("GET", "metadata/image/targets.json").data == targets


def test_a_publication_gives_no_key_a_second_role(server: Running) -> None:
    key, now, repositories = server.repositories.director_roots[2], server.clock(), server.repositories
    before = server.call("GET", "metadata/image/targets.json").data
    targets = add_product(before, "mixer", key.public_key, repositories.targets)
    wanted = manifest("1.0.0", b"dough", product="mixer")
    server.put(b"dough")
    server.put(b"mixer sbom")
    request = request_for(wanted, b"mixer sbom", listing(create_product(key, now), [wanted], [key], now), key)
    refused = server.call("POST", "releases", {**request, "targets": b64encode(targets).decode()})
    assert problem(refused) == (422, "bad_metadata")
    assert "director root and product mixer" in refused.json()["detail"]
    assert server.call("GET", "metadata/image/targets.json").data == before


def test_a_bundle_signed_before_the_newest_delegation_is_still_published(server: Running) -> None:
    before = server.call("GET", "metadata/image/targets.json").data
    request = {**server.signed("6.0.0", b"image 6.0.0"), "targets": b64encode(before).decode()}
    assert server.call("POST", "releases", request).status == 200
    assert server.call("GET", "metadata/image/targets.json").data == before


def test_bundles_signed_one_after_the_other_may_be_published_the_other_way_round(server: Running) -> None:
    first = server.signed("7.0.0", b"image 7.0.0")
    server.put(b"image 7.1.0")
    server.put(b"sbom of 7.1.0")
    later = manifest("7.1.0", b"image 7.1.0")
    role = listing(b64decode(first["roles"][ROLE]), [later], [server.repositories.product], server.clock())
    second = request_for(later, b"sbom of 7.1.0", role, server.repositories.product)
    assert [server.call("POST", "releases", request).status for request in (second, first)] == [200, 200]
    assert server.call("GET", f"metadata/image/{PRODUCT}.json").data == role


def test_delegations_signed_by_a_stranger_are_refused_with_the_release(server: Running) -> None:
    targets = server.call("GET", "metadata/image/targets.json").data
    forged = add_product(targets, f"forged-{server.devices}", generate().public_key, server.repositories.targets)
    plain = json.loads(forged)
    plain["signatures"] = plain["signatures"][:1]
    request = {**server.signed("6.1.0", b"image 6.1.0"), "targets": b64encode(json.dumps(plain).encode()).decode()}
    assert problem(server.call("POST", "releases", request)) == (422, "bad_signature")
    assert server.call("GET", "metadata/image/targets.json").data == targets


def test_devices_are_listed_by_pages(server: Running) -> None:
    for n in range(5):
        server.join(f"page-{n}")
    found, after = list[str](), ""
    while True:
        page = server.call("GET", f"devices?limit=2&after={after}").json()
        found += [device["device_id"] for device in page["devices"]]
        assert len(page["devices"]) <= 2
        after = page["next"]
        if not after:
            break
    assert [name for name in found if name.startswith("page-")] == [f"page-{n}" for n in range(5)]
    assert found == sorted(set(found))


def test_an_order_is_refused_in_words(server: Running) -> None:
    device = server.join()
    answer = server.order(device, "9.9.9")
    assert problem(answer) == (404, "not_found")
    assert answer.json()["hint"] == "See 'surefoot release list'."
    assert problem(server.call("POST", f"devices/{device.device_id}/order", {"version": "x"})) == (400, "bad_format")


def test_the_api_describes_itself(server: Running) -> None:
    token = (server.data / "admin.token").read_text().strip()
    url = server.addresses.operator_url + "/schema/openapi.json"
    document = server.operators.request("GET", url, headers={"Authorization": f"Bearer {token}"}).json()
    assert {"/api/v1/releases", "/api/v1/devices/{device_id}/order", "/api/v1/blobs/{hex_digits}"} <= set(document["paths"])


def test_a_retired_release_is_ordered_no_more_and_an_open_order_still_verifies(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        old = manifest("1.0.0", b"image 1.0.0")
        server.publish("1.0.0", b"image 1.0.0")
        early, late = server.join(), server.join()
        assert server.order(early, "1.0.0").status == 201
        held = early.poll().headers["ETag"]
        now, key = server.clock(), server.repositories.product
        files = {name: server.call("GET", f"metadata/image/{name}").data for name in ("targets.json", ROLE)}
        files |= layout.retire(files, PRODUCT, "1.0.0", [key], now)
        request = server.signed("1.1.0", b"image 1.1.0")
        roles = {**files, **layout.add_release(files, [manifest("1.1.0", b"image 1.1.0")], [key], now)}
        del roles["targets.json"]
        sent = {name: b64encode(data).decode() for name, data in roles.items()}
        assert server.call("POST", "releases", {**request, "roles": sent}).status == 200
        assert problem(server.order(late, "1.0.0")) == (409, "conflict")
        lines = server.call("GET", "releases").json()["releases"]
        assert {line["version"]: line["is_retired"] for line in lines} == {"1.0.0": True, "1.1.0": False}
        answer = early.poll(held)
        image = answer.json()["metadata"]["image"]
        assert b64decode(image[f"1.{PRODUCT}+archive.json"]) == roles[f"{PRODUCT}+archive.json"]
        assert b64decode(image[f"4.{ROLE}"]) == roles[ROLE]
        assert early.poll(answer.headers["ETag"]).status == 304
        assert old.image.hash in answer.data.decode()


def test_the_fleet_a_plan_would_be_for_is_counted_and_a_filter_that_means_nothing_is_refused(server: Running) -> None:
    assert server.call("GET", "mix?product=kettle").json() == {"shares": [], "in_touch": 0, "baselines": [], "installs": []}
    assert server.call("GET", "mix").status == 400
    assert server.call("GET", "mix?product=kettle&filter=region").status == 400
