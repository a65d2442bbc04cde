# SPDX-License-Identifier: Apache-2.0
"""Tests of the writer: grouped, isolated, durable."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from surefoot.model.errors import ConflictError, StoreError
from surefoot.server.db.sqlite import connect
from surefoot.server.writer import Writer

_T = TypeVar("_T")


def with_writer(path: Path, use: Callable[[Writer[sqlite3.Connection]], Awaitable[_T]]) -> _T:
    async def main() -> _T:
        with closing(connect(path)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS fact (n INTEGER PRIMARY KEY)")
            writer = Writer(connection, connection)
            writer.start()
            try:
                return await use(writer)
            finally:
                writer.stop()

    return asyncio.run(main())


def facts(path: Path) -> list[int]:
    with closing(connect(path)) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM fact ORDER BY n")]


def insert(n: int) -> Callable[[sqlite3.Connection], int]:
    def job(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO fact VALUES (?)", (n,))
        return n

    return job


def insert_then_refuse(connection: sqlite3.Connection) -> None:
    insert(99)(connection)
    raise ConflictError("No.")


def test_an_answer_comes_after_others_can_see_the_change(tmp_path: Path) -> None:
    async def use(writer: Writer[sqlite3.Connection]) -> tuple[int, list[int]]:
        return await writer(insert(1)), facts(tmp_path / "db")

    assert with_writer(tmp_path / "db", use) == (1, [1])


def test_a_job_that_raises_leaves_no_trace_and_does_not_spoil_the_rest(tmp_path: Path) -> None:
    async def use(writer: Writer[sqlite3.Connection]) -> None:
        results = await asyncio.gather(writer(insert(1)), writer(insert_then_refuse), writer(insert(2)), return_exceptions=True)
        assert [results[0], results[2]] == [1, 2]
        assert isinstance(results[1], ConflictError)

    with_writer(tmp_path / "db", use)
    assert facts(tmp_path / "db") == [1, 2]


def test_jobs_that_wait_share_one_commit(tmp_path: Path) -> None:
    is_held, commits = threading.Event(), list[str]()

    def hold(_connection: sqlite3.Connection) -> None:
        is_held.wait(20)

    async def use(writer: Writer[sqlite3.Connection]) -> None:
        first = writer(hold)
        rest = [writer(insert(n)) for n in range(100)]
        writer._connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        is_held.set()
        await asyncio.gather(first, *rest)

    with_writer(tmp_path / "db", use)
    assert len(commits) <= 2
    assert len(facts(tmp_path / "db")) == 100


def test_a_full_disk_fails_the_jobs_and_the_writer_goes_on(tmp_path: Path) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE big (b BLOB)")
        connection.execute("INSERT INTO big VALUES (zeroblob(1000000))")

    async def use(writer: Writer[sqlite3.Connection]) -> None:
        writer._connection.execute("PRAGMA max_page_count = 20")
        with pytest.raises(StoreError, match="full"):
            await writer(fill)
        assert await writer(insert(5)) == 5

    with_writer(tmp_path / "db", use)
    assert facts(tmp_path / "db") == [5]


def test_a_programming_mistake_reaches_its_caller_and_nobody_else(tmp_path: Path) -> None:
    async def use(writer: Writer[sqlite3.Connection]) -> None:
        with pytest.raises(ZeroDivisionError):
            await writer(lambda _: 1 // 0)
        assert await writer(insert(1)) == 1

    with_writer(tmp_path / "db", use)


def test_stopping_finishes_what_waits(tmp_path: Path) -> None:
    async def use(writer: Writer[sqlite3.Connection]) -> None:
        for n in range(10):
            writer(insert(n))

    with_writer(tmp_path / "db", use)
    assert facts(tmp_path / "db") == list(range(10))
