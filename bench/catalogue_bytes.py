# SPDX-License-Identifier: Apache-2.0
"""What a device fetches of the image repository for one new order, in catalogues of three sizes, and how long one more release takes.

A catalogue is made with real keys by the code that signs and publishes; counted are the signed files on the way to one path, the
shared ones included. Times are of signing and publishing one release in memory, without database and disk.
"""

import time
from dataclasses import dataclass

from tuf.api.metadata import Targets

from bench.rows import Row, compared
from surefoot.trust import layout
from surefoot.trust.metadata import read
from surefoot.trust.repository import initial, publish_roles
from tests.trust.repositories import PRODUCT, Repositories, manifest

SIZES = {"10": 10, "1k": 1_000, "100k": 100_000}

ORDER_BUDGET = 4_000
RELEASE_BUDGET = 310
FILE_BUDGET = 65_000
SECOND = 1.0

_SHARED = ("timestamp.json", "snapshot.json", "targets.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    order_bytes: int
    largest_file: int
    sign_s: float
    publish_s: float


def measure(run: str) -> list[Row]:
    """Return two rows for each catalogue, and two more for the largest."""
    found = {name: _catalogue(size) for name, size in SIZES.items()}
    largest = found["100k"]
    per_order = {"10": ORDER_BUDGET + 10 * RELEASE_BUDGET, "1k": ORDER_BUDGET + FILE_BUDGET, "100k": ORDER_BUDGET + FILE_BUDGET}
    rows = [
        compared(f"catalogue/order-bytes-{name}", one.order_bytes, "B", against="budget", figure=per_order[name], run=run)
        for name, one in found.items()
    ]
    return [
        *rows,
        *(
            compared(f"catalogue/largest-file-{name}", one.largest_file, "B", against="budget", figure=FILE_BUDGET, run=run)
            for name, one in found.items()
        ),
        compared("catalogue/sign-100k", largest.sign_s, "s", against="a second", figure=SECOND, run=run),
        compared("catalogue/publish-100k", largest.publish_s, "s", against="a second", figure=SECOND, run=run),
    ]


def _catalogue(size: int) -> _Found:
    world = Repositories()
    images = [manifest(f"1.{number}.0", f"image {number}".encode()) for number in range(size - 1)]
    roles = layout.add_release(world.image, images, [world.product], world.now)
    named = {name.removesuffix(".json"): data for name, data in {f"{PRODUCT}.json": world.image[f"{PRODUCT}.json"], **roles}.items()}
    files = initial(world.image["root.json"], world.image["targets.json"], named, world.online, world.now)
    began = time.perf_counter()
    changed = layout.add_release(files, [manifest("2.0.0", b"next")], [world.product], world.now)
    signed = time.perf_counter()
    scope = {name: files[name] for name in {"root.json", *_SHARED, f"{PRODUCT}.json", *changed} & files.keys()}
    files |= publish_roles(scope, PRODUCT, changed, world.online, world.now)
    published = time.perf_counter()
    bits = layout.bits_of(read(files[f"{PRODUCT}.json"], Targets, name=PRODUCT).signed)
    way = layout.way_to(PRODUCT, bits, f"{PRODUCT}/2.0.0/thermostat-v1-release", is_retired=False)
    lengths = {name: len(data) for name, data in files.items()}
    return _Found(
        order_bytes=sum(lengths[name] for name in (*_SHARED, *(f"{role}.json" for role in way))),
        largest_file=max(lengths.values()),
        sign_s=signed - began,
        publish_s=published - signed,
    )
