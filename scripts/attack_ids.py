# SPDX-License-Identifier: Apache-2.0
"""Part of ``make check``: every attack of the list has a test named after it, or this fails and names those that have none.

The list is that of the project's security reference: ``D`` are attacks on the device, ``S`` on the server. A test belongs to
an id when its name begins with it: ``test_d09_…``.
"""

import ast
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
IDS = (*(f"d{number:02}" for number in range(1, 31)), "s11", "s12", "s16", "s18", "s19", "s20")
"""Every attack that must have a test."""

_NAMED = re.compile(r"test_(?P<id>[ds][0-9]{2})_\w+")


def main(arguments: Sequence[str]) -> int:
    """Print the ids without a test and return 1, or 0 when there are none.

    Args:
        arguments: The ids to look for; all of them when none are given.
    """
    wanted = arguments or IDS
    lost = missing(wanted, named_after(TESTS))
    if lost:
        print(f"No test is named after: {', '.join(lost)}. Name one test_{lost[0]}_….", file=sys.stderr)
    return 1 if lost else 0


def missing(wanted: Collection[str], found: Collection[str]) -> list[str]:
    """Return the ids that are wanted and have no test, in the order of the list."""
    return [name for name in wanted if name not in found]


def named_after(folder: Path) -> set[str]:
    """Return the ids after which a test below ``folder`` is named."""
    return {found for path in folder.rglob("test_*.py") for found in _ids_in(path.read_text(encoding="utf-8"))}


def _ids_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (match := _NAMED.fullmatch(node.name)):
            yield match["id"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
