# SPDX-License-Identifier: Apache-2.0
"""Course: one rollout from its start to its end, by the real engine.

A person is there for what only a person ends: a region that is held for good goes on once it is calm. A pause stands.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec import structs
from numpy.random import Generator

from surefoot.rollout import acts
from surefoot.rollout.control import CALM_BELOW, unreachable
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Decision, Hold
from surefoot.rollout.evidence import Evidence
from surefoot.rollout.plan import Limits, Plan, Status
from surefoot.rollout.sequence import draft
from surefoot.rollout.standing import after
from surefoot.simulator.rollouts.world import Setting, World

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
"""When every simulated rollout starts."""

_MOST_DECISIONS = 50
_WHO = "simulation"
_MOST = 0.95
_MOST_A_MINUTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a rollout went.

    Attributes:
        harmed: Devices that started the release and carry its fault, seen or not.
        hours: After how many hours 95 % of the devices that take updates at all ran the release well; nothing when they never did.
        stopped: Why it was paused the first time, the cause of that decision; empty when it never was.
        stopped_h: After how many hours that was.
        excluded: Hardware that was excluded.
        status: How it ended.
        is_offered: Whether everybody has been offered it.
        at_risk_blind: Most devices with an open attempt before anything was heard of any.
    """

    harmed: int
    hours: float | None
    stopped: str
    stopped_h: float | None
    excluded: tuple[str, ...]
    status: Status
    is_offered: bool
    at_risk_blind: int


def run(
    plan: Plan,
    setting: Setting,
    rng: Generator,
    *,
    watch: Callable[[datetime, Decision], None] = lambda _now, _decision: None,
    is_enough: Callable[[Result], bool] = lambda _so_far: False,
) -> Result:
    """Roll a release out until nothing more happens, or nobody looks any more.

    Args:
        plan: What is rolled out.
        setting: On what.
        rng: Where chance comes from; the same seed gives the same course.
        watch: Told of every decision.
        is_enough: Asked every tick whether what came out so far is all one wants to know.
    """
    course = _Course(plan, setting, rng, watch)
    for _ in range(setting.ticks):
        course.turn()
        if course.is_over or is_enough(course.result()):
            break
    return course.result()


def _by_tick(plan: Plan, tick_s: int) -> Plan:
    """Return a plan whose limit counts offers of a tick, since that is how often offers are made; what networks bear is not simulated."""
    limits = plan.limits
    a_minute = min(limits.per_minute * 60, limits.per_hour or limits.per_minute * 60) * tick_s // 3_600
    return structs.replace(plan, limits=Limits(per_minute=min(_MOST_A_MINUTE, max(1, a_minute))))


class _Course:
    """One rollout, as it goes."""

    def __init__(self, plan: Plan, setting: Setting, rng: Generator, watch: Callable[[datetime, Decision], None]) -> None:
        self._setting, self._watch = setting, watch
        drafted = draft(plan)
        plan = drafted.plan
        self._world = World(setting, rng, stages=len(plan.stages), deadline_s=plan.deadline_s, start_within_s=plan.start_within_s)
        self._rollout = structs.replace(drafted, plan=_by_tick(plan, setting.tick_s))
        self._stopped, self._blind = "", 0
        self._stopped_h: float | None = None
        self._hours: float | None = None

        self._take(acts.start(self._rollout, _WHO), self._evidence())

    def turn(self) -> None:
        """Let the rollout go as far as it may, and a tick pass."""
        self._go_far()
        self._note()
        self._world.turn()

    def result(self) -> Result:
        """Return what came out so far."""
        return Result(
            harmed=self._world.harmed,
            hours=self._hours,
            stopped=self._stopped,
            stopped_h=self._stopped_h,
            excluded=tuple(self._rollout.excluded),
            status=self._rollout.status,
            is_offered=self._world.is_offered,
            at_risk_blind=self._blind,
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens but by a person."""
        status = self._rollout.status
        return status in {Status.HALTED, Status.FINISHED} or (status is Status.PAUSED and self._rollout.localise_at is None)

    @property
    def _now(self) -> datetime:
        return BEGIN + timedelta(hours=self._world.hours)

    def _go_far(self) -> None:
        for _ in range(_MOST_DECISIONS):
            evidence = self._evidence()
            decision = self._of_person(evidence) or decide(self._rollout, evidence, self._now)
            self._take(decision, evidence)
            if isinstance(decision, Hold) and not decision.regions:
                return
            if self._rollout.status is not Status.RUNNING:
                return

    def _take(self, decision: Decision, evidence: Evidence) -> None:
        moved = after(self._rollout, decision, evidence, self._now)
        if isinstance(decision, Advance) and decision.offers:
            self._world.offer(
                decision.offers,
                stage=self._rollout.stage,
                hardware=decision.hardware,
                not_hardware=decision.not_hardware,
                not_regions=decision.not_regions,
            )
        if moved.status is not self._rollout.status:
            self._world.withdraw()
            if self._rollout.status is Status.RUNNING and moved.status is not Status.FINISHED and not self._stopped:
                self._stopped, self._stopped_h = decision.cause, self._world.hours
        self._rollout = moved
        self._watch(self._now, decision)

    def _evidence(self) -> Evidence:
        return self._world.evidence(stage=self._rollout.stage, not_hardware=self._rollout.excluded, not_regions=self._rollout.held_regions)

    def _of_person(self, evidence: Evidence) -> Decision | None:
        """Return what a person does: let a region go on that is held until a person does, once it is calm."""
        seen = {control.region: unreachable(control) for control in evidence.control}
        for region in self._rollout.regions:
            devices, gone = seen.get(region.region, (0, 0))
            if region.is_held and region.needs_person and gone * 100 < CALM_BELOW * devices:
                return acts.release(self._rollout, region.region, _WHO, "calm again")
        return None

    def _note(self) -> None:
        if not self._world.resolved:
            self._blind = max(self._blind, self._world.open)
        if self._hours is None and self._world.running >= _MOST * (1 - self._setting.habits.never) * self._setting.devices:
            self._hours = self._world.hours
