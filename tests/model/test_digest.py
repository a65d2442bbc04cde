# SPDX-License-Identifier: Apache-2.0
"""Digests: one form, whole or in pieces."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.digest import digest_of, from_hex, hex_of, parse
from surefoot.model.errors import FormatError


def test_the_digest_of_nothing_is_the_published_one() -> None:
    # FIPS 180-4 example files: SHA-256 of the empty message.
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.lists(st.binary()))
def test_pieces_have_the_digest_of_the_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert digest_of(pieces) == digest_of(whole) == parse(f"sha256:{hashlib.sha256(whole).hexdigest()}")


@given(st.binary(min_size=32, max_size=32))
def test_hex_digits_go_both_ways(raw: bytes) -> None:
    assert hex_of(from_hex(raw.hex())) == raw.hex()


@pytest.mark.parametrize(
    "text", ["", "a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 64 + "\n", "sha1:" + "a" * 40]
)
def test_other_texts_are_no_digests(text: str) -> None:
    with pytest.raises(FormatError, match="is not a digest"):
        parse(text)
