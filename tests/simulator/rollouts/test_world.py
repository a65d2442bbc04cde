# SPDX-License-Identifier: Apache-2.0
"""The world's counts are ones that a server could have counted, whatever is done to it."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.rollout.evidence import FIELDS, Counts, Evidence, Share, total
from surefoot.rollout.ledger import Ledger, contradiction, enter
from surefoot.rollout.simple_gate import contradiction as impossible
from surefoot.simulator.rollouts.fault import Fault, parse_fault
from surefoot.simulator.rollouts.habits import USUAL, Outage
from surefoot.simulator.rollouts.mix import published
from surefoot.simulator.rollouts.world import Setting, World

FLEET = published(300)
FAULTS = st.sampled_from(["good", "brick", "bad:30%", "silent:30%", "late:40%@3h", "hardware:hw-15"]).map(parse_fault)
OUTAGES = st.none() | st.builds(Outage, region=st.sampled_from(["region-40", "region-10"]), begins_h=st.floats(0, 10))
ACTS = st.lists(st.tuples(st.sampled_from(["offer", "withdraw", "wait"]), st.integers(1, 80)), min_size=4, max_size=14)


def world(setting: Setting, seed: int = 0) -> World:
    return World(setting, np.random.default_rng(seed), stages=1, deadline_s=9_000, start_within_s=86_400)


def seen(of: World) -> Evidence:
    return of.evidence(stage=0, not_hardware=(), not_regions=())


def offer(to: World, number: int, *, stage: int = 0, not_regions: tuple[str, ...] = ()) -> int:
    return to.offer(number, stage=stage, hardware=None, not_hardware=(), not_regions=not_regions)


def wait(of: World, ticks: int) -> None:
    for _ in range(ticks):
        of.turn()


@settings(max_examples=40, deadline=None)
@given(FAULTS, OUTAGES, ACTS, st.integers(0, 1_000))
def test_counts_never_contradict_themselves_and_no_device_is_lost(
    fault: Fault, outage: Outage | None, acts: list[tuple[str, int]], seed: int
) -> None:
    simulated = world(Setting(audience=FLEET, fault=fault, outage=outage, habits=replace(USUAL, relapses_h=0.01)), seed)
    ledger, offered = Ledger(), 0
    for at, (act, number) in enumerate(acts):
        match act:
            case "offer":
                offered += offer(simulated, number)
            case "withdraw":
                simulated.withdraw()
            case _:
                wait(simulated, number)
        evidence = seen(simulated)
        assert all(not impossible(tally.counts) for tally in evidence.tallies)
        assert not contradiction(ledger, evidence.tallies)
        ledger = enter(ledger, evidence.tallies, {}, at)
        counts = total(tally.counts for tally in evidence.tallies)
        assert all(getattr(counts, name) >= 0 for name in FIELDS)
        assert counts.offered == offered
        assert simulated.harmed <= counts.started


def test_what_is_withdrawn_does_nothing_any_more_and_may_be_offered_again() -> None:
    simulated = world(Setting(audience=FLEET, fault=parse_fault("bad:50%")))
    assert offer(simulated, 300) == 300
    assert seen(simulated).is_exhausted
    simulated.withdraw()
    wait(simulated, 200)
    assert total(tally.counts for tally in seen(simulated).tallies) == Counts(offered=300, cancelled=300)
    assert simulated.harmed == 0
    assert offer(simulated, 1_000) == 300


def test_everybody_resolves_and_silence_is_due() -> None:
    simulated = world(Setting(audience=FLEET, fault=parse_fault("brick"), habits=replace(USUAL, slow=0.0, never=0.0)))
    offer(simulated, 300)
    wait(simulated, 6 * 24)
    counts = total(tally.counts for tally in seen(simulated).tallies)
    assert (counts.started, counts.silent, counts.due) == (300, 300, 300)
    assert simulated.harmed == 300


def test_nothing_is_offered_where_it_must_not_be() -> None:
    simulated = world(Setting(audience=FLEET))
    offer(simulated, 1_000, not_regions=("region-40",))
    assert {tally.region for tally in seen(simulated).tallies} == {"region-30", "region-20", "region-10"}
    assert not seen(simulated).is_exhausted
    assert simulated.evidence(stage=0, not_hardware=(), not_regions=("region-40",)).is_exhausted


def test_a_group_is_offered_it_alone_and_nobody_twice() -> None:
    group = [Share(hardware="hw-50", region="region-40", devices=20)]
    setting = Setting(audience=FLEET, groups={0: group})
    simulated = World(setting, np.random.default_rng(0), stages=2, deadline_s=9_000, start_within_s=86_400)
    assert setting.population(0) == 20
    assert offer(simulated, 1_000, stage=0) == 20
    assert seen(simulated).is_exhausted
    assert offer(simulated, 1_000, stage=1) == 280


def test_an_outage_is_seen_in_its_region_while_it_lasts() -> None:
    simulated = world(Setting(audience=published(10_000), outage=Outage(region="region-30", begins_h=1.0, lasts_h=2.0)))
    for hours in range(5):
        gone = {control.region: control.unreachable / control.devices for control in seen(simulated).control}
        assert (gone.pop("region-30") > 0.5) is (1 <= hours < 3)
        assert max(gone.values()) < 0.1
        wait(simulated, 6)
