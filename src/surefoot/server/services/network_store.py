# SPDX-License-Identifier: Apache-2.0
"""What the verbs of rollouts need from the database about networks: what was offered in one, and who waits for room there.

There may be a hundred thousand sites: everything is read by key, or the few that are to be looked at first.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from surefoot.rollout.network import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Devices of one network that a walk passed over, since it was full; they stay where they are on the ring.

    Attributes:
        network: Which, as in ``site:berlin``.
        place: The place of the first of them, as in ``Walk``.
        look_at: When it is looked at again, seconds since 1970; 0 is at once.
    """

    network: str
    place: int
    look_at: int


class NetworkStore(Protocol):
    """Networks of rollouts that limit them, inside the writer's transaction."""

    def traffic(self, rollout_id: int, network: str, span_s: int, now: datetime) -> Traffic:
        """Return what a rollout has offered in a network that it limits; ``span_s`` is what its bytes a second are an average over."""
        ...

    def is_known(self, network: str) -> bool:
        """Say whether any device is in a network that has a name."""
        ...

    def first(self, rollout_id: int, limit: int) -> list[Queue]:
        """Return the queues that are to be looked at first."""
        ...

    def queue(self, rollout_id: int, network: str) -> Queue | None:
        """Return the queue of one network; nothing when nobody waits there."""
        ...

    def count(self, rollout_id: int) -> int:
        """Return in how many networks devices wait for room."""
        ...

    def join(self, rollout_id: int, waiting: Queue) -> None:
        """Let a queue begin no later on the ring than there; it is made when there is none."""
        ...

    def put(self, rollout_id: int, waiting: Queue) -> None:
        """Store a queue, in place of what was stored of its network."""
        ...

    def wake(self, rollout_id: int, network: str) -> None:
        """Let a queue be looked at next: there is room."""
        ...

    def drop(self, rollout_id: int, network: str) -> None:
        """End the queue of one network."""
        ...

    def drop_all(self, rollout_id: int) -> None:
        """End every queue of a rollout."""
        ...
