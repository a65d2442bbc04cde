# SPDX-License-Identifier: Apache-2.0
"""Evidence: what is known of a rollout's attempts, as counts; never as a list of devices.

``counts_of`` says what one attempt adds. A counter is the sum of that over its attempts, so it can be moved by the difference
that an event makes, and counted again from nothing: both give the same.
"""

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, structs

from surefoot.model.assignment import Outcome
from surefoot.model.record import Record
from surefoot.rollout.network import Traffic

_Count = Annotated[int, Meta(ge=0)]
_NOT_TAKEN = {Outcome.CANCELLED, Outcome.REJECTED, Outcome.SUPERSEDED}
_Rate = Annotated[float, Meta(ge=0, le=1)]


class Counts(Record, frozen=True, kw_only=True):
    """Attempts, counted.

    Attributes:
        offered: All of them.
        started: Those that the device reported work on.
        unhealthy: Those whose release found itself unhealthy on trial.
        late_good: Ended as silent or cancelled, and reported well afterwards.
        late_bad: Ended as silent or cancelled, and reported a failure or rollback afterwards.
        due: Started, and their deadline has passed since, however they ended; those that are silent are among them.
        relapsed: Ended well, and harmed later: rolled back, unhealthy, or gone.
        retried: Further tries of devices that had failed, but for those that were withdrawn, refused or replaced.

    The others are attempts by their outcome.
    """

    offered: int = 0
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    rolled_back: int = 0
    silent: int = 0
    cancelled: int = 0
    superseded: int = 0
    rejected: int = 0
    unhealthy: int = 0
    late_good: int = 0
    late_bad: int = 0
    due: int = 0
    relapsed: int = 0
    retried: int = 0

    @property
    def ended(self) -> int:
        """Attempts that have an outcome."""
        return self.resolved + self.cancelled + self.superseded + self.rejected

    @property
    def resolved(self) -> int:
        """Attempts that say something about the release: they went well, badly, or silent."""
        return self.succeeded + self.failed + self.rolled_back + self.silent

    @property
    def harmed(self) -> int:
        """Attempts that speak against the release. A withdrawn offer that was carried out all the same, and failed, does too."""
        return self.failed + self.rolled_back + self.silent + self.late_bad + self.relapsed

    @property
    def reported(self) -> int:
        """Attempts whose device reported an outcome, in time or later."""
        return self.succeeded + self.went_badly + self.late_good

    @property
    def went_badly(self) -> int:
        """Attempts whose device reported a failure or a rollback, in time or later."""
        return self.failed + self.rolled_back + self.late_bad

    @property
    def running(self) -> int:
        """Devices that run the release well."""
        return self.succeeded + self.late_good - self.relapsed

    @property
    def open(self) -> int:
        """Attempts without an outcome."""
        return self.offered - self.ended

    @property
    def taken(self) -> int:
        """Devices that count against a batch, once each: attempts but those that were withdrawn, refused or replaced by another order."""
        return self.offered - self.cancelled - self.rejected - self.superseded - self.retried

    def plus(self, other: "Counts") -> "Counts":
        """Return the sum, count by count."""
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in FIELDS})

    def minus(self, other: "Counts") -> "Counts":
        """Return the difference, count by count; may be negative."""
        return Counts(**{name: getattr(self, name) - getattr(other, name) for name in FIELDS})

    def times(self, number: int) -> "Counts":
        """Return what that many alike add up to."""
        return Counts(**{name: getattr(self, name) * number for name in FIELDS})


FIELDS = tuple(field.name for field in structs.fields(Counts))
"""The names of all counts, in order."""


class Facts(Record, frozen=True, kw_only=True):
    """What an attempt adds to the evidence."""

    is_started: bool = False
    is_unhealthy: bool = False
    outcome: Outcome | None = None
    is_late_good: bool = False
    is_late_bad: bool = False
    is_due: bool = False
    is_relapsed: bool = False
    is_retry: bool = False


class Tally(Record, frozen=True, kw_only=True):
    """The counts of one segment of one stage; ``region`` is empty where a device has none."""

    stage: Annotated[int, Meta(ge=0)]
    hardware: str
    region: str = ""
    counts: Counts


class Share(Record, frozen=True, kw_only=True):
    """How many devices of one hardware and region the audience has."""

    hardware: str
    region: str = ""
    devices: _Count


