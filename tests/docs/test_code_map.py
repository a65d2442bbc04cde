# SPDX-License-Identifier: Apache-2.0
"""The code map is what the docstrings say, and has every package."""

from scripts.draw_map import PACKAGES, PAGE, SOURCE, draw


def test_the_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text() == draw(), "run 'make docs'"


def test_every_package_is_on_the_page() -> None:
    modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} | modules == set(PACKAGES)


def test_every_module_has_a_sentence() -> None:
    assert "|  |" not in draw()
