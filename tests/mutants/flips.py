# SPDX-License-Identifier: Apache-2.0
"""Bytes of every signed file changed, each in three ways: none of it may be believed by a device or by who opens a bundle.

Of a file that is longer than its case tries places, every n-th byte is changed; the table says which n.
"""

import io
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import structs
from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets

from surefoot.cli.main import main
from surefoot.cli.release_signatures import require_signed_by_root
from surefoot.model.errors import Error, TrustError
from surefoot.model.manifest import target_path
from surefoot.release.bundle import read_bundle, verify_bundle
from surefoot.trust import layout
from surefoot.trust.metadata import read, sign_with
from surefoot.trust.offline import sign_manifest
from surefoot.trust.repository import publish_roles, require_signature
from surefoot.trust.verify import verify
from tests.release.firmware import built
from tests.trust.repositories import DEVICE, NOW, PRODUCT, Repositories, manifest

FLIPS = 3
SEED = 1
GOOD = manifest("1.1.0", b"good image" * 500)
PATH = target_path(PRODUCT, "1.1.0", "thermostat-v1", "release")
WAY = layout.way_to(PRODUCT, 3, PATH, is_retired=True)
ROLES = ("2.root.json", "timestamp.json", "snapshot.json", "targets.json")
FILES = (
    *(f"director {name}" for name in ROLES),
    *(f"image {name}" for name in (*ROLES, f"{PRODUCT}.json")),
    *(f"archived {PRODUCT}{archive}.json" for archive in ("", "+archive")),
    *(f"bins {role}.json" for role in WAY),
    "bundle release.json",
    "bundle manifest-esp32-v2-release.json",
    "bundle provenance.json",
    "bundle sbom.cdx.json",
    "bundle signed/targets.json",
    "bundle signed/thermostat.json",
    "bundle signed/signatures.json",
    "bundle signed/provenance.dsse.json",
    "manifest image.signature",
)
"""Who is shown it, and the file: a device (``archived``: what it is to run is retired; ``bins``: is one of many), or ``release verify``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of one file's flips; ``accepted`` counts those that anybody believed."""

    file: str
    size_bytes: int
    stride: int
    tried: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A signed file, what believes it or raises one of ``refusals``, and how many of its bytes are changed at most."""

    data: bytes
    believe: Callable[[bytes], object]
    refusals: type[Error] = TrustError
    places: int = 1_500


def flipped(file: str) -> Found:
    """Change bytes of ``file`` and count what happens.

    Raises:
        Error: The file is refused as it is.
    """
    with case(file) as found:
        found.believe(found.data)
        chance = random.Random(f"{SEED} {file}")  # noqa: S311  # the same changes every time
        size = len(found.data)
        stride = -(-size // found.places)
        changes = [(place, change) for place in range(0, size, stride) for change in chance.sample(range(1, 256), FLIPS)]
        accepted = sum(_is_accepted(found, place, change) for place, change in changes)
    return Found(file=file, size_bytes=size, stride=stride, tried=len(changes), accepted=accepted)


def _is_accepted(found: Case, place: int, change: int) -> bool:
    data = bytearray(found.data)
    data[place] ^= change
    try:
        found.believe(bytes(data))
    except found.refusals:
        return False
    return True


@contextmanager
def case(file: str) -> Iterator[Case]:
    """Make the world in which ``file`` of ``FILES`` is signed, and let it be believed there."""
    who, name = file.split(" ")
    match who:
        case "director" | "image":
            yield _answered(_world(), who, name)
        case "archived":
            yield _answered(_archived(), "image", name)
        case "bins":
            yield _answered(_binned(), "image", name, places=400)
        case "bundle":
            with TemporaryDirectory() as folder:
                yield _bundled(Path(folder), name)
        case _:
            yield _signature()


def _answered(world: Repositories, repository: str, name: str, *, places: int = 1_500) -> Case:
    """Return a file of a poll answer that orders an image and rotates both roots."""
    director, image = world.director_answer(), world.image_answer()
    director["2.root.json"] = _next_root(world.director_root, world.director_roots)
    image["2.root.json"] = _next_root(world.image["root.json"], world.image_roots)
    files = director if repository == "director" else image
    wire = next(wire for wire in files if wire == name or wire.split(".", 1)[1] == name)

    def believe(data: bytes) -> object:
        changed = {**files, wire: data}
        return verify(
            director=world.trusted_director(),
            image=world.trusted_image(),
            fetched_director=changed if repository == "director" else director,
            fetched_image=changed if repository == "image" else image,
            device_id=DEVICE,
            now=NOW,
        )

    return Case(data=files[wire], believe=believe, places=places)


@cache
def _world() -> Repositories:
    world = Repositories()
    world.release(GOOD)
    world.order(GOOD)
    return world


@cache
def _archived() -> Repositories:
    world = Repositories()
    world.release(GOOD)
    _retire(world)
    return world


@cache
def _binned() -> Repositories:
    world = Repositories()
    world.release(GOOD, *(manifest(f"2.0.{number}", b"%d" % number) for number in range(200)))
    _retire(world)
    return world


def _retire(world: Repositories) -> None:
    roles = layout.retire(world.image, PRODUCT, GOOD.version, [world.product], NOW)
    world.image |= publish_roles(world.image, PRODUCT, roles, world.online, NOW)
    world.order(GOOD)


def _next_root(current: bytes, signers: list[Signer]) -> bytes:
    metadata = read(current, Root, name="root.json")
    metadata.signed.version += 1
    return sign_with(metadata, signers[:2])


def _bundled(folder: Path, name: str) -> Case:
    """Return a file of a signed bundle, believed as ``surefoot release verify --root`` does."""
    keys, bundle = folder / "keys", folder / "bundle"
    with redirect_stdout(io.StringIO()):
        assert main(["trust", "init", "--keys", str(keys), "--data", str(folder / "data"), "--product", PRODUCT]) == 0
        built(folder)
        assert main(["release", "sign", str(bundle), "--keys", str(keys)]) == 0
    now = read((bundle / "signed/targets.json").read_bytes(), Targets, name="targets.json").signed.expires - timedelta(days=1)

    def believe(data: bytes) -> None:
        (bundle / name).write_bytes(data)
        found = read_bundle(bundle)
        verify_bundle(found)
        require_signed_by_root(found, keys / "metadata/root.json", now)

    return Case(data=(bundle / name).read_bytes(), believe=believe, refusals=Error, places=400)


def _signature() -> Case:
    """Return the signature that a published manifest bears."""
    world = _world()
    targets = read(world.image["targets.json"], Targets, name="targets.json").signed

    def believe(data: bytes) -> None:
        require_signature(targets, structs.replace(GOOD, image=structs.replace(GOOD.image, signature=data.decode("latin-1"))))

    return Case(data=sign_manifest(GOOD, world.product).encode(), believe=believe)
