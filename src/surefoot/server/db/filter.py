# SPDX-License-Identifier: Apache-2.0
"""Filters as SQL: the same devices as ``surefoot.fleet.filter.matches`` says, found by the database.

Equality, lists, order and beginnings of what has a column of its own are written so that the index of that column serves them; all
else reads every device that the rest of the filter leaves. What a device lacks is NULL, and NULL is no match; a negation takes
what is not true, NULL with it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, false, func, or_, select, true

from surefoot.fleet.comparison import Bound, Comparison, Like, Test, Within
from surefoot.fleet.field import GROUP, TAG, Kind
from surefoot.fleet.filter import Filter
from surefoot.fleet.rsql import Joint, Tree
from surefoot.model.attribute import COMPONENT
from surefoot.model.record import parse_utc
from surefoot.server.db.dialect import extracted, is_any_word, is_like
from surefoot.server.db.schema import INDEXED, component, device, member, presence

_COLUMNS = ("device_id", "hardware", "product", "state", *INDEXED)
_IN_JSON = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_LAST = 0x10FFFF
_BEFORE_SURROGATES, _AFTER_SURROGATES = 0xD7FF, 0xE000


def condition(wanted: Filter, now: datetime) -> ColumnElement[bool]:
    """Return the condition on the table ``device`` at this moment; every device fits an empty filter."""
    return true() if wanted.tree is None else _fits(wanted.tree, now)


def _fits(tree: Tree[Comparison], now: datetime) -> ColumnElement[bool]:
    if isinstance(tree, Joint):
        return (or_ if tree.is_any else and_)(*(_fits(part, now) for part in tree.parts))
    held = _is_one(tree, now)
    return held.is_not(true()) if tree.is_negated else held


def _is_one(comparison: Comparison, now: datetime) -> ColumnElement[bool]:
    name, tests = comparison.name, comparison.tests
    # A name that no attribute can have is in no JSON path either.
    if not _IN_JSON.issuperset(name):
        return false()
    match comparison.kind:
        case Kind.TEXT | Kind.ATTRIBUTE:
            column = device.c[name] if name in _COLUMNS else extracted(device.c.attributes, name)
            key = extracted(device.c["keys"], name)
            return _any([*_likes(column, tests), *_bounds(key, tests)])
        case Kind.VERSION:
            return _any(_bounds(_version_key(name), tests))
        case Kind.TIME if name == "last_seen":
            return _was_seen(lambda at: _any(_bounds(at, [_in_seconds(test) for test in tests])))
        case Kind.TIME:
            return _any(_bounds(func.nullif(device.c.enrolled_at, ""), tests))
        case Kind.AGE:
            oldest = min(int(now.timestamp()) - test.seconds for test in tests if isinstance(test, Within))
            return _was_seen(lambda at: at >= oldest)
        case Kind.WORDS if name == GROUP:
            return device.c.device_id.in_(select(member.c.device_id).where(_any(_likes(member.c.group_name, tests))))
        case Kind.WORDS:
            return is_any_word(device.c["keys"], TAG, lambda word: _any(_likes(word, tests)))


def _version_key(name: str) -> ColumnElement[Any]:
    if name == "version":
        return device.c.version_key
    own = extracted(device.c["keys"], name)
    if not name.startswith(COMPONENT):
        return own
    # What a device reports or is given wins over what is known of the image that it runs, also when it is no version.
    mine = (component.c.hash == device.c.hash, component.c.name == name.removeprefix(COMPONENT))
    of_image = select(component.c.version_key).where(*mine).correlate(device).scalar_subquery()
    return case((extracted(device.c.attributes, name).is_(None), of_image), else_=own)


def _was_seen(test: Callable[[ColumnElement[Any]], ColumnElement[bool]]) -> ColumnElement[bool]:
    seen = presence.alias("seen")
    return select(1).where(seen.c.device_id == device.c.device_id, test(seen.c.last_seen)).correlate(device).exists()


def _in_seconds(test: Test) -> Test:
    """Return bounds on the column ``last_seen``, which holds seconds."""
    if not isinstance(test, tuple):
        return test
    return tuple(Bound(operator=bound.operator, key=int(parse_utc(str(bound.key)).timestamp())) for bound in test)


def _any(conditions: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    # A constant among them would keep SQLite from the index.
    return or_(*conditions) if len(conditions) > 1 else conditions[0]


def _likes(column: ColumnElement[Any], tests: Sequence[Test]) -> list[ColumnElement[bool]]:
    likes = [test.pieces for test in tests if isinstance(test, Like)]
    exact = [pieces[0] for pieces in likes if len(pieces) == 1]
    return [*_is_in(column, exact), *(_is_like(column, pieces) for pieces in likes if len(pieces) > 1)]


def _is_in(column: ColumnElement[Any], values: Sequence[str | int]) -> list[ColumnElement[bool]]:
    if len(values) > 1:
        return [column.in_(values)]
    return [column == value for value in values]


def _is_like(column: ColumnElement[Any], pieces: Sequence[str]) -> ColumnElement[bool]:
    first, *others = pieces
    return and_(*_begins(column, first), *([] if others == [""] else [is_like(column, pieces)]))


def _begins(column: ColumnElement[Any], start: str) -> list[ColumnElement[bool]]:
    """Return the conditions of a text that begins so, as bounds, which an index serves."""
    if not start:
        return [column.is_not(None)]
    # The first text after all those: its last letter is the next there is, and one that has no next is left out before it.
    short = start.rstrip(chr(_LAST))
    following = ord(short[-1]) + 1 if short else 0
    end = short[:-1] + chr(_AFTER_SURROGATES if following == _BEFORE_SURROGATES + 1 else following)
    return [column >= start, column < end] if short else [column >= start]


def _bounds(column: ColumnElement[Any], tests: Sequence[Test]) -> list[ColumnElement[bool]]:
    bounds = [test for test in tests if isinstance(test, tuple)]
    exact = [test[0].key for test in bounds if len(test) == 1 and test[0].operator == "=="]
    others = [test for test in bounds if len(test) != 1 or test[0].operator != "=="]
    return [*_is_in(column, exact), *(_are_bounds(column, test) for test in others)]


def _are_bounds(column: ColumnElement[Any], bounds: Sequence[Bound]) -> ColumnElement[bool]:
    return and_(*(_is_bound(column, bound) for bound in bounds)) if bounds else column.is_not(None)


def _is_bound(column: ColumnElement[Any], bound: Bound) -> ColumnElement[bool]:
    match bound.operator:
        case "==":
            return column == bound.key
        case "!=":
            return column != bound.key
        case "<":
            return column < bound.key
        case "<=":
            return column <= bound.key
        case ">":
            return column > bound.key
        case _:
            return column >= bound.key
