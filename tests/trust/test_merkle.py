# SPDX-License-Identifier: Apache-2.0
"""Tests of the Merkle tree hash: Certificate Transparency's published vectors, and the definition as RFC 9162 writes it."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.trust.merkle import tree_hash

# The entries and roots of the reference implementation's tests (certificate-transparency, merkle_tree_test.cc).
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots_come_out(size: int) -> None:
    assert tree_hash(ENTRIES[:size]).hex() == ROOTS[size]


def as_defined(entries: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word for word: split at the largest power of two below the length."""
    if not entries:
        return sha256().digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    split = 1 << ((len(entries) - 1).bit_length() - 1)
    return sha256(b"\x01" + as_defined(entries[:split]) + as_defined(entries[split:])).digest()


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_it_is_the_recursive_definition(entries: list[bytes]) -> None:
    assert tree_hash(entries) == as_defined(entries)


@given(st.lists(st.binary(max_size=8), min_size=2, max_size=20, unique=True))
def test_order_and_every_entry_count(entries: list[bytes]) -> None:
    assert tree_hash(entries) != tree_hash(entries[::-1])
    assert tree_hash(entries) != tree_hash(entries[:-1])
