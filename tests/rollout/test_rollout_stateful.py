# SPDX-License-Identifier: Apache-2.0
"""The engine drives a naive fleet: devices that start, end, go silent and report late, people who interfere, and a server that restarts.

The fleet is a list; evidence is counted from nothing each time. Whatever the order of things, the promises of a rollout hold.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from surefoot.model.assignment import Outcome
from surefoot.model.record import Record, from_json, parse_utc, to_json, utc_text
from surefoot.rollout.acts import halt, pause, resume, start
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Decision, Halt, Pause
from surefoot.rollout.evidence import Evidence, Facts, Tally, counts_of, total
from surefoot.rollout.plan import Bounds, Gates, Limits, Plan, Rollout, SimpleGate, Stage, Status
from surefoot.rollout.standing import after
from tests.strategies import NOON

OUTCOMES = st.sampled_from([Outcome.SUCCEEDED] * 30 + [Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.SUPERSEDED, Outcome.REJECTED])
BATCHES = st.sampled_from([["10%", "100%"], ["1%", "5%", "50%", "100%"], ["100%"]])
DEADLINE_S, START_WITHIN_S = 3_600, 7_200
FREED = (Outcome.CANCELLED, Outcome.REJECTED, Outcome.SUPERSEDED)


@dataclass
class Attempt:
    """What really happened to one offer."""

    at: int
    started_at: int | None = None
    outcome: Outcome | None = None
    is_unhealthy: bool = False
    late: bool | None = None
    is_due: bool = False
    is_relapsed: bool = False

    @property
    def facts(self) -> Facts:
        return Facts(
            is_started=self.started_at is not None,
            is_unhealthy=self.is_unhealthy,
            outcome=self.outcome,
            is_late_good=self.late is True,
            is_late_bad=self.late is False,
            is_due=self.is_due,
            is_relapsed=self.is_relapsed,
        )


@dataclass
class Device:
    """A device of one stage, and every offer it was made."""

    stage: int
    hardware: str
    region: str = ""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def may_be_offered(self) -> bool:
        return all(attempt.outcome is Outcome.CANCELLED and attempt.late is None for attempt in self.attempts)


class Stored(Record, frozen=True, kw_only=True):
    """What the server keeps of a decision."""

    rollout: Rollout
    evidence: Evidence
    at: str
    decision: Decision


class Fleet(RuleBasedStateMachine):
    """A rollout and its devices; time is in seconds from noon."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self.stored, self.opened = 0, list[bytes](), dict[int, int]()
        self.devices = list[Device]()
        self.rollout = Rollout(plan=Plan(release="thermostat 1.2.3"))

    @initialize(
        sizes=st.lists(st.tuples(st.sampled_from([40, 20, 3, 1]), BATCHES), min_size=1, max_size=3),
        per_minute=st.sampled_from([30, 5, 1]),
        least=st.integers(1, 20),
        soak=st.sampled_from(["0s", "5m", "1h"]),
        pause_above=st.sampled_from(["0%", "5%", "20%"]),
    )
    def make(self, sizes: list[tuple[int, list[str]]], per_minute: int, least: int, soak: str, pause_above: str) -> None:
        stages = [Stage(name=f"s{index}", batches=batches, soak=soak) for index, (_, batches) in enumerate(sizes)]
        gate = Gates(simple=SimpleGate(rollback_rate=Bounds(warn="0%", pause=pause_above), min_resolved=least))
        plan = Plan(release="thermostat 1.2.3", stages=stages, gate=gate, watch="0s", limits=Limits(per_minute=per_minute))
        self.devices = [Device(index, f"v{place % 2}") for index, (size, _) in enumerate(sizes) for place in range(size)]
        self.rollout = Rollout(plan=plan)
        self.keep(start(self.rollout, "ada"))

    @rule(times=st.integers(1, 12), apart_s=st.sampled_from([1, 7, 61, 600]))
    def decide_some_times(self, times: int, apart_s: int) -> None:
        for _ in range(times):
            self.tick()
            self.pass_time(apart_s)

    @rule(share=st.integers(1, 3))
    def devices_start(self, share: int) -> None:
        for attempt in self.live()[::share]:
            attempt.started_at = self.seconds if attempt.started_at is None else attempt.started_at

    @rule(outcomes=st.lists(OUTCOMES, min_size=1, max_size=20), is_unhealthy=st.booleans())
    def devices_end(self, outcomes: list[Outcome], is_unhealthy: bool) -> None:  # noqa: FBT001  # the rule's own word
        under_way = [attempt for attempt in self.live() if attempt.started_at is not None]
        for attempt, outcome in zip(under_way, outcomes, strict=False):
            attempt.outcome, attempt.is_unhealthy = outcome, is_unhealthy and outcome is Outcome.ROLLED_BACK

    @rule(share=st.integers(1, 5), is_good=st.booleans())
    def devices_report_late(self, share: int, is_good: bool) -> None:  # noqa: FBT001  # the rule's own word
        given_up = [
            attempt for device in self.devices for attempt in device.attempts if attempt.outcome in (Outcome.SILENT, Outcome.CANCELLED)
        ]
        for attempt in given_up[::share]:
            attempt.late = is_good if attempt.late is None else attempt.late

    @rule(seconds=st.integers(1, 9_000))
    def pass_time(self, seconds: int) -> None:
        self.seconds += seconds
        for attempt in (attempt for device in self.devices for attempt in device.attempts):
            attempt.is_due = attempt.started_at is not None and self.seconds - attempt.started_at >= DEADLINE_S
        for attempt in self.live():
            if attempt.started_at is None and self.seconds - attempt.at >= START_WITHIN_S:
                attempt.outcome = Outcome.CANCELLED
            elif attempt.started_at is not None and self.seconds - attempt.started_at >= DEADLINE_S:
                attempt.outcome = Outcome.SILENT

    @precondition(lambda self: self.rollout.status is Status.RUNNING and len(self.stored) > 8)
    @rule()
    def a_person_pauses(self) -> None:
        self.keep(pause(self.rollout, "ada", "lunch"))

    @precondition(lambda self: self.rollout.status is Status.PAUSED)
    @rule()
    def a_person_resumes(self) -> None:
        self.keep(resume(self.rollout, "ada", "seen"))

    @precondition(lambda self: self.rollout.status in (Status.RUNNING, Status.PAUSED) and len(self.stored) > 20)
    @rule()
    def a_person_halts(self) -> None:
        self.keep(halt(self.rollout, "ada", "enough"))

    @rule()
    def the_server_restarts(self) -> None:
        self.rollout = from_json(to_json(self.rollout), Rollout, what="the rollout")

    @invariant()
    def no_more_devices_are_at_risk_than_the_opened_batches_allow(self) -> None:
        for stage in range(len(self.rollout.plan.stages)):
            members = [device for device in self.devices if device.stage == stage]
            at_risk = sum(any(attempt.outcome not in FREED for attempt in device.attempts) for device in members)
            assert at_risk <= self.opened.get(stage, 0)

    @invariant()
    def no_minute_sees_more_offers_than_the_limit(self) -> None:
        times = sorted(attempt.at for device in self.devices for attempt in device.attempts)
        most = self.rollout.plan.limits.per_minute
        assert all(later - earlier >= 60 for earlier, later in zip(times, times[most:], strict=False))

    @invariant()
    def nothing_is_on_offer_unless_the_rollout_runs(self) -> None:
        assert self.rollout.status is Status.RUNNING or [attempt for attempt in self.live() if attempt.started_at is None] == []

    @invariant()
    def no_device_has_two_attempts_at_once(self) -> None:
        assert all(sum(attempt.outcome is not Outcome.CANCELLED for attempt in device.attempts) <= 1 for device in self.devices)

    @invariant()
    def every_attempt_is_open_or_ended_once(self) -> None:
        counts = total(tally.counts for tally in self.evidence().tallies)
        assert (counts.offered, counts.open) == (sum(len(device.attempts) for device in self.devices), len(self.live()))

    def teardown(self) -> None:
        self.every_decision_can_be_made_again()
        if self.rollout.status in (Status.RUNNING, Status.PAUSED) and not self.has_trouble():
            self.finishes_when_all_goes_well()

    def every_decision_can_be_made_again(self) -> None:
        for line in self.stored:
            kept = from_json(line, Stored, what="a decision")
            assert getattr(kept.decision, "by", "") or decide(kept.rollout, kept.evidence, parse_utc(kept.at)) == kept.decision

    def finishes_when_all_goes_well(self) -> None:
        if self.rollout.status is Status.PAUSED:
            self.a_person_resumes()
        for _ in range(200 + 2 * len(self.devices)):
            self.tick()
            self.devices_start(1)
            self.devices_end([Outcome.SUCCEEDED] * len(self.devices), is_unhealthy=False)
            self.pass_time(600)
            if self.rollout.status is Status.FINISHED:
                break
        assert (self.rollout.status, [device for device in self.devices if device.may_be_offered]) == (Status.FINISHED, [])

    def tick(self) -> None:
        decision = decide(self.rollout, self.evidence(), NOON + timedelta(seconds=self.seconds))
        assert not isinstance(decision, Advance) or self.rollout.status is Status.RUNNING
        self.keep(decision)

    def keep(self, decision: Decision) -> None:
        evidence, now = self.evidence(), NOON + timedelta(seconds=self.seconds)
        self.stored.append(to_json(Stored(rollout=self.rollout, evidence=evidence, at=utc_text(now), decision=decision)))
        self.rollout = after(self.rollout, decision, evidence, now)
        self.note_what_is_open()
        if isinstance(decision, Advance):
            self.offer(decision)
        if isinstance(decision, Pause | Halt):
            for attempt in self.live():
                attempt.outcome = Outcome.CANCELLED if attempt.started_at is None else None

    def offer(self, decision: Advance) -> None:
        for device in self.waiting()[: decision.offers]:
            device.attempts.append(Attempt(self.seconds))

    def note_what_is_open(self) -> None:
        stage = self.rollout.stage
        size = sum(device.stage == stage for device in self.devices)
        share = Fraction(self.rollout.open_stage.batches[self.rollout.batch].removesuffix("%")) / 100
        self.opened[stage] = max(1, -(-size * share.numerator // share.denominator))

    def evidence(self) -> Evidence:
        tallies = [
            Tally(stage=stage, hardware=hardware, counts=total(counts_of(attempt.facts) for attempt in self.of(stage, hardware)))
            for stage in range(len(self.rollout.plan.stages))
            for hardware in ("v0", "v1")
        ]
        recent = [attempt for device in self.devices for attempt in device.attempts if self.seconds - attempt.at < 60]
        population = sum(device.stage == self.rollout.stage for device in self.devices)
        return Evidence(tallies=tallies, population=population, is_exhausted=not self.waiting(), offered_last_minute=len(recent))

    def of(self, stage: int, hardware: str) -> list[Attempt]:
        chosen = [device for device in self.devices if (device.stage, device.hardware) == (stage, hardware)]
        return [attempt for device in chosen for attempt in device.attempts]

    def live(self) -> list[Attempt]:
        return [attempt for device in self.devices for attempt in device.attempts if attempt.outcome is None]

    def waiting(self) -> list[Device]:
        return [device for device in self.devices if device.stage == self.rollout.stage and device.may_be_offered]

    def has_trouble(self) -> bool:
        outcomes = {attempt.outcome for device in self.devices for attempt in device.attempts}
        late = any(attempt.late is not None for device in self.devices for attempt in device.attempts)
        return late or self.has_lost_a_stage() or not outcomes <= {None, Outcome.SUCCEEDED, Outcome.SUPERSEDED, Outcome.CANCELLED}

    def has_lost_a_stage(self) -> bool:
        """Say whether some stage has no device left that could tell anything."""
        speaking = {
            device.stage for device in self.devices if all(attempt.outcome is not Outcome.SUPERSEDED for attempt in device.attempts)
        }
        return len(speaking) < len(self.rollout.plan.stages)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
