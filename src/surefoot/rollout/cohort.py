# SPDX-License-Identifier: Apache-2.0
"""Cohorts: in which order a rollout comes to the devices of a stage.

Every device has a fixed place on a ring of ``RING`` places, from its id. A rollout walks the ring once, from a point of its own,
so that the same devices are not always the first; and the walk is a read along an index, without a step that draws lots first
(docs/adr/0008).
"""

import hashlib

RING = 1 << 62


def place(device_id: str) -> int:
    """Return a device's place on the ring, 0 to ``RING`` - 1."""
    return _hash(b"device", device_id)


def origin(salt: str) -> int:
    """Return where on the ring a rollout with this salt begins."""
    return _hash(b"rollout", salt)


def _hash(domain: bytes, text: str) -> int:
    return int.from_bytes(hashlib.sha256(domain + b"\0" + text.encode()).digest()[:8], "big") % RING
