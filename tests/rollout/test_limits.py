# SPDX-License-Identifier: Apache-2.0
"""Limits: what is offered now stays within each of them, and what holds it up is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Hold
from surefoot.rollout.evidence import Counts, Evidence, Tally
from surefoot.rollout.limits import is_full, is_held, looked_at_again, room_of, span_s, tightest
from surefoot.rollout.network import Traffic, offered
from surefoot.rollout.plan import Gates, Limits, NetworkLimits, Plan, Rollout, Stage, Status
from tests.strategies import NOON

LIMITS = st.builds(
    Limits,
    per_minute=st.integers(1, 2_000),
    per_hour=st.none() | st.integers(1, 20_000),
    concurrent_downloads=st.none() | st.integers(1, 5_000),
)
TRAFFIC = st.builds(
    Evidence,
    population=st.just(100_000),
    offered_last_minute=st.integers(0, 3_000),
    offered_last_hour=st.integers(0, 30_000),
    fetching=st.integers(0, 6_000),
    tallies=st.integers(0, 6_000).map(lambda number: [Tally(stage=0, hardware="v1", counts=Counts(offered=number))]),
)


def decided(limits: Limits, evidence: Evidence) -> object:
    plan = Plan(release="thermostat 1.2.3", stages=[Stage(name="all")], gate=Gates(), limits=limits)
    return decide(Rollout(plan=plan, status=Status.RUNNING), evidence, NOON)


@given(LIMITS, TRAFFIC)
def test_no_limit_is_ever_passed(limits: Limits, evidence: Evidence) -> None:
    decision = decided(limits, evidence)
    if isinstance(decision, Hold):
        assert (decision.cause, is_held(tightest(limits, evidence, 100_000), 100_000)) == ("limit", True)
        return
    assert isinstance(decision, Advance)
    assert decision.offers > 0
    assert evidence.offered_last_minute + decision.offers <= limits.per_minute
    assert limits.per_hour is None or evidence.offered_last_hour + decision.offers <= limits.per_hour
    waiting = sum(tally.counts.offered for tally in evidence.tallies)
    fetching = evidence.fetching + min(waiting, evidence.offered_last_hour)
    assert limits.concurrent_downloads is None or fetching + decision.offers <= limits.concurrent_downloads


@pytest.mark.parametrize(
    ("limits", "evidence", "says"),
    [
        (Limits(per_minute=6), Evidence(offered_last_minute=6), "Within a minute it was offered to 6 devices; the limit is 6."),
        (Limits(per_hour=40), Evidence(offered_last_hour=37), "Within an hour it was offered to 37 devices; the limit is 40."),
        (
            Limits(concurrent_downloads=10),
            Evidence(fetching=4, offered_last_hour=6, tallies=[Tally(stage=0, hardware="v1", counts=Counts(offered=6))]),
            "10 devices may be fetching it at once; the limit is 10.",
        ),
    ],
)
def test_what_holds_it_up_is_said(limits: Limits, evidence: Evidence, says: str) -> None:
    room = tightest(limits, evidence, 1_000)
    assert (is_held(room, 1_000), room.reason) == (True, says)


def test_what_is_left_is_dealt_out_in_portions_unless_fewer_are_wanted() -> None:
    limits, evidence = Limits(per_hour=40), Evidence(offered_last_hour=37)
    assert [is_held(tightest(limits, evidence, wanted), wanted) for wanted in (3, 4)] == [False, True]


NOW = int(NOON.timestamp())
OWN = st.builds(
    NetworkLimits,
    per_minute=st.none() | st.integers(1, 300),
    per_hour=st.none() | st.integers(1, 3_000),
    bytes_per_second=st.none() | st.integers(1, 10**9),
    concurrent_downloads=st.none() | st.integers(1, 300),
)
AGES = st.lists(st.tuples(st.integers(0, 7_200), st.booleans()), max_size=80)


def seen(ages: list[tuple[int, bool]], own: NetworkLimits, size: int) -> Traffic:
    """What was offered so many seconds ago, and whether it is fetched now."""
    span = span_s(own, size)
    within = {name: [age for age, _ in ages if age < s] for name, s in (("minute", 60), ("hour", 3_600), ("span", span))}
    first = {f"first_in_{name}": NOW - max(some) for name, some in within.items() if some}
    return Traffic(
        network="site:berlin",
        offered_last_minute=len(within["minute"]),
        offered_last_hour=len(within["hour"]),
        offered_bytes=len(within["span"]) * size,
        fetching=sum(is_fetching or age < 3_600 for age, is_fetching in ages),
        **first,
    )


@given(OWN, AGES, st.integers(1, 10**10))
def test_no_limit_of_a_network_is_ever_passed(own: NetworkLimits, ages: list[tuple[int, bool]], size: int) -> None:
    limits = Limits(sites={"berlin": own})
    traffic = seen(ages, own, size)
    room = room_of(limits, traffic, size)
    if is_full(room):
        return
    for _ in range(min(room.offers, 400)):
        traffic = offered(traffic, size, NOW)
    assert own.per_minute is None or traffic.offered_last_minute <= own.per_minute
    assert own.per_hour is None or traffic.offered_last_hour <= own.per_hour
    assert own.concurrent_downloads is None or traffic.fetching <= own.concurrent_downloads
    assert own.bytes_per_second is None or traffic.offered_bytes <= own.bytes_per_second * span_s(own, size)


@given(OWN, AGES, st.integers(1, 10**10))
def test_a_network_in_which_nothing_is_counted_has_room_and_a_full_one_is_looked_at_again(
    own: NetworkLimits, ages: list[tuple[int, bool]], size: int
) -> None:
    limits = Limits(sites={"*": own})
    assert not is_full(room_of(limits, Traffic(network="site:berlin"), size))
    traffic = seen(ages, own, size)
    if is_full(room_of(limits, traffic, size)):
        assert NOW < looked_at_again(limits, traffic, size, NOW) <= NOW + max(3_600, span_s(own, size))


def test_each_other_network_has_the_limits_of_the_star_and_devices_without_one_have_their_own() -> None:
    each, berlin, none = (NetworkLimits(per_hour=number) for number in (1, 2, 3))
    limits = Limits(sites={"*": each, "berlin": berlin, "": none})
    assert [limits.of_network(f"site:{name}") for name in ("berlin", "paris", "")] == [berlin, each, none]
    assert Limits(sites={"*": each}).of_network("site:") is None
    assert limits.of_network("region:eu") is None


def test_full_networks_wait_while_the_ring_still_has_somebody_and_hold_when_it_has_not() -> None:
    limits = Limits(sites={"*": NetworkLimits(per_hour=2)})
    full = Traffic(network="site:berlin", offered_last_hour=2, first_in_hour=NOW - 600)
    some = Evidence(population=50, networks=[full], networks_waiting=1)
    done = Evidence(population=50, networks=[full], networks_waiting=3, is_exhausted=True)
    free = Evidence(population=50, networks=[full, Traffic(network="site:rome")], networks_waiting=2, is_exhausted=True)
    ahead, held, let_in = (decided(limits, evidence) for evidence in (some, done, free))
    assert isinstance(ahead, Advance)
    assert (ahead.cause, ahead.quotas) == ("offer", {})
    assert isinstance(held, Hold)
    assert held.reason.endswith(
        "Devices in 3 networks wait for room; in site berlin within an hour it was offered to 2 devices; the limit is 2,"
        " looked at again at 2026-11-24T12:50:00Z."
    )
    assert isinstance(let_in, Advance)
    assert (let_in.cause, let_in.offers, let_in.quotas) == ("room", 2, {"site:rome": 2})
