# SPDX-License-Identifier: Apache-2.0
"""Comparisons: one clause of a filter with its values read as what the field holds, and whether it holds for a device.

- ``!=`` and ``=out=`` hold for exactly those devices for which ``==`` and ``=in=`` do not: also for those that lack the attribute.
- Every other comparison is false for a device that lacks what it compares.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from surefoot.fleet.field import GROUP, TAGS, Kind, Traits, kind_of, number_key, version_key, words
from surefoot.fleet.rsql import Clause, Operator, Value, error_at
from surefoot.model.errors import FilterError, FormatError
from surefoot.model.record import parse_utc, utc_text
from surefoot.model.version import comparators, precedence

Key = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """A text that consists of these pieces with any characters between them."""

    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A key that stands so to this one; ``operator`` is one of ``== != < <= > >=``."""

    operator: str
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """A time at most this many seconds ago."""

    seconds: int


Test = Like | tuple[Bound, ...] | Within
"""What a value must be; of several bounds, all; without any, it must only have a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A field and what its value must be: one of ``tests``, or, when ``is_negated``, none; ``place`` is its index in the filter."""

    name: str
    kind: Kind
    tests: tuple[Test, ...]
    is_negated: bool
    place: int


def compare(text: str, clause: Clause) -> Comparison:
    """Return what a clause of the filter ``text`` compares.

    Raises:
        FilterError: The field has no such operator, or a value is not of its kind; the message shows where.
    """
    kind = kind_of(clause.name)
    if clause.operator not in _OPERATORS[kind]:
        there = " ".join(operator for operator in Operator if operator in _OPERATORS[kind])
        raise error_at(
            text,
            clause.operator_place,
            f"'{clause.name}' holds {kind.value} and is not compared with {clause.operator}",
            f"It is compared with {there}.",
        )
    return Comparison(
        name=clause.name,
        kind=kind,
        tests=tuple(_test(text, clause, kind, value) for value in clause.values),
        is_negated=clause.operator in (Operator.UNEQUAL, Operator.OUT),
        place=clause.place,
    )


def holds(comparison: Comparison, traits: Traits, now: datetime) -> bool:
    """Say whether a comparison holds for a device."""
    return _is_one(comparison, traits, now) is not comparison.is_negated


_EQUALITY = (Operator.EQUAL, Operator.UNEQUAL, Operator.IN, Operator.OUT)
_ORDER = (Operator.BELOW, Operator.AT_MOST, Operator.ABOVE, Operator.AT_LEAST)
_OPERATORS = {
    Kind.TEXT: _EQUALITY,
    Kind.ATTRIBUTE: (*_EQUALITY, *_ORDER),
    Kind.VERSION: (*_EQUALITY, *_ORDER, Operator.RANGE),
    Kind.TIME: (*_EQUALITY, *_ORDER),
    Kind.AGE: (Operator.EQUAL, Operator.UNEQUAL),
    Kind.WORDS: _EQUALITY,
}
_SOME_VERSIONS = re.compile(r"(?:(0|[1-9][0-9]{0,8})\.)(?:(0|[1-9][0-9]{0,8})\.)?\*")
_AGE = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_S = 3_650 * 86_400
_EPOCH = datetime.fromtimestamp(0, UTC)


def _test(text: str, clause: Clause, kind: Kind, value: Value) -> Test:
    match kind:
        case Kind.TEXT | Kind.WORDS:
            return Like(pieces=value.pieces)
        case Kind.ATTRIBUTE:
            return Like(pieces=value.pieces) if clause.operator in _EQUALITY else _bounds(clause.operator, _number(text, clause, value))
        case Kind.VERSION:
            return _version(text, clause, value)
        case Kind.TIME:
            return () if _is_any(clause, value) else _bounds(clause.operator, _time(text, clause, value))
        case Kind.AGE:
            return Within(seconds=_age(text, clause, value))


def _version(text: str, clause: Clause, value: Value) -> Test:
    if _is_any(clause, value):
        return ()
    try:
        if clause.operator is Operator.RANGE:
            return tuple(Bound(operator=operator, key=precedence(version)) for operator, version in comparators(value.text))
        some = _SOME_VERSIONS.fullmatch(value.text) if clause.operator in _EQUALITY and len(value.pieces) > 1 else None
        if some is None:
            return _bounds(clause.operator, precedence(value.text))
    except FormatError as error:
        hint = "Write it like 1.2.3; all of 1.2 is 1.2.*, and a range =range='>=1.1.0 <2.0.0'. Devices that said no version: product==''."
        raise error_at(text, value.place, f"'{clause.name}' holds a version, and '{value.text[:40]}' is none", hint) from error
    # The numbers of a key end in '.', and '/' comes next.
    start = ".".join(f"{int(number):09}" for number in some.groups() if number)
    return (Bound(operator=">=", key=f"{start}."), Bound(operator="<", key=f"{start}/"))


