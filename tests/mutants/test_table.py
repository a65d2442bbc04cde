# SPDX-License-Identifier: Apache-2.0
"""The table of checks fits the source, and what is called a kill is one."""

import ast
from dataclasses import replace

import pytest

from tests.mutants.__main__ import told
from tests.mutants.mutant import ROOT, RULES, SOURCE, STEPS, Mutant, named_after
from tests.mutants.removed import Outcome, outcome
from tests.mutants.table import MUTANTS

COUNTER = "if wanted.release_counter < running.release_counter:"
EXAMPLE = Mutant(step=9, check="an example", file=RULES, text=COUNTER, replacement="if False:")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.step}: {mutant.check}")
def test_the_check_stands_once_in_the_source_as_the_table_has_it(mutant: Mutant) -> None:
    assert mutant.is_current(), f"{mutant.file} no longer has {mutant.text!r} exactly once"
    assert ast.dump(ast.parse(mutant.changed())) != ast.dump(ast.parse((SOURCE / mutant.path).read_text()))
    assert mutant.tests
    assert all((ROOT / test.split("::")[0]).is_file() for test in mutant.tests)


def test_every_step_has_a_mutant_and_no_mutant_stands_twice() -> None:
    assert {mutant.step for mutant in MUTANTS} == set(STEPS)
    assert len({(mutant.file, mutant.text) for mutant in MUTANTS}) == len(MUTANTS)


def test_the_tests_of_an_attack_are_those_named_after_it() -> None:
    assert "tests/attacks/test_network.py::test_d27_twenty_redirects_are_one_answer_each" in named_after("d27")
    assert named_after("d99") == ()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Outcome(fate="survives", by="", seconds=1), "SURVIVES: tests/agent/test_admission.py"),
        (Outcome(fate="broken", by="NameError in call of x", seconds=1), "BROKEN: NameError in call of x"),
    ],
)
def test_one_that_was_not_killed_is_shown_and_spoils_the_run(found: Outcome, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    killed = Outcome(fate="killed", by="agent/test_x.py::test_y", seconds=1)
    assert told([EXAMPLE], [killed])
    assert not told([EXAMPLE, EXAMPLE], [killed, found])
    assert says in capsys.readouterr().out


def fate(replacement: str) -> Outcome:
    return outcome(replace(EXAMPLE, replacement=replacement))


def test_a_check_that_is_missed_is_killed_by_the_test_that_misses_it() -> None:
    found = fate("if False:")
    assert found.fate == "killed"
    assert found.by.startswith("agent/test_admission.py::test_each_rule_refuses_with_its_code_and_says_what_is_wrong[")


@pytest.mark.parametrize("replacement", [f"{COUNTER}  # nothing else", "if not wanted.release_counter >= running.release_counter:"])
def test_a_change_that_changes_nothing_survives(replacement: str) -> None:
    assert fate(replacement).fate == "survives"


@pytest.mark.parametrize(
    ("replacement", "says"),
    [
        ("if no such thing:", "CollectError in collect"),
        ("import surefoot.nowhere\n    if False:", "ModuleNotFoundError in call"),
        ("if no_such_name:", "NameError in call"),
    ],
)
def test_a_source_that_is_broken_kills_nothing(replacement: str, says: str) -> None:
    found = fate(replacement)
    assert found.fate == "broken"
    assert found.by.startswith(says)
