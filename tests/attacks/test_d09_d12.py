# SPDX-License-Identifier: Apache-2.0
"""Attacks D09 to D12 on the device: frozen, rolled back, fast-forwarded and mixed metadata."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from tuf.api.metadata import Root

from surefoot.agent.home import DATA
from surefoot.agent.trusted import Repository, TrustedStore
from surefoot.model.record import parse_utc, utc_text
from surefoot.model.wire import PollAnswer
from surefoot.simulator.flash import Damage
from surefoot.trust.director import DirectorSigners, refresh_view
from surefoot.trust.repository import OnlineSigners
from surefoot.trust.signer import generate
from tests.attacks.stage import Stage, edited, next_root, pointing, successor, unchanged
from tests.trust.repositories import DEVICE, NOW, PRODUCT, wire_names

DAY_S = 24 * 3600
FAR = 2**31
EPOCH_S = (datetime(1970, 1, 1, tzinfo=UTC) - NOW).total_seconds()
Y2040_S = (datetime(2040, 1, 1, tzinfo=UTC) - NOW).total_seconds()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def time_floor(stage: Stage) -> datetime:
    assert stage.board.runner is not None
    return parse_utc(stage.board.runner.state.time_floor)


# --- D09: freeze ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_known", [False, True])
def test_d09_metadata_that_expired_a_second_ago_is_refused(stage: Stage, *, is_known: bool) -> None:
    if is_known:
        stage.poll()
    old = stage.answer()
    stage.clock.sleep(DAY_S - stage.clock.monotonic() + 1)
    stage.refused(old, "expired")


def test_d09_metadata_is_believed_until_a_second_before_it_expires(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    stage.clock.sleep(DAY_S - stage.board.boot_s - 1)
    stage.says(stage.answer())
    stage.run(lambda runner: runner.state.attempt is not None)
    assert stage.server.refusals() == []


@pytest.mark.parametrize("is_known", [False, True])
def test_d09_a_peer_that_says_for_ever_that_nothing_changed_is_found_out(stage: Stage, *, is_known: bool) -> None:
    if is_known:
        stage.poll()
    stage.refused(unchanged, "expired", recovers=False)
    assert set(stage.server.polls[-8:]) == {""}, "everything is asked for"
    assert stage.now() >= NOW + timedelta(days=1 if is_known else 0)
    stage.recovers()


def test_d09_a_frozen_timestamp_expires_though_the_clock_says_1970(stage: Stage) -> None:
    stage.poll()
    old = stage.answer()
    stage.clock.jump(EPOCH_S)
    stage.refused(old, "expired")
    assert stage.now() >= NOW + timedelta(days=1), "the board has counted the seconds itself"


def test_d09_a_frozen_image_repository_is_refused_by_the_directors_time_though_the_clock_says_1970(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    frozen = wire_names(stage.repositories.image)
    stage.clock.jump(EPOCH_S)
    stage.clock.sleep(2 * DAY_S)
    stage.renew()
    stage.order(wanted)
    stage.refused(stage.answer(image=frozen), "expired")


def test_d09_a_clock_that_jumps_to_2040_and_back_locks_nobody_out(stage: Stage) -> None:
    stage.poll()
    stage.clock.jump(Y2040_S)
    stage.refused(stage.answer(), "expired", recovers=False)
    stage.clock.jump(-Y2040_S)
    stage.recovers()


def test_d09_the_time_floor_survives_a_power_cut(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    frozen = wire_names(stage.repositories.image)
    stage.clock.sleep(2 * DAY_S)
    stage.renew()
    stage.order(None)
    stage.says(stage.answer())
    stage.poll()
    assert time_floor(stage) >= NOW + timedelta(days=2)
    stage.clock.jump(EPOCH_S)
    stage.restart(Damage.LOST)
    assert time_floor(stage) >= NOW + timedelta(days=2)
    stage.order(wanted)
    stage.refused(stage.answer(image=frozen), "expired")


def ahead(stage: Stage, issued_at: datetime) -> PollAnswer:
    """Return an answer by which a thief of all three director keys says that it is ``issued_at``."""
    it, view = stage.repositories.director, stage.repositories.views[DEVICE]
    forever = {"expires": "2099-01-01T00:00:00Z"}
    targets = edited(view.targets, [it.targets], lambda signed: signed.update(forever))
    snapshot = edited(view.snapshot, [it.snapshot], lambda signed: signed.update(forever))
    timestamp = pointing(view.timestamp, [it.timestamp], snapshot)
    timestamp = edited(timestamp, [it.timestamp], lambda signed: signed.update(forever, issued_at=utc_text(issued_at)))
    names = {
        f"{view.targets_version}.targets.json": targets,
        f"{view.snapshot_version}.snapshot.json": snapshot,
        "timestamp.json": timestamp,
    }
    return stage.answer(director=names)


def test_d09_a_thief_of_the_directors_keys_cannot_lift_the_time_past_its_root(stage: Stage) -> None:
    stage.poll()
    stage.refused(ahead(stage, NOW + timedelta(days=365)), "expired")
    assert time_floor(stage) < NOW + timedelta(days=1)


def test_d09_a_thief_of_one_director_key_cannot_lift_the_time_past_the_directors_other_files(stage: Stage) -> None:
    stage.poll()
    view = stage.repositories.views[DEVICE]
    change = {"expires": "2099-01-01T00:00:00Z", "issued_at": utc_text(NOW + timedelta(days=7))}
    lifted = successor(view.timestamp, [stage.repositories.director.timestamp], lambda signed: signed.update(change))
    stage.refused(stage.answer(director={"timestamp.json": lifted}), "expired")


def test_d09_time_lifted_below_the_roots_end_runs_nothing_and_ends_with_that_root(stage: Stage) -> None:
    """What a thief of all the director's keys can still do: keep a device from updates until people sign roots that last longer."""
    stage.update("1.1.0")
    before = stage.footing()
    lifted_to = NOW + timedelta(days=364)
    stage.order(None)
    stage.says(ahead(stage, lifted_to))
    stage.poll(2)
    assert time_floor(stage) == lifted_to
    stage.order(stage.release("1.2.0"))
    stage.order(stage.releases["1.2.0"])
    stage.refused(stage.answer(), "expired", recovers=False)
    assert stage.footing().found == before.found
    stage.clock.sleep((NOW + timedelta(days=365) - stage.now()).total_seconds())
    stage.repositories.director = DirectorSigners(targets=generate(), snapshot=generate(), timestamp=generate())
    director = next_root(stage.repositories.director_root, stage.repositories.director_roots, with_director_keys(stage))
    stage.repositories.image["root.json"] = next_root(stage.repositories.image["root.json"], stage.repositories.image_roots, later)
    renew_targets(stage)
    stage.recovers(director={"2.root.json": director})


