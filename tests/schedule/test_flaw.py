# SPDX-License-Identifier: Apache-2.0
"""Windows that nobody should wait for are refused when they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import from_plain
from surefoot.model.window import Weekday, Window
from surefoot.schedule.flaw import check, flaws, grace_flaws
from tests.strategies import windows


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (Window(start="02:00", length="0h"), "'windows[0].length': it never opens."),
        (Window(start="02:00", length="4m"), "'windows[0].length': it is shorter than an install takes, 300 s."),
        (Window(start="02:00", length="8d"), "'windows[0].length': it is longer than a week."),
        (Window(start="02:00", length="1h", days=[Weekday.MON, Weekday.MON]), "'windows[0].days': a day is given twice."),
    ],
)
def test_a_window_of_no_use_is_named(window: Window, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check(flaws([window]))
    assert caught.value.message == said
    assert caught.value.hint


def test_the_same_window_twice_is_named() -> None:
    assert [flaw.key for flaw in flaws([Window(start="02:00", length="1h")] * 2)] == ["windows[1]"]


def test_a_window_is_held_against_the_install_time_of_its_hardware() -> None:
    hour = [Window(start="02:00", length="1h")]
    assert list(flaws(hour, install_s=3_600)) == []
    assert [flaw.key for flaw in flaws(hour, install_s=3_601)] == ["windows[0].length"]


@given(st.lists(windows(), max_size=3, unique_by=repr))
def test_only_too_short_windows_of_those_that_can_be_are_flawed(several: list[Window]) -> None:
    assert {flaw.key for flaw in flaws(several)} == {f"windows[{n}].length" for n, one in enumerate(several) if one.length == "1m"}


@pytest.mark.parametrize(("grace_s", "is_fine"), [(0, True), (86_400, True), (30 * 86_400, True), (-1, False), (30 * 86_400 + 1, False)])
def test_a_grace_is_between_nothing_and_a_month(grace_s: int, is_fine: bool) -> None:  # noqa: FBT001  # a column of the table
    assert (list(grace_flaws(grace_s)) == []) == is_fine


@pytest.mark.parametrize(
    "plain",
    [
        {"start": "2:00", "length": "1h"},
        {"start": "24:00", "length": "1h"},
        {"start": "02:60", "length": "1h"},
        {"start": "02:00", "length": "an hour"},
        {"start": "02:00", "length": "1h", "days": []},
        {"start": "02:00", "length": "1h", "days": ["someday"]},
        {"start": "02:00", "length": "1h", "zone": "+02:00"},
        {"start": "02:00", "length": "1h", "zone": "../../etc/passwd"},
        {"start": "02:00", "length": "1h", "zone": ""},
        {"start": "02:00", "length": "1h", "cron": "0 2 * * *"},
    ],
)
def test_what_is_no_window_is_not_read(plain: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        from_plain(plain, Window, what="window")
