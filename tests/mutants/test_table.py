# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.mutants.table import MUTANTS, SOURCE, STEPS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.step}: {mutant.check}")
def test_the_check_stands_once_in_the_source_as_the_table_has_it(mutant: Mutant) -> None:
    assert mutant.is_current(), f"{mutant.file} no longer has {mutant.text!r} exactly once"
    assert mutant.replacement != mutant.text
    assert all((SOURCE.parent / test).is_file() for test in mutant.tests)


def test_every_step_has_a_mutant_and_no_mutant_stands_twice() -> None:
    assert {mutant.step for mutant in MUTANTS} == set(STEPS)
    assert len({(mutant.file, mutant.text) for mutant in MUTANTS}) == len(MUTANTS)
