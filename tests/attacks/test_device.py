# SPDX-License-Identifier: Apache-2.0
"""Attacks D18, D20, D23, D25, D26 and D30 on the device: what lies in its slots and folders, and power that fails meanwhile."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from surefoot.agent.boot.file import file_control
from surefoot.agent.download import Response
from surefoot.agent.installer import SLOTS
from surefoot.agent.installers.files import SlotFiles
from surefoot.agent.posix import PosixStorage
from surefoot.agent.runner import Runner
from surefoot.agent.signals import Activated, Received
from surefoot.agent.state import Phase
from surefoot.agent.storage import read_file, replace_file
from surefoot.model.digest import digest_of
from surefoot.model.errors import DeviceError, DigestError, Error, TransportError
from surefoot.model.event import EventType
from surefoot.model.slot import SlotName, SlotState
from surefoot.model.wire import ArtifactHint, PollAnswer
from surefoot.release.bundle import read_bundle, verify_bundle
from surefoot.simulator.board import Behaviour, image
from surefoot.simulator.flash import Damage, PowerCut
from surefoot.trust.metadata import Files
from tests.attacks.stage import IMAGE_BYTES, Release, Stage, edited, next_root
from tests.release.firmware import RECIPE, built
from tests.trust.repositories import DEVICE

B = SlotName.B
SMALL = RECIPE.replace("[esp32-v2, esp32-v3]", "[esp32-v2]").replace("[release, debug]", "[release]")


@pytest.fixture
def stage() -> Stage:
    return Stage()


def ordered(stage: Stage, version: str = "1.1.0", content: bytes | None = None) -> Release:
    wanted = stage.release(version, content=content)
    stage.order(wanted)
    stage.says(stage.answer())
    return wanted


def in_phase(phase: Phase) -> Callable[[Runner], bool]:
    return lambda runner: runner.state.phase is phase


def is_downloaded(stage: Stage, wanted: Release) -> bool:
    """Say whether all bytes are in the slot, and the agent is about to look at them there."""
    event = stage.board._event
    return isinstance(event, Received) and event.received == len(wanted.content)


def told(stage: Stage, kind: EventType) -> list[Mapping[str, Any]]:
    return [stage.server.events[key].data for key in sorted(stage.server.events) if stage.server.events[key].type == kind]


# --- D18: what was refused stays refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", Damage)
@pytest.mark.parametrize("part", ["director", "image"])
def test_d18_a_refused_file_is_not_trusted_later(stage: Stage, part: str, damage: Damage) -> None:
    ordered(stage)
    answer = stage.answer()
    files: dict[str, bytes] = dict(getattr(answer.metadata, part))
    # The last file that is read of a repository: everything before it was verified already, the director too.
    name = next(name for name in files if name.endswith("targets.json" if part == "director" else "thermostat.json"))
    spoiled = stage.answer(**{part: {name: files[name].replace(b'"version":', b'"version": 1', 1)}})
    stage.refused(spoiled, "bad_metadata" if b'"version": 1' not in files[name] else "bad_signature", recovers=False)
    before = stage.footing()
    stage.restart(damage)
    stage.poll(2)
    assert stage.footing().trusted == before.trusted
    stage.recovers()


# --- D20: checked here, used there ----------------------------------------------------------------------------------------


def test_d20_a_slot_that_changes_between_download_and_installation_is_not_booted(stage: Stage) -> None:
    wanted = ordered(stage)
    stage.run(lambda _: is_downloaded(stage, wanted))
    with stage.board.flash.open(SLOTS[B]) as file:
        file.write_at(IMAGE_BYTES // 2, b"evil")
    stage.run(in_phase(Phase.DOWNLOADING))
    assert file_control(stage.board.flash).get_state(B) is SlotState.BAD
    stage.run(lambda runner: runner.running.found == wanted.hash)


def test_d20_a_file_that_replaces_the_slot_between_download_and_installation_is_not_booted(stage: Stage) -> None:
    wanted = ordered(stage)
    stage.run(lambda _: is_downloaded(stage, wanted))
    replace_file(stage.board.flash, SLOTS[B], image(Behaviour.GOOD, IMAGE_BYTES)[:-4] + b"evil")
    stage.run(in_phase(Phase.DOWNLOADING))
    assert file_control(stage.board.flash).get_state(B) is SlotState.BAD
    stage.run(lambda runner: runner.running.found == wanted.hash)


def test_d20_a_slot_that_changes_after_every_download_is_given_up(stage: Stage) -> None:
    wanted = ordered(stage)

    def spoil() -> None:
        with stage.board.flash.open(SLOTS[B]) as file:
            file.write_at(IMAGE_BYTES // 2, b"evil")

    def watched(offset: int) -> Response:
        # The connection is given back once the last byte is durable and its digest was right.
        return Response(status=206, start=offset, total=None, chunks=iter([wanted.content[offset:]]), close=spoil)

    report = stage.refused(stage.answer(), "bad_digest", images={wanted.url: watched}, is_verified=True)
    assert report.data["tries"] == 3


def test_d20_a_slot_that_changes_before_the_boot_is_never_kept(stage: Stage) -> None:
    before = stage.footing()
    ordered(stage)
    stage.run(lambda _: isinstance(stage.board._event, Activated))
    evil = image(Behaviour.GOOD, IMAGE_BYTES)[:-4] + b"evil"
    assert stage.board.released is not None
    # The bootloader of this board starts what it is told; that the agent notices is the last line of defence.
    stage.board.released = {*stage.board.released, digest_of(evil)}
    replace_file(stage.board.flash, SLOTS[B], evil)
    stage.run(lambda runner: runner.state.phase is Phase.IDLE and bool(told(stage, EventType.ROLLBACK_COMPLETED)))
    after = stage.footing()
    assert [data["reason"] for data in told(stage, EventType.HEALTH_FAILED)] == ["wrong_image"]
    assert (after.found, after.running, after.primary, after.state) == (before.found, before.running, before.primary, SlotState.GOOD)
    assert file_control(stage.board.flash).get_state(B) is SlotState.BAD
    stage.recovers()


def test_d20_a_file_that_replaces_the_slot_on_a_real_disk_is_what_is_verified(tmp_path: Path) -> None:
    slots = SlotFiles(PosixStorage(tmp_path), SLOTS, 1000)
    slots.writer(B).write_at(0, b"good")
    slots.verify(B, 4, digest_of(b"good"))
    (tmp_path / "new").write_bytes(b"evil")
    (tmp_path / "new").rename(tmp_path / SLOTS[B])
    with pytest.raises(DigestError, match="and not the signed"):
        slots.verify(B, 4, digest_of(b"good"))
    slots.close()


def test_d20_a_link_that_replaces_the_slot_on_a_real_disk_is_refused(tmp_path: Path) -> None:
    slots = SlotFiles(PosixStorage(tmp_path), SLOTS, 1000)
    slots.writer(B).write_at(0, b"good")
    (tmp_path / SLOTS[B]).rename(tmp_path / "elsewhere")
    (tmp_path / SLOTS[B]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="symbolic link"):
        slots.verify(B, 4, digest_of(b"good"))
    slots.close()


def test_d20_the_running_slot_is_never_the_one_that_is_written(stage: Stage) -> None:
    for version in ("1.1.0", "1.2.0"):
        running = stage.footing().slot
        wanted = ordered(stage, version)
        stage.run(in_phase(Phase.DOWNLOADING))
        assert stage.footing().slot is running
        assert digest_of(read_file(stage.board.flash, SLOTS[running]) or b"") == stage.footing().found
        stage.run(lambda runner, wanted=wanted: runner.running.found == wanted.hash and runner.state.phase is Phase.IDLE)  # type: ignore[misc]  # bound early


# --- D23: what nobody signed decides nothing ------------------------------------------------------------------------------


def test_d23_no_region_of_a_bundle_can_be_edited(tmp_path: Path) -> None:
    bundle = built(tmp_path, recipe=SMALL)
    for name, size in bundle.files.sizes().items():
        path = bundle.path / name
        whole = path.read_bytes()
        for at in {0, 1, size // 4, size // 2, size * 3 // 4, size - 2, size - 1}:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(Error):
                verify_bundle(read_bundle(bundle.path))
        path.write_bytes(whole)
    verify_bundle(read_bundle(bundle.path))


HINTS: dict[str, Callable[[ArtifactHint], list[ArtifactHint]]] = {
    "another size": lambda hint: [structs.replace(hint, size=1)],
    "a huge size": lambda hint: [structs.replace(hint, size=2**52)],
    "other images too": lambda hint: [structs.replace(hint, hash=digest_of(b"evil")), hint],
    "dead addresses first": lambda hint: [structs.replace(hint, urls=["gopher://x", "", "file:///etc/passwd", *hint.urls])],
}


@pytest.mark.parametrize("change", HINTS.values(), ids=HINTS)
def test_d23_unsigned_hints_decide_nothing(stage: Stage, change: Callable[[ArtifactHint], list[ArtifactHint]]) -> None:
    wanted = ordered(stage)
    honest = stage.answer()
    (hint,) = honest.artifacts
    stage.server.images |= dict.fromkeys(("gopher://x", "", "file:///etc/passwd"), nobody)
    stage.says(structs.replace(honest, artifacts=change(hint)))
    stage.run(lambda runner: runner.running.found == wanted.hash)


@pytest.mark.parametrize("total", [1, IMAGE_BYTES * 2])
def test_d23_a_length_that_only_a_header_says_installs_nothing(stage: Stage, total: int) -> None:
    wanted = ordered(stage)

    def lying(offset: int) -> Response:
        return Response(status=206, start=offset, total=total, chunks=iter([wanted.content[offset:]]), close=lambda: None)

    stage.refused(stage.answer(), "corrupt_download", images={wanted.url: lying}, is_verified=True)


def nobody(offset: int) -> Response:
    raise TransportError(f"Nobody answers, from {offset} or anywhere.")


# --- D25: power that fails while new metadata is taken in -----------------------------------------------------------------


@dataclass
class Rotation:
    """A stage whose board trusts one set of metadata, and is offered another with new roots of both repositories."""

    stage: Stage
    old: dict[str, Files]
    new: dict[str, Files]
    answer: PollAnswer

    @classmethod
    def offered(cls) -> "Rotation":
        stage = Stage()
        stage.update("1.1.0")
        old = {name: stage.board.trusted(name) for name in ("director", "image")}
        repositories = stage.repositories
        director = next_root(repositories.director_root, repositories.director_roots)
        image_root = next_root(repositories.image["root.json"], repositories.image_roots)
        wanted = stage.release("1.2.0")
        stage.order(wanted)
        answer = stage.answer(director={"2.root.json": director}, image={"2.root.json": image_root})
        probe = Rotation(stage=stage, old=old, new={}, answer=answer)
        stage.says(answer)
        flash, known = stage.board.flash.fork(), dict(stage.server.events)
        stage.run(in_phase(Phase.DOWNLOADING))
        probe.new = {name: stage.board.trusted(name) for name in ("director", "image")}
        stage.board.flash, stage.server.events = flash, known
        stage.board.off()
        return probe


def test_d25_power_that_fails_in_an_update_of_the_metadata_leaves_the_old_set_or_the_new(
    record_property: Callable[[str, object], None],
) -> None:
    rotation = Rotation.offered()
    stage, start = rotation.stage, rotation.stage.board.flash
    assert rotation.old["director"]["root.json"] != rotation.new["director"]["root.json"]
    assert rotation.old["image"]["root.json"] != rotation.new["image"]["root.json"]
    known = dict(stage.server.events)
    stage.board.flash = start.fork()
    stage.run(in_phase(Phase.DOWNLOADING))
    first, last = start.operations + 1, stage.board.flash.operations
    seen: set[tuple[bool, bool]] = set()
    writes = 0
    for at in range(first, last + 1):
        for damage in Damage:
            stage.board.flash, stage.server.events = start.fork(), dict(known)
            stage.board.off()
            stage.board.flash.cut_at = at
            with pytest.raises(PowerCut):
                stage.run(in_phase(Phase.INSTALLING))
            stage.board.flash = stage.board.flash.power_cycle(damage, seed=at)
            writes += 1
            found = {name: stage.board.trusted(name) for name in ("director", "image")}
            assert all(found[name] in (rotation.old[name], rotation.new[name]) for name in found), f"cut at {at}, {damage}"
            seen.add((found["director"] == rotation.new["director"], found["image"] == rotation.new["image"]))
            stage.run(in_phase(Phase.DOWNLOADING))
            assert {name: stage.board.trusted(name) for name in found} == rotation.new, f"stuck after a cut at {at}, {damage}"
            assert stage.server.refusals() == []
    assert seen == {(False, False), (True, False), (True, True)}
    record_property("figure", f"metadata update with two root rotations: power cut at each of {last - first + 1} operations, {writes} cuts")


# --- D26: images that boot for ever ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Behaviour.CRASHES, Behaviour.HANGS, Behaviour.UNHEALTHY])
def test_d26_an_image_that_fails_again_and_again_is_not_taken_for_ever(stage: Stage, behaviour: Behaviour) -> None:
    before = stage.footing()
    bad = stage.release("1.1.0", content=image(behaviour, IMAGE_BYTES))
    for trial in range(1, 4):
        stage.order(bad)
        stage.says(stage.answer())
        stage.run(lambda runner, trial=trial: runner.state.phase is Phase.IDLE and ends(stage) == trial)  # type: ignore[misc]  # bound early
        after = stage.footing()
        assert (after.found, after.running, after.primary) == (before.found, before.running, before.primary)
    stage.order(bad)
    stage.refused(stage.answer(), "failed_here", is_verified=True)


def ends(stage: Stage) -> int:
    return len(told(stage, EventType.ROLLBACK_COMPLETED))


def test_d26_a_kept_image_that_the_bootloader_gives_up_is_not_taken_for_ever(stage: Stage) -> None:
    before = stage.footing()
    dying = stage.release("1.1.0")
    for trial in range(1, 4):
        stage.carry_out(dying)
        # A bootloader that counts the starts of kept slots as well gives this one up.
        file_control(stage.board.flash).set_state(stage.footing().slot, SlotState.BAD)
        stage.board.off()
        stage.run(lambda runner, trial=trial: runner.state.phase is Phase.IDLE and ends(stage) == trial)  # type: ignore[misc]  # bound early
        assert told(stage, EventType.ROLLBACK_COMPLETED)[-1]["reason"] == "bootloader_fallback"
        assert (stage.footing().found, stage.footing().running) == (before.found, before.running)
    boots = len(stage.board.boots)
    stage.poll(5)
    assert len(stage.board.boots) == boots, "the order that is still there is not begun again"
    stage.order(dying)
    stage.refused(stage.answer(), "failed_here", is_verified=True)


def test_d26_an_image_that_only_lost_the_server_may_be_tried_again(stage: Stage) -> None:
    lost = stage.release("1.1.0", content=image(Behaviour.LOSES_SERVER, IMAGE_BYTES))
    for trial in range(1, 6):
        stage.order(lost)
        stage.says(stage.answer())
        stage.run(lambda runner, trial=trial: runner.state.phase is Phase.IDLE and ends(stage) == trial)  # type: ignore[misc]  # bound early
    assert stage.server.refusals() == []


# --- D30: several images, of which one is kept back -----------------------------------------------------------------------


@pytest.mark.parametrize("is_second_there", [True, False])
def test_d30_an_order_of_two_images_installs_none(stage: Stage, *, is_second_there: bool) -> None:
    first, second = stage.release("1.1.0"), stage.release("1.2.0", publish=is_second_there)
    stage.order(second)
    other = json.loads(stage.repositories.views[DEVICE].targets)["signed"]["targets"]
    stage.order(first)
    view = stage.repositories.views[DEVICE]
    targets = edited(view.targets, [stage.repositories.director.targets], lambda signed: signed["targets"].update(other))
    answer = stage.answer(director={f"{view.targets_version}.targets.json": targets})
    stage.refused(answer, "bad_metadata", images={} if is_second_there else {second.url: b""})
    assert stage.server.opened == [0], "only the honest update at the end was downloaded"