def later(root: Root) -> None:
    root.expires += timedelta(days=365)


def renew_targets(stage: Stage) -> None:
    """Let people sign the image repository's targets once more: 90 days are over."""
    it = stage.repositories
    expires = (stage.now() + timedelta(days=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, signers in (("targets.json", it.targets), (f"{PRODUCT}.json", [it.product])):
        it.image[name] = edited(it.image[name], signers, lambda signed: signed.update(expires=expires))


# --- D10: rollback ----------------------------------------------------------------------------------------------------------

Forget = Callable[[Stage], None]


def without(repository: Repository, name: str) -> Forget:
    """Return what removes one file from what the board trusts."""

    def forget(stage: Stage) -> None:
        store = TrustedStore(stage.board.flash, f"{DATA}/trusted")
        store.save(repository, {known: data for known, data in store.load(repository).items() if known != name})
        stage.restart()

    return forget


MEANWHILE: dict[str, Forget] = {
    "at once": lambda _: None,
    "after a restart": lambda stage: stage.restart(),
    "after a power cut": lambda stage: stage.restart(Damage.LOST),
}


def older_director(stage: Stage, old: PollAnswer, role: str) -> PollAnswer:
    """Return an answer in which a thief of the director's other keys takes one role back to how it was."""
    it, view = stage.repositories.director, stage.repositories.views[DEVICE]
    files = old.metadata.director
    if role == "timestamp":
        return old
    if role == "snapshot":
        snapshot = next(data for name, data in files.items() if name.endswith(".snapshot.json"))
    else:
        version = next(int(name.split(".")[0]) for name in files if name.endswith(".targets.json"))
        snapshot = successor(view.snapshot, [it.snapshot], lambda signed: signed["meta"].update({"targets.json": {"version": version}}))
    timestamp = pointing(view.timestamp, [it.timestamp], snapshot)
    return stage.answer(director={**files, **versioned(snapshot, "snapshot.json"), "timestamp.json": timestamp})


def versioned(data: bytes, name: str) -> dict[str, bytes]:
    return {wire: found for wire, found in wire_names({name: data}).items()}  # noqa: C416  # a plain dict


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=list(MEANWHILE))
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_d10_no_file_of_the_director_goes_back(stage: Stage, role: str, meanwhile: Forget) -> None:
    stage.order(stage.release("1.1.0"))
    old = stage.answer()
    stage.update("1.2.0")
    meanwhile(stage)
    stage.refused(older_director(stage, old, role), "metadata_rollback")


def test_d10_a_timestamp_does_not_go_back_though_it_names_what_is_trusted(stage: Stage) -> None:
    it = stage.repositories
    old = stage.answer()
    it.views[DEVICE] = refresh_view(it.views[DEVICE], None, it.director, stage.now())
    stage.says(stage.answer())
    stage.poll()
    stage.refused(old, "metadata_rollback")


def older_image(stage: Stage, old: Mapping[str, bytes], role: str) -> PollAnswer:
    """Return an answer in which a thief of the image repository's online keys takes one file back to how it was."""
    it = stage.repositories
    if role == "timestamp":
        return stage.answer(image=wire_names(old))
    if role == "snapshot":
        timestamp = pointing(it.image["timestamp.json"], [it.online.timestamp], old["snapshot.json"])
        return stage.answer(image={**wire_names(old), "timestamp.json": timestamp})
    name = {"targets": "targets.json", "product role": f"{PRODUCT}.json"}[role]
    return stage.answer(image={**wire_names(old), **stage.republished(name, old[name])})


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=list(MEANWHILE))
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "product role"])
def test_d10_no_file_of_the_image_repository_goes_back(stage: Stage, role: str, meanwhile: Forget) -> None:
    wanted = stage.release("1.1.0")
    old = dict(stage.repositories.image)
    it = stage.repositories
    it.image["targets.json"] = successor(it.image["targets.json"], it.targets)
    it.image = {
        name.split(".", 1)[1] if name[0].isdigit() else name: data
        for name, data in stage.republished("targets.json", it.image["targets.json"]).items()
    }
    stage.update("1.2.0", revert_to="minor")
    meanwhile(stage)
    stage.order(wanted)
    stage.refused(older_image(stage, old, role), "metadata_rollback")


