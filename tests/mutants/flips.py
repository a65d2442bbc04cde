# SPDX-License-Identifier: Apache-2.0
"""Each byte of a sample of every signed file changed in three ways: what becomes of it at the device and at whoever opens a bundle."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets

from surefoot.model.errors import TrustError
from surefoot.trust.envelope import open_envelope, sign_envelope
from surefoot.trust.metadata import read, sign_with
from surefoot.trust.verify import Ordered, verify
from tests.trust.repositories import DEVICE, NOW, PRODUCT, Repositories, manifest

SAMPLE = 600
WHOLE = 1_000
FLIPS = 3
SEED = 1
GOOD = manifest("1.1.0", b"good image" * 500)
FILES = (
    "director 2.root.json",
    "director timestamp.json",
    "director snapshot.json",
    "director targets.json",
    "image 2.root.json",
    "image timestamp.json",
    "image snapshot.json",
    "image targets.json",
    f"image {PRODUCT}.json",
    "bundle provenance",
)

Meaning = tuple[Ordered | None, datetime, tuple[int, int]] | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of one file's flips; ``accepted`` counts those that were believed to say something else."""

    file: str
    size_bytes: int
    tried: int
    refused: int
    same: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A signed file, and what believes it: its meaning, or a ``TrustError``."""

    data: bytes
    believe: Callable[[bytes], Meaning]


def flipped(file: str) -> Found:
    """Change bytes of ``file`` and count what happens: all bytes of a small file, a seeded sample of a large one."""
    case = cases()[file]
    honest = case.believe(case.data)
    chance = random.Random(f"{SEED} {file}")  # noqa: S311  # the same sample every time
    size = len(case.data)
    places = range(size) if size <= WHOLE else sorted(chance.sample(range(size), SAMPLE))
    refused = same = accepted = 0
    for place in places:
        for change in chance.sample(range(1, 256), FLIPS):
            data = bytearray(case.data)
            data[place] ^= change
            try:
                meaning = case.believe(bytes(data))
            except TrustError:
                refused += 1
            else:
                same += meaning == honest
                accepted += meaning != honest
    return Found(file=file, size_bytes=size, tried=len(places) * FLIPS, refused=refused, same=same, accepted=accepted)


@cache
def cases() -> dict[str, Case]:
    """Return every signed file of a poll answer that orders an image and rotates both roots, and the envelope of a bundle."""
    world = Repositories()
    world.release(GOOD)
    world.order(GOOD)
    director, image = world.director_answer(), world.image_answer()
    director["2.root.json"] = _next_root(world.director_root, world.director_roots)
    image["2.root.json"] = _next_root(world.image["root.json"], world.image_roots)

    def answer(repository: str, name: str) -> Case:
        def believe(data: bytes) -> Meaning:
            changed = {**(director if repository == "director" else image), name: data}
            verdict = verify(
                director=world.trusted_director(),
                image=world.trusted_image(),
                fetched_director=changed if repository == "director" else director,
                fetched_image=changed if repository == "image" else image,
                device_id=DEVICE,
                now=NOW,
            )
            roots = [read(files["root.json"], Root, name="root.json").signed.version for files in (verdict.director, verdict.image)]
            return verdict.ordered, verdict.issued_at, (roots[0], roots[1])

        return Case(data=(director if repository == "director" else image)[name], believe=believe)

    found = {
        f"{repository} {_plain(name)}": answer(repository, name)
        for repository, files in (("director", director), ("image", image))
        for name in files
    }
    found["bundle provenance"] = _envelope(world)
    return {file: found[file] for file in FILES}


def _plain(name: str) -> str:
    return name if name.endswith("root.json") else name.split(".", 1)[1] if name[0].isdigit() else name


def _next_root(current: bytes, signers: list[Signer]) -> bytes:
    metadata = read(current, Root, name="root.json")
    metadata.signed.version += 1
    return sign_with(metadata, signers[:2])


def _envelope(world: Repositories) -> Case:
    targets = read(world.image["targets.json"], Targets, name="targets.json").signed
    data = sign_envelope(b'{"_type":"https://in-toto.io/Statement/v1","subject":[]}', [world.product])
    return Case(data=data, believe=lambda changed: open_envelope(changed, targets, PRODUCT))
