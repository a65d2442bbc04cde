# SPDX-License-Identifier: Apache-2.0
"""The page for emergencies, run as it is written: real shells, a real server, a board, tokens, two of three people."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.docs.people import People, require_marked
from tests.docs.workshop import Workshop

PAGE = (ROOT / "docs" / "emergencies.md").read_text()


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(People(tmp_path))
    try:
        made.set_up()
        yield made
    finally:
        made.close()


def section(title: str) -> str:
    """Return a section of the page."""
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_block_of_the_page_is_run() -> None:
    require_marked(PAGE)


def test_drills(workshop: Workshop) -> None:
    workshop.people.follow(section("Online keys"))
    workshop.people.follow(section("A product's key"))
    workshop.people.follow(section("One root key"))
    assert 0
