# SPDX-License-Identifier: Apache-2.0
"""Tests of two key changes at once: one is taken in whole, the other is told so, and nothing of it is mixed in."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Root, Targets

from surefoot.model.errors import ConflictError, Error, StoreError
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.sqlite import connect
from surefoot.server.services.ports import Ledger
from surefoot.server.services.trust_update import TrustChange, TrustUpdate, Turn, take, take_now
from surefoot.server.writer import Writer
from surefoot.trust.keyring import Keyring
from surefoot.trust.metadata import read
from surefoot.trust.online import Online
from surefoot.trust.repository import versions
from surefoot.trust.signer import generate
from surefoot.trust.verify import load, refresh
from tests.server.office import open_office
from tests.trust.repositories import Repositories, following, wire_names


class Rivals:
    """A database with two people's second roots of the image repository, each naming a timestamp key of its own."""

    def __init__(self, folder: Path) -> None:
        with open_office(folder) as office:
            self.repositories: Repositories = office.repositories
        self.path = folder / "db"
        self.keys = {who: generate() for who in ("ann", "bob")}
        mine = self.repositories
        held = (mine.online.snapshot, mine.online.timestamp, mine.director.targets, mine.director.snapshot, mine.director.timestamp)
        ring = Keyring(folder=folder, signers=(*held, *self.keys.values()))
        director = read(mine.director_root, Root, name="root").signed
        self.online = Online(lambda: ring, director, read(mine.image["root.json"], Root, name="root").signed)
        self.sent = {who: {"2.root.json": self.root_of(who), "targets.json": self.targets_of(who)} for who in self.keys}

    def root_of(self, who: str) -> bytes:
        def change(signed: Root) -> None:
            signed.revoke_key(self.repositories.online.timestamp.public_key.keyid, "timestamp")
            signed.add_key(self.keys[who].public_key, "timestamp")

        return following(self.repositories.image["root.json"], self.repositories.image_roots, change)

    def targets_of(self, who: str) -> bytes:
        def change(signed: Targets) -> None:
            signed.expires += timedelta(days=len(who) + (who == "bob"))

        return following(self.repositories.image["targets.json"], self.repositories.targets, change)

    def require_unmixed(self, winner: str) -> None:
        """Everything is of the winner, and a device follows it; the server signs with the winner's key."""
        with closing(connect(self.path)) as connection:
            ledger = SqliteLedger(connection)
            files = ledger.metadata("image").files
            assert files["root.json"] == self.sent[winner]["2.root.json"]
            assert files["targets.json"] == self.sent[winner]["targets.json"]
            assert ledger.metadata("image", ("2.root.json",)).files["2.root.json"] == files["root.json"]
            assert {by for (by,) in connection.execute("SELECT by FROM act")} == {winner}
        assert versions(files)["snapshot.json"] == 2
        refresh(load(self.repositories.trusted_image()), wire_names(files), self.repositories.now)
        assert self.signs_with() == self.keys[winner].public_key.keyid

    @property
    def now(self) -> datetime:
        return self.repositories.now

    def signs_with(self) -> str:
        return self.online.present().image.timestamp.public_key.keyid


def test_of_two_at_once_in_two_threads_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    rivals, ready, outcomes = Rivals(tmp_path), threading.Barrier(2), dict[str, TrustChange | Error]()

    def send(who: str) -> None:
        with closing(connect(rivals.path)) as connection:
            turn = Turn(ledger=SqliteLedger(connection), online=rivals.online, ring=rivals.online.ring(), now=rivals.now)
            ready.wait(20)
            connection.execute("BEGIN IMMEDIATE")
            try:
                outcomes[who] = take_now(turn, TrustUpdate(image=rivals.sent[who]), who)
                connection.execute("COMMIT")
            except Error as error:
                outcomes[who] = error
                connection.execute("ROLLBACK")

    threads = [threading.Thread(target=send, args=(who,)) for who in rivals.keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [who for who, outcome in outcomes.items() if isinstance(outcome, TrustChange)]
    (refused,) = [outcome for who, outcome in outcomes.items() if who != winner]
    assert isinstance(refused, ConflictError)
    rivals.require_unmixed(winner)


def together(rivals: Rivals, *senders: str, spoil: Callable[[Writer[Ledger]], None] = lambda _: None) -> list[TrustChange | BaseException]:
    """Send through one writer, all at once: they share a transaction."""

    async def main() -> list[TrustChange | BaseException]:
        with closing(connect(rivals.path)) as connection:
            ledger: Ledger = SqliteLedger(connection)
            writer = Writer(connection, ledger)
            spoil(writer)
            writer.start()
            try:
                requests = [
                    take(TrustUpdate(image=rivals.sent[who]), by=who, online=rivals.online, write=writer, now=rivals.now) for who in senders
                ]
                return await asyncio.gather(*requests, return_exceptions=True)
            finally:
                writer.stop()

    return asyncio.run(main())


def test_of_two_at_once_through_one_writer_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    rivals = Rivals(tmp_path)
    outcomes = dict(zip(rivals.keys, together(rivals, *rivals.keys), strict=True))
    (winner,) = [who for who, outcome in outcomes.items() if isinstance(outcome, TrustChange)]
    assert [type(outcome) for who, outcome in outcomes.items() if who != winner] == [ConflictError]
    rivals.require_unmixed(winner)


def test_when_the_disk_is_full_the_server_goes_on_signing_with_the_keys_of_the_stored_root(tmp_path: Path) -> None:
    rivals = Rivals(tmp_path)
    before = rivals.signs_with()

    outcomes = together(rivals, "ann", "bob", spoil=fill_disk)
    assert [type(outcome) for outcome in outcomes] == [StoreError, StoreError]
    assert rivals.signs_with() == before


def test_a_request_that_the_disk_fails_does_not_undo_the_keys_of_one_taken_in_meanwhile(tmp_path: Path) -> None:
    rivals = Rivals(tmp_path)
    own = following(rivals.repositories.director_root, rivals.repositories.director_roots, lambda _: None)

    async def main() -> None:
        with closing(connect(rivals.path)) as connection:
            ledger: Ledger = SqliteLedger(connection)
            writer = Writer(connection, ledger)
            writer.start()
            has_begun = False

            async def late(job: Callable[[Ledger], Any]) -> Any:  # noqa: ANN401  # whatever the job returns
                nonlocal has_begun
                if not has_begun:
                    has_begun = True
                    await take(TrustUpdate(image=rivals.sent["ann"]), by="ann", online=rivals.online, write=writer, now=rivals.now)
                    await writer(lambda _: fill_disk(writer))
                return await writer(job)

            try:
                with pytest.raises(StoreError):
                    await take(TrustUpdate(director={"2.root.json": own}), by="bob", online=rivals.online, write=late, now=rivals.now)
            finally:
                writer.stop()

    asyncio.run(main())
    rivals.require_unmixed("ann")


def fill_disk(writer: Writer[Ledger]) -> None:
    (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
    writer._connection.execute(f"PRAGMA max_page_count = {pages}")
