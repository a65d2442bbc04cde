# SPDX-License-Identifier: Apache-2.0
"""Tests of filters: what they mean, and where they say a mistake is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.fleet.filter import MAX_LENGTH, check_names, matches, names, parse
from surefoot.model.errors import FilterError
from tests.strategies import ATTRIBUTE_VALUES, quoted

BERLIN = {"site": "berlin", "hardware": "v2", "note": "it's new", "level": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("  ", True),
        ("site==berlin", True),
        ("site==Berlin", False),
        ("site == 'berlin'", True),
        ('note=="it\'s new"', True),
        (r"note=='it\'s new'", True),
        ("site=in=(paris,berlin)", True),
        ("site=in=( paris , london )", False),
        ("site==berlin and hardware==v2", True),
        ("site==berlin;hardware==v1", False),
        ("site==berlin ; hardware==v2 and level==''", True),
        ("colour==''", False),
        ("site==berlin and site==paris", False),
        ("site==and", False),
    ],
)
def test_a_filter_means_the_devices_whose_attributes_are_as_it_says(text: str, expected: bool) -> None:  # noqa: FBT001  # a table's column
    assert matches(parse(text), BERLIN) is expected


def test_a_filter_says_which_attributes_it_compares() -> None:
    assert names(parse("site==berlin and hardware=in=(a,b);site==x")) == {"site", "hardware"}


@given(ATTRIBUTE_VALUES | st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_value_is_read_as_it_was_meant(value: str) -> None:
    assert parse(f"site=={quoted(value)}").comparisons[0].values == [value]


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("site", 5, "'==' or '=in=' is expected"),
        ("site=berlin", 5, "There are == and =in="),
        ("site!=berlin", 5, "There are == and =in="),
        ("version=ge=1.1.0", 8, "There are == and =in="),
        ("site==", 7, "a value is expected"),
        ("site==new york", 11, "'and' or ';' is expected, not 'york'"),
        ("site==a or site==b", 9, "name=in=(a,b)"),
        ("site==a,site==b", 8, "name=in=(a,b)"),
        ("site=='berlin", 7, "this quote is not closed"),
        ("site=in=berlin", 9, "'(' is expected"),
        ("site=in=()", 10, "a value is expected"),
        ("site=in=(a b)", 12, "',' or ')' is expected"),
        ("site==a and", 12, "the name of an attribute is expected"),
        ("site==a;;b==c", 9, "the name of an attribute is expected"),
        ("==a", 1, "the name of an attribute is expected"),
        ("'site'==a", 1, "the name of an attribute is expected"),
        ("(site==a)", 1, "the name of an attribute is expected"),
        ("site==\ud800", 7, "this character cannot be read"),
        ("site==a and " + "x" * 100, 113, "'==' or '=in=' is expected"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, place: int, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    message, shown, caret, *_ = caught.value.message.splitlines()
    assert f"at character {place}," in message
    assert says in str(caught.value)
    assert shown[len(caret) - 1 :].strip() == text[place - 1 : place + 39].replace("\ud800", " ").strip()


def test_a_filter_that_is_too_long_is_refused() -> None:
    with pytest.raises(FilterError, match="the most is 4000"):
        parse("a" * (MAX_LENGTH + 1))


def test_a_list_of_too_many_values_is_refused() -> None:
    with pytest.raises(FilterError, match="501 values"):
        parse(f"site=in=({','.join('x' * 501)})")


@given(st.text(st.sampled_from("ab=in(),;'\" \\!<>\n\ud800é")))
def test_any_text_is_a_filter_or_an_error_that_shows_where(text: str) -> None:
    try:
        said = parse(text).text
    except FilterError as error:
        said = error.message
    assert said == text or "^" in said


def test_an_unknown_attribute_is_named_with_the_nearest_that_there_is() -> None:
    with pytest.raises(FilterError, match="no device has an attribute 'regoin'") as caught:
        check_names(parse("site==a and regoin==eu"), {"site", "region"})
    assert caught.value.hint == "Did you mean 'region'?"


def test_an_attribute_like_no_other_is_answered_with_those_there_are() -> None:
    with pytest.raises(FilterError) as caught:
        check_names(parse("site==eu"), {"state", "region"})
    assert caught.value.hint == "There are: region, state. Others are given: 'surefoot device set DEVICE site=VALUE'."
