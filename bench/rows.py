# SPDX-License-Identifier: Apache-2.0
"""What a benchmark finds: rows that compare, printed as a table and kept in ``results.json``.

- A row's name is its part, a slash, and what was measured; measuring a part again replaces all rows of that part.
- ``against`` names what the value is held to, with its own value: a peer or ceiling of the same run, or a stated budget.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import Record, from_json, to_pretty_json

_HEADINGS = ("what", "value", "unit", "ratio", "against")
_WIDTHS = (54, 10, 4, 7, 0)


class Row(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One comparison.

    Attributes:
        name: Part, slash, what was measured.
        value: What was found.
        unit: Unit of ``value``, and of the figure in ``against``.
        against: What it is compared with, and that one's figure.
        ratio: ``value`` divided by that figure; below 1 is better, but for a rate (``/s``), where above 1 is.
        run: When (RFC 3339 UTC) and on what machine.
    """

    name: str
    value: float
    unit: str
    against: str
    ratio: float
    run: str


def compared(name: str, value: float, unit: str, *, against: str, figure: float, run: str) -> Row:
    """Return the row that holds ``value`` to ``figure``, which is what ``against`` was found or allowed to be."""
    described = f"{against}: {_number(figure)} {unit}"
    return Row(name=name, value=round(value, 3), unit=unit, against=described, ratio=round(value / figure, 3), run=run)


def table_head() -> str:
    """Return the heading of the table."""
    return _line(_HEADINGS)


def table_line(row: Row) -> str:
    """Return a row as one line of the table."""
    return _line((row.name, _number(row.value), row.unit, f"{row.ratio:.3g}", row.against))


def is_above_ceiling(row: Row) -> bool:
    """Say whether a row is held to a ceiling, and is above it."""
    return row.against.startswith("ceiling") and row.ratio > 1


def merged(before: Iterable[Row], part: str, found: Sequence[Row]) -> list[Row]:
    """Return ``before`` with the rows of ``part`` replaced by ``found``; those of other parts stay as they were, in their order."""
    return [row for row in before if part_of(row) != part] + list(found)


def part_of(row: Row) -> str:
    """Return the part that a row belongs to."""
    return row.name.partition("/")[0]


def read_rows(path: Path) -> list[Row]:
    """Return the rows in a file; none when there is no such file.

    Raises:
        InvalidInput: The file does not hold rows.
    """
    try:
        return from_json(path.read_bytes(), list[Row], what=str(path))
    except FileNotFoundError:
        return []
    except FormatError as error:
        raise InvalidInput(error.message, hint="Remove the file and measure everything again.") from error


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Replace the file by one that holds ``rows``; whoever reads it sees the old rows or the new ones."""
    draft = path.with_suffix(".new")
    draft.write_bytes(to_pretty_json(rows))
    draft.replace(path)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def _line(cells: Sequence[str]) -> str:
    name, value, unit, ratio, against = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return f"{name} {value.strip():>{_WIDTHS[1]}} {unit} {ratio.strip():>{_WIDTHS[3]}}  {against}".rstrip()
