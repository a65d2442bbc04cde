# SPDX-License-Identifier: Apache-2.0
"""The engine drives a naive fleet under the default gate: hardware of two kinds, two regions that may go down, and people who override.

All that is promised of any rollout (``test_rollout_stateful``), and that no more devices are at risk than the gate allows, none starts
in a held region, and none is of excluded hardware.
"""

from collections import Counter
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from msgspec import structs

from surefoot.model.assignment import Outcome
from surefoot.rollout.acts import include, release, resume, start
from surefoot.rollout.decision import Advance, Decision, Hold
from surefoot.rollout.evidence import Control, Evidence, Share, Tally, counts_of, total
from surefoot.rollout.judgement import judge
from surefoot.rollout.plan import Limits, Plan, Rollout, Stage, Status
from surefoot.rollout.standing import look
from tests.rollout.test_rollout_stateful import Attempt, Device, Fleet
from tests.strategies import NOON

HARDWARE = ["v0", "v0", "v0", "v1"]
REGIONS = ["eu", "us"]
CONTROL = 100
BATCHES = st.sampled_from([["10%", "100%"], ["5%", "50%", "100%"], ["100%"]])


class GatedFleet(Fleet):
    """A rollout under the default gate; ``down`` is how many of a hundred devices of control are unreachable in a region."""

    def __init__(self) -> None:
        super().__init__()
        self.down = Counter[str]()

    @initialize(
        sizes=st.lists(st.tuples(st.sampled_from([60, 20, 3]), BATCHES), min_size=1, max_size=2),
        per_minute=st.sampled_from([30, 2]),
        soak=st.sampled_from(["0s", "5m", "1h"]),
        watch=st.sampled_from(["0s", "2h"]),
    )
    def make(self, sizes: list[tuple[int, list[str]]], per_minute: int, soak: str, watch: str) -> None:
        stages = [Stage(name=f"s{index}", batches=batches, soak=soak) for index, (_, batches) in enumerate(sizes)]
        plan = Plan(release="thermostat 1.2.3", stages=stages, watch=watch, limits=Limits(per_minute=per_minute))
        self.devices = [
            Device(index, HARDWARE[place % 4], REGIONS[place % 3 % 2]) for index, (size, _) in enumerate(sizes) for place in range(size)
        ]
        self.rollout = Rollout(plan=plan)
        self.keep(start(self.rollout, "ada"))

    @rule(region=st.sampled_from(REGIONS), down=st.sampled_from([0, 2, 8, 60]))
    def a_region_changes(self, region: str, down: int) -> None:
        self.down[region] = down

    @rule(share=st.integers(1, 6))
    def devices_relapse(self, share: int) -> None:
        for attempt in self.of_outcome(Outcome.SUCCEEDED)[::share]:
            attempt.is_relapsed = True

    @precondition(lambda self: self.rollout.excluded)
    @rule()
    def a_person_includes(self) -> None:
        self.keep(include(self.rollout, self.rollout.excluded[0], "ada", "cables"))

    @precondition(lambda self: self.rollout.held_regions)
    @rule()
    def a_person_releases(self) -> None:
        self.keep(release(self.rollout, self.rollout.held_regions[0], "ada", "provider"))

    @precondition(lambda self: self.rollout.status is Status.HALTED and not self.rollout.is_final)
    @rule()
    def a_person_overrides(self) -> None:
        self.keep(resume(self.rollout, "ada", "lab devices"))

    @invariant()
    def before_anything_is_heard_no_more_than_one_in_twenty_is_at_risk(self) -> None:
        if all(attempt.outcome in (None, Outcome.CANCELLED) for device in self.devices for attempt in device.attempts):
            assert len(self.live()) <= max(1, len(self.devices) // 20)

    @invariant()
    def nothing_is_on_offer_in_a_held_region(self) -> None:
        held = [device for device in self.devices if device.region in self.rollout.held_regions]
        assert not [attempt for device in held for attempt in device.attempts if attempt.outcome is None and attempt.started_at is None]

    def keep(self, decision: Decision) -> None:
        super().keep(decision)
        held = decision.regions if isinstance(decision, Hold) else []
        for attempt in (attempt for device in self.devices if device.region in held for attempt in device.attempts):
            if attempt.outcome is None and attempt.started_at is None:
                attempt.outcome = Outcome.CANCELLED

    def offer(self, decision: Advance) -> None:
        if not decision.offers:
            return
        verdict = judge(look(self.rollout, self.evidence(), NOON + timedelta(seconds=self.seconds)), self.evidence(), 0)
        # As the decision says it, whatever the rollout holds: what it forgot to name is offered, and noticed.
        chosen = [one for one in self.waiting() if self._is_meant(decision, one)][: decision.offers]
        assert verdict.most_at_risk is not None
        assert len(self.live()) + len(chosen) <= verdict.most_at_risk
        assert {device.hardware for device in chosen}.isdisjoint(self.rollout.excluded)
        assert {device.region for device in chosen}.isdisjoint(self.rollout.held_regions)
        for device in chosen:
            device.attempts.append(Attempt(self.seconds))

    def _is_meant(self, decision: Advance, device: Device) -> bool:
        is_kept_out = device.hardware in decision.not_hardware or device.region in decision.not_regions
        return not is_kept_out and decision.hardware in (None, device.hardware)

    def note_what_is_open(self) -> None:
        super().note_what_is_open()
        if not self.rollout.stage and not self.rollout.batch:
            least = max(1, len(self.devices) // 20)
            canaries = sum(min(least, number) for number in Counter(device.hardware for device in self.devices).values())
            self.opened[0] = max(self.opened[0], canaries)

    def evidence(self) -> Evidence:
        places = sorted({(device.stage, device.hardware, device.region) for device in self.devices})
        kinds = Counter((device.hardware, device.region) for device in self.devices)
        left = {device.hardware for device in self.eligible()}
        return structs.replace(
            super().evidence(),
            tallies=[
                Tally(
                    stage=stage,
                    hardware=hardware,
                    region=region,
                    counts=total(
                        counts_of(attempt.facts)
                        for device in self.devices
                        if (device.stage, device.hardware, device.region) == (stage, hardware, region)
                        for attempt in device.attempts
                    ),
                )
                for stage, hardware, region in places
            ],
            is_exhausted=not left,
            exhausted_hardware=sorted({device.hardware for device in self.devices} - left),
            audience=[Share(hardware=hardware, region=region, devices=number) for (hardware, region), number in kinds.items()],
            control=[Control(region=region, devices=CONTROL, unreachable=self.down[region]) for region in REGIONS],
        )

    def eligible(self) -> list[Device]:
        return [
            device
            for device in self.waiting()
            if device.hardware not in self.rollout.excluded and device.region not in self.rollout.held_regions
        ]

    def of_outcome(self, outcome: Outcome) -> list[Attempt]:
        return [attempt for device in self.devices for attempt in device.attempts if attempt.outcome is outcome]

    def has_trouble(self) -> bool:
        return super().has_trouble() or any(attempt.is_relapsed for attempt in self.of_outcome(Outcome.SUCCEEDED))

    def finishes_when_all_goes_well(self) -> None:
        self.down.clear()
        for region in self.rollout.held_regions:
            self.keep(release(self.rollout, region, "ada", "all is well"))
        super().finishes_when_all_goes_well()


TestGatedFleet = GatedFleet.TestCase
TestGatedFleet.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)
