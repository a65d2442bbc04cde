# SPDX-License-Identifier: Apache-2.0
"""Plans: what people write about a rollout, and where a rollout of it stands.

- A plan keeps the words of its file (``6h``, ``5%``), so that what is shown is what was written; numbers are properties.
- Stages are walked in order, and the batches inside a stage; a batch is a ceiling, a share of the stage's devices.
- What a plan leaves out follows from its kind (``surefoot.rollout.risk``), once: it is kept with the plan, and stays.
- A plan that contradicts itself is refused whole (``surefoot.rollout.flaw``); nothing starts of it.
"""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr

from surefoot.model.attribute import AttributeValue
from surefoot.model.duration import Duration, seconds
from surefoot.model.errors import InvalidInput
from surefoot.model.record import Name, Record, parse_utc
from surefoot.model.rules import Approval
from surefoot.model.window import Windows
from surefoot.rollout.control import Region
from surefoot.rollout.evidence import Counts
from surefoot.rollout.ledger import Ledger
from surefoot.rollout.network import EACH, REGION, SITE, kind_of, name_of
from surefoot.rollout.risk import PACES, Kind

WHOLE = 10_000
"""All of a stage, in hundredths of a percent: the unit of every share, so that thresholds compare whole numbers."""

Percent = Annotated[
    str, Meta(pattern=r"\A(100|[0-9]{1,2}(\.[0-9]{1,2})?)%\Z", description="a percentage with at most two decimals, as in 5% or 0.5%")
]
ReleaseName = Annotated[
    str,
    Meta(
        pattern=r"\A[a-z0-9][a-z0-9._-]{0,63} [0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]{0,100}\Z",
        description="a product and a version, as in 'thermostat 1.2.3'",
    ),
]

Instant = Annotated[
    str,
    Meta(
        pattern=r"\A([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?\Z",
        description="an instant in UTC, as in 2026-12-01T02:00:00Z",
    ),
]

MOST_STAGES = 50
"""Stages of a plan, as they are walked."""

FilterText = Annotated[
    str, Meta(max_length=4_000, pattern=r"\S", description="a filter, as in 'hardware==thermostat-v2'; left out, it means every device")
]
OrderBy = Annotated[
    list[Annotated[dict[Name, Annotated[list[AttributeValue], Meta(min_length=1, max_length=49)]], Meta(min_length=1, max_length=1)]],
    Meta(max_length=1, description="one attribute with its values in order, as in [region: [eu, na, apac]]"),
]
Rate = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1,000,000")]
BytesPerSecond = Annotated[int, Meta(ge=1, le=10**12, description="a whole number of bytes, at least 1")]

WRITTEN = (Percent, ReleaseName, Instant, FilterText)
"""The texts of a plan that have a form of their own, each with its description."""


class Stage(Record, frozen=True, kw_only=True):
    """One part of the fleet that gets the release before the next part does.

    Attributes:
        name: What people call it.
        group: Whose members it is for; nothing means the whole audience.
        audience: Which devices of these, as a filter; nothing means all.
        order_by: By which values of an attribute it goes, one after the other, devices with none of them last; nothing means as one.
        batches: Growing shares of the stage, the last being all of it.
        soak: How long nine of ten good installs of a batch must have run before the next one opens; one for all, or one for each.
    """

    name: Name
    group: Name | None = None
    audience: FilterText = ""
    order_by: OrderBy = []
    batches: Annotated[list[Percent], Meta(min_length=1, max_length=50)] = msgspec.field(default_factory=lambda: ["100%"])
    soak: Duration | Annotated[list[Duration], Meta(min_length=1, max_length=50)] = "2h"

    @property
    def shares(self) -> list[int]:
        """The batches in hundredths of a percent."""
        return [hundredths(batch) for batch in self.batches]

    @property
    def order(self) -> list[tuple[str, list[str]]]:
        """The attribute it goes by with its values in order; empty when it goes as one."""
        return [(name, values) for one in self.order_by for name, values in one.items()]

    def soak_of(self, batch: int) -> Duration:
        """Return the soak of one batch; the last that is written stands for those after it."""
        return self.soak if isinstance(self.soak, str) else self.soak[min(batch, len(self.soak) - 1)]


