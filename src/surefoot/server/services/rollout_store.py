# SPDX-License-Identifier: Apache-2.0
"""What the verbs of rollouts need from the database: rollouts, their counters and decisions, and devices in the order of the ring.

Every call costs what it answers with, never what the fleet is large; devices are only ever read in pieces, along an index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.field import Traits
from surefoot.fleet.setback import Setback
from surefoot.model.assignment import DeviceId
from surefoot.model.record import Record
from surefoot.model.rules import Running
from surefoot.rollout.decision import Decision
from surefoot.rollout.evidence import Control, Counts, Evidence, Share, Tally
from surefoot.rollout.plan import Rollout

MOST_OFFERS = 5
"""How often one rollout offers its release to a device that does not start: one that is gone must not keep a rollout open for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How far a rollout has come round the ring in its open stage.

    Attributes:
        place: Place of the last device that was looked at, counted from the rollout's origin; -1 before the first.
        device_id: That device; devices of one place go by their ids.
        passed: Devices that this pass has looked at so far.
        is_over: Whether the pass is complete.
        again_at: When the next pass may begin, seconds since 1970: devices come to fit behind a walker's back.
        no_more: Hardware of which a walk of its own found no further device.
        left: Devices that it left to other rollouts so far.
        canaries_at: Until when the hardware that lacks canaries waits for room in its networks, seconds since 1970.
        canaries_of: Hardware of which a walk of its own has come to nobody yet; empty when none has.
        canaries_place: The place that it has come to.
    """

    place: int = -1
    device_id: str = ""
    passed: int = 0
    is_over: bool = False
    again_at: int = 0
    no_more: tuple[str, ...] = ()
    left: int = 0
    canaries_at: int = 0
    canaries_of: str = ""
    canaries_place: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRollout:
    """A rollout as stored.

    Attributes:
        fence: Grows with every change; a change made from an older one is refused.
        salt: From which its origin on the ring is drawn.
        population: Devices of the open stage; nothing until they are counted.
        audience: The devices of all stages, as counted at the same time.
    """

    rollout_id: int
    fence: int
    rollout: Rollout
    created_at: datetime
    created_by: str
    salt: str
    walk: Walk = Walk()
    population: int | None = None
    audience: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A device that a walk comes to; ``place`` as in ``Walk``, ``running`` what it last told of itself.

    ``is_fresh``: it may call, is not quarantined for the release nor waits for another try, and has no attempts of this rollout but
    withdrawn ones, fewer than ``MOST_OFFERS``. ``busy_with``: the rollout that its open attempt is of, 0 for a person's order;
    nothing when it has none.
    """

    device_id: DeviceId
    place: int
    is_fresh: bool
    busy_with: int | None
    hash: str
    traits: Traits
    running: Running | None = None

    @property
    def is_free(self) -> bool:
        """Say whether the rollout may offer it the release."""
        return self.is_fresh and self.busy_with is None

    @property
    def attributes(self) -> Mapping[str, str]:
        """Return the effective attributes, the built-in ones among them."""
        return self.traits.attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """The devices of the open stage, and of all stages by hardware and region; both count those that run the release already."""

    population: int
    audience: tuple[Share, ...] = ()


class Survey(Protocol):
    """Looks at many devices, apart from the writer; may take its time."""

    async def count(self, stored: StoredRollout, now: datetime) -> Census:
        """Count a rollout's devices."""
        ...

    async def watch(self, stored: StoredRollout, now: datetime) -> list[Control]:
        """Look at a sample of the devices in each region that the rollout has not come to."""
        ...


class Known(Record, frozen=True, kw_only=True):
    """What past releases taught about devices of one hardware and region: trials as remembered, so no whole numbers."""

    hardware: str
    region: str = ""
    reported: float = 0.0
    failed: float = 0.0
    due: float = 0.0
    silent: float = 0.0
    hours: float = 0.0
    relapsed: float = 0.0