def _number(text: str, clause: Clause, value: Value) -> int:
    key = number_key(value.text)
    if key is None:
        what = f"{clause.operator} compares numbers, and '{value.text[:40]}' is none of at most 12 digits and 6 decimals"
        raise error_at(text, value.place, what, "Write it like 20 or -0.5. Texts are compared with == != =in= =out=.")
    return key


def _time(text: str, clause: Clause, value: Value) -> str:
    try:
        instant = parse_utc(value.text)
    except FormatError as error:
        raise _no_time(text, clause, value) from error
    if instant < _EPOCH or instant.microsecond:
        raise _no_time(text, clause, value)
    return utc_text(instant)


def _no_time(text: str, clause: Clause, value: Value) -> FilterError:
    hint = "Write it in whole seconds, like 2026-11-23T08:00:00Z. 'seen_within==7d' asks for the devices of the last seven days."
    return error_at(text, value.place, f"'{clause.name}' holds a time, and '{value.text[:40]}' is none since 1970", hint)


def _age(text: str, clause: Clause, value: Value) -> int:
    match = _AGE.fullmatch(value.text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else _LONGEST_S + 1
    if seconds > _LONGEST_S:
        what = f"'{clause.name}' holds a duration, and '{value.text[:40]}' is none of at most ten years"
        raise error_at(text, value.place, what, "Write it like 90s, 15m, 6h or 7d.")
    return seconds


def _is_any(clause: Clause, value: Value) -> bool:
    return clause.operator in _EQUALITY and value.pieces == ("", "")


def _bounds(operator: Operator, key: Key) -> tuple[Bound, ...]:
    return (Bound(operator="==" if operator in _EQUALITY else operator.value, key=key),)


def _is_one(comparison: Comparison, traits: Traits, now: datetime) -> bool:
    name, tests = comparison.name, comparison.tests
    match comparison.kind:
        case Kind.TEXT | Kind.ATTRIBUTE:
            value = traits.attributes.get(name)
            return value is not None and (_any_like(tests, [value]) or _any_bounds(tests, number_key(value)))
        case Kind.VERSION:
            return _any_bounds(tests, version_key(traits.attributes.get(name, "")))
        case Kind.TIME:
            return _any_bounds(tests, (traits.last_seen if name == "last_seen" else traits.enrolled_at) or None)
        case Kind.AGE:
            return any(isinstance(test, Within) and _is_within(test, traits.last_seen, now) for test in tests)
        case Kind.WORDS:
            return _any_like(tests, traits.groups if name == GROUP else words(traits.attributes.get(TAGS, "")))


def _any_like(tests: Iterable[Test], values: Iterable[str]) -> bool:
    likes = [test for test in tests if isinstance(test, Like)]
    return any(_is_like(like.pieces, value) for value in values for like in likes)


def _is_like(pieces: tuple[str, ...], value: str) -> bool:
    """Say whether a text is these pieces with anything between: each piece is taken where it first fits, so nothing is tried twice."""
    first, *middle = pieces
    if not middle:
        return value == first
    last = middle.pop()
    if len(value) < len(first) + len(last) or not (value.startswith(first) and value.endswith(last)):
        return False
    place, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True


def _any_bounds(tests: Iterable[Test], key: Key | None) -> bool:
    if key is None:
        return False
    return any(isinstance(test, tuple) and all(_is_bound(bound, key) for bound in test) for test in tests)


def _is_bound(bound: Bound, key: Key) -> bool:
    order = _order(key, bound.key)
    match bound.operator:
        case "==":
            return order == 0
        case "!=":
            return order != 0
        case "<":
            return order < 0
        case "<=":
            return order <= 0
        case ">":
            return order > 0
        case _:
            return order >= 0


def _order(key: Key, other: Key) -> int:
    # Both are keys of one kind of field, both texts or both numbers.
    if isinstance(key, str) and isinstance(other, str):
        return (key > other) - (key < other)
    return (int(key) > int(other)) - (int(key) < int(other))


def _is_within(test: Within, last_seen: str, now: datetime) -> bool:
    return bool(last_seen) and int(parse_utc(last_seen).timestamp()) >= int(now.timestamp()) - test.seconds
