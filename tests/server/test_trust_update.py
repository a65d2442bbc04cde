# SPDX-License-Identifier: Apache-2.0
"""Tests of what people sign anew: taken in whole or not at all, and in force at once."""

import asyncio
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from surefoot.model.errors import ConflictError, Error, InvalidInput, MetadataError, MetadataRollbackError, SignatureError
from surefoot.server.services.poll import Poll, PollSettings
from surefoot.server.services.trust_update import TrustUpdate, story, take
from surefoot.trust.director import DirectorSigners, View, sign_view
from surefoot.trust.keyring import read_ring
from surefoot.trust.layout import retire
from surefoot.trust.metadata import read
from surefoot.trust.online import Online
from surefoot.trust.repository import versions
from surefoot.trust.secret import NO_SECRETS
from surefoot.trust.signer import generate, write_key
from surefoot.trust.verify import verify
from tests.server.office import DEVICE, Office
from tests.server.running import Running, running, write_data
from tests.trust.repositories import PRODUCT, Repositories, add_product, create_product, following, view_files


class Site:
    """An office whose online keys lie in a folder, as a server's do."""

    def __init__(self, office: Office, folder: Path) -> None:
        self.office, self.repositories = office, office.repositories
        write_data(folder, self.repositories)
        self.keys = folder / "keys"
        root = read(self.repositories.director_root, Root, name="root").signed
        image = read(self.repositories.image["root.json"], Root, name="root").signed
        self.online = Online(lambda: read_ring(self.keys, NO_SECRETS), root, image)
        settings = PollSettings(interval_s=300, device_url="https://server:8443")
        office.poll_verb = Poll(reads=office.ledger, write=office.do, signers=self.online.director, settings=settings)

    def take(self, image: dict[str, bytes] | None = None, director: dict[str, bytes] | None = None) -> list[str]:
        request = TrustUpdate(image=image or {}, director=director or {})
        answer = asyncio.run(take(request, by="ann", online=self.online, write=self.office.do, now=self.office.now))
        self.office.poll_verb.reload()
        return answer.changed

    def lay(self, name: str) -> CryptoSigner:
        signer = generate()
        write_key(self.keys / f"{name}.pem", signer, None)
        return signer

    def acts(self) -> list[tuple[str, str, str]]:
        return self.office.connection.execute("SELECT by, what, subject FROM act ORDER BY act_id").fetchall()

    def everything(self) -> list[Any]:
        tables = ("shared_file", "act", "director_view")
        return [self.office.connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]  # noqa: S608  # our own names


@pytest.fixture
def site(office: Office, tmp_path: Path) -> Site:
    return Site(office, tmp_path / "site")


def give(role: str, signer: Signer) -> Callable[[Root], None]:
    def change(root: Root) -> None:
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(signer.public_key, role)

    return change


def delegated(targets: Targets) -> dict[str, DelegatedRole]:
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    return targets.delegations.roles


def test_a_root_is_taken_in_and_the_server_signs_with_the_keys_it_names(site: Site) -> None:
    fresh = site.lay("new-timestamp")
    root = following(site.repositories.image["root.json"], site.repositories.image_roots[:2], give("timestamp", fresh))
    assert site.take(image={"2.root.json": root}) == ["image/2.root.json"]
    files = site.office.ledger.metadata("image").files
    assert versions(files) == {"root.json": 2, "targets.json": 1, "snapshot.json": 2, "timestamp.json": 2, f"{PRODUCT}.json": 1}
    assert set(Metadata.from_bytes(files["timestamp.json"]).signatures) == {fresh.public_key.keyid}
    ids = sorted(signer.public_key.keyid for signer in site.repositories.image_roots[:2])
    assert site.acts() == [("ann", "trust.root", f"image root 2 {' '.join(ids)}")]


def test_the_same_again_changes_nothing(site: Site) -> None:
    root = following(site.repositories.image["root.json"], site.repositories.image_roots)
    targets = following(site.repositories.image["targets.json"], site.repositories.targets)
    assert site.take({"2.root.json": root, "targets.json": targets}) == ["image/2.root.json", "image/targets.json"]
    before = site.everything()
    assert site.take({"2.root.json": root, "targets.json": targets}) == []
    assert site.everything() == before


def test_several_roots_are_followed_in_order(site: Site) -> None:
    first = following(site.repositories.director_root, site.repositories.director_roots)
    second = following(first, site.repositories.director_roots)
    assert site.take(director={"3.root.json": second, "2.root.json": first}) == ["director/2.root.json", "director/3.root.json"]
    assert {"2.root.json", "3.root.json"} < set(site.office.poll()[1].metadata.director)


