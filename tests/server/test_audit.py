# SPDX-License-Identifier: Apache-2.0
"""Tests of the audit of online signatures: one row for many, none for none, nothing lost when it cannot be stored."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import pytest

from surefoot.model.errors import StoreError
from surefoot.server.services.audit import write_signed
from surefoot.server.services.ports import Ledger
from surefoot.trust.merkle import tree_hash
from surefoot.trust.online import Notes
from tests.server.office import Office
from tests.server.running import running

_T = TypeVar("_T")


def rows(office: Office) -> list[tuple[str, str, str]]:
    return office.connection.execute("SELECT by, what, subject FROM act ORDER BY act_id").fetchall()


def test_many_signatures_are_one_row_with_counts_and_the_root(office: Office) -> None:
    notes = Notes()
    signed = [("image snapshot", b"a"), ("image timestamp", b"b"), ("image timestamp", b"c")]
    for role, payload in signed:
        notes.add(role, payload)
    asyncio.run(write_signed(notes, office.do, office.now))
    root = tree_hash([sha256(payload).digest() for _, payload in signed]).hex()
    assert rows(office) == [("server", "online.signed", f"image/snapshot=1 image/timestamp=2 sha256:{root}")]
    asyncio.run(write_signed(notes, office.do, office.now))
    assert len(rows(office)) == 1


def test_a_row_that_cannot_be_stored_is_written_with_the_next(office: Office) -> None:
    notes = Notes()
    notes.add("image timestamp", b"a")

    async def broken(job: Callable[[Ledger], _T]) -> _T:
        notes.add("image timestamp", b"b")
        raise StoreError(f"The disk is full for {job}.")

    with pytest.raises(StoreError):
        asyncio.run(write_signed(notes, broken, office.now))
    assert notes.take() == [("image timestamp", sha256(payload).digest()) for payload in (b"a", b"b")]


def test_a_server_writes_what_is_left_when_it_ends(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.join().poll().status == 200
    with closing(sqlite3.connect(tmp_path / "surefoot.db")) as database:
        found = [subject for (subject,) in database.execute("SELECT subject FROM act WHERE what = 'online.signed'")]
    assert len(found) == 1
    assert found[0].startswith("director/snapshot=1 director/targets=1 director/timestamp=1 sha256:")
