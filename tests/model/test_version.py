# SPDX-License-Identifier: Apache-2.0
"""Versions: order, ranges, and what may be taken back to what."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.errors import FormatError
from surefoot.model.version import RevertTo, SemVer, comparators, is_in_range, may_revert, parse, precedence
from tests.strategies import versions


@given(versions())
def test_what_the_wire_accepts_can_be_compared(text: str) -> None:
    assert str(parse(msgspec.convert(text, SemVer))) == text


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.2.3-", "1.2.3+", "1.2.3 ", "1.2.3\n", "1.2.-3", "1.2.3-01x_"]
)
def test_other_texts_are_no_versions(text: str) -> None:
    with pytest.raises(FormatError, match="is not a semantic version"):
        parse(text)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, SemVer)


IDENTIFIERS = st.sampled_from(["0", "9", "10", "99999999999999999999", "a", "A", "ab", "a-", "-", "--1", "rc", "0a", "10a"])
PRE_RELEASES = st.lists(IDENTIFIERS, max_size=3).map(lambda found: "-" + ".".join(found) if found else "")
CLOSE = st.builds("{}.{}.{}{}{}".format, *[st.integers(0, 10)] * 3, PRE_RELEASES, st.sampled_from(["", "+a", "+1"]))


@given(st.lists(CLOSE | versions(), max_size=12))
def test_the_texts_of_precedence_sort_as_the_versions_do(texts: list[str]) -> None:
    for one, other in itertools.pairwise(sorted(texts, key=precedence)):
        assert parse(one) <= parse(other)
        assert (precedence(one) == precedence(other)) is (parse(one) == parse(other))


@pytest.mark.parametrize("text", ["", "1.2", "01.2.3", "1.0.0-01", "1234567890.0.0"])
def test_what_is_no_version_has_no_precedence(text: str) -> None:
    with pytest.raises(FormatError):
        precedence(text)


def test_a_range_is_read_as_its_comparators() -> None:
    assert comparators(">=1.1.0, <2.0.0 !=1.5.0 1.6.0 =1.7.0") == [
        (">=", "1.1.0"),
        ("<", "2.0.0"),
        ("!=", "1.5.0"),
        ("==", "1.6.0"),
        ("==", "1.7.0"),
    ]


def test_a_pre_release_comes_before_its_release() -> None:
    assert parse("1.0.0-rc.1") < parse("1.0.0")


@pytest.mark.parametrize(
    ("version", "wanted", "is_inside"),
    [
        ("1.1.0", ">=1.1.0", True),
        ("1.0.9", ">=1.1.0", False),
        ("1.1.0", ">1.1.0", False),
        ("1.1.1", ">1.1.0", True),
        ("1.1.0", "<=1.1.0", True),
        ("1.1.1", "<=1.1.0", False),
        ("1.0.0", "<1.1.0", True),
        ("1.1.0", "<1.1.0", False),
        ("1.1.0", "==1.1.0", True),
        ("1.1.0", "=1.1.0", True),
        ("1.1.0", "1.1.0", True),
        ("1.1.0", "1.1.1", False),
        ("1.1.0", "!=1.1.0", False),
        ("1.1.1", "!=1.1.0", True),
        ("1.5.0", ">=1.1.0 <2.0.0", True),
        ("2.0.0", ">=1.1.0, <2.0.0", False),
        ("1.1.0-rc.1", ">=1.1.0", False),
        ("1.1.0+other", "==1.1.0", True),
    ],
)
def test_a_range_holds_when_all_its_comparators_hold(version: str, wanted: str, *, is_inside: bool) -> None:
    assert is_in_range(version, wanted) is is_inside


@pytest.mark.parametrize("wanted", ["", " , ", ">=", ">= 1.0.0", "~1.0.0", ">=1.0", "<1.0.0 or"])
def test_a_range_that_cannot_be_read_is_refused_even_if_an_earlier_part_fails(wanted: str) -> None:
    with pytest.raises(FormatError):
        is_in_range("9.0.0", wanted)


@pytest.mark.parametrize(
    ("running", "wanted", "rule", "may"),
    [
        ("1.2.3", "1.2.1", "patch", True),
        ("1.2.3", "1.1.9", "patch", False),
        ("1.2.3", "1.1.9", "minor", True),
        ("2.0.0", "1.9.9", "minor", False),
        ("1.2.3", "1.2.2", "none", False),
        ("1.2.3", "0.9.0", ["0.9.0"], True),
        ("1.2.3", "1.2.2", ["0.9.0"], False),
        ("1.2.3", "1.2.2", [], False),
    ],
)
def test_a_release_is_taken_back_only_as_far_as_its_rule_says(running: str, wanted: str, rule: RevertTo, *, may: bool) -> None:
    assert may_revert(running=running, wanted=wanted, revert_to=rule) is may