def test_d10_a_role_that_the_snapshot_forgets_cannot_begin_anew(stage: Stage) -> None:
    it = stage.repositories
    stage.update("1.1.0")
    stage.order(stage.release("1.2.0"))
    snapshot = successor(it.image["snapshot.json"], [it.online.snapshot], lambda signed: signed["meta"].pop(f"{PRODUCT}.json"))
    timestamp = pointing(it.image["timestamp.json"], [it.online.timestamp], snapshot)
    stage.refused(stage.answer(image={**versioned(snapshot, "snapshot.json"), "timestamp.json": timestamp}), "metadata_rollback")


def image_roles(stage: Stage) -> set[str]:
    store = TrustedStore(stage.board.flash, f"{DATA}/trusted")
    return store.load("image").keys() - {"root.json", "timestamp.json", "snapshot.json", "targets.json"}


def test_d10_a_role_that_was_dropped_since_no_order_needs_it_does_not_come_back_older(stage: Stage) -> None:
    it, archive = stage.repositories, f"{PRODUCT}+archive.json"
    stage.release("1.1.0")
    stage.retire("1.1.0")
    older = it.image[archive]
    wanted = stage.release("1.2.0")
    stage.retire("1.2.0")
    stage.carry_out(wanted)
    assert image_roles(stage) == {f"{PRODUCT}.json", archive}
    stage.update("1.3.0", revert_to="minor")
    assert image_roles(stage) == {f"{PRODUCT}.json"}, "what is live needs no archive"
    stage.order(stage.releases["1.1.0"])
    stage.refused(stage.answer(image=stage.republished(archive, older)), "metadata_rollback")