def test_a_root_that_names_a_key_the_server_lacks_is_refused_and_says_where_to_lay_it(site: Site) -> None:
    stranger, before = generate(), site.everything()
    root = following(site.repositories.director_root, site.repositories.director_roots, give("snapshot", stranger))
    with pytest.raises(InvalidInput, match=f"'snapshot': {stranger.public_key.keyid}") as refused:
        site.take(director={"2.root.json": root})
    assert str(site.keys) in refused.value.message
    assert site.everything() == before


def test_a_device_under_a_former_director_root_gets_its_view_signed_anew_and_believes_it(site: Site) -> None:
    site.office.poll()
    idle_etag, _ = site.office.poll()
    fresh = site.lay("new-targets")
    root = following(site.repositories.director_root, site.repositories.director_roots, give("targets", fresh))
    site.take(director={"2.root.json": root})
    assert not site.office.is_idle(idle_etag)
    renewed, answer = site.office.poll(idle_etag)
    assert set(answer.metadata.director) == {"2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"}
    believe(site, {"root.json": site.repositories.director_root}, answer.metadata.director)
    assert site.office.is_idle(renewed)
    assert site.office.poll(renewed)[0] == renewed


def test_d11_a_fast_forwarded_device_recovers_once_the_online_keys_are_rotated(site: Site) -> None:
    etag, answer = site.office.poll()
    held = believe(site, {"root.json": site.repositories.director_root}, answer.metadata.director)
    held = believe(site, held, view_files(fast_forwarded(site.repositories.director, site)))
    site.office.pass_time(hours=13)
    with pytest.raises(MetadataRollbackError):
        believe(site, held, site.office.poll(etag)[1].metadata.director)

    def rotate(root: Root) -> None:
        for role in ("snapshot", "timestamp", "targets"):
            give(role, site.lay(f"new-{role}"))(root)

    root = following(site.repositories.director_root, site.repositories.director_roots, rotate)
    site.take(director={"2.root.json": root})
    recovered = believe(site, held, site.office.poll(etag)[1].metadata.director)
    assert versions({"timestamp.json": recovered["timestamp.json"]}) == {"timestamp.json": 3}


def believe(site: Site, held: dict[str, bytes], fetched: dict[str, bytes]) -> dict[str, bytes]:
    """Verify an answer as a device does, and return what it keeps."""
    image = site.repositories.trusted_image()
    verdict = verify(director=held, image=image, fetched_director=fetched, fetched_image={}, device_id=DEVICE, now=site.office.now)
    return dict(verdict.director)


def fast_forwarded(stolen: DirectorSigners, site: Site) -> View:
    stored = site.office.ledger.view(DEVICE)
    assert stored is not None
    far = 2**31 - 1
    seen = replace(stored.view, targets_version=far, snapshot_version=far, timestamp_version=far)
    return sign_view(seen, DEVICE, None, stolen, site.office.now)


def test_a_product_that_is_not_signed_by_its_new_key_is_named(site: Site) -> None:
    fresh, before = generate(), site.everything()

    def rekey(targets: Targets) -> None:
        targets.revoke_key(site.repositories.product.public_key.keyid, PRODUCT)
        targets.add_key(fresh.public_key, PRODUCT)

    targets = following(site.repositories.image["targets.json"], site.repositories.targets, rekey)
    with pytest.raises(SignatureError, match=r"thermostat is not signed as targets\.json 2 asks"):
        site.take({"targets.json": targets})
    assert site.everything() == before
    role = following(site.repositories.image[f"{PRODUCT}.json"], [fresh])
    assert site.take({"targets.json": targets, f"{PRODUCT}.json": role}) == ["image/targets.json", f"image/{PRODUCT}.json"]
    assert ("ann", "trust.role", f"image {PRODUCT} 2 {fresh.public_key.keyid}") in site.acts()


def test_a_release_that_moves_into_the_archive_with_a_new_key_is_noted_as_retired(site: Site) -> None:
    fresh = generate()
    for version in ("1.1.0", "1.2.0"):
        site.office.add_release(version)
    files = dict(site.repositories.image)

    def rekey(targets: Targets) -> None:
        targets.revoke_key(site.repositories.product.public_key.keyid, PRODUCT)
        targets.add_key(fresh.public_key, PRODUCT)

    files["targets.json"] = following(files["targets.json"], site.repositories.targets, rekey)
    files |= retire(files, PRODUCT, "1.1.0", [fresh], site.office.now)
    site.take({name: files[name] for name in ("targets.json", f"{PRODUCT}.json", f"{PRODUCT}+archive.json")})
    rows = site.office.connection.execute("SELECT version, is_retired FROM release ORDER BY version").fetchall()
    assert rows == [("1.1.0", 1), ("1.2.0", 0)]


