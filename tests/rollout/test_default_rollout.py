# SPDX-License-Identifier: Apache-2.0
"""Rollouts under the default gate: each rule by an example, on a small world whose devices are counted."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from msgspec import structs

from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.model.record import from_json, to_json
from surefoot.rollout.acts import include, release, resume
from surefoot.rollout.control import Region
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Decision, Exclude, Halt, Hold, Pause, Resume
from surefoot.rollout.evidence import Control, Counts, Evidence, Share, Tally
from surefoot.rollout.plan import Mark, Plan, Rollout, Stage, Status
from surefoot.rollout.standing import LOCALISE_AFTER_S, after
from tests.strategies import NOON

HOUR_S = 3_600
SHARES = {"v1": 8_000, "v2": 1_700, "v3": 300}
PLAN = Plan(release="thermostat 1.2.3")


@dataclass
class World:
    """A rollout whose attempts end as they are told to."""

    rollout: Rollout = field(default_factory=lambda: Rollout(plan=PLAN, status=Status.RUNNING))
    now_s: int = 0
    counts: dict[str, Counts] = field(default_factory=dict)
    control: list[Control] = field(default_factory=lambda: [Control(devices=300, unreachable=0)])
    shares: dict[str, int] = field(default_factory=lambda: dict(SHARES))
    is_exhausted: bool = False

    def report(self, hardware: str, **counts: int) -> None:
        self.counts[hardware] = self.counts.get(hardware, Counts()).plus(Counts(**counts))

    def good(self, hardware: str, number: int) -> None:
        self.report(hardware, offered=number, started=number, succeeded=number, due=number)

    def bad(self, hardware: str, number: int) -> None:
        self.report(hardware, offered=number, started=number, rolled_back=number, due=number)

    @property
    def evidence(self) -> Evidence:
        return Evidence(
            tallies=[Tally(stage=0, hardware=hardware, counts=counts) for hardware, counts in self.counts.items()],
            population=sum(self.shares.values()),
            audience=[Share(hardware=hardware, devices=devices) for hardware, devices in self.shares.items()],
            control=self.control,
            is_exhausted=self.is_exhausted,
        )

    def decide(self, *, after_s: int = 60) -> Decision:
        self.now_s += after_s
        now = NOON + timedelta(seconds=self.now_s)
        decision = decide(self.rollout, self.evidence, now)
        again = decide(from_json(to_json(self.rollout), Rollout, what="r"), from_json(to_json(self.evidence), Evidence, what="e"), now)
        assert again == decision
        self.carry_out(decision)
        return decision

    def carry_out(self, decision: Decision) -> None:
        moved = after(self.rollout, decision, self.evidence, NOON + timedelta(seconds=self.now_s))
        self.rollout = from_json(to_json(moved), Rollout, what="rollout")
        if isinstance(decision, Advance) and decision.offers and decision.hardware:
            self.report(decision.hardware, offered=decision.offers)

    def pause(self) -> None:
        decision = self.decide()
        assert isinstance(decision, Pause), decision


def test_the_first_offers_are_canaries_of_each_hardware_in_its_turn_within_the_budget() -> None:
    world = World()
    first = world.decide()
    assert isinstance(first, Advance)
    assert (first.hardware, first.offers) == ("v1", 10)
    assert isinstance(waits := world.decide(), Hold)
    assert (waits.cause, waits.reason) == ("risk", "10 devices are at risk; at most 10 may be until more is known of it.")
    world.report("v1", started=10, succeeded=10)
    second = world.decide()
    assert isinstance(second, Advance)
    assert second.hardware == "v2"


def test_culprits_are_excluded_two_hours_after_the_pause_and_the_rest_goes_on() -> None:
    world = World()
    world.good("v1", 40)
    world.good("v2", 40)
    world.bad("v3", 10)
    paused = world.decide()
    assert isinstance(paused, Pause)
    assert paused.cause == "evidence_failed"
    assert "on hardware v3, 10 of 10 updated devices failed or rolled back" in paused.reason
    assert world.decide(after_s=LOCALISE_AFTER_S - 1).cause == "paused"
    excluded = world.decide(after_s=1)
    assert isinstance(excluded, Exclude)
    assert (excluded.hardware, world.rollout.status) == (["v3"], Status.RUNNING)
    going = world.decide()
    assert isinstance(going, Advance)
    assert (going.cause, going.not_hardware) == ("offer", ["v3"])


def test_a_release_that_is_bad_everywhere_is_halted_and_one_of_whose_rest_nothing_is_known_too() -> None:
    for rest in (World.bad, lambda *_: None):
        world = World()
        rest(world, "v1", 20)
        world.bad("v3", 10)
        world.pause()
        halted = world.decide(after_s=LOCALISE_AFTER_S)
        assert isinstance(halted, Halt)
        assert (halted.cause, world.rollout.status, world.rollout.is_final) == ("not_localised", Status.HALTED, False)
        assert world.decide(after_s=9 * HOUR_S).cause == "halted"


def test_what_comes_in_during_the_two_hours_is_judged_with_the_rest() -> None:
    world = World()
    world.bad("v3", 10)
    world.pause()
    world.good("v1", 30)
    assert isinstance(world.decide(after_s=LOCALISE_AFTER_S), Exclude)


def test_a_pause_of_a_person_or_of_the_backstop_waits_for_a_person() -> None:
    world = World(shares={"v1": 20})
    world.good("v1", 3)
    world.report("v1", offered=1, started=1, failed=1)
    paused = world.decide()
    assert isinstance(paused, Pause)
    assert (paused.cause, world.rollout.localise_at) == ("rollback_rate", None)
    assert paused.reason.startswith(
        "Paused: 1 of 4 devices failed, rolled back or went silent; up to 0.1 would be normal for them right now"
    )
    assert paused.reason.endswith(", and the limit is 5% beyond that.")
    assert world.decide(after_s=9 * HOUR_S).cause == "paused"


def test_one_failure_is_a_warning_always() -> None:
    world = World()
    world.good("v1", 200)
    world.bad("v1", 1)
    assert [warning for warning in world.decide().warnings if warning.startswith("1 of 201 devices failed, rolled back or went silent")]


def test_a_region_that_cannot_be_reached_is_held_and_the_rest_goes_on() -> None:
    world = World()
    world.good("v1", 30)
    world.now_s = HOUR_S
    world.control = [Control(region="eu", devices=100, unreachable=40), Control(region="us", devices=100, unreachable=0)]
    held = world.decide()
    assert isinstance(held, Hold)
    assert (held.cause, held.regions) == ("region_unreachable", ["eu"])
    going = world.decide()
    assert isinstance(going, Advance)
    assert going.not_regions == ["eu"]
    world.control = [structs.replace(world.control[0], unreachable=4)]
    world.decide(after_s=60)
    back = world.decide(after_s=1_800)
    assert isinstance(back, Resume)
    assert (back.regions, back.by, world.rollout.held_regions) == (["eu"], "", [])


def test_an_outage_does_not_pause_what_would_pause_without_it() -> None:
    for unreachable, cause in ((80, "region_unreachable"), (0, "evidence_silent")):
        world = World(now_s=HOUR_S, control=[Control(devices=100, unreachable=unreachable)])
        world.good("v1", 20)
        world.report("v1", offered=12, started=12, silent=12, due=12)
        assert world.decide().cause == cause


@pytest.mark.parametrize(("age_s", "cause"), [(6 * HOUR_S - 60, "soak"), (6 * HOUR_S, "batch")])
def test_a_batch_has_soaked_when_nine_of_ten_good_installs_have_run_that_long(age_s: int, cause: str) -> None:
    world = World(shares={"v1": 4_000}, is_exhausted=True)
    world.good("v1", 36)
    world.decide(after_s=60)
    world.decide(after_s=600)
    world.good("v1", 4)  # late starters: one in ten
    world.decide(after_s=600)
    assert world.decide(after_s=age_s - 1_200).cause == cause


def test_what_ends_before_a_batch_has_been_heard_of_is_waited_for_and_what_ends_later_is_not() -> None:
    world = World(shares={"v1": 4_000}, is_exhausted=True)
    world.good("v1", 20)
    world.report("v1", offered=20, started=20)
    assert world.decide().cause == "unresolved"
    world.report("v1", succeeded=16, due=16)
    said = world.decide(after_s=2 * HOUR_S)
    assert (said.cause, said.reason.split(" for ")[-1]) == ("soak", "6h, at 2026-11-24T20:01:00Z.")
    world.report("v1", succeeded=4, due=4)
    later = world.decide(after_s=6 * HOUR_S - 1)
    assert (later.cause, later.reason) == ("soak", said.reason)
    assert world.decide(after_s=1).cause == "batch"


def test_a_batch_in_which_something_went_well_only_after_it_was_heard_of_soaks_from_then() -> None:
    world = World(shares={"v1": 4_000}, is_exhausted=True)
    world.bad("v1", 1)
    assert world.decide().cause == "soak"
    world.good("v1", 1)
    assert world.decide(after_s=HOUR_S).cause == "soak"
    assert world.decide(after_s=6 * HOUR_S - 1).cause == "soak"
    assert world.decide(after_s=1).cause == "batch"


def test_a_batch_in_which_nothing_went_well_pauses_however_small_it_is() -> None:
    world = World(shares={"v1": 10}, is_exhausted=True)
    world.bad("v1", 1)
    assert world.decide().cause == "soak"
    decision = world.decide(after_s=6 * HOUR_S)
    assert isinstance(decision, Pause)
    assert decision.reason == "Paused: nothing went well in stage general, batch 1 of 6 (1%); 1 device ended badly."


def test_after_the_last_batch_the_fleet_is_watched_for_a_day() -> None:
    plan = structs.replace(PLAN, stages=[Stage(name="general", soak="0s")])
    world = World(Rollout(plan=plan, status=Status.RUNNING), shares={"v1": 40}, is_exhausted=True)
    world.good("v1", 40)
    watching = world.decide()
    assert (watching.cause, "the fleet is watched for 1d" in watching.reason) == ("watch", True)
    assert world.decide(after_s=24 * HOUR_S - 1).cause == "watch"
    assert world.decide(after_s=1).cause == "end"


def test_harm_during_the_watch_pauses_it() -> None:
    plan = structs.replace(PLAN, stages=[Stage(name="general", soak="0s")])
    world = World(Rollout(plan=plan, status=Status.RUNNING), shares={"v1": 400}, is_exhausted=True)
    world.good("v1", 400)
    world.decide()
    world.report("v1", relapsed=12)
    assert world.decide(after_s=20 * HOUR_S).cause == "evidence_late"


def test_counts_that_go_back_hold_until_a_person_has_seen_them() -> None:
    world = World()
    world.good("v1", 20)
    world.decide()
    world.counts["v1"] = Counts(offered=20, started=20, succeeded=19, due=19)
    held = world.decide()
    assert (held.cause, "'reported' counts 1 less than before" in held.reason) == ("gate_unreadable", True)
    assert isinstance(held, Hold)
    world.rollout = structs.replace(world.rollout, status=Status.PAUSED)
    world.carry_out(resume(world.rollout, "ada", "recounted"))
    assert world.decide().cause != "gate_unreadable"


def test_who_resumes_has_seen_the_harm_and_the_budget_begins_anew() -> None:
    world = World()
    world.good("v1", 50)
    world.bad("v3", 10)
    world.pause()
    world.carry_out(resume(world.rollout, "ada", "a bad box"))
    assert (world.rollout.status, world.rollout.localise_at, world.rollout.was_paused) == (Status.RUNNING, None, True)
    offer = world.decide()
    assert isinstance(offer, Advance)
    assert offer.offers <= 10
    world.report("v3", offered=8, started=8, failed=8)
    assert isinstance(world.decide(), Pause)


def test_a_person_overrides_the_gate_only_with_a_reason() -> None:
    halted = structs.replace(World().rollout, status=Status.HALTED)
    excluded = structs.replace(World().rollout, excluded=["v3"])
    with pytest.raises(InvalidInput, match="needs a reason"):
        resume(halted, "ada", " ")
    with pytest.raises(InvalidInput, match="needs a reason"):
        include(excluded, "v3", "ada", "")
    overridden = resume(halted, "ada", "lab devices")
    assert (overridden.cause, overridden.reason) == ("override", "Resumed by ada: lab devices.")


def test_hardware_that_a_person_includes_begins_anew() -> None:
    world = World()
    world.good("v1", 40)
    world.bad("v3", 10)
    world.pause()
    world.decide(after_s=LOCALISE_AFTER_S)
    with pytest.raises(ConflictError, match="Hardware v1 is not excluded"):
        include(world.rollout, "v1", "ada", "why not")
    world.carry_out(include(world.rollout, "v3", "ada", "bad cables"))
    assert world.rollout.excluded == []
    assert isinstance(world.decide(), Advance)
    world.bad("v3", 8)
    assert isinstance(world.decide(), Pause)


def test_a_person_releases_a_region_that_waits_for_one() -> None:
    world = World()
    world.rollout = structs.replace(world.rollout, regions=[Region(region="eu", is_held=True, holds=3, needs_person=True)])
    with pytest.raises(ConflictError, match="Region us is not held"):
        release(world.rollout, "us", "ada", "")
    world.carry_out(release(world.rollout, "eu", "ada", "the provider is back"))
    assert world.rollout.held_regions == []


def test_devices_without_a_region_are_released_by_no_name() -> None:
    held = structs.replace(World().rollout, regions=[Region(region="", is_held=True)])
    assert release(held, "", "ada", "it is back").reason == "Devices without a region released by ada: it is back."
    with pytest.raises(ConflictError, match="Held is: devices without a region"):
        release(held, "eu", "ada", "it is back")


@pytest.mark.parametrize("over", [{"status": Status.FINISHED}, {"status": Status.HALTED, "is_final": True}])
def test_nothing_is_let_back_into_a_rollout_that_is_over(over: dict[str, object]) -> None:
    kept = structs.replace(World().rollout, excluded=["v3"], regions=[Region(region="eu", is_held=True)], **over)
    with pytest.raises(ConflictError, match="already"):
        include(kept, "v3", "ada", "why")
    with pytest.raises(ConflictError, match="already"):
        release(kept, "eu", "ada", "why")


def test_a_quiet_rollout_writes_nothing() -> None:
    world = World()
    world.report("v1", offered=10)
    world.rollout = structs.replace(world.rollout, opened_at=int(NOON.timestamp()), marks=[Mark(at=int(NOON.timestamp()), good=0)])
    world.decide()
    before = world.rollout
    assert world.decide(after_s=1).cause == "risk"
    assert world.rollout == before
