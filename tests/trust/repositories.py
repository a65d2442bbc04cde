# SPDX-License-Identifier: Apache-2.0
"""Two small repositories with real keys, for tests of trust and of everything above it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Targets

from surefoot.model.assignment import AssignmentId, DeviceId, Order
from surefoot.model.digest import digest_of
from surefoot.model.manifest import Component, Image, Manifest, ReleaseNotes, must_match, target_path
from surefoot.model.record import utc_text
from surefoot.trust import layout, offline
from surefoot.trust.director import Directed, DirectorSigners, View, sign_view
from surefoot.trust.metadata import Files, expiry, sign_with
from surefoot.trust.repository import OnlineSigners, initial, publish_roles, versions
from surefoot.trust.signer import generate

NOW = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)
DEVICE = DeviceId("t-1")
PRODUCT = "thermostat"


def manifest(
    version: str,
    data: bytes,
    *,
    counter: int = 1,
    hardware: str = "thermostat-v1",
    product: str = PRODUCT,
    components: Sequence[Component] = (),
) -> Manifest:
    return Manifest(
        product=product,
        version=version,
        build_id=f"20261123-080000-{digest_of(data)[7:13]}",
        variant="release",
        release_counter=counter,
        target_hardware=[hardware],
        min_bootloader_version="1.0.0",
        components=list(components),
        image=Image(size=len(data), hash=digest_of(data)),
        metadata=ReleaseNotes(),
    )


def listing(role: bytes, manifests: Sequence[Manifest], signers: Sequence[Signer], now: datetime) -> bytes:
    """Return a product role that has no bins after these images were listed in it."""
    product = manifests[0].product
    files = {"targets.json": create_targets([generate()], {product: signers[0].public_key}, now), f"{product}.json": role}
    return layout.add_release(files, manifests, signers, now).get(f"{product}.json", role)


def create_root(signers: Sequence[Signer], others: Mapping[str, Iterable[Key]], now: datetime, *, thresholds: Mapping[str, int]) -> bytes:
    """Return version 1 of a root, signed by all its keys, of which two suffice from then on."""
    keys = {"root": [signer.public_key for signer in signers], **others}
    return sign_with(Metadata(offline.new_root(keys, {"root": offline.ROOT_THRESHOLD, **thresholds}, now)), signers)


def create_targets(signers: Sequence[Signer], products: Mapping[str, Key], now: datetime) -> bytes:
    """Return version 1 of the top-level targets, with one delegation a product."""
    targets = Targets(expires=expiry("targets", now))
    for product, key in products.items():
        offline.delegate(targets, product, [key], 1)
    return sign_with(Metadata(targets), signers)


def create_product(signer: Signer, now: datetime) -> bytes:
    """Return version 1 of a product role, which lists nothing yet."""
    return sign_with(Metadata(Targets(expires=expiry("targets", now))), [signer])


def add_product(targets: bytes, product: str, key: Key, signers: Sequence[Signer]) -> bytes:
    """Return the next version of the top-level targets, which also delegates ``product`` to ``key``, whatever else that key may do."""
    return following(targets, signers, lambda signed: offline.delegate(signed, product, [key], 1))


def following(data: bytes, signers: Sequence[Signer], change: Callable[[Any], None] = lambda _: None, *, by: int = 1) -> bytes:
    """Return the next version of a file, changed so and signed by these; ``by`` says how much later it is."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    metadata.signed.version += by
    change(metadata.signed)
    return sign_with(metadata, signers)


def order_for(device: DeviceId, wanted: Manifest, assignment: int, now: datetime) -> Order:
    return Order(
        device_id=device,
        assignment_id=AssignmentId(assignment),
        issued_at=utc_text(now),
        start_before=utc_text(now + timedelta(hours=24)),
        deadline_s=4 * 3600,
        must_match=must_match(wanted),
    )


@dataclass
class Repositories:
    """An image repository and a director, as a server and its release engineers would hold them."""

    now: datetime = NOW
    image_roots: list[Signer] = field(default_factory=lambda: [generate() for _ in range(3)])
    director_roots: list[Signer] = field(default_factory=lambda: [generate() for _ in range(3)])
    targets: list[Signer] = field(default_factory=lambda: [generate() for _ in range(2)])
    product: Signer = field(default_factory=generate)
    online: OnlineSigners = field(default_factory=lambda: OnlineSigners(snapshot=generate(), timestamp=generate()))
    director: DirectorSigners = field(
        default_factory=lambda: DirectorSigners(targets=generate(), snapshot=generate(), timestamp=generate())
    )
    image: dict[str, bytes] = field(init=False)
    director_root: bytes = field(init=False)
    views: dict[DeviceId, View] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = create_root(
            self.image_roots,
            {
                "targets": [signer.public_key for signer in self.targets],
                "snapshot": [self.online.snapshot.public_key],
                "timestamp": [self.online.timestamp.public_key],
            },
            self.now,
            thresholds={"targets": 2},
        )
        top = create_targets(self.targets, {PRODUCT: self.product.public_key}, self.now)
        self.image = initial(root, top, {PRODUCT: create_product(self.product, self.now)}, self.online, self.now)
        self.director_root = create_root(
            self.director_roots,
            {role: [getattr(self.director, role).public_key] for role in ("targets", "snapshot", "timestamp")},
            self.now,
            thresholds={},
        )

    def release(self, *manifests: Manifest) -> None:
        """Sign and publish images of the product."""
        roles = layout.add_release(self.image, manifests, [self.product], self.now)
        self.image |= publish_roles(self.image, PRODUCT, roles, self.online, self.now)

    def order(self, wanted: Manifest | None, *, device: DeviceId = DEVICE, assignment: int = 1, order: Order | None = None) -> View:
        """Sign a device's next view."""
        directed = None
        if wanted is not None:
            path = target_path(wanted.product, wanted.version, wanted.target_hardware[0], wanted.variant)
            directed = Directed(
                path=path,
                size=wanted.image.size,
                hash=wanted.image.hash,
                order=order or order_for(device, wanted, assignment, self.now),
            )
        self.views[device] = sign_view(self.views.get(device), device, directed, self.director, self.now)
        return self.views[device]

    def trusted_director(self) -> Files:
        return {"root.json": self.director_root}

    def trusted_image(self) -> Files:
        return {"root.json": self.image["root.json"]}

    def director_answer(self, device: DeviceId = DEVICE) -> dict[str, bytes]:
        """Return all the director's files for a device as a poll answer names them."""
        return view_files(self.views[device])

    def image_answer(self) -> dict[str, bytes]:
        """Return all image repository files as a poll answer names them."""
        return wire_names(self.image)


def view_files(view: View) -> dict[str, bytes]:
    return {
        "timestamp.json": view.timestamp,
        f"{view.snapshot_version}.snapshot.json": view.snapshot,
        f"{view.targets_version}.targets.json": view.targets,
    }


def wire_names(files: Files) -> dict[str, bytes]:
    numbers = versions(files)
    return {name if name == "timestamp.json" else f"{numbers[name]}.{name}": data for name, data in files.items()}
