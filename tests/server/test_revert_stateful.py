# SPDX-License-Identifier: Apache-2.0
"""Reverts of a small fleet in any order of things, against a naive model: who was updated, from what, and who is taken back.

Devices of two versions start, go well, fail, fall silent and tell old stories again; people halt, revert, halt reverts, order by hand.
"""

import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from surefoot.fleet.attempt import Attempt
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.errors import ConflictError, VersionRuleError
from surefoot.model.event import EventType
from surefoot.rollout.plan import Bounds, Gates, Plan, Retries, SimpleGate, Stage, Status
from surefoot.rollout.risk import Kind
from surefoot.server.db.recount import counters_off
from surefoot.server.services.rollouts import Verb
from tests.server.campaign import Campaign
from tests.server.office import open_office
from tests.server.test_revert import put_on

LAX = Gates(simple=SimpleGate(rollback_rate=Bounds(warn="99.99%", pause="99.99%"), min_resolved=1))
IMAGES = {"1.0.0": b"one", "1.1.0": b"two", "1.2.0": b"bad", "1.3.0": b"other"}
DEVICES = [DeviceId(f"t-{number}") for number in range(5)]
BAD = "1.2.0"
WHICH = st.integers(0, 50)


class Fleet(RuleBasedStateMachine):
    """Five devices, a rollout of a release that is taken back, and what takes it back."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.runs: dict[DeviceId, str] = {}
        self.ended: dict[int, Outcome] = {}

    @initialize(older=st.integers(0, 4), reverts=st.booleans())
    def begin(self, older: int, reverts: bool) -> None:  # noqa: FBT001  # Hypothesis names it
        office = self.stack.enter_context(open_office(Path(self.stack.enter_context(tempfile.TemporaryDirectory()))))
        for version, image in IMAGES.items():
            office.add_release(version, image, rules={"revert_to": "minor"})
        for number, device_id in enumerate(DEVICES):
            self.runs[device_id] = "1.0.0" if number < older else "1.1.0"
            put_on(office, office.add_device(device_id), IMAGES[self.runs[device_id]])
        plan = Plan(
            release=f"thermostat {BAD}",
            kind=Kind.FLAGS,
            stages=[Stage(name="all", batches=["60%", "100%"], soak="5m")],
            gate=LAX,
            watch="30m",
            deadline="30m",
            start_within="1h",
            retries=Retries(max=1, backoff="5m"),
            on_halt="revert" if reverts else "hold",
        )
        self.first = Campaign(office=office)
        self.first.begin(plan)

    @rule(minutes=st.sampled_from([1, 20, 70]))
    def time_passes(self, minutes: int) -> None:
        self.first.advance(minutes=minutes)

    @rule(which=WHICH, kind=st.sampled_from([EventType.DOWNLOAD_STARTED, EventType.ROLLBACK_COMPLETED, EventType.HEALTH_OK]))
    def a_device_works_on_an_order(self, which: int, kind: EventType) -> None:
        found = [attempt for attempt in self.attempts() if attempt.outcome in {None, Outcome.SILENT}]
        if found:
            self.tell(found[which % len(found)], kind)

    @rule()
    def everybody_does_what_is_ordered(self) -> None:
        for attempt in self.first.open_attempts():
            self.tell(attempt, EventType.HEALTH_OK)

    @rule()
    def a_person_halts(self) -> None:
        if self.first.status is not Status.HALTED:
            with suppress(ConflictError):
                self.first.steer(Verb.HALT, "no")

    @rule()
    def a_person_reverts(self) -> None:
        with suppress(ConflictError):
            self.first.steer(Verb.REVERT, "no")

    @precondition(lambda self: len(self.campaigns()) > 1)
    @rule(which=WHICH)
    def a_person_halts_or_pauses_a_revert(self, which: int) -> None:
        back = self.campaigns()[1:]
        with suppress(ConflictError):
            back[which % len(back)].steer((Verb.HALT, Verb.PAUSE, Verb.RESUME)[which % 3], "no")

    @rule(which=st.integers(0, 4), version=st.sampled_from([BAD, "1.3.0"]))
    def a_person_orders(self, which: int, version: str) -> None:
        with suppress(ConflictError, VersionRuleError):
            self.first.office.order(version, DEVICES[which])

    @invariant()
    def a_device_has_one_order(self) -> None:
        held = Counter(attempt.device_id for attempt in self.attempts() if attempt.outcome is None)
        assert all(number == 1 for number in held.values())

    @invariant()
    def only_who_was_updated_is_taken_back_and_to_what_it_ran(self) -> None:
        for back in self.campaigns()[1:]:
            for attempt in back.attempts():
                updates = [one for one in self.first.attempts() if one.device_id == attempt.device_id and one.may_have_updated]
                assert attempt.version in {one.updated_from for one in updates}
                assert attempt.updated_from == BAD

    @invariant()
    def nobody_is_offered_the_way_back_from_something_else(self) -> None:
        for back in self.campaigns()[1:]:
            assert all(
                self.runs[attempt.device_id] == BAD for attempt in back.attempts() if attempt.outcome is None and not attempt.is_started
            )

    @invariant()
    def an_attempt_ends_once_and_counters_say_so(self) -> None:
        for attempt in self.attempts():
            if attempt.outcome is not None:
                assert self.ended.setdefault(attempt.assignment_id, attempt.outcome) is attempt.outcome
        for one in self.campaigns():
            assert counters_off(one.connection, one.rollout_id) == {}

    def tell(self, attempt: Attempt, kind: EventType) -> None:
        office = self.first.office
        ran = next(image for version, image in IMAGES.items() if version == self.runs[attempt.device_id])
        self.first.tell(attempt, EventType.DOWNLOAD_STARTED)
        if kind is EventType.HEALTH_OK:
            self.first.tell(attempt, kind, running=attempt.hash)
        elif kind is EventType.ROLLBACK_COMPLETED:
            self.first.tell(attempt, kind)
            put_on(office, attempt.device_id, ran)
        row = office.connection.execute("SELECT version FROM device WHERE device_id = ?", (attempt.device_id,)).fetchone()
        self.runs[attempt.device_id] = row[0]

    def campaigns(self) -> list[Campaign]:
        if not hasattr(self, "first"):
            return []
        rows = self.first.connection.execute("SELECT rollout_id FROM rollout ORDER BY 1").fetchall()
        return [replace(self.first, rollout_id=rollout_id) for (rollout_id,) in rows]

    def attempts(self) -> list[Attempt]:
        return [attempt for one in self.campaigns() for attempt in one.attempts()]

    def teardown(self) -> None:
        for one in self.campaigns():
            one.made_again()
        self.everybody_gets_home()
        self.stack.close()

    def everybody_gets_home(self) -> None:
        """Whatever happened: once the rollout is reverted and nobody fails any more, nobody that it updated runs it."""
        if not hasattr(self, "first"):
            return
        self.a_person_halts()
        for back in self.campaigns()[1:]:
            with suppress(ConflictError):
                back.steer(Verb.HALT, "no")
        with suppress(ConflictError):
            self.first.steer(Verb.REVERT, "no")
        for _ in range(25):
            self.everybody_does_what_is_ordered()
            self.first.advance(minutes=31)
        for device_id in DEVICES:
            mine = [one for one in self.first.attempts() if one.device_id == device_id and one.may_have_updated]
            if mine and not self.is_kept(device_id, {one.updated_from for one in mine}):
                assert self.runs[device_id] != BAD, self.attempts()

    def is_kept(self, device_id: DeviceId, before: set[str]) -> bool:
        """Say whether a device is rightly left: it failed too often with what it would go back to."""
        rollouts = self.first.office.ledger.rollouts
        return any((known := rollouts.setback(device_id, "thermostat", version)) and known.quarantined_at for version in before)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(deadline=None, max_examples=15, stateful_step_count=20)
