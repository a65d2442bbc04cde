# SPDX-License-Identifier: Apache-2.0
"""The page of error codes is what the classes say, and every code has advice."""

from collections.abc import Iterator

from scripts.draw_errors import PAGE, draw
from surefoot.cli.main import main
from surefoot.model import errors
from surefoot.model.errors import Error


def test_the_page_is_what_the_classes_draw() -> None:
    assert PAGE.read_text() == draw(), "run 'make docs'"


def test_every_code_of_the_model_is_on_the_page() -> None:
    page = draw()
    assert [kind.code for kind in _all(Error) if f"`{kind.code}`" not in page] == []


def test_wrong_input_ends_with_the_status_that_the_page_says() -> None:
    assert "| `bad_recipe` | A recipe, or something it names, cannot be built. | 2 | 400 |" in draw()
    assert main(["release", "build", "there-is-no-such.yaml", "-o", "nowhere"]) == 2


def _all(kind: type[Error]) -> Iterator[type[Error]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _all(child)
