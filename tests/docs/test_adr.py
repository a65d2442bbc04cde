# SPDX-License-Identifier: Apache-2.0
"""Decisions have one form, and every direct dependency has its paragraph."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_a_decision_has_its_number_and_its_four_parts(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Options", "Decision", "Consequences"]


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_every_direct_dependency_has_a_paragraph_and_no_other() -> None:
    groups = [
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        PROJECT["dependency-groups"]["dev"],
    ]
    declared = {re.split(r"[<>=!~;]", line)[0] for group in groups for line in group}
    described = re.findall(r"^\*\*([\w.\-\[\]]+)\*\*", DECISIONS[0].read_text(), re.MULTILINE)
    assert set(described) == declared
    assert len(described) == len(set(described))
