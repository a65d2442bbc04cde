# SPDX-License-Identifier: Apache-2.0
"""The table of what a bare install brings: everything that the lock names, each with a reason, and about as large as the page says."""

import re

from scripts.size import PAGE, WHY, names, parts, table


def test_every_distribution_of_the_lock_has_a_reason_and_nothing_else_has() -> None:
    assert set(names()) == set(WHY)


def test_the_page_says_what_is_so() -> None:
    page = PAGE.read_text()
    for part in parts():
        row = re.search(rf"^\| {re.escape(part.name)} \| {re.escape(part.version)} \| ([\d.]+) \| (.+) \| (.+) \|$", page, re.MULTILINE)
        assert row is not None, f"{part.name} {part.version} is not in the table: run 'make size WRITE=1'."
        assert row.group(2, 3) == (part.why, part.spare)
        assert abs(float(row[1]) * 1_000_000 - part.size_bytes) < max(300_000, part.size_bytes / 4)


def test_the_sum_is_of_all() -> None:
    found = list(parts())
    total = sum(part.size_bytes for part in found) / 1_000_000
    assert f"**{total:.1f}**" in table(found)
    assert 5 < total < 50
