# SPDX-License-Identifier: Apache-2.0
"""What filters ask of a database in words of its own: SQLite's. Another database has its own words for each of these."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select


def extracted(column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return the value of one name in a column of JSON objects; NULL when it is not in one. The name holds no quotes."""
    return func.json_extract(column, f'$."{name}"')


def is_any_word(column: ColumnElement[Any], name: str, test: Callable[[ColumnElement[Any]], ColumnElement[bool]]) -> ColumnElement[bool]:
    """Say whether any word of a list in a column of JSON objects passes a test."""
    word = func.json_each(column, f'$."{name}"').table_valued("value")
    return select(1).select_from(word).where(test(word.c.value)).exists()


def is_like(column: ColumnElement[Any], pieces: Sequence[str]) -> ColumnElement[bool]:
    """Say whether a text is these pieces with any characters between, upper and lower case told apart."""
    escaped = ("".join(f"[{sign}]" if sign in "*?[" else sign for sign in piece) for piece in pieces)
    return column.op("GLOB", is_comparison=True, return_type=None)("*".join(escaped))
