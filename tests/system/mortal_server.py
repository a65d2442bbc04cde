# SPDX-License-Identifier: Apache-2.0
"""A server that kills itself: ``surefoot.server.app`` on a real folder, struck by SIGKILL at a chosen place.

Run as ``mortal_server.py DATA DEVICE_PORT ENROL_PORT OPERATOR_PORT [PLACE NUMBER]``: when PLACE is reached for the NUMBERth time
in this process, it is over. Places:

- ``VERB write``: a statement that changes the database, in the middle of the verb's job, is about to run; VERB is ``start``
  until the server serves, and ``any`` counts them all;
- ``VERB commit``: the verb has written, and its transaction is about to be committed;
- ``VERB committed``: it is on the disk, and nobody has been told;
- any event of Python's audit hooks (``tempfile.mkstemp``, ``os.link``, ``os.remove``, ``os.rename`` …): a call is about to be made.

With PLACE ``never`` it lives; with NUMBER 0 it never commits, and answers all the same: the server that a test must not trust.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from surefoot.server import app
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.writer import Writer, _Job, _Outcome

_WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")


class Fate:
    """Counts how often places are reached, and strikes at the chosen one."""

    def __init__(self, place: str, number: int) -> None:
        self.verb = "start"
        self.wrote: set[str] = set()
        self._place = place
        self._left = number

    def reach(self, place: str) -> None:
        if place == self._place:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def trace(self, statement: str) -> None:
        """Be told of each statement before it runs."""
        words = statement.split(None, 1)
        if words and words[0].upper() in _WRITES:
            self.wrote.add(self.verb)
            self.reach(f"{self.verb} write")
            self.reach("any write")
        elif words == ["COMMIT"]:
            self.reach_all("commit")

    def reach_all(self, moment: str) -> None:
        for verb in sorted(self.wrote):
            self.reach(f"{verb} {moment}")

    def audit(self, event: str, _: tuple[Any, ...]) -> None:
        """Be told what Python is about to do."""
        self.reach(event)


class TracedConnection(sqlite3.Connection):
    """A connection that tells of its statements."""

    fate: Fate

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # as sqlite3 calls it
        super().__init__(*arguments, **options)
        self.set_trace_callback(self.fate.trace)


class MortalWriter(Writer[SqliteLedger]):
    """The server's writer, which says where it is; verbs are told apart by the name of the function that made the job."""

    fate: Fate

    def _attempt(self, job: _Job[SqliteLedger]) -> _Outcome:
        self.fate.verb = getattr(job.run, "func", job.run).__qualname__.partition(".")[0]
        return super()._attempt(job)

    def _commit(self, batch: list[_Job[SqliteLedger]]) -> list[_Outcome]:
        self.fate.wrote.clear()
        outcomes = super()._commit(batch)
        self.fate.reach_all("committed")
        return outcomes


class HastyWriter(Writer[SqliteLedger]):
    """A writer that answers before it commits, and never gets to it."""

    def _commit(self, batch: list[_Job[SqliteLedger]]) -> list[_Outcome]:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        return [self._attempt(job) for job in batch]


def serve(data: Path, ports: list[int], writer: type[Writer[SqliteLedger]], ready: Callable[[app.Addresses], None]) -> None:
    """Run the server with another writer than its own."""
    # Where the server is put together is the one place that names its writer.
    vars(app)["Writer"] = writer
    device, enrol, operator = ports
    settings = app.ServerSettings(
        data=data, host="127.0.0.1", device_port=device, enrol_port=enrol, operator_port=operator, poll_interval_s=1
    )
    app.serve(settings, ready)


def main(words: list[str]) -> None:
    data, ports, (place, number) = Path(words[0]), [int(word) for word in words[1:4]], words[4:] or ["never", "1"]
    fate = TracedConnection.fate = MortalWriter.fate = Fate(place, int(number))
    sys.addaudithook(fate.audit)
    vars(sqlite3)["connect"] = partial(sqlite3.connect, factory=TracedConnection)
    serve(data, ports, MortalWriter if int(number) else HastyWriter, lambda addresses: print(addresses.pid, flush=True))


if __name__ == "__main__":
    main(sys.argv[1:])
