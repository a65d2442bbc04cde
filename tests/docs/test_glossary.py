# SPDX-License-Identifier: Apache-2.0
"""The glossary has every word of the model."""

import ast

from tests.docs.pages import ROOT

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()


def test_every_record_and_enum_of_the_model_is_in_the_glossary() -> None:
    words = {
        node.name
        for path in (ROOT / "src" / "surefoot" / "model").glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not (path.name == "errors.py" and node.name != "Error")
    }
    assert sorted(word for word in words if f"`{word}`" not in GLOSSARY) == []


def test_every_row_has_as_many_cells_as_its_head() -> None:
    for table in GLOSSARY.split("\n\n"):
        rows = [row for row in table.splitlines() if row.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, rows[0]