class RolloutStore(Protocol):
    """Rollouts, inside the writer's transaction."""

    def create(self, rollout: Rollout, by: str, salt: str, now: datetime) -> int:
        """Store a new rollout and return its id."""
        ...

    def rollout(self, rollout_id: int) -> StoredRollout | None:
        """Return a rollout."""
        ...

    def live(self) -> list[int]:
        """Return the ids of the rollouts that the engine decides for, oldest first."""
        ...

    def unfinished(self) -> list[int]:
        """Return the ids of the rollouts that run or are paused, oldest first."""
        ...

    def not_over(self) -> list[int]:
        """Return the ids of the rollouts that are neither finished nor halted, oldest first."""
        ...

    def rival(self, stored: StoredRollout) -> int | None:
        """Return the oldest other rollout of the same release that was started and is not over; reverts neither have rivals nor are any."""
        ...

    def reverting(self, rollout_id: int) -> list[int]:
        """Return the rollouts that take back what a rollout updated, and are not over."""
        ...

    def updated(self, rollout_id: int) -> Mapping[str, int]:
        """Return how many devices a rollout updated, or may have, by what they ran before."""
        ...

    def put(self, stored: StoredRollout) -> bool:
        """Store a rollout as it stands now, one fence on; false when it was changed since it was read."""
        ...

    def tallies(self, rollout_id: int) -> list[Tally]:
        """Return the counters of a rollout."""
        ...

    def move(self, rollout_id: int, segment: tuple[int, str, str], by: Counts) -> None:
        """Add to the counter of (stage, hardware, region)."""
        ...

    def offered_since(self, rollout_id: int, instant: datetime) -> int:
        """Return how many devices were offered the release after this instant."""
        ...

    def fetching(self, rollout_id: int) -> int:
        """Return how many devices said that they fetch the image, and not yet that they have it."""
        ...

    def add_decision(self, stored: StoredRollout, evidence: Evidence, decision: Decision, offered: int, now: datetime) -> None:
        """Store a decision with what it was made of."""
        ...

    def last_decision(self, rollout_id: int) -> Decision | None:
        """Return the newest decision."""
        ...

    def walk(self, stored: StoredRollout, limit: int, *, hardware: str | None = None, network: str | None = None) -> Sequence[Candidate]:
        """Return the next devices of the product in the open stage's group; fewer than ``limit`` at the ring's end.

        Of one hardware, or in one network, if that is asked for; not of both. In a network those that are not in the group, or not
        of the revert, are returned too, as not fresh: what a piece costs does not depend on how few are meant.
        Of a revert: those that the rollout which it takes back updated from its version, or may have.
        """
        ...

    def seniors(self, stored: StoredRollout) -> list[int]:
        """Return the running rollouts of the product that go before this one: reverts, then by precedence, security, and age."""
        ...

    def takes(self, stored: StoredRollout, device_id: DeviceId) -> bool:
        """Say whether a rollout may still offer its release to a device, as far as its own attempts and setbacks say."""
        ...

    def setback(self, device_id: DeviceId, product: str, version: str) -> Setback | None:
        """Return what is remembered of a device and a release."""
        ...

    def setbacks(self, device_id: DeviceId) -> list[Setback]:
        """Return what is remembered of a device, by release."""
        ...

    def put_setback(self, setback: Setback) -> None:
        """Remember a setback, in place of what was remembered of this device and release."""
        ...

    def forget_setback(self, device_id: DeviceId, product: str, version: str) -> None:
        """Forget what is remembered of a device and a release."""
        ...

    def waiting(self, stored: StoredRollout, now: datetime) -> tuple[int, int]:
        """Return how many devices may be tried again now, and how many now or later; excluded hardware counts in neither."""
        ...

    def to_retry(self, stored: StoredRollout, now: datetime, limit: int) -> Sequence[Candidate]:
        """Return devices that may be tried again now, those that wait longest first; ``is_fresh`` as if they had not failed."""
        ...

    def candidate(self, stored: StoredRollout, device_id: DeviceId) -> Candidate | None:
        """Return one device as a walk would show it; nothing when it is not one that it would come to. Its place means nothing."""
        ...

    def unstarted(self, rollout_id: int) -> list[Attempt]:
        """Return the open attempts that no device has started."""
        ...

    def overdue(self, now: datetime, limit: int) -> list[Attempt]:
        """Return attempts that are to be looked at, the longest overdue first."""
        ...

    def baselines(self, product: str) -> list[Known]:
        """Return what past releases taught about a product's devices."""
        ...

    def put_baseline(self, product: str, known: Known) -> None:
        """Store what is known of one hardware and region."""
        ...
