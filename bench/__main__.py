# SPDX-License-Identifier: Apache-2.0
"""``python -m bench [--only NAME]``: measure every part or one, print a table, and keep the rows in ``results.json``."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import agent_cpu, agent_memory, catalogue_bytes, gates, pick, poll, signatures, signed_bytes, verify
from bench.rows import Row, is_above_ceiling, merged, read_rows, table_head, table_line, write_rows
from surefoot.model.errors import Error, InvalidInput
from surefoot.model.record import utc_text

RESULTS = Path(__file__).with_name("results.json")
PARTS: Mapping[str, Callable[[str], list[Row]]] = {
    "verify": verify.measure,
    "bytes": signed_bytes.measure,
    "signatures": signatures.measure,
    "catalogue": catalogue_bytes.measure,
    "agent-memory": agent_memory.measure,
    "agent-cpu": agent_cpu.measure,
    "poll": poll.measure,
    "gates": gates.measure,
    "pick": pick.measure,
}

GROUPS: Mapping[str, Sequence[str]] = {"trust": ("verify", "bytes", "signatures", "catalogue"), "agent": ("agent-memory", "agent-cpu")}
"""Parts that belong together, by a name that ``--only`` takes as well."""


def main(argv: Sequence[str] | None = None, *, parts: Mapping[str, Callable[[str], list[Row]]] = PARTS, results: Path = RESULTS) -> int:
    """Measure and return the exit status: 0 measured, 1 something failed or is above its ceiling, 2 wrong use.

    Args:
        argv: Arguments; those of the process by default.
        parts: What can be measured, by name; each is told when and where it runs.
        results: Where rows are kept.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure against peers, ceilings and budgets.")
    parser.add_argument("--only", metavar="NAME", help=f"measure one part: {', '.join(parts)}; or one of the groups: {', '.join(GROUPS)}")
    only = parser.parse_args(argv).only
    try:
        return _measure(_chosen(only, parts), results)
    except Error as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1


def machine() -> str:
    """Return what the figures depend on, in one line."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_processor()}"
    return f"{system}, {platform.python_implementation()} {platform.python_version()}"


def _chosen(only: str | None, parts: Mapping[str, Callable[[str], list[Row]]]) -> Mapping[str, Callable[[str], list[Row]]]:
    if only is None:
        return parts
    chosen = GROUPS.get(only, (only,))
    if not parts.keys() >= set(chosen):
        raise InvalidInput(f"There is no part {only!r}.", hint=f"The parts are {', '.join(parts)}.")
    return {name: parts[name] for name in chosen}


def _measure(parts: Mapping[str, Callable[[str], list[Row]]], results: Path) -> int:
    rows, is_within = read_rows(results), True
    print(table_head(), flush=True)
    for name, part in parts.items():
        found = part(f"{utc_text(datetime.now(UTC))} {machine()}")
        for row in found:
            print(table_line(row), flush=True)
            is_within = is_within and not is_above_ceiling(row)
        # Kept after each part, so that a part that fails costs nothing but itself.
        rows = merged(rows, name, found)
        write_rows(results, rows)
    return 0 if is_within else 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor")


if __name__ == "__main__":
    sys.exit(main())
