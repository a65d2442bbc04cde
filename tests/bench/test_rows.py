# SPDX-License-Identifier: Apache-2.0
"""Tests of the rows that benchmarks leave, and of the file that keeps them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rows import Row, compared, merged, part_of, read_rows, table_head, table_line, write_rows
from surefoot.model.errors import InvalidInput

RUN = "2026-11-23T08:00:00Z a machine"


def row(name: str, value: float = 1) -> Row:
    return compared(name, value, "ms", against="budget", figure=2, run=RUN)


rows = st.builds(
    row, st.builds("{}/{}".format, st.sampled_from(["verify", "bytes", "bytes-of-more"]), st.text(max_size=3)), st.floats(0, 9)
)


def test_a_row_says_what_it_is_held_to_and_the_ratio_to_that() -> None:
    found = compared("verify/both", 1.23456, "ms", against="budget", figure=5, run=RUN)
    assert (found.value, found.against, found.ratio) == (1.235, "budget: 5 ms", 0.247)


def test_a_row_in_the_file_has_the_promised_keys_and_no_others(tmp_path: Path) -> None:
    write_rows(tmp_path / "results.json", [row("bytes/idle poll", 0)])
    (found,) = json.loads((tmp_path / "results.json").read_text())
    assert found == {"name": "bytes/idle poll", "value": 0, "unit": "ms", "against": "budget: 2 ms", "ratio": 0, "run": RUN}


@given(st.lists(rows), st.lists(rows.filter(lambda each: part_of(each) == "bytes"), min_size=1))
def test_rows_of_one_part_replace_those_of_that_part_alone(before: list[Row], found: list[Row]) -> None:
    after = merged(before, "bytes", found)
    assert [each for each in after if part_of(each) == "bytes"] == found
    assert [each for each in after if part_of(each) != "bytes"] == [each for each in before if part_of(each) != "bytes"]


@given(st.lists(rows))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, kept: list[Row]) -> None:
    path = tmp_path_factory.getbasetemp() / "kept.json"
    write_rows(path, kept)
    assert read_rows(path) == kept


def test_no_file_means_no_rows_yet(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "results.json") == []


def test_a_file_without_rows_is_not_overwritten_but_named(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"name": "not a list"}')
    with pytest.raises(InvalidInput, match=r"results\.json.*Remove the file"):
        read_rows(path)


def test_a_line_of_the_table_stands_under_its_heading() -> None:
    line = table_line(row("verify/both repositories", 1_234.5))
    assert line.split() == ["verify/both", "repositories", "1,234.50", "ms", "617", "budget:", "2", "ms"]
    assert line.index("budget") == table_head().index("against")