def refusals() -> list[tuple[str, Callable[[Site], dict[str, bytes]], type[Error], str]]:
    """Return name, request, error and its words."""

    def root(site: Site, signers: Sequence[int], change: Callable[[Root], None] = lambda _: None) -> bytes:
        return following(site.repositories.image["root.json"], [site.repositories.image_roots[n] for n in signers], change)

    def targets(site: Site, change: Callable[[Targets], None]) -> bytes:
        return following(site.repositories.image["targets.json"], site.repositories.targets, change)

    def set_paths(paths: list[str]) -> Callable[[Targets], None]:
        return lambda top: setattr(delegated(top)[PRODUCT], "paths", paths)

    def set_threshold(top: Targets) -> None:
        delegated(top)[PRODUCT].threshold = 2

    def rename(top: Targets) -> None:
        role = delegated(top).pop(PRODUCT)
        role.name = "../x"
        delegated(top)["../x"] = role

    def other(top: Targets) -> None:
        key = generate().public_key
        delegated(top)["kettle"] = DelegatedRole("kettle", [], 1, terminating=True, paths=["kettle/*/*"])
        top.add_key(key, "kettle")

    def two_timestamps(new: Root) -> None:
        new.roles["timestamp"].threshold = 2
        new.add_key(generate().public_key, "timestamp")

    def unmeetable(new: Root) -> None:
        new.roles["targets"].threshold = 3

    return [
        ("one root key of two", lambda s: {"2.root.json": root(s, [0])}, SignatureError, "2.root.json"),
        ("a root left out", lambda s: {"3.root.json": root(s, [0, 1])}, MetadataRollbackError, "2.root.json is missing"),
        ("another first root", lambda s: {"1.root.json": root(s, [0, 1])}, ConflictError, "other content"),
        ("a threshold for the server", lambda s: {"2.root.json": root(s, [0, 1], two_timestamps)}, MetadataError, "the server gives one"),
        ("a root's threshold", lambda s: {"2.root.json": root(s, [0, 1], unmeetable)}, MetadataError, "3 signatures of the role targets"),
        ("half good", lambda s: {"2.root.json": root(s, [0, 1]), "targets.json": b"{}"}, MetadataError, "targets.json"),
        ("paths of another", lambda s: {"targets.json": targets(s, set_paths(["kettle/*/*"]))}, MetadataError, "outside thermostat/"),
        ("a role's threshold", lambda s: {"targets.json": targets(s, set_threshold)}, MetadataError, "2 signatures of the role thermostat"),
        ("a role's name", lambda s: {"targets.json": targets(s, rename)}, MetadataError, "no name that it may delegate to"),
        ("a role not sent", lambda s: {"targets.json": targets(s, other)}, MetadataError, "kettle.json is missing"),
        ("the server's own file", lambda _: {"snapshot.json": b"{}"}, InvalidInput, "not the name of a targets role"),
        ("nobody's role", lambda s: {"kettle.json": s.repositories.image[f"{PRODUCT}.json"]}, InvalidInput, "Nobody delegates"),
        ("the same version", lambda s: {"targets.json": other_version(s, 0)}, ConflictError, "published with other content"),
        ("a former version", lambda s: {"targets.json": other_version(s, -1)}, MetadataRollbackError, "not newer"),
        ("a key for two roles", lambda s: {"2.root.json": root(s, [0, 1], second_role(s))}, MetadataError, "image root and image targets"),
        ("a key of the director", lambda s: {"2.root.json": root(s, [0, 1], second_role(s, "director"))}, MetadataError, "two roles"),
        ("a root key for a product", root_key_for_a_product, MetadataError, "image root and product kettle"),
        ("one key for two products", one_key_for_two_products, MetadataError, f"product {PRODUCT} and product kettle"),
        ("one signature of two", lambda s: {"targets.json": following(s.repositories.image["targets.json"], s.repositories.targets[:1])},
         SignatureError, "targets.json"),
        ("a diamond", diamond, MetadataError, "two parents"),
    ]  # fmt: skip


def other_version(site: Site, by: int) -> bytes:
    newest = following(site.repositories.image["targets.json"], site.repositories.targets)
    site.take({"targets.json": newest})

    def change(targets: Targets) -> None:
        targets.expires += timedelta(days=1)

    return following(newest, site.repositories.targets, change, by=by)


