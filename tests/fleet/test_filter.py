# SPDX-License-Identifier: Apache-2.0
"""Tests of filters: what they mean, and where they say a mistake is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.fleet.comparison import Like
from surefoot.fleet.device import traits
from surefoot.fleet.field import Traits
from surefoot.fleet.filter import Filter, check_names, matches, misses, names, parse
from surefoot.fleet.rsql import MAX_DEPTH, MAX_LENGTH, MAX_VALUES
from surefoot.model.errors import FilterError
from tests.strategies import ATTRIBUTE_VALUES, NOON, devices, filters, quoted

ATTRIBUTES = {
    "bootloader_version": "2.0.0",
    "component.modem": "1.4.2",
    "depth": "-0.5",
    "device_id": "t-1",
    "floor": "12",
    "hardware": "v2",
    "level": "",
    "note": "it's new",
    "odd": "a*b",
    "product": "thermostat",
    "site": "berlin",
    "state": "active",
    "tags": "lab, roof,,lab",
    "version": "1.10.0-rc.2+7",
    "weight": "2.5",
}
BERLIN = Traits(attributes=ATTRIBUTES, groups=["pilot"], enrolled_at="2026-01-01T00:00:00Z", last_seen="2026-11-24T11:00:00Z")
SILENT = Traits(attributes={**ATTRIBUTES, "product": "", "version": "", "bootloader_version": ""})


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
        ("site==berlin and site==paris", False),
        ("site==and", False),
        ("site==paris or site==berlin", True),
        ("site==paris,site==rome", False),
        ("site==berlin or site==rome and hardware==v1", True),
        ("(site==berlin or site==rome) and hardware==v1", False),
        ("site==berlin,site==rome;hardware==v1", True),
        ("hardware==v1;(site==berlin,site==rome)", False),
        ("site!=paris", True),
        ("site!=berlin", False),
        ("site=out=(paris,rome)", True),
        ("site=out=(paris,berlin)", False),
        ("colour==''", False),
        ("colour!=red", True),
        ("colour!=*", True),
        ("colour=out=(red)", True),
        ("colour==*", False),
        ("colour<1", False),
        ("colour>=1", False),
        ("site==*", True),
        ("level==*", True),
        ("site==ber*", True),
        ("site==*lin", True),
        ("site==b*l*n", True),
        ("site==b*r*x*", False),
        ("site==berlin*berlin", False),
        ("site==ber*rlin", False),
        ("site==*rlin*n", False),
        ("site=='ber*'", False),
        ("odd=='a*b'", True),
        ("odd==a*b", True),
        ("site!=ber*", False),
        ("site=in=(x*,*in)", True),
        ("floor<13", True),
        ("floor=lt=13", True),
        ("floor<12", False),
        ("floor<=12", True),
        ("floor=le=12.0", True),
        ("floor>2", True),
        ("floor=gt=12", False),
        ("floor>=12.000000", True),
        ("floor=ge=12.000001", False),
        ("floor==12", True),
        ("floor==12.0", False),
        ("weight>2.25", True),
        ("weight<2.499999", False),
        ("depth<-0.25", True),
        ("depth>=-1", True),
        ("site<5", False),
        ("site>=5", False),
        ("level<1", False),
        ("version<1.10.0", True),
        ("version>1.9.0", True),
        ("version>=1.10.0-rc.10", False),
        ("version==1.10.0-rc.2", True),
        ("version==1.10.*", True),
        ("version==1.*", True),
        ("version==1.1.*", False),
        ("version!=1.1.*", True),
        ("version==*", True),
        ("version=in=(1.9.*,2.*)", False),
        ("version=range='>=1.9.0 <1.10.0'", True),
        ("version=range='>=1.9.0, !=1.10.0-rc.2'", False),
        ("version=range=1.10.0-rc.2", True),
        ("bootloader_version>=2.0.0", True),
        ("component.modem<1.5.0", True),
        ("component.radio<1.5.0", False),
        ("component.radio!=1.5.0", True),
        ("group==pilot", True),
        ("group==pi*", True),
        ("group!=pilot", False),
        ("group=out=(lab,x)", True),
        ("tag==roof", True),
        ("tag==lab and tag==roof", True),
        ("tag=='lab, roof'", False),
        ("tag!=cellar", True),
        ("tag==''", False),
        ("enrolled_at<2026-01-01T00:00:01Z", True),
        ("enrolled_at>=2026-01-01T01:00:00+01:00", True),
        ("enrolled_at>2026-01-01T00:00:00Z", False),
        ("last_seen>=2026-11-24T11:00:00Z", True),
        ("last_seen==*", True),
        ("seen_within==1h", True),
        ("seen_within==3599s", False),
        ("seen_within!=59m", True),
    ],
)
def test_a_filter_means_the_devices_of_which_holds_what_it_says(text: str, expected: bool) -> None:  # noqa: FBT001  # a table's column
    assert matches(parse(text), BERLIN, NOON) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("product==''", True),
        ("version==*", False),
        ("version!=1.0.0", True),
        ("version<9.0.0", False),
        ("version=range='!=1.0.0'", False),
        ("last_seen==*", False),
        ("last_seen<2027-01-01T00:00:00Z", False),
        ("last_seen!=2026-01-01T00:00:00Z", True),
        ("seen_within==3650d", False),
        ("seen_within!=7d", True),
        ("group==*", False),
        ("group!=*", True),
    ],
)
def test_what_a_silent_device_lacks_is_only_met_by_a_negation(text: str, expected: bool) -> None:  # noqa: FBT001  # a table's column
    assert matches(parse(text), SILENT, NOON) is expected


@pytest.mark.parametrize("traits", [BERLIN, SILENT])
@pytest.mark.parametrize(
    "clause", ["site{}berlin", "version{}1.*", "group{}pilot", "tag{}lab", "seen_within{}1h", "last_seen{}*", "colour{}red"]
)
def test_of_a_comparison_and_its_opposite_one_holds(clause: str, traits: Traits) -> None:
    equal, unequal = (matches(parse(clause.format(sign)), traits, NOON) for sign in ("==", "!="))
    assert equal is not unequal


def test_a_filter_says_which_fields_it_compares() -> None:
    assert names(parse("site==berlin and (hardware=in=(a,b) or site==x);version<1.0.0")) == {"site", "hardware", "version"}


@given(ATTRIBUTE_VALUES | st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_a_quoted_value_is_read_as_it_was_meant(value: str) -> None:
    assert parse(f"site=={quoted(value)}").comparisons[0].tests == (Like(pieces=(value,)),)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("site", 5, "'==' or another operator is expected"),
        ("site=berlin", 5, "not '='"),
        ("site~berlin", 5, "There are == != < <= > >="),
        ("site=like=berlin", 5, "not '=like='"),
        ("site==", 7, "a value is expected"),
        ("site==new york", 11, "'and' or 'or' is expected, not 'york'"),
        ("site==a android==b", 9, "'and' or 'or' is expected"),
        ("site==a AND site==b", 9, "'and' or 'or' is expected"),
        ("site=='berlin", 7, "this quote is not closed"),
        ("site=in=berlin", 9, "'(' is expected"),
        ("site=in=()", 10, "a value is expected"),
        ("site=in=(a,)", 12, "a value is expected"),
        ("site=in=(a b)", 12, "',' or ')' is expected"),
        ("site==a and", 12, "the name of an attribute is expected"),
        ("site==a;;b==c", 9, "the name of an attribute is expected"),
        ("==a", 1, "the name of an attribute is expected"),
        ("'site'==a", 1, "the name of an attribute is expected"),
        ("(site==a", 9, "')' is expected"),
        ("site==a)", 8, "'and' or 'or' is expected, not ')'"),
        ("()", 2, "the name of an attribute is expected"),
        ("site==\ud800", 7, "this character cannot be read"),
        ("site==a\0", 8, "this character cannot be read"),
        ("site==a and " + "x" * 100, 113, "another operator is expected"),
        ("site==a*b*c*d*e*f*g", 7, "6 asterisks; the most is 5"),
        ("version==abc", 10, "'version' holds a version, and 'abc' is none"),
        ("site==a;version=in=(1.0.0,1.0)", 27, "'1.0' is none"),
        ("version<1.*", 9, "'1.*' is none"),
        ("version==1.*.3", 10, "'1.*.3' is none"),
        ("version==12345678901.0.0", 10, "is none"),
        ("version=range='>=1.0'", 15, "'>=1.0' is none"),
        ("component.modem==x", 18, "Write it like 1.2.3"),
        ("floor<x", 7, "< compares numbers, and 'x' is none"),
        ("floor>=1.1234567", 8, "6 decimals"),
        ("floor=range=1", 6, "'floor' holds a text, or a number where it is one and is not compared with =range="),
        ("hardware<v2", 9, "'hardware' holds a text and is not compared with <"),
        ("group>a", 6, "It is compared with == != =in= =out=."),
        ("last_seen<7d", 11, "'seen_within==7d' asks"),
        ("last_seen<2026-11-23", 11, "'2026-11-23' is none since 1970"),
        ("enrolled_at>1969-12-31T23:59:59Z", 13, "none since 1970"),
        ("enrolled_at>2026-01-01T00:00:00.5Z", 13, "whole seconds"),
        ("seen_within==7", 14, "Write it like 90s, 15m, 6h or 7d."),
        ("seen_within==99999d", 14, "none of at most ten years"),
        ("seen_within<7d", 12, "is not compared with <"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, place: int, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    message, shown, caret, *_ = caught.value.message.splitlines()
    assert f"at character {place}," in message
    assert says in str(caught.value)
    assert shown[len(caret) - 1 :].strip() == text[place - 1 : place + 39].replace("\ud800", " ").replace("\0", " ").strip()


def test_a_filter_that_is_too_long_is_refused() -> None:
    with pytest.raises(FilterError, match="the most is 4000"):
        parse("a" * (MAX_LENGTH + 1))


@pytest.mark.parametrize("text", [f"site=in=({','.join('x' * (MAX_VALUES + 1))})", ",".join(["a==b"] * (MAX_VALUES + 1))])
def test_too_many_values_are_refused(text: str) -> None:
    with pytest.raises(FilterError, match="more than 500 values"):
        parse(text)


def test_parentheses_lie_within_others_only_so_deep() -> None:
    parse("(" * MAX_DEPTH + "a==b" + ")" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 1_990):
        with pytest.raises(FilterError, match=r"at character 31, parentheses lie within 30 others"):
            parse("(" * depth + "a==b" + ")" * depth)


@given(st.text(st.sampled_from("ab=in(),;'\" \\!<>\n\ud800é*1.")))
def test_any_text_is_a_filter_or_an_error_that_shows_where(text: str) -> None:
    try:
        said = parse(text).text
    except FilterError as error:
        said = error.message
    assert said == text or "^" in said


def test_an_unknown_attribute_is_named_with_the_nearest_that_there_is() -> None:
    with pytest.raises(FilterError, match="at character 14, no device has an attribute 'regoin'") as caught:
        check_names(parse("site==a and (regoin==eu)"), {"site", "region"})
    assert caught.value.hint == "Did you mean 'region'?"


def test_an_attribute_like_no_other_is_answered_with_those_there_are() -> None:
    with pytest.raises(FilterError) as caught:
        check_names(parse("site==eu"), {"state", "region"})
    assert caught.value.hint == "There are: region, state. Others are given: 'surefoot device set DEVICE site=VALUE'."


@given(filters(), devices().map(traits))
def test_a_device_is_not_meant_for_a_reason_that_is_written_in_the_filter(wanted: Filter, seen: Traits) -> None:
    found = misses(wanted, seen, NOON)
    assert bool(found) is not matches(wanted, seen, NOON)
    for miss in found:
        alone = parse(miss.clause)
        assert (names(alone), len(alone.comparisons), matches(alone, seen, NOON)) == ({miss.name}, 1, False)
