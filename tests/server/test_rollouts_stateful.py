# SPDX-License-Identifier: Apache-2.0
"""Two rollouts on one fleet, through the verbs on a real database: devices that start, fail, go silent and tell old stories again.

Whatever the order of things: a device has one order, no more tries than the plan allows and none in quarantine; an attempt ends once.
"""

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from surefoot.fleet.attempt import Attempt
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.errors import ConflictError
from surefoot.model.event import EventType
from surefoot.rollout.plan import Bounds, Gates, Plan, Retries, SimpleGate, Stage, Status
from surefoot.server.db.recount import counters_off
from surefoot.server.services.rollouts import Verb
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import open_office, statement

LAX = Gates(simple=SimpleGate(rollback_rate=Bounds(warn="99.99%", pause="99.99%"), min_resolved=1))
BAD = {Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.SILENT}
WHICH = st.integers(0, 50)


class Fleet(RuleBasedStateMachine):
    """Four devices and two rollouts; the second has precedence now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.ended: dict[int, Outcome] = {}
        self.most = 0

    @initialize(most=st.integers(0, 2), precedence=st.integers(0, 1))
    def begin(self, most: int, precedence: int) -> None:
        office = self.stack.enter_context(open_office(Path(self.stack.enter_context(tempfile.TemporaryDirectory()))))
        office.add_release("1.1.0", b"new image")
        office.add_release("1.2.0", b"newer image")
        for number in range(4):
            office.ledger.put_report(office.add_device(DeviceId(f"t-{number}")), statement(OLD_IMAGE))
        stages = [Stage(name="all", batches=["50%", "100%"], soak="5m")]
        retries = Retries(max=most, backoff="5m")
        plan = Plan(release="thermostat 1.1.0", gate=LAX, watch="1d", stages=stages, retries=retries, deadline="30m", start_within="1h")
        self.most = most
        self.first = Campaign(office=office)
        self.first.begin(plan)
        self.second = replace(self.first, rollout_id=0)
        self.second.begin(Plan(release="thermostat 1.2.0", gate=LAX, watch="1d", stages=stages, retries=retries, precedence=precedence))

    @rule(minutes=st.sampled_from([1, 4, 20, 70]))
    def time_passes(self, minutes: int) -> None:
        self.first.advance(minutes=minutes)

    @rule(which=WHICH, kind=st.sampled_from([EventType.DOWNLOAD_STARTED, EventType.ROLLBACK_COMPLETED, EventType.HEALTH_OK]))
    def a_device_reports(self, which: int, kind: EventType) -> None:
        """Of any attempt there ever was: open ones, and those that are long over."""
        found = self.attempts()
        if found:
            attempt = found[which % len(found)]
            running = attempt.hash if kind is EventType.HEALTH_OK else OLD_IMAGE
            self.first.tell(attempt, EventType.DOWNLOAD_STARTED)
            self.first.tell(attempt, kind, running=running if kind is not EventType.DOWNLOAD_STARTED else None)

    @rule(rounds=st.integers(1, 4))
    def one_device_fails_again_and_again(self, rounds: int) -> None:
        for _ in range(rounds):
            for attempt in self.first.open_attempts():
                (self.first.fail if attempt.device_id == "t-0" else self.first.succeed)(attempt)
            self.first.advance(minutes=70)

    @rule(is_first=st.booleans())
    def a_person_pauses_or_resumes(self, is_first: bool) -> None:  # noqa: FBT001  # the rule's own word
        one = self.first if is_first else self.second
        try:
            one.steer(Verb.RESUME if one.status is Status.PAUSED else Verb.PAUSE)
        except ConflictError:
            assert one.status is Status.FINISHED

    @invariant()
    def a_device_has_one_order(self) -> None:
        held = Counter(attempt.device_id for attempt in self.attempts() if attempt.outcome is None)
        assert all(number == 1 for number in held.values())

    @invariant()
    def no_more_tries_than_the_plan_says(self) -> None:
        tries = Counter((attempt.device_id, attempt.rollout_id) for attempt in self.attempts() if attempt.outcome in BAD)
        assert all(number <= self.most + 1 for number in tries.values())

    @invariant()
    def nobody_in_quarantine_is_offered_anything_of_it(self) -> None:
        for attempt in self.attempts():
            known = self.first.office.ledger.rollouts.setback(attempt.device_id, attempt.product, attempt.version)
            assert known is None or not known.quarantined_at or attempt.outcome is not None or attempt.is_started

    @invariant()
    def an_attempt_ends_once(self) -> None:
        for attempt in self.attempts():
            if attempt.outcome is not None:
                assert self.ended.setdefault(attempt.assignment_id, attempt.outcome) is attempt.outcome

    @invariant()
    def nothing_waits_at_a_paused_rollout_and_counters_say_what_attempts_say(self) -> None:
        for one in self.campaigns():
            assert one.status is not Status.PAUSED or all(attempt.outcome or attempt.is_started for attempt in one.attempts())
            assert counters_off(one.connection, one.rollout_id) == {}

    def campaigns(self) -> list[Campaign]:
        return [self.first, self.second] if hasattr(self, "second") else []

    def attempts(self) -> list[Attempt]:
        return [attempt for one in self.campaigns() for attempt in one.attempts()]

    def teardown(self) -> None:
        for one in self.campaigns():
            one.made_again()
        self.stack.close()


TestFleet = Fleet.TestCase
TestFleet.settings = settings(deadline=None, max_examples=12, stateful_step_count=20)
