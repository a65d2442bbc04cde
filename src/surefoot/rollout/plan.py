# SPDX-License-Identifier: Apache-2.0
"""Plans: what people write about a rollout, and where a rollout of it stands.

- A plan keeps the words of its file (``6h``, ``5%``), so that what is shown is what was written; numbers are properties.
- Stages are walked in order, and the batches inside a stage; a batch is a ceiling, a share of the stage's devices.
- A plan that contradicts itself is refused whole; nothing starts of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from surefoot.model.errors import InvalidInput
from surefoot.model.record import Name, Record, parse_utc
from surefoot.model.rules import Approval
from surefoot.rollout.control import Region
from surefoot.rollout.evidence import Counts
from surefoot.rollout.ledger import Ledger

WHOLE = 10_000
"""All of a stage, in hundredths of a percent: the unit of every share, so that thresholds compare whole numbers."""

Duration = Annotated[
    str,
    Meta(
        pattern=r"\A(0|[1-9][0-9]{0,6})[smhd]\Z", description="a whole number of seconds, minutes, hours or days, as in 90s, 15m, 6h or 2d"
    ),
]
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

DEFAULT_BATCHES = ("1%", "5%", "10%", "25%", "50%", "100%")
DEFAULT_SOAKS = ("6h", "6h", "4h", "2h", "2h", "0s")

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_S = 30 * 86_400
_SHORTEST_DEADLINE_S = 60


class Stage(Record, frozen=True, kw_only=True):
    """One part of the fleet that gets the release before the next part does.

    Attributes:
        name: What people call it.
        group: Whose members it is for; nothing means the whole audience.
        batches: Growing shares of the stage, the last being all of it.
        soak: How long nine of ten good installs of a batch must have run before the next one opens; one for all, or one for each.
    """

    name: Name
    group: Name | None = None
    batches: Annotated[list[Percent], Meta(min_length=1, max_length=50)] = msgspec.field(default_factory=lambda: ["100%"])
    soak: Duration | Annotated[list[Duration], Meta(min_length=1, max_length=50)] = "2h"

    @property
    def shares(self) -> list[int]:
        """The batches in hundredths of a percent."""
        return [hundredths(batch) for batch in self.batches]

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


class Limits(Record, frozen=True, kw_only=True):
    """How fast devices may be offered a release, whatever the batches say; ``per_minute`` counts offers in any minute."""

    per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] = 500


class Retries(Record, frozen=True, kw_only=True):
    """How often a device that failed or went silent is offered the release again; ``backoff`` is the first wait, doubled each time."""

    max: Annotated[int, Meta(ge=0, le=10)] = 0
    backoff: Duration = "1h"

    @property
    def backoff_s(self) -> int:
        """The first wait in seconds."""
        return seconds(self.backoff)


class PlanApproval(Record, frozen=True, kw_only=True):
    """Whether a person must approve the rollout before it may start, and whether it must be another one than who created it."""

    required: bool = False
    second_person: bool = True


class Plan(Record, frozen=True, kw_only=True):
    """The block ``rollout`` of a plan file.

    Attributes:
        audience: Which devices, as a filter over their attributes; nothing means every device of the product.
        variant: Which build of the release.
        gate: ``default``, or plain percentages.
        watch: How long the whole fleet is watched after the last batch, before the rollout ends.
        approve: Updates that are not allowed by themselves, and are by whoever wrote this plan: ``major``, ``breaking``.
        deadline: How long an attempt may take from its start; then it counts as silent.
        start_within: How long an offer stands; renewed while the device polls.
        retries: How often, and when, a device that failed or went silent is offered it again.
        on_halt: What becomes of the updated devices when it is halted: they keep the release; ``revert`` is refused.
        approval: Who must approve it before it starts.
        start_at: When it starts by itself, RFC 3339 UTC; empty when a person starts it.
        precedence: Of several rollouts that want a device, the highest has it first.
        kind: What it delivers; of equal precedence, security goes first.
    """

    release: ReleaseName
    name: Annotated[str, Meta(max_length=200)] = ""
    audience: Annotated[str, Meta(max_length=4_000)] = ""
    variant: Name = "release"
    stages: Annotated[list[Stage], Meta(min_length=1, max_length=50)] = msgspec.field(
        default_factory=lambda: [Stage(name="general", batches=[*DEFAULT_BATCHES], soak=[*DEFAULT_SOAKS])]
    )
    gate: Literal["default"] | Gates = DEFAULT
    watch: Duration = "1d"
    approve: Annotated[list[Approval], Meta(max_length=2)] = []
    deadline: Duration = "4h"
    start_within: Duration = "1d"
    limits: Limits = Limits()
    retries: Retries = Retries()
    on_halt: Literal["hold", "revert"] = "hold"
    approval: PlanApproval = PlanApproval()
    start_at: Instant = ""
    precedence: Annotated[int, Meta(ge=-1_000, le=1_000)] = 0
    kind: Literal["firmware", "application", "config", "flags", "security"] = "firmware"

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

    @property
    def is_live(self) -> bool:
        """Whether the engine may have something to decide."""
        is_at_work = self.status in {Status.RUNNING, Status.SCHEDULED}
        return is_at_work or (self.status is Status.PAUSED and self.localise_at is not None)

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
    def share(self) -> int:
        """The ceiling of the open batch, in hundredths of a percent of the stage."""
        return self.open_stage.shares[self.batch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Where a plan contradicts itself: the key, below ``rollout``; what is wrong there; what to write instead."""

    key: str
    message: str
    hint: str