@pytest.mark.parametrize("repository", ["director", "image"])
@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
def test_d10_a_file_that_was_deleted_lets_nothing_old_in(stage: Stage, repository: Repository, name: str) -> None:
    stage.order(stage.release("1.1.0"))
    old = stage.answer()
    stage.update("1.2.0")
    stage.order(stage.releases["1.2.0"])
    without(repository, name)(stage)
    attack = old if repository == "director" else stage.answer(image=old.metadata.image)
    stage.refused(attack, "metadata_rollback")


@pytest.mark.parametrize("repository", ["director", "image"])
def test_d10_a_trusted_folder_that_was_deleted_lets_nothing_old_in(stage: Stage, repository: Repository) -> None:
    stage.order(stage.release("1.1.0"))
    old = stage.answer()
    stage.update("1.2.0")
    stage.order(stage.releases["1.2.0"])
    trusted = stage.footing().trusted[repository]
    assert trusted is not None
    stage.board.flash.remove(f"{DATA}/trusted/{repository}.json")
    stage.restart()
    attack = old if repository == "director" else stage.answer(image=dict(old.metadata.image))
    stage.refused(attack, "bad_metadata", recovers=False)
    with stage.board.flash.open(f"{DATA}/trusted/{repository}.json", create=True) as file:
        file.write_at(0, trusted)
    stage.recovers()


# --- D11: fast-forward ------------------------------------------------------------------------------------------------------


def with_director_keys(stage: Stage) -> Callable[[Root], None]:
    """Return what gives a director's root the keys that the director has now, for a year from now."""

    def rotate(root: Root) -> None:
        later(root)
        for role in ("targets", "snapshot", "timestamp"):
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(getattr(stage.repositories.director, role).public_key, role)

    return rotate


def with_online_keys(stage: Stage) -> Callable[[Root], None]:
    def rotate(root: Root) -> None:
        for role in ("snapshot", "timestamp"):
            for keyid in list(root.roles[role].keyids):
                root.revoke_key(keyid, role)
            root.add_key(getattr(stage.repositories.online, role).public_key, role)

    return rotate


def jump(signed: dict[str, Any]) -> None:
    signed["version"] = FAR


@pytest.mark.parametrize("jumps", ["timestamp", "snapshot", "targets"])
def test_d11_a_director_that_was_fast_forwarded_comes_back_with_new_keys(stage: Stage, jumps: str) -> None:
    stage.update("1.1.0")
    it, view = stage.repositories.director, stage.repositories.views[DEVICE]
    targets = edited(view.targets, [it.targets], jump) if jumps == "targets" else view.targets
    listed = {"targets.json": {"version": FAR if jumps == "targets" else view.targets_version}}
    snapshot = successor(view.snapshot, [it.snapshot], lambda signed: signed["meta"].update(listed))
    snapshot = edited(snapshot, [it.snapshot], jump) if jumps == "snapshot" else snapshot
    timestamp = pointing(view.timestamp, [it.timestamp], snapshot)
    timestamp = edited(timestamp, [it.timestamp], jump) if jumps == "timestamp" else timestamp
    files = {**versioned(targets, "targets.json"), **versioned(snapshot, "snapshot.json"), "timestamp.json": timestamp}
    stage.says(stage.answer(director=files))
    stage.poll()
    assert stage.server.refusals() == [], "the thief has the keys: this is believed"
    stage.order(stage.releases["1.1.0"])
    stage.order(stage.releases["1.1.0"])
    stage.refused(stage.answer(), "metadata_rollback", recovers=False)
    stage.repositories.director = DirectorSigners(targets=generate(), snapshot=generate(), timestamp=generate())
    root = next_root(stage.repositories.director_root, stage.repositories.director_roots[:2], with_director_keys(stage))
    stage.recovers(director={"2.root.json": root})


