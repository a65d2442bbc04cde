# SPDX-License-Identifier: Apache-2.0
"""Tests of ``python -m bench``: which parts are measured, and what becomes of the rows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.__main__ import GROUPS, PARTS, main
from bench.rows import Row, compared, read_rows
from surefoot.model.errors import TransportError

Part = Callable[[str], list[Row]]


def part(name: str, value: float) -> Part:
    return lambda run: [compared(f"{name}/it", value, "ms", against="budget", figure=5, run=run)]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results.json"


def values(results: Path) -> dict[str, float]:
    return {row.name: row.value for row in read_rows(results)}


def test_every_part_is_measured_and_shown(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], parts={"one": part("one", 1), "two": part("two", 2)}, results=results) == 0
    assert values(results) == {"one/it": 1, "two/it": 2}
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["what", "one/it", "two/it"]


def test_only_one_part_is_measured_and_the_others_stay_as_they_were(results: Path) -> None:
    main([], parts={"one": part("one", 1), "two": part("two", 2)}, results=results)
    assert main(["--only", "one"], parts={"one": part("one", 9), "two": part("two", 9)}, results=results) == 0
    assert values(results) == {"one/it": 9, "two/it": 2}


def test_a_group_is_all_its_parts(results: Path) -> None:
    parts = {name: part(name, number) for number, name in enumerate(["poll", *GROUPS["trust"]])}
    assert main(["--only", "trust"], parts=parts, results=results) == 0
    assert values(results) == {"verify/it": 1, "bytes/it": 2, "signatures/it": 3, "catalogue/it": 4}


def test_an_unknown_part_is_refused_in_one_sentence_that_names_the_parts(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "speed"], results=results) == 2
    said = capsys.readouterr()
    assert said.err == f"bench: There is no part 'speed'. The parts are {', '.join(PARTS)}.\n"
    assert said.out == ""
    assert not results.exists()


def test_a_part_that_fails_loses_nothing_of_those_before_it(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(run: str) -> list[Row]:
        raise TransportError(f"No server answers since {run[:4]}.")

    assert main([], parts={"one": part("one", 1), "two": fails}, results=results) == 1
    assert values(results) == {"one/it": 1}
    assert "No server answers" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "status"), [(5, 0), (6, 1)])
def test_what_is_above_its_ceiling_fails_and_is_kept(results: Path, value: float, status: int) -> None:
    found = compared("one/it", value, "ms", against="ceiling", figure=5, run="now")
    assert main([], parts={"one": lambda _run: [found]}, results=results) == status
    assert values(results) == {"one/it": value}


def test_a_row_says_when_and_where_it_was_measured(results: Path) -> None:
    main([], parts={"one": part("one", 1)}, results=results)
    (row,) = read_rows(results)
    when, _, where = row.run.partition(" ")
    assert when.endswith("Z")
    assert "cores" in where
