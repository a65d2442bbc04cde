# SPDX-License-Identifier: Apache-2.0
"""The floors of coverage: which part is judged by which, and when it is below."""

import pytest

from scripts.coverage_floors import ELSEWHERE, PACKAGE, Row, name_of, rows

COUNTS = {
    "model/event.py": (10, 10),
    "model/slot.py": (10, 10),
    "schedule/opening.py": (10, 10),
    "rollout/gate.py": (10, 10),
    "trust/verify.py": (100, 100),
    "trust/signer.py": (10, 9),
    "agent/machine.py": (100, 99),
    "agent/state.py": (10, 10),
    "agent/signals.py": (10, 10),
    "agent/admission.py": (10, 10),
    "agent/runner.py": (100, 89),
    "agent/clock.py": (0, 0),
    "cli/demo.py": (100, 0),
    "cli/main.py": (10, 10),
    "__init__.py": (0, 0),
}


def test_each_module_is_judged_once_and_by_its_own_floor() -> None:
    assert {row.part: (row.total, row.run, row.floor, row.holds) for row in rows(COUNTS)} == {
        "model": (20, 20, 100, True),
        "schedule": (10, 10, 100, True),
        "rollout": (10, 10, 100, True),
        "trust/verify.py": (100, 100, 100, True),
        "agent/machine.py": (100, 99, 100, False),
        "agent/state.py": (10, 10, 100, True),
        "agent/signals.py": (10, 10, 100, True),
        "agent/admission.py": (10, 10, 100, True),
        "agent": (100, 89, 90, False),
        "cli": (10, 10, 90, True),
        "trust": (10, 9, 90, True),
    }


def test_a_part_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(LookupError, match=r"agent/machine\.py"):
        rows({name: count for name, count in COUNTS.items() if name != "agent/machine.py"})


def test_almost_all_is_not_all() -> None:
    row = Row(part="model", total=100_000, run=99_999, floor=100)
    assert f"{row.per_cent:.1f}" == "100.0"
    assert not row.holds


def test_what_is_judged_elsewhere_is_there() -> None:
    assert [name for name in ELSEWHERE if not (PACKAGE / name).exists()] == []
    assert name_of(str(PACKAGE / "cli" / "demo.py")) == "cli/demo.py"
