# SPDX-License-Identifier: Apache-2.0
"""Errors: every kind has a code of its own and says what to do."""

from collections.abc import Iterator

from surefoot.model.errors import Error, RecipeError


def kinds(kind: type[Error]) -> Iterator[type[Error]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


def test_every_kind_of_error_has_its_own_code() -> None:
    codes = [kind.code for kind in kinds(Error) if kind.__module__ == Error.__module__]
    assert len(codes) == len(set(codes))


def test_an_error_reads_as_message_and_hint() -> None:
    assert str(RecipeError("It is wrong.", hint="Put it right.")) == "It is wrong. Put it right."
    assert str(RecipeError("It is wrong.")) == "It is wrong."