def renamed(key: Key) -> Key:
    """Return the same key under another id."""
    return SSlibKey("ab" * 32, key.keytype, key.scheme, dict(key.keyval), {})


def second_role(site: Site, repository: str = "image") -> Callable[[Root], None]:
    holders = site.repositories.image_roots if repository == "image" else site.repositories.director_roots
    return lambda new: new.add_key(renamed(holders[2].public_key), "targets")


def with_kettle(site: Site, holder: Signer) -> dict[str, bytes]:
    now, before = site.office.now, site.repositories.image["targets.json"]
    top = add_product(before, "kettle", holder.public_key, site.repositories.targets)
    return {"targets.json": top, "kettle.json": create_product(holder, now)}


def root_key_for_a_product(site: Site) -> dict[str, bytes]:
    return with_kettle(site, site.repositories.image_roots[2])


def one_key_for_two_products(site: Site) -> dict[str, bytes]:
    return with_kettle(site, site.repositories.product)


def diamond(site: Site) -> dict[str, bytes]:
    kettle = generate()
    top = add_product(site.repositories.image["targets.json"], "kettle", kettle.public_key, site.repositories.targets)

    def share(targets: Targets) -> None:
        role = DelegatedRole(PRODUCT, [], 1, terminating=True, paths=["kettle/1/*"])
        targets.delegations = Delegations({}, roles={PRODUCT: role})
        targets.add_key(site.repositories.product.public_key, PRODUCT)

    role = following(create_product(kettle, site.office.now), [kettle], share)
    return {"targets.json": top, "kettle.json": role}


@pytest.mark.parametrize(("make", "kind", "words"), [pytest.param(*case[1:], id=case[0]) for case in refusals()])
def test_what_a_device_would_refuse_is_refused_and_changes_nothing(
    site: Site, make: Callable[[Site], dict[str, bytes]], kind: type[Error], words: str
) -> None:
    request = make(site)
    before = site.everything()
    with pytest.raises(kind, match=words):
        site.take(request)
    assert site.everything() == before


def test_the_director_takes_roots_alone(site: Site) -> None:
    with pytest.raises(InvalidInput, match="only roots of the director"):
        site.take(director={"targets.json": b"{}"})


def test_the_story_names_every_role_with_its_keys(site: Site) -> None:
    roles = {(role.repository, role.role): role for role in story(site.office.ledger).roles}
    assert len(roles) == 9
    assert roles["image", PRODUCT].keys[0].key_id == site.repositories.product.public_key.keyid
    assert (roles["image", "root"].threshold, roles["image", "root"].version) == (2, 1)
    assert (roles["director", "timestamp"].version, roles["director", "timestamp"].expires) == (None, None)


def encoded(files: dict[str, bytes]) -> dict[str, str]:
    return {name: b64encode(data).decode() for name, data in files.items()}


def test_a_running_server_takes_a_rotation_and_keeps_it_over_a_restart(tmp_path: Path) -> None:
    repositories: Repositories
    with running(tmp_path) as server:
        repositories = server.repositories
        device = server.join()
        etag = device.poll().headers["etag"]
        fresh = generate()
        write_key(tmp_path / "keys" / "new.pem", fresh, None)
        root = following(repositories.director_root, repositories.director_roots, give("timestamp", fresh))
        assert server.call("POST", "trust", {}, token="nobody").status == 401
        assert server.call("GET", "trust", token="nobody").status == 401
        answer = server.call("POST", "trust", {"director": encoded({"2.root.json": root})})
        assert (answer.status, answer.json()) == (200, {"changed": ["director/2.root.json"]})
        assert signer_of(device.poll(etag).json()) == fresh.public_key.keyid
        assert root_version(server) == 2
    with running(tmp_path, repositories) as server:
        assert root_version(server) == 2
        assert signer_of(server.join("t-9").poll().json()) == fresh.public_key.keyid
    with closing(sqlite3.connect(tmp_path / "surefoot.db")) as database:
        assert ("admin", "trust.root") in database.execute("SELECT by, what FROM act").fetchall()


def signer_of(answer: dict[str, Any]) -> str:
    data = answer["metadata"]["director"]["timestamp.json"]
    (keyid,) = Metadata.from_bytes(b64decode(data)).signatures
    return keyid


def root_version(server: Running) -> int:
    roles = server.call("GET", "trust").json()["roles"]
    (found,) = [role["version"] for role in roles if (role["repository"], role["role"]) == ("director", "root")]
    return int(found)
