# SPDX-License-Identifier: Apache-2.0
"""A real server on loopback for tests: real TLS, real SQLite, any free ports; only its clock is the test's."""

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec import structs
from securesystemslib.signer import Signer

from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import Error
from surefoot.model.manifest import Manifest, ManifestEntry, ReleaseIndex
from surefoot.model.record import to_json, to_pretty_json
from surefoot.release.provenance import ExternalParameters, Material, make_predicate, make_statement, read_predicate
from surefoot.server.app import Addresses, ServerSettings, run
from surefoot.trust import offline
from surefoot.trust.envelope import sign_envelope
from tests.trust.repositories import PRODUCT, Repositories, listing, manifest

HARDWARE = "thermostat-v1"


class Clock:
    """The real time, moved by as much as a test likes."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.shift


@dataclass
class Joined:
    """A device with its certificate, and a pool of connections that presents it."""

    device_id: str
    pool: urllib3.PoolManager
    url: str
    certificate: Path

    def get(self, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", self.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def poll(self, etag: str = "") -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", self.url + "/v1/poll", headers={"If-None-Match": etag} if etag else {})

    def send(self, batch: object) -> urllib3.BaseHTTPResponse:
        body = batch if isinstance(batch, bytes) else to_json(batch)
        return self.pool.request("POST", self.url + "/v1/events", body=body)


@dataclass
class Running:
    """A server, its release engineers' keys, and ways to call it."""

    data: Path
    addresses: Addresses
    repositories: Repositories
    clock: Clock
    operators: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=20))
    devices: int = 0

    def call(
        self, method: str, path: str, body: bytes | dict[str, Any] | None = None, token: str | None = None
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": f"Bearer {token or (self.data / 'admin.token').read_text().strip()}"}
        if isinstance(body, dict):
            headers["Content-Type"] = "application/json"
        data = json.dumps(body) if isinstance(body, dict) else body
        return self.operators.request(method, f"{self.addresses.operator_url}/api/v1/{path}", body=data, headers=headers)

    def put(self, data: bytes) -> None:
        assert self.call("PUT", f"blobs/{hex_of(digest_of(data))}", data).status == 204

    def publish(self, version: str, image: bytes, *, hardware: str = HARDWARE, counter: int = 1, **rules: object) -> dict[str, Any]:
        """Publish a release of one image and return the request that did so."""
        request = self.signed(version, image, hardware=hardware, counter=counter, **rules)
        answer = self.call("POST", "releases", request)
        assert answer.status == 200, answer.data
        return request

    def signed(self, version: str, image: bytes, *, hardware: str = HARDWARE, counter: int = 1, **rules: object) -> dict[str, Any]:
        """Send the blobs of a release, sign its role, and return the request that would publish it."""
        sbom = f"sbom of {version}".encode()
        self.put(image)
        self.put(sbom)
        wanted = structs.replace(manifest(version, image, hardware=hardware, counter=counter), **rules)
        current = self.call("GET", f"metadata/image/{PRODUCT}.json").data
        role = listing(current, [wanted], [self.repositories.product], self.clock())
        return request_for(wanted, sbom, role, self.repositories.product)

    def offer(self, device_id: str = "", hardware: str = HARDWARE) -> dict[str, Any]:
        self.devices += 1
        answer = self.call("POST", "tokens", {"device_id": device_id or f"t-{self.devices}", "hardware": hardware})
        assert answer.status == 201, answer.data
        offer: dict[str, Any] = answer.json()
        return offer

    def enroll(self, offer: dict[str, Any], csr: str, **changes: str) -> urllib3.BaseHTTPResponse:
        request = {"device_id": offer["device_id"], "hardware": offer["hardware"], "token": offer["token"], "csr": csr, **changes}
        pool = urllib3.PoolManager(ca_cert_data=offer["server_ca"], retries=False, timeout=20)
        return pool.request("POST", f"{offer['enroll_url']}/v1/enroll", body=json.dumps(request))

    def join(self, device_id: str = "", hardware: str = HARDWARE) -> Joined:
        offer = self.offer(device_id, hardware)
        key = ec.generate_private_key(ec.SECP256R1())
        answer = self.enroll(offer, csr_for(key))
        assert answer.status == 200, answer.data
        return self.present(offer, answer.json()["certificate"], key)

    def present(self, offer: dict[str, Any], certificate: str, key: ec.EllipticCurvePrivateKey) -> Joined:
        file = self.data / f"{offer['device_id']}.pem"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.encode())
        pool = urllib3.PoolManager(ca_cert_data=offer["server_ca"], cert_file=str(file), retries=False, timeout=20)
        return Joined(device_id=offer["device_id"], pool=pool, url=offer["device_url"], certificate=file)

    def order(self, device: Joined, version: str, **more: str) -> urllib3.BaseHTTPResponse:
        return self.call("POST", f"devices/{device.device_id}/order", {"version": version, **more})

    def story(self, device: Joined) -> dict[str, Any]:
        story: dict[str, Any] = self.call("GET", f"devices/{device.device_id}").json()
        return story


