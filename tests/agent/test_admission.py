# SPDX-License-Identifier: Apache-2.0
"""What a device refuses to run although both repositories list it, and under which code it says so."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.admission import Board, admit
from surefoot.agent.state import State
from surefoot.model.assignment import Order
from surefoot.model.errors import (
    Error,
    MetadataError,
    OrderVoidError,
    SingleBootloaderError,
    SpaceError,
    TrustError,
    VersionRegressionError,
    WrongHardwareError,
)
from surefoot.model.manifest import MustMatch, Requires
from surefoot.trust.verify import Ordered
from tests.agent.moments import NOW, SIZE, WANTED, block, order, release, state

AS_MADE = state()
BOARD = Board(hardware="thermostat-v1", bootloader_version="2.0.0", slot_capacity_bytes=SIZE)


def ordered(wanted: MustMatch, size: int = SIZE) -> Ordered:
    facts = order()
    offer = Order(
        device_id=facts.device_id,
        assignment_id=facts.assignment_id,
        issued_at=facts.issued_at,
        start_before=facts.start_before,
        deadline_s=facts.deadline_s,
        must_match=wanted,
    )
    return Ordered(path="thermostat/1.1.0/thermostat-v1-release", size=size, hash=WANTED, order=offer)


@dataclass(frozen=True)
class Case:
    """One offer that must be refused, and the words of the refusal."""

    wanted: MustMatch
    refusal: type[Error]
    says: str
    device: State = AS_MADE
    size: int = SIZE
    now: datetime = NOW


REFUSED = {
    "an empty image": Case(block(), MetadataError, "The image is empty", size=0),
    "other hardware": Case(block(target_hardware=["x-1", "x-2"]), WrongHardwareError, "for x-1, x-2; this board is thermostat-v1"),
    "a newer bootloader": Case(block(min_bootloader_version="2.0.1"), WrongHardwareError, "needs bootloader 2.0.1; this board has 2.0.0"),
    "a pre-release of a newer bootloader": Case(block(min_bootloader_version="2.1.0-rc.1"), WrongHardwareError, "bootloader"),
    "a bootloader for its only copy": Case(block(updates_bootloader=True), SingleBootloaderError, "one copy of it"),
    "another product": Case(block(product="fridge"), VersionRegressionError, "product fridge; this device runs thermostat"),
    "a lower release counter": Case(block(release_counter=4), VersionRegressionError, "counter 4 is below 5", state(release_counter=5)),
    "a downgrade over a minor": Case(block(version="0.9.0"), VersionRegressionError, "1.0.0 does not allow going back to 0.9.0"),
    "a downgrade that the running one forbids": Case(
        block(version="1.0.1"), VersionRegressionError, "going back", state(running=release("1.0.2", revert_to="none"))
    ),
    "a downgrade that is not listed": Case(
        block(version="1.0.1"), VersionRegressionError, "going back", state(running=release("1.0.2", revert_to=["1.0.0"]))
    ),
    "a pre-release of what runs": Case(
        block(version="1.0.0-rc.1"), VersionRegressionError, "going back", state(running=release("1.0.0", revert_to="none"))
    ),
    "an older data format": Case(
        block(data_format=1), VersionRegressionError, "Data format 1 is below the stored 2", state(running=release("1.0.0", data_format=2))
    ),
    "no data format": Case(block(), VersionRegressionError, "Data format none", state(running=release("1.0.0", data_format=1))),
    "a step that was left out": Case(
        block(requires=Requires(from_=">=1.0.5")), VersionRegressionError, "only be installed from >=1.0.5; this device runs 1.0.0"
    ),
    "an order that came too late": Case(block(), OrderVoidError, "before 2026-11-24T08:00:00Z", now=NOW + timedelta(hours=24, seconds=1)),
    "an image larger than a slot": Case(block(), SpaceError, f"{SIZE + 1} bytes; a slot holds {SIZE}", size=SIZE + 1),
    "a range that cannot be read": Case(block(requires=Requires(from_="newest")), MetadataError, "cannot be read: 'newest'"),
    "an empty range": Case(block(requires=Requires(from_="  ")), MetadataError, "range is empty"),
    "a version that cannot be compared": Case(block(version="1.1.0-01"), MetadataError, "'1.1.0-01' is not a semantic version"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=list(REFUSED))
def test_each_rule_refuses_with_its_code_and_says_what_is_wrong(case: Case) -> None:
    with pytest.raises(case.refusal) as refused:
        admit(ordered(case.wanted, case.size), BOARD, case.device, case.now)
    assert type(refused.value) is case.refusal
    assert case.says in refused.value.message


def test_the_codes_are_the_ones_that_servers_know() -> None:
    assert {case.refusal.code for case in REFUSED.values()} == {
        "bootloader_single_copy",
        "wrong_hardware",
        "version_regression",
        "order_void",
        "no_space",
        "bad_metadata",
    }


ALLOWED = {
    "an upgrade": (block(), state()),
    "the same release again": (block(version="1.0.0", release_counter=1), state()),
    "a patch back": (block(version="1.0.0"), state(running=release("1.0.2"))),
    "a minor back": (block(version="1.0.0"), state(running=release("1.4.2", revert_to="minor"))),
    "a listed version back": (block(version="0.1.0"), state(running=release("1.4.2", revert_to=["0.1.0"]))),
    "one of several boards": (block(target_hardware=["x-1", "thermostat-v1"]), state()),
    "the same data format": (block(data_format=2), state(running=release("1.0.0", data_format=2))),
    "a first data format": (block(data_format=1), state()),
    "a range that holds": (block(requires=Requires(from_=">=1.0.0 <2.0.0")), state()),
    "the bootloader that is there": (block(min_bootloader_version="2.0.0"), state()),
}


@pytest.mark.parametrize("case", ALLOWED.values(), ids=list(ALLOWED))
def test_what_no_rule_forbids_is_let_through_to_the_last_second(case: tuple[MustMatch, State]) -> None:
    wanted, device = case
    admit(ordered(wanted), BOARD, device, NOW + timedelta(hours=24))


SMALL = st.integers(0, 2)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[int, int, int]:
    return draw(SMALL), draw(SMALL), draw(SMALL)


@given(
    running=numbers(),
    wanted=numbers(),
    counters=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    formats=st.tuples(SMALL, SMALL),
    revert_to=st.sampled_from(["patch", "minor", "none"]),
    excess=st.integers(-2, 2),
    seconds_late=st.integers(-2, 2),
    fits=st.booleans(),
)
def test_an_order_passes_when_a_naive_reading_of_the_rules_lets_it_pass(
    *,
    running: tuple[int, int, int],
    wanted: tuple[int, int, int],
    counters: tuple[int, int],
    formats: tuple[int, int],
    revert_to: str,
    excess: int,
    seconds_late: int,
    fits: bool,
) -> None:
    kept = {"patch": 2, "minor": 1, "none": 4}[revert_to]
    expected = (
        fits
        and counters[1] >= counters[0]
        and (wanted >= running or (wanted[:kept] == running[:kept] and revert_to != "none"))
        and formats[1] >= formats[0]
        and excess <= 0
        and seconds_late <= 0
    )
    device = state(
        running=release(dotted(running), revert_to=revert_to, data_format=formats[0] or None),
        release_counter=counters[0],
    )
    offered = block(
        version=dotted(wanted),
        release_counter=counters[1],
        data_format=formats[1] or None,
        target_hardware=["thermostat-v1" if fits else "other"],
    )
    try:
        admit(ordered(offered, SIZE + excess), BOARD, device, NOW + timedelta(hours=24, seconds=seconds_late))
        passes = True
    except (TrustError, SpaceError):
        passes = False
    assert passes is expected


def dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


def test_a_board_with_two_bootloaders_takes_a_new_one() -> None:
    admit(ordered(block(updates_bootloader=True)), replace(BOARD, bootloader_copies=2), AS_MADE, NOW)
