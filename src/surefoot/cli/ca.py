# SPDX-License-Identifier: Apache-2.0
"""``surefoot ca status|rotate|retire``: roll the device CA over, on the server's own folder.

The server reads its CAs when it starts: what these commands change counts from its next start on. Each change leaves an act.
"""

import argparse
import os
import pwd
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from surefoot.model.errors import ConflictError, InvalidInput, StoreError
from surefoot.server.ca import AcceptedCa, accepted_cas, retire_device_ca, rotate_device_ca
from surefoot.server.db.certificates import Holders, holders
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.sqlite import connect
from surefoot.server.services.ports import Act

_NOBODY = Holders(hold=0, depend=0)


def configure(parser: argparse.ArgumentParser) -> None:
    """Say which sub-commands there are."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    status = verbs.add_parser("status", help="say which CAs are accepted, and how many devices depend on each")
    status.set_defaults(run=_status)
    rotate = verbs.add_parser("rotate", help="make a new device CA beside those that are there")
    rotate.set_defaults(run=_rotate)
    retire = verbs.add_parser("retire", help="remove a device CA that has been replaced")
    retire.add_argument("name", metavar="NAME", help="as 'surefoot ca status' names it")
    retire.add_argument("--force", action="store_true", help="lock out the devices that still depend on it")
    retire.set_defaults(run=_retire)
    for verb in (status, rotate, retire):
        verb.add_argument("--data", type=Path, required=True, help="the server's folder")


def _status(arguments: argparse.Namespace) -> int:
    cas, found = _found(arguments.data)
    for ca in cas:
        count = found.get(ca.issuer, _NOBODY)
        role = "issues" if ca is cas[-1] else "accepted"
        until = f"{ca.certificate.not_valid_after_utc:%Y-%m-%d}"
        print(f"{ca.name:<14}{role:<10}until {until}  held by {count.hold}, needed by {count.depend}  ({ca.issuer})")
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    folder, now = _folder(arguments.data), datetime.now(UTC)
    with _noting(arguments.data) as ledger:
        made = rotate_device_ca(folder, now)
        ledger.add_act(Act(at=now, by=_by(), what="ca.rotate", subject=f"{made.name} {made.issuer}"))
    print(f"{made.name}: made; it issues from the server's next start on. Devices then renew within a day, each at its own moment.")
    print(f"Next: restart the server; then watch 'surefoot ca status --data {arguments.data}'.")
    return 0


def _retire(arguments: argparse.Namespace) -> int:
    cas, found = _found(arguments.data)
    ca = next((ca for ca in cas if ca.name == arguments.name), None)
    depend = found.get(ca.issuer, _NOBODY).depend if ca is not None else 0
    if depend and not arguments.force and ca is not cas[-1]:
        raise ConflictError(
            f"{depend} active devices have no certificate but one of {arguments.name}.",
            hint="Wait until they have renewed, or lock them out with --force: each then needs a new token ('surefoot token new').",
        )
    with _noting(arguments.data) as ledger:
        if ca is not None:
            subject = f"{ca.name} {ca.issuer} locked_out={depend}"
            ledger.add_act(Act(at=datetime.now(UTC), by=_by(), what="ca.retire", subject=subject))
        retire_device_ca(_folder(arguments.data), arguments.name)
    print(f"{arguments.name}: removed; from the server's next start on its certificates open nothing.")
    if depend:
        print(f"{depend} devices are locked out then. Each needs a new token: surefoot token new DEVICE_ID --hardware HARDWARE")
    print("Next: restart the server.")
    return 0


def _found(data: Path) -> tuple[tuple[AcceptedCa, ...], Mapping[str, Holders]]:
    cas = accepted_cas(_folder(data))
    with _opened(data) as connection:
        return cas, holders(connection, datetime.now(UTC))


@contextmanager
def _noting(data: Path) -> Iterator[SqliteLedger]:
    """Give the ledger in a transaction that ends well only with the block: no change without its act, and no act without its change."""
    with _opened(data) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield SqliteLedger(connection)
        connection.execute("COMMIT")


@contextmanager
def _opened(data: Path) -> Iterator[sqlite3.Connection]:
    database = data / "surefoot.db"
    if not database.exists():
        raise InvalidInput(f"There is no database in {data}.", hint="Name the folder of a server that has run.")
    try:
        with closing(connect(database)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"{database} cannot be used: {error}.", hint="Check the server's data folder.") from error


def _by() -> str:
    """Return who runs the command, as the machine knows them; no operator's name has a colon."""
    try:
        return f"shell:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"shell:{os.getuid()}"


def _folder(data: Path) -> Path:
    folder = data / "ca"
    if not folder.is_dir():
        raise InvalidInput(f"There is no folder {folder}.", hint="Name the folder of a server that has run.")
    return folder