class Bounds(Record, frozen=True, kw_only=True):
    """Two rates: above ``warn`` people are told, above ``pause`` nothing more is offered."""

    warn: Percent
    pause: Percent


class SimpleGate(Record, frozen=True, kw_only=True):
    """Plain percentages over resolved attempts, silent ones included.

    Attributes:
        rollback_rate: Bounds of the share that failed, rolled back or went silent.
        health_failure_rate: Bounds of the share whose release found itself unhealthy.
        min_resolved: Attempts that count as the least there is to judge by; those that are missing count as good until they are in.
    """

    rollback_rate: Bounds = Bounds(warn="1%", pause="5%")
    health_failure_rate: Bounds = Bounds(warn="10%", pause="20%")
    min_resolved: Annotated[int, Meta(ge=1, le=10_000)] = 20


class Gates(Record, frozen=True, kw_only=True):
    """Plain percentages alone, or, with ``default``, as the backstop of the default gate."""

    simple: SimpleGate = SimpleGate()
    default: bool = False


DEFAULT: Literal["default"] = "default"
"""The default gate, with the published percentages as its backstop."""


class NetworkLimits(Record, frozen=True, kw_only=True):
    """What the network of one region or site bears of one rollout.

    Attributes:
        per_minute: Offers in any minute.
        per_hour: Offers in any hour.
        bytes_per_second: Of images offered, on average over any minute, or over the time one image takes at that rate if that is longer.
        concurrent_downloads: Devices that may fetch an image at once.
    """

    per_minute: Rate | None = None
    per_hour: Rate | None = None
    bytes_per_second: BytesPerSecond | None = None
    concurrent_downloads: Rate | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether it limits nothing."""
        return self == NetworkLimits()


Networks = Annotated[dict[AttributeValue, NetworkLimits], Meta(max_length=1_000)]


class Limits(Record, frozen=True, kw_only=True):
    """How fast devices may be offered a release, whatever the batches say.

    Attributes:
        per_minute: Offers in any minute.
        per_hour: Offers in any hour.
        concurrent_downloads: Devices that may fetch an image at once.
        regions: By region, what its network bears; '*' stands for each region that is not named.
        sites: By site, what its network bears; '*' stands for each site that is not named.
    """

    per_minute: Rate = 500
    per_hour: Rate | None = None
    concurrent_downloads: Rate | None = None
    regions: Networks = {}
    sites: Networks = {}

    @property
    def looks_back(self) -> bool:
        """Whether offers of the last hour matter."""
        return self.per_hour is not None or self.concurrent_downloads is not None

    @property
    def by_kind(self) -> dict[str, dict[str, NetworkLimits]]:
        """What networks bear, by their kind and name."""
        return {REGION: self.regions, SITE: self.sites}

    @property
    def has_networks(self) -> bool:
        """Whether any region or site is limited."""
        return bool(self.regions or self.sites)

    def of_network(self, network: str) -> NetworkLimits | None:
        """Return what one network bears; nothing when it is not limited."""
        name, named = name_of(network), self.by_kind[kind_of(network)]
        return named.get(name) or (named.get(EACH) if name else None)


class Security(Record, frozen=True, kw_only=True):
    """An update that cannot wait for windows for ever.

    Attributes:
        deadline: When windows no longer hold it back, RFC 3339. A pause does.
        grace: How long each device may look for a window of its own from its first offer on, even past the deadline.
    """

    deadline: str
    grace: Duration = "1d"


class Retries(Record, frozen=True, kw_only=True):
    """How often a device that failed or went silent is offered the release again; ``backoff`` is the first wait, doubled each time."""

    max: Annotated[int, Meta(ge=0, le=10, description="a whole number from 0 to 10")] = 0
    backoff: Duration = "1h"

    @property
    def backoff_s(self) -> int:
        """The first wait in seconds."""
        return seconds(self.backoff)


class PlanApproval(Record, frozen=True, kw_only=True):
    """Whether somebody must approve a rollout before it starts, and whether that must be another than who created it."""

    required: bool = False
    second_person: bool = True


class Plan(Record, frozen=True, kw_only=True):
    """The block ``rollout`` of a plan file.

    Attributes:
        name: What people call it.
        kind: What the release changes; what is left out follows from it.
        audience: Which devices, as a filter over their attributes; nothing means every device of the product.
        variant: Which build of the release.
        stages: Its parts, in order; left out, one stage ``general`` at the pace of its kind.
        gate: ``default``, or plain percentages.
        watch: How long the whole fleet is watched after the last batch, before the rollout ends; left out, as its kind has it.
        approve: Updates that are not allowed by themselves, and are by whoever wrote this plan: ``major``, ``breaking``.
        deadline: How long an attempt may take from its start; then it counts as silent. Left out, as its kind has it.
        start_within: How long an offer stands; renewed while the device polls.
        windows: When installs may start, where neither device, site nor customer has windows of its own; none: the fleet's, or any time.
        install_time: How long an install usually takes: it starts only where that fits before the window closes.
        security: By when windows no longer hold it back; nothing means never.
        on_halt: Whether a halt keeps devices that were updated as they are, or takes them back.
        start_at: When it starts by itself, RFC 3339 UTC; empty when a person starts it.
        precedence: Of several rollouts that want a device, the highest has it first; of equal ones, security goes first.
        retries: How often, and when, a device that failed or went silent is offered it again.
    """

    release: ReleaseName
    name: Annotated[str, Meta(max_length=200)] = ""
    kind: Kind = Kind.FIRMWARE
    audience: FilterText = ""
    variant: Name = "release"
    stages: Annotated[list[Stage], Meta(min_length=1, max_length=MOST_STAGES)] = []
    gate: Literal["default"] | Gates = DEFAULT
    watch: Duration = ""
    approve: Annotated[list[Approval], Meta(max_length=2)] = []
    deadline: Duration = ""
    start_within: Duration = "1d"
    windows: Windows = []
    install_time: Duration = "5m"
    security: Security | None = None
    retries: Retries = Retries()
    limits: Limits = msgspec.field(default_factory=Limits)
    on_halt: Literal["hold", "revert"] = "hold"
    approval: PlanApproval = PlanApproval()
    start_at: Instant = ""
    precedence: Annotated[int, Meta(ge=-1_000, le=1_000)] = 0

    def __post_init__(self) -> None:
        """Fill in what the kind decides: from here on the plan says it, whatever later versions of us hold to be usual."""
        pace = PACES[self.kind]
        general = Stage(name="general", batches=[*pace.batches], soak=[*pace.soaks])
        for key, usual in (("stages", [general]), ("watch", pace.watch), ("deadline", pace.deadline)):
            if not getattr(self, key):
                force_setattr(self, key, usual)

    @property
    def product(self) -> str:
        """The product of the release."""
        return self.release.partition(" ")[0]

    @property
    def version(self) -> str:
        """The version of the release."""
        return self.release.partition(" ")[2]

    @property
    def simple(self) -> SimpleGate:
        """The percentages that pause, whatever else does."""
        return SimpleGate() if isinstance(self.gate, str) else self.gate.simple

    @property
    def has_default_gate(self) -> bool:
        """Whether the default gate judges it."""
        return isinstance(self.gate, str) or self.gate.default

    @property
    def deadline_s(self) -> int:
        """The deadline in seconds."""
        return seconds(self.deadline)

    @property
    def install_s(self) -> int:
        """How long an install usually takes, in seconds."""
        return seconds(self.install_time)

    @property
    def start_within_s(self) -> int:
        """The life of an offer in seconds."""
        return seconds(self.start_within)


class PlanFile(Record, frozen=True, kw_only=True):
    """A plan file: one block, ``rollout``."""

    rollout: Plan


class Status(StrEnum):
    """Whether a rollout offers anything. ``halted`` and ``finished`` are for good."""

    DRAFT = "draft"
    APPROVED = "approved"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"
    FINISHED = "finished"


class Mark(Record, frozen=True, kw_only=True):
    """How many installs had gone well at a time, seconds since 1970."""

    at: int
    good: int


class Rollout(Record, frozen=True, kw_only=True):
    """A plan, and where it stands.

    Attributes:
        stage: Index of the open stage.
        batch: Index of the open batch in it.
        settled_at: From when the open batch soaks, RFC 3339 UTC; empty until enough of it has been heard of.
        opened: Counts of the open stage when the open batch was opened: a batch is heard of by what came since.
        opened_at: When the open batch was opened, seconds since 1970.
        marks: How many installs of the open stage had gone well, and when; as few as the soak needs.
        acknowledged: Counts, from the first stage on, that a person has seen and resumed after; the gate judges what came since.
        ledger: What the default gate has entered.
        regions: What is remembered of each region's control.
        excluded: Hardware that is offered nothing until a person includes it again.
        was_paused: Whether it ever was; then it teaches nothing about what is usual.
        localise_at: When a pause of the default gate looks for its culprit, seconds since 1970; nothing at any other time.
        is_final: Whether a person halted it: for good.
        approved_by: Who approved it; empty when nobody did.
        starts_at: When it starts by itself, RFC 3339 UTC; empty when it was not scheduled.
        is_alarmed: Whether people were told that it is kept from devices past its security deadline, and it still is.
        written: The stages as people wrote them, when they are walked otherwise.
        reverts: The rollout whose updated devices it takes back to the release of its plan; nothing for one that people wrote.
    """

    plan: Plan
    status: Status = Status.DRAFT
    stage: Annotated[int, Meta(ge=0)] = 0
    batch: Annotated[int, Meta(ge=0)] = 0
    settled_at: str = ""
    opened: Counts = Counts()
    opened_at: int = 0
    marks: list[Mark] = []
    acknowledged: list[Counts] = []
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    regions: list[Region] = []
    excluded: list[str] = []
    was_paused: bool = False
    localise_at: int | None = None
    is_final: bool = False
    approved_by: str = ""
    starts_at: str = ""
    is_alarmed: bool = False
    written: list[Stage] = []
    reverts: int | None = None

    @property
    def is_live(self) -> bool:
        """Whether the engine may have something to decide, or an alarm to raise."""
        may_alarm = self.status is Status.PAUSED and self.plan.security is not None and not self.is_alarmed
        return self.is_judged or self.status is Status.SCHEDULED or may_alarm

    @property
    def is_judged(self) -> bool:
        """Whether its gate looks at what is heard: it runs, or looks for the culprit of its pause."""
        return self.status is Status.RUNNING or (self.status is Status.PAUSED and self.localise_at is not None)

    @property
    def has_begun(self) -> bool:
        """Whether it was started, whatever became of it since."""
        return self.status not in {Status.DRAFT, Status.APPROVED, Status.SCHEDULED}

    @property
    def may_start(self) -> bool:
        """Whether it waits for nothing but its start."""
        is_ready = self.status is Status.DRAFT and not self.plan.approval.required
        return is_ready or self.status in {Status.APPROVED, Status.SCHEDULED}

    @property
    def held_regions(self) -> list[str]:
        """Regions in which nothing starts."""
        return [region.region for region in self.regions if region.is_held]

    @property
    def open_stage(self) -> Stage:
        """The stage it stands at."""
        return self.plan.stages[self.stage]

    @property
    def is_in_part(self) -> bool:
        """Whether the open stage is one value of a stage that goes value by value; nobody may have that value, and that is no mistake."""
        return bool(self.written) and self.open_stage.name not in {stage.name for stage in self.written}

    @property
    def share(self) -> int:
        """The ceiling of the open batch, in hundredths of a percent of the stage."""
        return self.open_stage.shares[self.batch]


def hundredths(percent: Percent) -> int:
    """Return a percentage in hundredths of a percent: ``0.5%`` is 50."""
    whole, _, fraction = percent.removesuffix("%").partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0")[:2])


def is_instant(text: str) -> bool:
    """Say whether a text of the form ``2026-12-01T02:00:00Z`` names an instant."""
    try:
        parse_utc(text)
    except InvalidInput:
        return False
    return True
