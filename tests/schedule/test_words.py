# SPDX-License-Identifier: Apache-2.0
"""Windows in one line."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from surefoot.model.errors import InvalidInput
from surefoot.model.window import Weekday, Window
from surefoot.schedule.words import clock_words, parse, words_of
from tests.strategies import windows

M, T, W, TH, F, SA, SU = Weekday


@pytest.mark.parametrize(
    ("words", "days"),
    [
        ("mon", [M]),
        ("mon-fri", [M, T, W, TH, F]),
        ("sat,sun", [SA, SU]),
        ("sat-mon", [SA, SU, M]),
        ("mon,wed-fri", [M, W, TH, F]),
        ("daily", [M, T, W, TH, F, SA, SU]),
        ("sun-sat", [SU, M, T, W, TH, F, SA]),
    ],
)
def test_days_are_read_as_people_write_them(words: str, days: list[Weekday]) -> None:
    assert parse(f"{words} 02:00 3h") == Window(days=days, start="02:00", length="3h")


def test_a_zone_may_follow() -> None:
    assert parse("daily  01:00 90m Asia/Tokyo").zone == "Asia/Tokyo"


@given(windows())
def test_what_is_written_is_read_back(window: Window) -> None:
    assert parse(words_of(window)) == window


@pytest.mark.parametrize("days", [[M], [M, T], [M, T, W], [M, W, F], [SA, SU]])
def test_days_are_written_shortly(days: list[Weekday]) -> None:
    expected = {1: "mon", 2: ",".join(days), 3: "mon-wed" if days == [M, T, W] else ",".join(days)}[len(days)]
    assert words_of(Window(days=days, start="02:00", length="3h")) == f"{expected} 02:00 3h"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mon",
        "mon 02:00",
        "02:00 3h mon",
        "mon 2am 3h",
        "mon 02:00 3",
        "mon- 02:00 3h",
        "-mon 02:00 3h",
        "mon 02:00 3h +02:00",
        "x,y 1 2",
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no window") as caught:
        parse(text)
    assert "mon-fri 02:00 3h" in caught.value.hint


def test_an_instant_is_told_by_the_day_of_its_own_zone() -> None:
    at = datetime(2026, 11, 28, 20, tzinfo=UTC)
    assert clock_words(at, ZoneInfo("Asia/Tokyo"), "Asia/Tokyo") == "Sun 2026-11-29 05:00 (Asia/Tokyo)"