@pytest.mark.parametrize("jumps", ["timestamp", "snapshot", "product role"])
def test_d11_an_image_repository_that_was_fast_forwarded_comes_back_with_new_keys(stage: Stage, jumps: str) -> None:
    it = stage.repositories
    wanted = stage.release("1.1.0")
    role = edited(it.image[f"{PRODUCT}.json"], [it.product], jump) if jumps == "product role" else it.image[f"{PRODUCT}.json"]
    files = stage.republished(f"{PRODUCT}.json", role)
    if jumps == "snapshot":
        snapshot = edited(it.image["snapshot.json"], [it.online.snapshot], jump)
        files |= {
            **versioned(snapshot, "snapshot.json"),
            "timestamp.json": pointing(it.image["timestamp.json"], [it.online.timestamp], snapshot),
        }
    if jumps == "timestamp":
        files["timestamp.json"] = edited(files["timestamp.json"], [it.online.timestamp], jump)
    stage.order(wanted)
    stage.says(stage.answer(image=files))
    stage.run(lambda runner: runner.running.found == wanted.hash)
    stage.poll()
    stage.release("1.1.1")
    stage.order(stage.release("1.2.0"))
    stage.refused(stage.answer(), "metadata_rollback", recovers=False)
    it.online = OnlineSigners(snapshot=generate(), timestamp=generate())
    it.image["root.json"] = next_root(it.image["root.json"], it.image_roots[:2], with_online_keys(stage))
    it.image["snapshot.json"] = edited(it.image["snapshot.json"], [it.online.snapshot], lambda _: None)
    it.image["timestamp.json"] = pointing(it.image["timestamp.json"], [it.online.timestamp], it.image["snapshot.json"])
    stage.recovers()


# --- D12: mix and match -----------------------------------------------------------------------------------------------------

MIXES = [mix for mix in product((0, 1), repeat=3) if len(set(mix)) > 1]
Rounds = tuple[Mapping[str, bytes], Mapping[str, bytes]]


def mixed(rounds: Rounds, names: tuple[str, str, str], mix: tuple[int, ...]) -> dict[str, bytes]:
    """Return files on the wire of which each is of one of two rounds, under the names of both."""
    found: dict[str, bytes] = {}
    for name, number in zip(names, mix, strict=True):
        wires = {wire for files in rounds for wire in files if wire == name or wire.split(".", 1)[1] == name}
        (data,) = (data for wire, data in rounds[number].items() if wire in wires)
        found |= dict.fromkeys(wires, data)
    return found


@pytest.mark.parametrize("mix", MIXES)
def test_d12_files_of_two_publications_do_not_mix(stage: Stage, mix: tuple[int, ...]) -> None:
    stage.order(stage.release("1.1.0"))
    before = wire_names(stage.repositories.image)
    stage.release("1.2.0")
    after = wire_names(stage.repositories.image)
    stage.refused(stage.answer(image=mixed((before, after), ("timestamp.json", "snapshot.json", f"{PRODUCT}.json"), mix)), "bad_metadata")


@pytest.mark.parametrize("mix", MIXES)
def test_d12_files_of_two_views_do_not_mix(stage: Stage, mix: tuple[int, ...]) -> None:
    stage.order(stage.release("1.1.0"))
    before = stage.repositories.director_answer()
    stage.order(stage.release("1.2.0"))
    after = stage.repositories.director_answer()
    stage.refused(stage.answer(director=mixed((before, after), ("timestamp.json", "snapshot.json", "targets.json"), mix)), "bad_metadata")


def test_d12_a_snapshot_is_the_very_one_that_the_timestamp_names_whoever_signed_it(stage: Stage) -> None:
    it, view = stage.repositories.director, stage.repositories.views[DEVICE]
    other = edited(view.snapshot, [it.snapshot], lambda signed: signed.update(expires="2026-11-29T08:00:00Z"))
    stage.refused(stage.answer(director={f"{view.snapshot_version}.snapshot.json": other}), "bad_metadata")


def test_d12_a_new_view_and_an_old_publication_do_not_mix(stage: Stage) -> None:
    stage.release("1.1.0")
    old = wire_names(stage.repositories.image)
    stage.order(stage.release("1.2.0"))
    answer = stage.answer(image=old)
    stage.refused(answer, "not_in_image_repo")


@pytest.mark.parametrize("takes", ["director", "image"])
def test_d12_the_repositories_do_not_stand_in_for_one_another(stage: Stage, takes: Repository) -> None:
    stage.order(stage.release("1.1.0"))
    files = stage.answer().metadata
    if takes == "director":
        stage.refused(stage.answer(director={"timestamp.json": files.image["timestamp.json"]}), "bad_signature")
    else:
        stage.refused(stage.answer(image=files.director), "bad_signature")
