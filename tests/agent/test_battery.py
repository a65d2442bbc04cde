# SPDX-License-Identifier: Apache-2.0
"""A battery that is low, or that nobody can read, holds updates back; a full one, or a charger where that is enough, does not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.battery import InterlockRule, Supply, battery_hold, battery_inhibitors, read_supplies
from surefoot.agent.status import lines
from surefoot.agent.window import weigh
from surefoot.schedule.permission import Reason
from tests.agent.moments import NOW, order
from tests.agent.test_status import IDLE

RULE = InterlockRule(battery_min_percent=30)
MAINS = Supply(name="AC", kind="Mains", online="1")
MOUSE = Supply(name="hid-1", kind="Battery", scope="Device", capacity="1", status="Discharging")


def battery(capacity: str, status: str = "Discharging", name: str = "BAT0") -> Supply:
    return Supply(name=name, kind="Battery", capacity=capacity, status=status)


@pytest.mark.parametrize(
    ("supplies", "says"),
    [
        ([battery("30")], ""),
        ([battery("100", "Full")], ""),
        ([battery("29")], "BAT0 has less than 30 %"),
        ([battery("0")], "BAT0 has less than 30 %"),
        ([battery("90"), battery("10", name="BAT1")], "BAT1 has less than 30 %"),
        ([battery("")], "the charge of BAT0 cannot be read"),
        ([battery("101")], "the charge of BAT0 cannot be read"),
        ([battery("-5")], "the charge of BAT0 cannot be read"),
        ([battery("9" * 40)], "the charge of BAT0 cannot be read"),
        ([], "no battery can be read in /sys/class/power_supply"),
        ([MAINS], "no battery can be read in /sys/class/power_supply"),
        ([MOUSE], "no battery can be read in /sys/class/power_supply"),
        ([MOUSE, battery("50")], ""),
        ([battery("10", "Charging"), MAINS], "BAT0 has less than 30 %"),
    ],
)
def test_the_rule(supplies: Sequence[Supply], says: str) -> None:
    assert battery_hold(supplies, RULE) == says


@pytest.mark.parametrize(
    ("supplies", "is_held"),
    [
        ([battery("10", "Charging")], False),
        ([battery("", "Full")], False),
        ([battery("10"), MAINS], False),
        ([battery("10"), Supply(name="USB", kind="USB", online="1")], False),
        ([battery("10"), Supply(name="AC", kind="Mains", online="0")], True),
        ([battery("10", "Not charging")], True),
        ([battery("10", "Unknown")], True),
        ([battery("10"), Supply(name="mouse", kind="Battery", scope="Device", status="Charging")], True),
        ([battery("10"), Supply(name="dock", kind="Mains", scope="Device", online="1")], True),
    ],
)
def test_a_charger_is_enough_where_that_is_said(supplies: Sequence[Supply], *, is_held: bool) -> None:
    rule = InterlockRule(battery_min_percent=30, charging_is_enough=True)
    assert bool(battery_hold(supplies, rule)) is is_held


@given(st.integers(0, 100), st.integers(1, 100), st.sampled_from(["Discharging", "Charging", "Unknown", ""]))
def test_more_charge_never_holds_what_less_does_not(percent: int, least: int, status: str) -> None:
    rule = InterlockRule(battery_min_percent=least)
    assert bool(battery_hold([battery(str(percent), status)], rule)) is (percent < least)


def make(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir(parents=True)
    for file, content in files.items():
        (folder / name / file).write_text(f"{content}\n")


def test_the_kernels_files_are_read_and_what_is_missing_is_empty(tmp_path: Path) -> None:
    make(tmp_path, "BAT0", type="Battery", capacity="55", status="Discharging")
    make(tmp_path, "AC", type="Mains", online="0")
    (tmp_path / "BAT0" / "scope").mkdir()
    assert read_supplies(tmp_path) == [
        Supply(name="AC", kind="Mains", online="0"),
        Supply(name="BAT0", kind="Battery", capacity="55", status="Discharging"),
    ]
    assert read_supplies(tmp_path / "nowhere") == []


def test_a_low_battery_holds_an_order_by_the_order_of_authority_and_a_board_without_the_rule_reads_none(tmp_path: Path) -> None:
    make(tmp_path, "BAT0", type="Battery", capacity="5", status="Discharging")
    (low,) = battery_inhibitors(InterlockRule(battery_min_percent=30, power_supply=str(tmp_path)))
    held = weigh(order(), NOW, None, [low])
    assert (held.may_start, held.reason, held.detail) == (False, Reason.INTERLOCK, "battery inhibits it: BAT0 has less than 30 %")
    assert battery_inhibitors(InterlockRule(power_supply=str(tmp_path))) == []
    assert "inhibited  by battery: BAT0 has less than 30 %" in lines(replace(IDLE, inhibitors=(low,)))
