# SPDX-License-Identifier: Apache-2.0
"""Tests of attributes: which names are free, and what a value may be."""

import pytest

from surefoot.model.attribute import RESERVED, Attributes, check_free
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import from_json


@pytest.mark.parametrize("name", RESERVED)
def test_a_built_in_name_is_not_free(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"'{name}' is built in"):
        check_free(["site", name])


def test_every_other_name_is_free() -> None:
    check_free(["site", "floor", f"{RESERVED[0]}s"])


@pytest.mark.parametrize("text", [b'{"site": ""}', '{"site": "New York, 5\u00a0th Ave. 🦊 \\"x\\""}'.encode()])
def test_a_value_is_any_text_on_one_line(text: bytes) -> None:
    assert from_json(text, Attributes, what="attributes").keys() == {"site"}


@pytest.mark.parametrize(
    "text", [b'{"Site": "x"}', b'{"site": "a\\u0000"}', b'{"site": "a\\nb"}', b'{"site": "\\ud800"}', b'{"site": null}']
)
def test_what_is_no_attribute_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        from_json(text, Attributes, what="attributes")