def csr_for(key: CertificateIssuerPrivateKeyTypes, builder: x509.CertificateSigningRequestBuilder | None = None) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whatever")])
    builder = builder or x509.CertificateSigningRequestBuilder().subject_name(name)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def request_for(wanted: Manifest, sbom: bytes, role: bytes, signer: Signer) -> dict[str, Any]:
    file = f"manifest-{wanted.target_hardware[0]}-{wanted.variant}.json"
    data = to_pretty_json(wanted)
    entry = ManifestEntry(hardware=wanted.target_hardware[0], variant=wanted.variant, file=file, hash=digest_of(data))
    predicate = predicate_of(wanted)
    index = ReleaseIndex(
        product=wanted.product,
        version=wanted.version,
        build_id=wanted.build_id,
        manifests=[entry],
        sbom=digest_of(sbom),
        provenance=digest_of(predicate),
    )
    statement = make_statement(read_predicate(predicate), index, [wanted])
    return {
        "index": b64encode(to_pretty_json(index)).decode(),
        "manifests": {file: b64encode(data).decode()},
        "roles": {f"{wanted.product}.json": b64encode(role).decode()},
        "signatures": {file: offline.sign_manifest(wanted, signer)},
        "provenance": b64encode(sign_envelope(statement, [signer])).decode(),
    }


def predicate_of(wanted: Manifest) -> bytes:
    parameters = ExternalParameters(
        recipe=digest_of(b"recipe"),
        product=wanted.product,
        version=wanted.version,
        build_id=wanted.build_id,
        release_counter=wanted.release_counter,
        hardware=sorted(wanted.target_hardware),
        variants=[wanted.variant],
    )
    materials = [Material(path=part.name, hash=part.hash, component=part.name, version=part.version) for part in wanted.components]
    return make_predicate(parameters, "0.1.0", materials)


def write_data(data: Path, repositories: Repositories) -> None:
    """Write what ``surefoot trust init`` writes."""
    for folder in ("metadata/image", "metadata/director", "keys"):
        (data / folder).mkdir(parents=True)
    for name, content in repositories.image.items():
        (data / "metadata" / "image" / name).write_bytes(content)
    (data / "metadata" / "director" / "root.json").write_bytes(repositories.director_root)
    signers = {
        "image-snapshot": repositories.online.snapshot,
        "image-timestamp": repositories.online.timestamp,
        "director-targets": repositories.director.targets,
        "director-snapshot": repositories.director.snapshot,
        "director-timestamp": repositories.director.timestamp,
    }
    for name, signer in signers.items():
        (data / "keys" / f"{name}.pem").write_bytes(signer.private_bytes)  # type: ignore[attr-defined]  # file-backed signers have it


@contextmanager
def running(data: Path, repositories: Repositories | None = None) -> Iterator[Running]:
    """Run a server on ``data`` in a thread of its own; a folder without repositories gets some."""
    clock = Clock()
    if repositories is None:
        repositories = Repositories(now=clock())
        write_data(data, repositories)
    settings = ServerSettings(data=data, host="127.0.0.1", device_port=0, enrol_port=0, operator_port=0)
    with serving(settings, clock) as addresses:
        yield Running(data=data, addresses=addresses, repositories=repositories, clock=clock)


@contextmanager
def serving(settings: ServerSettings, clock: Clock) -> Iterator[Addresses]:
    is_ready, found, failed = threading.Event(), list[Addresses](), list[Error]()
    loop = uvloop.new_event_loop()
    stop = asyncio.Event()

    def ready(addresses: Addresses) -> None:
        found.append(addresses)
        is_ready.set()

    def serve() -> None:
        try:
            loop.run_until_complete(run(settings, ready, stop, clock))
        except Error as error:
            failed.append(error)
        finally:
            is_ready.set()
            loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    is_ready.wait()
    try:
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
