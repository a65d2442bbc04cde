# SPDX-License-Identifier: Apache-2.0
"""Tests of the folder of metadata at a server's start: what a device would refuse never reaches the database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Root

from surefoot.model.errors import Error, InvalidInput, MetadataError, MetadataRollbackError, SignatureError
from surefoot.model.manifest import target_path
from surefoot.server.db.ledger import SqliteLedger
from surefoot.server.db.sqlite import connect, migrate
from surefoot.server.services.trust_folder import follow_folder, take_folder
from surefoot.trust.keyring import Keyring
from surefoot.trust.online import Online
from surefoot.trust.repository import versions
from surefoot.trust.signer import generate
from surefoot.trust.verify import find_target, load, refresh
from tests.trust.repositories import PRODUCT, Repositories, following, manifest, wire_names


@dataclass
class Desk:
    """A server's database and the folder beside it; starting is what ``app`` does between BEGIN and COMMIT."""

    database: Path
    ledger: SqliteLedger
    repositories: Repositories = field(default_factory=Repositories)
    extra: list[Signer] = field(default_factory=list)
    folder: dict[str, dict[str, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self.folder = {"image": dict(self.repositories.image), "director": {"root.json": self.repositories.director_root}}

    @property
    def now(self) -> datetime:
        return self.repositories.now

    def start(self) -> None:
        mine = self.repositories
        held = (mine.online.snapshot, mine.online.timestamp, mine.director.targets, mine.director.snapshot, mine.director.timestamp)
        ring = Keyring(folder=Path("keys"), signers=(*held, *self.extra))
        with closing(connect(self.database)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            ledger = SqliteLedger(connection)
            folder = follow_folder(ledger, self.folder)
            online = Online(lambda: ring, folder.director.trusted.root, folder.image.trusted.root)
            take_folder(ledger, folder, online, self.now)
            connection.execute("COMMIT")

    def stored(self) -> dict[str, Any]:
        with closing(connect(self.database)) as connection:
            files = connection.execute("SELECT repository, name, version, body FROM shared_file ORDER BY 1, 2").fetchall()
            return {"files": files, "acts": connection.execute("SELECT by, what, subject FROM act ORDER BY act_id").fetchall()}

    def numbers(self) -> dict[str, int]:
        return dict(self.ledger.metadata("image").versions)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    migrate(tmp_path / "db")
    with closing(connect(tmp_path / "db")) as connection:
        yield Desk(database=tmp_path / "db", ledger=SqliteLedger(connection))


def root(desk: Desk, signers: Sequence[Signer] | None = None, change: Callable[[Root], None] = lambda _: None) -> bytes:
    return following(desk.repositories.image["root.json"], signers or desk.repositories.image_roots[:2], change)


def role(desk: Desk, signer: Signer | None = None) -> bytes:
    return following(desk.repositories.image[f"{PRODUCT}.json"], [signer or desk.repositories.product])


def top(desk: Desk, signers: Sequence[Signer] | None = None) -> bytes:
    return following(desk.repositories.image["targets.json"], signers or desk.repositories.targets)


def test_a_first_start_takes_the_set_as_it_lies_there(desk: Desk) -> None:
    desk.start()
    assert dict(desk.ledger.metadata("image").files) == desk.folder["image"]
    assert desk.ledger.metadata("image", ("1.root.json",)).files == {"1.root.json": desk.folder["image"]["root.json"]}
    assert desk.ledger.metadata("director", ("root.json",)).files["root.json"] == desk.repositories.director_root


def test_a_first_start_days_after_the_set_was_made_signs_the_servers_own_files_anew(desk: Desk) -> None:
    desk.repositories.now += timedelta(days=20)
    desk.start()
    assert desk.numbers() == {"root.json": 1, "targets.json": 1, f"{PRODUCT}.json": 1, "snapshot.json": 2, "timestamp.json": 2}
    files = desk.ledger.metadata("image").files
    refresh(load({"root.json": files["root.json"]}), wire_names(files), desk.now)


def test_a_first_start_takes_roles_that_people_put_beside_the_set(desk: Desk) -> None:
    desk.folder["image"] |= {"targets.json": top(desk), f"{PRODUCT}.json": role(desk)}
    desk.start()
    assert desk.numbers() == {"root.json": 1, "targets.json": 2, f"{PRODUCT}.json": 2, "snapshot.json": 2, "timestamp.json": 2}


def test_a_first_start_with_former_roots_serves_devices_of_every_root(desk: Desk) -> None:
    desk.folder["image"]["1.root.json"] = desk.folder["image"]["root.json"]
    desk.folder["image"]["root.json"] = root(desk)
    desk.start()
    assert desk.ledger.metadata("image", ("1.root.json", "2.root.json")).versions == {"1.root.json": 1, "2.root.json": 2}
    assert desk.numbers()["root.json"] == 2


def test_the_same_folder_again_changes_nothing(desk: Desk) -> None:
    desk.start()
    before = desk.stored()
    desk.start()
    assert desk.stored() == before


def test_an_older_file_is_left_alone(desk: Desk) -> None:
    former = dict(desk.folder["image"])
    desk.repositories.release(manifest("1.1.0", b"image"))
    desk.folder["image"] = dict(desk.repositories.image)
    desk.start()
    before, desk.folder["image"] = desk.stored(), former
    desk.start()
    assert desk.stored() == before


def test_what_people_signed_is_taken_in_with_a_snapshot_that_names_it_and_noted(desk: Desk) -> None:
    desk.start()
    fresh = generate()
    desk.extra.append(fresh)

    def rotate(signed: Root) -> None:
        signed.revoke_key(desk.repositories.online.timestamp.public_key.keyid, "timestamp")
        signed.add_key(fresh.public_key, "timestamp")

    device = load(dict(desk.repositories.trusted_image()))
    desk.folder["image"] |= {"root.json": root(desk, change=rotate), f"{PRODUCT}.json": role(desk)}
    desk.start()
    files = desk.ledger.metadata("image").files
    assert versions(files) == {"root.json": 2, "targets.json": 1, f"{PRODUCT}.json": 2, "snapshot.json": 2, "timestamp.json": 2}
    refreshed = refresh(device, wire_names(files), desk.now)
    assert refreshed.snapshot is not None
    assert refreshed.snapshot.meta[f"{PRODUCT}.json"].version == 2
    assert [(by, what) for by, what, _ in desk.stored()["acts"]] == [("metadata/", "trust.root"), ("metadata/", "trust.role")]


def test_a_restored_database_goes_on_from_the_folders_versions(desk: Desk) -> None:
    desk.start()
    for number in range(1, 4):
        desk.repositories.release(manifest(f"1.{number}.0", f"image {number}".encode()))
    desk.folder["image"] = dict(desk.repositories.image)
    desk.start()
    files = desk.ledger.metadata("image").files
    assert desk.numbers() == {"root.json": 1, "targets.json": 1, f"{PRODUCT}.json": 4, "snapshot.json": 5, "timestamp.json": 5}
    trusted = refresh(load(desk.repositories.image), wire_names(files), desk.now)
    assert find_target(trusted, wire_names(files), target_path(PRODUCT, "1.3.0", "thermostat-v1", "release"), desk.now)


def without(name: str) -> Callable[[Desk], None]:
    def spoil(desk: Desk) -> None:
        del desk.folder["image"][name]

    return spoil


def put(name: str, make: Callable[[Desk], bytes], repository: str = "image") -> Callable[[Desk], None]:
    return lambda desk: desk.folder[repository].update({name: make(desk)})


def foreign(name: str) -> Callable[[Desk], bytes]:
    return lambda desk: following(desk.repositories.image[name], [generate()])


ALWAYS = [
    ("a root of one key", put("root.json", lambda desk: root(desk, desk.repositories.image_roots[:1])), SignatureError, "root"),
    ("a role of a stranger", put(f"{PRODUCT}.json", lambda desk: role(desk, generate())), SignatureError, f"role {PRODUCT}"),
    ("targets of one key", put("targets.json", lambda desk: top(desk, desk.repositories.targets[:1])), SignatureError, "targets"),
    ("a snapshot of a stranger", put("snapshot.json", foreign("snapshot.json")), SignatureError, "snapshot"),
    ("a timestamp of a stranger", put("timestamp.json", foreign("timestamp.json")), SignatureError, "timestamp"),
    ("nobody's role", put("kettle.json", role), InvalidInput, "Nobody delegates to kettle.json"),
    ("no metadata", put("thermostat.json", lambda _: b"{}"), MetadataError, "thermostat.json"),
    ("targets of the director", put("targets.json", top, "director"), InvalidInput, "only roots"),
    ("two second roots", put("2.root.json", lambda desk: root(desk, change=lambda _: None)), MetadataRollbackError, "not the same"),
    ("a root under another name", put("7.root.json", root), MetadataError, "has version 2"),
]  # fmt: skip
FIRST = [
    ("a set without a snapshot", without("snapshot.json"), MetadataError, "snapshot.json of the image repository is missing"),
    ("a former role", lambda desk: desk.folder["image"].update(ahead(desk)), MetadataError, f"{PRODUCT}.json is missing"),
    ("a set without a role", without(f"{PRODUCT}.json"), MetadataError, f"{PRODUCT}.json is missing"),
]
LATER = [
    ("a root left out", lambda desk: desk.folder["image"].update({"root.json": later_root(desk)}), MetadataRollbackError, "2.root.json"),
    ("a snapshot ahead of its roles", lambda desk: desk.folder["image"].update(ahead(desk)), MetadataRollbackError, f"{PRODUCT}.json 1"),
]


def later_root(desk: Desk) -> bytes:
    return following(desk.repositories.image["root.json"], desk.repositories.image_roots, by=2)


def ahead(desk: Desk) -> dict[str, bytes]:
    """Return a genuine snapshot that names a role which is not there any more."""
    desk.repositories.release(manifest("1.1.0", b"image"))
    return {name: desk.repositories.image[name] for name in ("snapshot.json", "timestamp.json")}


def prepared(desk: Desk, name: str) -> None:
    if name == "two second roots":
        desk.folder["image"]["root.json"] = root(desk, desk.repositories.image_roots[1:])


@pytest.mark.parametrize(("name", "spoil", "kind", "words"), [pytest.param(*case, id=case[0]) for case in ALWAYS + FIRST])
def test_a_first_start_refuses_what_its_own_root_does_not_vouch_for(
    desk: Desk, name: str, spoil: Callable[[Desk], None], kind: type[Error], words: str
) -> None:
    prepared(desk, name)
    spoil(desk)
    with pytest.raises(kind, match=words) as refused:
        desk.start()
    assert "metadata/" in refused.value.message
    assert "start again" in refused.value.hint
    assert desk.stored() == {"files": [], "acts": []}


@pytest.mark.parametrize(("name", "spoil", "kind", "words"), [pytest.param(*case, id=case[0]) for case in ALWAYS + LATER])
def test_a_later_start_refuses_what_a_device_would_and_takes_nothing(
    desk: Desk, name: str, spoil: Callable[[Desk], None], kind: type[Error], words: str
) -> None:
    desk.start()
    before = desk.stored()
    prepared(desk, name)
    # A good file beside the bad one is not taken in either.
    desk.folder["director"]["root.json"] = following(desk.repositories.director_root, desk.repositories.director_roots)
    spoil(desk)
    with pytest.raises(kind, match=words):
        desk.start()
    assert desk.stored() == before
