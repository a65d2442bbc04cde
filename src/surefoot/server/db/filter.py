# SPDX-License-Identifier: Apache-2.0
"""Filters as SQL: the same devices as ``surefoot.fleet.filter.matches`` says, found by the database."""

from sqlalchemy import ColumnElement, Text, and_, cast, false, func, true
from sqlalchemy.dialects import sqlite

from surefoot.fleet.filter import Comparison, Filter
from surefoot.model.attribute import BUILT_IN
from surefoot.server.db.schema import device

_FROM_REPORT = "bootloader_version"
_IN_JSON = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")


def condition(wanted: Filter) -> ColumnElement[bool]:
    """Return the condition on the table ``device``; every device fits an empty filter."""
    return and_(true(), *(_compared(comparison) for comparison in wanted.comparisons))


def where(wanted: Filter) -> tuple[str, list[str]]:
    """Return the condition in SQLite's words with ``?`` for each value, and the values; columns are written ``device.state``."""
    compiled = condition(wanted).compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    values = compiled.params
    return str(compiled), [str(values[name]) for name in compiled.positiontup or ()]


def _compared(comparison: Comparison) -> ColumnElement[bool]:
    # A name that no attribute can have is in no JSON path either.
    if not _IN_JSON.issuperset(comparison.name):
        return false()
    return _column(comparison.name).in_(comparison.values)


def _column(name: str) -> ColumnElement[str]:
    if name == _FROM_REPORT:
        return func.coalesce(func.json_extract(cast(device.c.report, Text), f"$.{name}"), "")
    if name in BUILT_IN:
        return device.c[name]
    return func.json_extract(device.c.attributes, f'$."{name}"')
