# SPDX-License-Identifier: Apache-2.0
"""The writer: one thread through which every change goes, and which answers only when the change is durable.

- All jobs that wait go into one transaction, and the next begins as soon as the last is committed; there is no timer: while one
  commit is on its way to the disk, the next batch gathers.
- Each job has its own savepoint: one that raises leaves no trace and does not spoil the others.
- A commit that fails fails every job in it.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from surefoot.model.errors import StoreError

_L = TypeVar("_L")
_T = TypeVar("_T")

_MOST_JOBS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job(Generic[_L]):
    run: Callable[[_L], Any]
    answer: asyncio.Future[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    answer: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Writer(Generic[_L]):
    """A queue of jobs and the thread that runs them; start it with ``start`` on the event loop its answers belong to."""

    def __init__(self, connection: sqlite3.Connection, ledger: _L) -> None:
        """Take over ``connection``; ``ledger`` is what jobs are given, and works on that connection."""
        self._connection = connection
        self._ledger = ledger
        self._waiting: queue.SimpleQueue[_Job[_L] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="surefoot-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to take jobs; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def __call__(self, job: Callable[[_L], _T]) -> asyncio.Future[_T]:
        """Run ``job`` in the next transaction; the future ends when it is durable.

        The future carries what the job raised, or ``StoreError`` when the database failed.
        """
        answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Job(run=job, answer=answer))
        return answer

    def stop(self) -> None:
        """Finish what waits, then end; returns when the thread is gone. Jobs given later are never run."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            outcomes = self._commit(batch)
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_resolve, outcomes)

    def _next_batch(self) -> list[_Job[_L]]:
        """Return the jobs that wait, at least one; an empty list means stop."""
        first = self._waiting.get()
        batch = [] if first is None else [first]
        while batch and len(batch) < _MOST_JOBS:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._waiting.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, batch: list[_Job[_L]]) -> list[_Outcome]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(job) for job in batch]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return [_Outcome(answer=job.answer, error=_store_error(error)) for job in batch]
        return outcomes

    def _attempt(self, job: _Job[_L]) -> _Outcome:
        self._connection.execute("SAVEPOINT job")
        try:
            result = job.run(self._ledger)
        except Exception as error:  # not swallowed: the caller's future raises it
            if isinstance(error, sqlite3.Error) and not self._connection.in_transaction:
                # A full disk has ended the whole transaction, and every job in it.
                raise
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            return _Outcome(answer=job.answer, error=_store_error(error) if isinstance(error, sqlite3.Error) else error)
        self._connection.execute("RELEASE job")
        return _Outcome(answer=job.answer, result=result)


def _resolve(outcomes: list[_Outcome]) -> None:
    for outcome in outcomes:
        if outcome.answer.done():
            continue
        if outcome.error is None:
            outcome.answer.set_result(outcome.result)
        else:
            outcome.answer.set_exception(outcome.error)


def _store_error(error: sqlite3.Error) -> StoreError:
    failure = StoreError(f"The database could not store this: {error}.", hint="Check the disk of the server's data folder.")
    failure.__cause__ = error
    return failure