class Control(Record, frozen=True, kw_only=True):
    """Devices of one region that say how it would go without the release, or a sample of them.

    Attributes:
        devices: Not yet offered the release, and heard of in the day before.
        unreachable: Those of them that have not called when they should have.
        settled: Well on the release for more than a day; they stand in where the others are few.
        settled_unreachable: Those of them that have not called.
    """

    region: str = ""
    devices: _Count
    unreachable: _Count
    settled: _Count = 0
    settled_unreachable: _Count = 0


class Baseline(Record, frozen=True, kw_only=True):
    """What is usual for devices of one hardware and region, from past releases.

    Attributes:
        failed: Share of updates that fail or are rolled back, 0 to 1.
        silent: Share of updates of which nothing is heard before their deadline, 0 to 1.
        late: Failures in a device-hour after a good update.
    """

    hardware: str
    region: str = ""
    failed: _Rate = 0.0
    silent: _Rate = 0.0
    late: Annotated[float, Meta(ge=0)] = 0.0


class Evidence(Record, frozen=True, kw_only=True):
    """All that a decision looks at.

    Attributes:
        tallies: Counts by stage, hardware and region; every stage so far.
        population: Devices of the open stage when it was counted, those that run the release already included; nothing until then.
        is_exhausted: Whether a whole pass over the open stage found no further device to offer.
        exhausted_hardware: Hardware of which a whole pass over the open stage found no further device to offer.
        offered_last_minute: Offers of this rollout in the 60 s before now.
        offered_last_hour: Offers of this rollout in the hour before now; only counted where a limit asks for it.
        fetching: Devices that said that they fetch the image, and not yet that they have it; only counted where a limit asks for it.
        audience: The devices of all stages, by hardware and region; nothing: the open stage is the whole fleet, of the tallies' kinds.
        control: By region, devices to compare with; a region that is not named has none.
        baselines: By hardware and region; what is not named is a fleet without a past.
        retries_due: Devices that failed and may be tried again now.
        retries_waiting: Devices that failed and are to be tried again, now or later.
        left_to_others: Devices that the pass over the open stage left to other rollouts, which have them or go first.
        rival: Another rollout of the same release that was started and is not over.
        image_bytes: Size of the release's largest image; only known where a region or site is limited.
        networks: Those in which devices wait for room, the ones to be looked at first, first; not all when there are many.
        networks_waiting: In how many networks devices wait for room.
        canaries_wait: Whether the hardware that lacks canaries has devices only where there was no room a minute ago.
    """

    tallies: list[Tally] = []
    population: _Count | None = None
    is_exhausted: bool = False
    exhausted_hardware: list[str] = []
    offered_last_minute: _Count = 0
    offered_last_hour: _Count = 0
    fetching: _Count = 0
    audience: list[Share] = []
    control: list[Control] = []
    baselines: list[Baseline] = []
    retries_due: _Count = 0
    retries_waiting: _Count = 0
    left_to_others: _Count = 0
    rival: int | None = None
    image_bytes: _Count = 0
    networks: list[Traffic] = []
    networks_waiting: _Count = 0
    canaries_wait: bool = False

    @property
    def is_done(self) -> bool:
        """Whether nobody is left in the open stage to be offered it, neither ahead nor waiting for room."""
        return self.is_exhausted and not self.networks

    @property
    def fleet(self) -> int:
        """How many devices the rollout is for."""
        return sum(share.devices for share in self.audience) or self.population or 0

    def of_stage(self, stage: int) -> Counts:
        """Return the counts of one stage, all segments together."""
        return total(tally.counts for tally in self.tallies if tally.stage == stage)


def counts_of(facts: Facts) -> Counts:
    """Return what one attempt adds to its counter."""
    outcome = {} if facts.outcome is None else {facts.outcome.value: 1}
    return Counts(
        offered=1,
        started=int(facts.is_started),
        unhealthy=int(facts.is_unhealthy),
        late_good=int(facts.is_late_good),
        late_bad=int(facts.is_late_bad),
        due=int(facts.is_due),
        relapsed=int(facts.is_relapsed),
        retried=int(facts.is_retry and facts.outcome not in _NOT_TAKEN),
        **outcome,
    )


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of many counts."""
    result = Counts()
    for one in counts:
        result = result.plus(one)
    return result
