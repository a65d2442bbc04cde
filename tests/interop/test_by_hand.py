# SPDX-License-Identifier: Apache-2.0
"""A published release, checked as the page of formats tells a stranger to: with ``json`` and ``cryptography``, and nothing of ours."""

import json
import shutil
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given

from surefoot.cli.main import main
from surefoot.model.manifest import Manifest, as_built
from surefoot.model.record import to_json
from tests.release.firmware import built
from tests.server.running import Running, running
from tests.strategies import manifests
from tests.trust.repositories import Repositories

RELEASE = "releases/thermostat/1.2.3"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """A server with a release that the commands built, signed and published, and its bundle."""
    desk = tmp_path_factory.mktemp("desk")
    assert main(["trust", "init", "--keys", str(desk / "keys"), "--data", str(desk / "data"), "--product", "thermostat"]) == 0
    bundle = built(desk).path
    assert main(["release", "sign", str(bundle), "--keys", str(desk / "keys")]) == 0
    with running(Path(shutil.move(desk / "data", desk / "server")), Repositories()) as server:
        words = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
        assert main(["release", "publish", str(bundle), *words]) == 0
        yield server, bundle


def canonical(manifest: dict[str, Any]) -> bytes:
    image = {name: value for name, value in manifest["image"].items() if name not in ("signature", "url")}
    return json.dumps({**manifest, "image": image}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def product_keys(targets: bytes) -> list[ec.EllipticCurvePublicKey]:
    delegations = json.loads(targets)["signed"]["delegations"]
    role = next(role for role in delegations["roles"] if role["name"] == "thermostat")
    keys = [load_pem_public_key(delegations["keys"][keyid]["keyval"]["public"].encode()) for keyid in role["keyids"]]
    assert all(isinstance(key, ec.EllipticCurvePublicKey) for key in keys)
    return keys  # type: ignore[return-value]  # asserted above


def verify_manifest(published: bytes, targets: bytes) -> None:
    manifest = json.loads(published)
    word, _, text = manifest["image"]["signature"].partition(":")
    assert word == "base64"
    (key,) = product_keys(targets)
    key.verify(b64decode(text), canonical(manifest), ec.ECDSA(hashes.SHA256()))


def test_a_published_manifest_is_verified_from_its_json_alone(published: tuple[Running, Path]) -> None:
    server, _ = published
    targets = server.call("GET", "metadata/image/targets.json").data
    for hardware in ("esp32-v2", "esp32-v3"):
        for variant in ("release", "debug"):
            answer = server.call("GET", f"{RELEASE}/manifests/{hardware}/{variant}")
            assert answer.status == 200
            assert json.loads(answer.data)["image"]["url"].startswith("https://")
            verify_manifest(answer.data, targets)


@pytest.mark.parametrize(("old", "new"), [(b'"1.2.3"', b'"1.2.4"'), (b'"required":false', b'"required":true'), (b"esp32-v2", b"esp32-v3")])
def test_a_changed_manifest_is_not(published: tuple[Running, Path], old: bytes, new: bytes) -> None:
    server, _ = published
    manifest = server.call("GET", f"{RELEASE}/manifests/esp32-v2/release").data
    assert old in manifest
    with pytest.raises(InvalidSignature):
        verify_manifest(manifest.replace(old, new), server.call("GET", "metadata/image/targets.json").data)


@given(manifest=manifests())
def test_the_canonical_form_on_the_page_is_the_one_that_is_signed(manifest: Manifest) -> None:
    assert canonical(json.loads(to_json(manifest))) == to_json(as_built(manifest))


def test_the_published_provenance_is_verified_and_names_every_file(published: tuple[Running, Path]) -> None:
    server, bundle = published
    envelope = json.loads(server.call("GET", f"{RELEASE}/provenance").data)
    payload, kind = b64decode(envelope["payload"]), envelope["payloadType"].encode()
    (key,) = product_keys(server.call("GET", "metadata/image/targets.json").data)
    pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    (signature,) = envelope["signatures"]
    key.verify(b64decode(signature["sig"]), pae, ec.ECDSA(hashes.SHA256()))
    said = {one["name"]: one["digest"]["sha256"] for one in json.loads(payload)["subject"]}
    files = {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*") if path.is_file()}
    assert said == {
        name: sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if name != "provenance.json" and not name.startswith("signed/")
    }
    assert json.loads(payload)["predicate"] == json.loads(files["provenance.json"].read_bytes())


@pytest.mark.parametrize(
    "path", [f"{RELEASE}/manifests/esp32-v9/release", f"{RELEASE}/manifests/esp32-v2/x", "releases/thermostat/9.9.9/provenance"]
)
def test_what_is_not_published_is_not_there(published: tuple[Running, Path], path: str) -> None:
    assert published[0].call("GET", path).status == 404
