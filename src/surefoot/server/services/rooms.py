# SPDX-License-Identifier: Apache-2.0
"""Rooms: what the networks that a plan limits still bear, as one decision is carried out.

- A network is read when the first of its devices is met, and never again for this decision: there may be a hundred thousand sites.
- A walk that meets a device of a full network passes it over and notes where it waits: its network's queue begins there. A queue is
  walked on its own, along an index, once there is room; so nobody is lost, and what is full costs nobody a walk.
- A region is larger than a site: a device that has room in neither waits in its region's queue.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from msgspec import structs

from surefoot.rollout.evidence import Evidence
from surefoot.rollout.limits import is_full, looked_at_again, room_of, span_s
from surefoot.rollout.network import SITE, Traffic, all_of, kind_of, offered
from surefoot.server.services.network_store import Queue
from surefoot.server.services.ports import Ledger, Reads
from surefoot.server.services.rollout_store import Candidate, StoredRollout

_MOST_QUEUES = 50
"""Queues that one decision lets devices in from."""


class Rooms:
    """What networks still bear; lowered by every device that is offered the release."""

    def __init__(self, ledger: Ledger, stored: StoredRollout, image_bytes: int, now: datetime) -> None:
        """Begin with nothing read; ``image_bytes`` is the size of the release's largest image."""
        self._ledger, self._stored, self._now = ledger, stored, now
        self._limits, self._image_bytes = stored.rollout.plan.limits, image_bytes
        self._left: dict[str, int] = {}
        self._traffic: dict[str, Traffic] = {}

    def limited(self, candidate: Candidate) -> list[str]:
        """Return the networks of a device that the plan limits, the larger first."""
        if not self._limits.has_networks:
            return []
        return [network for network in all_of(candidate.attributes) if self._limits.of_network(network) is not None]

    def full(self, candidate: Candidate) -> str | None:
        """Return the network of a device that has no room for it; nothing when all have."""
        return next((network for network in self.limited(candidate) if not self._room(network)), None)

    def take(self, candidate: Candidate, size_bytes: int) -> None:
        """Count a device that is offered an image of this size."""
        for network in self.limited(candidate):
            self._left[network] = self._room(network) - 1
            self._traffic[network] = offered(self._traffic[network], size_bytes, int(self._now.timestamp()))

    def wait(self, passed_over: Mapping[str, int]) -> None:
        """Let devices wait in the queues of full networks: by network, the place of the first of them on the ring."""
        for network, place in passed_over.items():
            self._ledger.networks.join(self._stored.rollout_id, Queue(network=network, place=place, look_at=self.look_at(network)))

    def look_at(self, network: str) -> int:
        """Return when the queue of a network is to be looked at again, seconds since 1970."""
        self._room(network)
        return looked_at_again(self._limits, self._traffic[network], self._image_bytes, int(self._now.timestamp()))

    def _room(self, network: str) -> int:
        if network not in self._left:
            traffic = traffic_of(self._ledger, self._stored, network, self._image_bytes, self._now)
            room = room_of(self._limits, traffic, self._image_bytes)
            self._traffic[network], self._left[network] = traffic, 0 if is_full(room) else room.offers
        return self._left[network]


def largest_image(reads: Reads, stored: StoredRollout) -> int:
    """Return the size of the largest image that a rollout may offer; 0 when its release is gone."""
    plan = stored.rollout.plan
    release = reads.release(plan.product, plan.version)
    images = [] if release is None else [one.image.size for one in release.manifests if one.variant == plan.variant]
    return max(images, default=0)


def traffic_of(ledger: Ledger, stored: StoredRollout, network: str, image_bytes: int, now: datetime) -> Traffic:
    """Return what a rollout has offered in a network that its plan limits."""
    own = stored.rollout.plan.limits.of_network(network)
    return ledger.networks.traffic(stored.rollout_id, network, 0 if own is None else span_s(own, image_bytes), now)


def waiting(ledger: Ledger, stored: StoredRollout, image_bytes: int, now: datetime) -> list[Traffic]:
    """Return the networks whose queues are to be looked at now, or the one that is next; none when nobody waits."""
    first = ledger.networks.first(stored.rollout_id, _MOST_QUEUES)
    due = [one for one in first if one.look_at <= now.timestamp()] or first[:1]
    return [structs.replace(traffic_of(ledger, stored, one.network, image_bytes, now), look_at=one.look_at) for one in due]


def put_off(ledger: Ledger, stored: StoredRollout, evidence: Evidence, now: datetime) -> None:
    """Let the queues that were to be looked at, and whose networks are still full, wait on."""
    limits, at = stored.rollout.plan.limits, int(now.timestamp())
    for traffic in evidence.networks:
        if traffic.look_at <= at and is_full(room_of(limits, traffic, evidence.image_bytes)):
            queue = ledger.networks.queue(stored.rollout_id, traffic.network)
            if queue is not None:
                look_at = looked_at_again(limits, traffic, evidence.image_bytes, at)
                ledger.networks.put(stored.rollout_id, replace(queue, look_at=look_at))


def may_overtake(full: str, network: str) -> bool:
    """Say whether others in the queue of a network go on when one of them has no room in ``full``: in a region, past a full site."""
    return full != network and kind_of(full) == SITE