def check_plan(plan: Plan) -> None:
    """See that a plan does not contradict itself.

    Raises:
        InvalidInput: It has a flaw; names the key.
    """
    found = flaw(plan)
    if found is not None:
        raise InvalidInput(f"'rollout.{found.key}': {found.message}.", hint=found.hint)


def flaw(plan: Plan) -> Flaw | None:
    """Return the first place where a plan contradicts itself; nothing when it does not.

    Two stages of one name, batches that do not grow or do not reach 100%, bounds the wrong way round, or a deadline that no
    device can keep.
    """
    return next(_flaws(plan), None)


def hundredths(percent: Percent) -> int:
    """Return a percentage in hundredths of a percent: ``0.5%`` is 50."""
    whole, _, fraction = percent.removesuffix("%").partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0")[:2])


def seconds(duration: Duration) -> int:
    """Return a duration in seconds."""
    return int(duration[:-1]) * _UNITS_S[duration[-1]]


def is_instant(text: str) -> bool:
    """Say whether a text of the form ``2026-12-01T02:00:00Z`` names an instant."""
    try:
        parse_utc(text)
    except InvalidInput:
        return False
    return True


def _flaws(plan: Plan) -> Iterator[Flaw]:
    names = [stage.name for stage in plan.stages]
    for index, stage in enumerate(plan.stages):
        if stage.name in names[:index]:
            yield Flaw(
                key=f"stages[{index}].name",
                message=f"there is a stage '{stage.name}' already",
                hint="Give every stage a name of its own.",
            )
        yield from _of_stage(stage, f"stages[{index}]")
    if not isinstance(plan.gate, str):
        yield from _of_gate(plan.gate.simple)
    if plan.start_at and not is_instant(plan.start_at):
        yield Flaw(key="start_at", message=f"there is no such instant as {plan.start_at}", hint="Write for example 2026-12-01T02:00:00Z.")
    if not _SHORTEST_DEADLINE_S <= plan.retries.backoff_s <= _LONGEST_S:
        yield Flaw(key="retries.backoff", message="it is not between a minute and 30 days", hint="Write for example 1h.")
    if plan.on_halt == "revert":
        # Accepted only once it is carried out: nobody is to rely on a way back that is not there.
        yield Flaw(key="on_halt", message="updated devices cannot be sent back yet", hint="Write hold.")
    if seconds(plan.watch) > _LONGEST_S:
        yield Flaw(key="watch", message="it is longer than 30 days", hint="Write for example 1d.")
    for key, value_s in (("deadline", plan.deadline_s), ("start_within", plan.start_within_s)):
        if not _SHORTEST_DEADLINE_S <= value_s <= _LONGEST_S:
            yield Flaw(key=key, message="it is not between a minute and 30 days", hint="Write for example 4h.")


def _of_stage(stage: Stage, place: str) -> Iterator[Flaw]:
    shares, written = stage.shares, ", ".join(stage.batches)
    if any(later <= earlier for earlier, later in pairwise(shares)) or shares[0] == 0:
        yield Flaw(key=f"{place}.batches", message=f"{written} do not grow", hint="Write growing percentages, as in 1%, 10%, 100%.")
    if shares[-1] != WHOLE:
        hint = "End with 100%: a stage is done when all of it is."
        yield Flaw(key=f"{place}.batches", message=f"they end at {stage.batches[-1]}", hint=hint)
    if any(seconds(stage.soak_of(batch)) > _LONGEST_S for batch in range(len(shares))):
        yield Flaw(key=f"{place}.soak", message="it is longer than 30 days", hint="Write for example 6h.")
    if not isinstance(stage.soak, str) and len(stage.soak) > len(shares):
        hint = "Write one for each batch, or fewer: the last stands for the rest."
        yield Flaw(key=f"{place}.soak", message=f"there are {len(stage.soak)} for {len(shares)} batches", hint=hint)


def _of_gate(gate: SimpleGate) -> Iterator[Flaw]:
    for rate, bounds in (("rollback_rate", gate.rollback_rate), ("health_failure_rate", gate.health_failure_rate)):
        if hundredths(bounds.warn) > hundredths(bounds.pause):
            message = f"it warns at {bounds.warn}, after it pauses at {bounds.pause}"
            yield Flaw(key=f"gate.simple.{rate}", message=message, hint="Warn at less than that.")
