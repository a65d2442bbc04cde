# SPDX-License-Identifier: Apache-2.0
"""Records: one JSON form, read strictly."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.errors import FormatError
from surefoot.model.record import Hint, Record, from_json, from_plain, parse_utc, to_json, to_plain, to_pretty_json, utc_text


class Point(Record, frozen=True, kw_only=True):
    y: int
    x: int
    label: str = ""


class Loose(Hint, frozen=True, kw_only=True):
    x: int


def test_keys_are_sorted_and_defaults_left_out() -> None:
    assert to_json(Point(y=2, x=1)) == b'{"x":1,"y":2}'
    assert to_pretty_json(Point(y=2, x=1)) == b'{\n "x": 1,\n "y": 2\n}\n'
    assert to_plain(Point(y=2, x=1, label="a")) == {"label": "a", "x": 1, "y": 2}


@given(st.integers(-(2**63), 2**63 - 1), st.text())
def test_a_record_survives_its_json_and_its_plain_form(x: int, label: str) -> None:
    point = Point(y=1, x=x, label=label)
    assert from_json(to_json(point), Point, what="p") == from_plain(to_plain(point), Point, what="p") == point


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"x":1}', b'{"x":1,"y":2,"z":3}', b'{"x":"1","y":2}', b'{"x":1,"y":2}x', b"[" * 100_000, b'{"x":1,"y":2,"label":"\xff"}'],
)
def test_json_of_another_form_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"^p\.json: "):
        from_json(data, Point, what="p.json")


def test_plain_data_of_another_form_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match=r"^p\.json: .*`\$\.x`"):
        from_plain({"x": "1", "y": 2}, Point, what="p.json")


def test_a_hint_may_be_newer_than_we_are() -> None:
    assert from_json(b'{"x":1,"new":2}', Loose, what="hint") == Loose(x=1)


def test_times_are_written_in_utc_with_whole_seconds() -> None:
    instant = datetime(2026, 11, 23, 9, 0, 0, 999, tzinfo=timezone(timedelta(hours=1)))
    assert utc_text(instant) == "2026-11-23T08:00:00Z"


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # Hypothesis adds the zone itself
def test_a_time_is_read_back_as_the_second_it_names(instant: datetime) -> None:
    assert parse_utc(utc_text(instant)) == instant.replace(microsecond=0)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-23T08:00:00"])
def test_a_time_without_a_zone_or_a_meaning_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_utc(text)
