# SPDX-License-Identifier: Apache-2.0

"""An agent put together from what lies on a real disk, or not put together at all."""

import gc
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import structs

from surefoot.agent import starting
from surefoot.agent.assembly import assemble
from surefoot.agent.boot.file import file_control, save
from surefoot.agent.boot.settings import CustomBoot, LinkBoot
from surefoot.agent.boot.state import TRIES, factory, with_state
from surefoot.agent.bootloader import open_bootloader
from surefoot.agent.config import Config, Device, RebootCommand, StorageRoot
from surefoot.agent.enrol import Home, keep_certificate
from surefoot.agent.home import DATA, JOURNAL, SAID, STARTED, open_journal
from surefoot.agent.install import activate
from surefoot.agent.installer import open_installer
from surefoot.agent.installers.port import whole_slot_s
from surefoot.agent.installers.settings import ArchiveInstall, Devices, RawInstall
from surefoot.agent.keystore import pem_of
from surefoot.agent.memory import installed_from
from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.probes.settings import HeartbeatProbe
from surefoot.agent.pulse import Stopping
from surefoot.agent.recovery import keep
from surefoot.agent.starting import booted_slot, running_slot
from surefoot.agent.state import State
from surefoot.agent.storage import replace_file
from surefoot.agent.watchdog import Keeper, Watchdog
from surefoot.cli import agent
from surefoot.cli.main import main
from surefoot.model.assignment import DeviceId
from surefoot.model.digest import digest_of
from surefoot.model.errors import BootError, ConflictError, DigestError, Error, FormatError, InvalidInput, JournalLostError, SpaceError
from surefoot.model.record import to_json, to_pretty_json
from surefoot.model.slot import SlotName, SlotState
from tests.agent.loopback import Authority, http, loopback
from tests.agent.loopdev import loop_device
from tests.trust.repositories import manifest

IMAGE = b"factory image" * 100
FACTORY = manifest("1.0.0", IMAGE, counter=3)
CONFIG = Config(
    device=Device(id=DeviceId("t-1"), hardware="thermostat-v1", bootloader_version="2.1.0", factory_manifest="factory-manifest.json"),
    storage=StorageRoot(root="state", slot_capacity_bytes=100_000),
    reboot=RebootCommand(command=["touch", "rebooted"]),
)
SLOT_A, SLOT_B = {"SUREFOOT_SLOT": "a"}, {"SUREFOOT_SLOT": "b"}
A, B = SlotName.A, SlotName.B
NEXT = b"next image" * 100
UPDATE = manifest("1.1.0", NEXT, counter=3)


@pytest.fixture
def folder(tmp_path: Path, ca: Authority) -> Path:
    """A board as it is after enrolment, before its agent first runs."""
    (tmp_path / "state").mkdir()
    storage = PosixStorage(tmp_path / "state")
    save(storage, factory())
    replace_file(storage, "slots/a.img", IMAGE)
    (tmp_path / "factory-manifest.json").write_bytes(to_pretty_json(FACTORY))
    key = ec.generate_private_key(ec.SECP256R1())
    keep_certificate(storage, DATA, pem_of(key), ca.issue("t-1", public=key.public_key()))
    replace_file(storage, f"{DATA}/identity/server-ca.pem", ca.pem.encode())
    replace_file(storage, f"{DATA}/identity/server.json", to_json(Home(device_url="https://devices:8443")))
    return tmp_path


def test_the_first_start_remembers_what_the_factory_flashed(folder: Path) -> None:
    runner = assemble(CONFIG, folder, SLOT_A)
    state = runner.state
    assert (state.slot, state.running.version, state.running.hash, state.release_counter) == ("a", "1.0.0", FACTORY.image.hash, 3)
    assert (runner.parts.device_id, runner.parts.board.hardware, runner.parts.board.slot_capacity_bytes) == (
        "t-1",
        "thermostat-v1",
        100_000,
    )
    assert (folder / "state" / JOURNAL).exists()


def test_what_the_board_says_of_itself_is_handed_on(folder: Path) -> None:
    assert assemble(structs.replace(CONFIG, attributes={"site": "berlin"}), folder, SLOT_A).parts.attributes == {"site": "berlin"}


def test_a_later_start_goes_on_where_the_first_one_was(folder: Path) -> None:
    first = assemble(CONFIG, folder, SLOT_A)
    first.parts.journal.append(structs.replace(first.state, etag="7"))
    journal = first.parts.journal.id
    (folder / "factory-manifest.json").unlink()
    with pytest.raises(ConflictError, match="Another agent"):
        assemble(CONFIG, folder, SLOT_A)
    del first
    gc.collect()
    second = assemble(CONFIG, folder, SLOT_A)
    assert (second.state.etag, second.parts.journal.id) == ("7", journal)


def test_a_lab_may_send_the_device_to_another_address(folder: Path, tmp_path: Path, ca: Authority) -> None:
    with loopback(tmp_path, ca, client_ca=ca) as server:
        server.will_answer(http("304 Not Modified", Content_Length=""))
        runner = assemble(CONFIG, folder, SLOT_A | {"SUREFOOT_SERVER_OVERRIDE": server.url})
        assert runner.parts.server.poll("1").answer is None


def spoil_image(folder: Path) -> None:
    (folder / "state/slots/a.img").write_bytes(IMAGE[:-1] + b"!")


def shorten_image(folder: Path) -> None:
    (folder / "state/slots/a.img").write_bytes(IMAGE[:-1])


def lose_manifest(folder: Path) -> None:
    (folder / "factory-manifest.json").unlink()


def spoil_manifest(folder: Path) -> None:
    (folder / "factory-manifest.json").write_text("{}")


def never_enrol(folder: Path) -> None:
    (folder / "state/data/identity/server.json").unlink()


def spoil_server(folder: Path) -> None:
    (folder / "state/data/identity/server.json").write_text("{")


def spoil_certificate(folder: Path) -> None:
    (folder / "state/data/identity/device.pem").write_text("garbage")


def show_folder(folder: Path) -> None:
    (folder / "state/data/identity").chmod(0o750)


def show_key(folder: Path) -> None:
    (folder / "state/data/identity/device.pem").chmod(0o604)


def spoil_journal_and_image(folder: Path) -> None:
    (folder / "state/data/journal").write_text("garbage\n")
    spoil_image(folder)


def lose_root(folder: Path) -> None:
    (folder / "state").rename(folder / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "refusal", "says"),
    [
        (spoil_image, DigestError, "factory-manifest.json says: Slot a holds sha256:"),
        (shorten_image, DigestError, "holds 1299 bytes and not the 1300"),
        (
            lose_manifest,
            InvalidInput,
            "factory-manifest.json cannot be read: No such file or directory. Put the manifest of the very image",
        ),
        (spoil_manifest, FormatError, "factory-manifest.json: Object missing required field"),
        (never_enrol, InvalidInput, "This device is not enrolled. Run 'surefoot agent enroll"),
        (spoil_server, FormatError, "identity/server.json"),
        (spoil_certificate, InvalidInput, "Run 'surefoot agent enroll'"),
        (spoil_journal_and_image, JournalLostError, "nothing here proves what runs in slot a. Put the manifest of what runs where"),
        (show_folder, InvalidInput, "Others than the agent have rights to"),
        (show_key, InvalidInput, "identity/device.pem. Run 'chmod -R go= "),
        (lose_root, InvalidInput, "state is not a folder. Make it, or name another in agent.toml."),
    ],
)
def test_what_is_missing_or_damaged_is_named_and_no_state_is_invented(
    folder: Path, spoil: Callable[[Path], None], refusal: type[Error], says: str
) -> None:
    spoil(folder)
    with pytest.raises(refusal) as refused:
        assemble(CONFIG, folder, SLOT_A)
    assert says in str(refused.value)
    if spoil not in {spoil_journal_and_image, lose_root, spoil_certificate}:
        assert open_journal(PosixStorage(folder / "state")).state is None


# --- a journal that is lost -------------------------------------------------------------------------------------------------


def updated(folder: Path, mark: SlotState = SlotState.GOOD) -> State:
    """Let 1.1.0 run from slot b, as the journal and its copy tell, marked so by the bootloader."""
    storage = PosixStorage(folder / "state")
    replace_file(storage, "slots/b.img", NEXT)
    save(storage, structs.replace(with_state(factory(), B, mark), primary=B))
    first = State(
        slot=B,
        running=installed_from(UPDATE),
        fallback=installed_from(FACTORY),
        release_counter=9,
        time_floor="2026-11-23T08:00:00Z",
    )
    open_journal(storage).append(first)
    keep(storage, DATA, first)
    return first


@pytest.mark.parametrize("copy", [None, b"garbage"], ids=["whole copy", "both copies"])
@pytest.mark.parametrize("damage", [b"garbage\n", b"\0" * 4096, b""])
def test_an_agent_whose_journal_is_damaged_begins_anew_and_says_so(folder: Path, damage: bytes, copy: bytes | None) -> None:
    before = updated(folder) if copy is None else None
    journal = folder / "state/data/journal"
    journal.parent.mkdir(exist_ok=True)
    journal.write_bytes(damage)
    if copy is not None:
        (folder / "state/data/kept.json").write_bytes(copy)
    runner = assemble(CONFIG, folder, SLOT_B if before else SLOT_A)
    expected = (B, "1.1.0", 9) if before else (A, "1.0.0", 3)
    assert (runner.state.slot, runner.state.running.version, runner.state.release_counter) == expected
    assert (runner.state.fallback is None) == (before is None)
    (told,) = runner.parts.journal.pending
    assert (told.type, told.data["failed"]) == ("update.check.completed", "journal_lost")
    assert (folder / "state/data/journal.damaged").read_bytes() == damage, "kept aside for whoever looks into it"
    numbered, known = runner.parts.journal.id, runner.state
    del runner
    gc.collect()
    again = assemble(CONFIG, folder, SLOT_B if before else SLOT_A)
    assert (again.parts.journal.id, again.state) == (numbered, known), "it begins anew once"


@pytest.mark.parametrize("is_first", [True, False])
def test_each_slot_that_is_read_at_the_start_is_said_before(folder: Path, *, is_first: bool) -> None:
    """A large slot takes minutes to read: a watchdog, or systemd's time for a start, must not end that."""

    class Told(Keeper):
        said: ClassVar[list[float]] = []

        def beat(self, within_s: float = 0.0) -> None:
            self.said.append(within_s)

    if not is_first:
        updated(folder)
        (folder / "state/data/journal").unlink()
    assemble(CONFIG, folder, SLOT_A if is_first else SLOT_B, Told(Watchdog(), {}, SystemClock()))
    sizes = [IMAGE, IMAGE] if is_first else [NEXT, NEXT, IMAGE, NEXT]
    assert sorted(Told.said) == sorted(whole_slot_s(len(image)) for image in sizes)


def test_a_journal_that_is_gone_is_as_one_that_is_damaged(folder: Path) -> None:
    updated(folder)
    (folder / "state/data/journal").unlink()
    assert assemble(CONFIG, folder, SLOT_B).state.running.version == "1.1.0"


def test_what_the_rest_of_a_damaged_journal_says_is_proposed_too(folder: Path) -> None:
    updated(folder)
    journal = folder / "state/data/journal"
    journal.write_bytes(b"garbage\n" + journal.read_bytes())
    (folder / "state/data/kept.json").unlink()
    state = assemble(CONFIG, folder, SLOT_B).state
    assert (state.running.version, state.release_counter) == ("1.1.0", 9)


def test_a_trial_that_nobody_can_tell_of_is_given_up(folder: Path) -> None:
    updated(folder, SlotState.TRYING)
    (folder / "state/data/journal").write_bytes(b"garbage")
    with pytest.raises(JournalLostError, match="the board goes back to slot a"):
        assemble(CONFIG, folder, SLOT_B)
    assert (folder / "rebooted").exists()
    boot = file_control(PosixStorage(folder / "state"))
    assert (boot.get_primary(), boot.get_state(B)) == (A, SlotState.BAD)
    gc.collect()
    assert assemble(CONFIG, folder, SLOT_A).state.running.version == "1.0.0"


def test_a_trial_without_anything_to_go_back_to_is_kept(folder: Path) -> None:
    updated(folder, SlotState.TRYING)
    spoil_image(folder)
    (folder / "state/data/journal").write_bytes(b"garbage")
    assert assemble(CONFIG, folder, SLOT_B).state.slot is B
    assert file_control(PosixStorage(folder / "state")).get_state(B) is SlotState.GOOD


def test_an_update_that_a_lost_journal_was_about_to_start_is_not_started(folder: Path) -> None:
    assemble(CONFIG, folder, SLOT_A)
    gc.collect()
    storage = PosixStorage(folder / "state")
    replace_file(storage, "slots/b.img", NEXT)
    activate(file_control(storage), B)
    (folder / "state/data/journal").write_bytes(b"garbage")
    runner = assemble(CONFIG, folder, SLOT_A)
    assert (runner.state.slot, runner.state.fallback) == (A, None)
    boot = file_control(storage)
    assert (boot.get_primary(), boot.get_state(A), boot.get_state(B)) == (A, SlotState.GOOD, SlotState.BAD)


def test_a_journal_that_knows_of_nothing_in_the_slot_that_runs_is_as_one_that_is_lost(folder: Path) -> None:
    before = updated(folder)
    journal = open_journal(PosixStorage(folder / "state"))
    journal.append(structs.replace(before, fallback=None))
    journal.close()
    state = assemble(CONFIG, folder, SLOT_A).state
    assert (state.slot, state.running.version, state.release_counter) == (A, "1.0.0", 9)


def test_the_factorys_time_is_when_it_built_and_not_what_a_clock_said(folder: Path) -> None:
    dated = structs.replace(FACTORY, build_id="20260102-030405-abc")
    (folder / "factory-manifest.json").write_bytes(to_pretty_json(dated))
    assert assemble(CONFIG, folder, SLOT_A).state.time_floor == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("named", ["", "c", "A", "ab"])
def test_a_slot_is_never_guessed(named: str) -> None:
    with pytest.raises(BootError, match="Nobody says which slot booted"):
        booted_slot({"SUREFOOT_SLOT": named})


@pytest.mark.parametrize(
    ("kernel", "slot"),
    [("ro quiet surefoot.slot=b", SlotName.B), ("ro", None), ("surefoot.slot=a surefoot.slot=b", None), ("surefoot.slot=", None)],
)
def test_the_kernel_names_the_slot_when_the_environment_does_not(
    monkeypatch: pytest.MonkeyPatch, kernel: str, slot: SlotName | None
) -> None:
    monkeypatch.setattr(starting, "_kernel_words", kernel.split)
    assert booted_slot({"SUREFOOT_SLOT": "a"}) is SlotName.A
    if slot is not None:
        assert booted_slot({}) is slot
        return
    with pytest.raises(BootError):
        booted_slot({})


def test_the_machine_that_runs_the_tests_names_no_slot() -> None:
    with pytest.raises(BootError):
        booted_slot({})


def test_an_agent_that_starts_marks_the_kept_slot_for_a_loader_that_counts_every_start(folder: Path) -> None:
    backend = folder / "backend"
    backend.write_text('#!/bin/sh\necho "$*" >> calls\ncase "$1" in get-primary) echo A ;; get-state) echo good ;; esac\n')
    backend.chmod(0o700)
    assemble(structs.replace(CONFIG, boot=CustomBoot(command=["./backend"])), folder, SLOT_A)
    assert "set-state A good" in (folder / "calls").read_text().splitlines()


def test_a_reboot_runs_the_command_in_the_folder_of_the_settings(folder: Path) -> None:
    assemble(CONFIG, folder, SLOT_A).parts.reboot()
    assert (folder / "rebooted").exists()


@pytest.mark.parametrize("command", [["false"], ["/nowhere/reboot"], ["."]])
def test_a_reboot_command_that_fails_is_the_boards_failure(folder: Path, command: list[str]) -> None:
    runner = assemble(structs.replace(CONFIG, reboot=RebootCommand(command=command)), folder, SLOT_A)
    with pytest.raises(BootError, match="The reboot command failed"):
        runner.parts.reboot()


def test_a_reboot_command_may_take_as_long_as_the_settings_say(folder: Path) -> None:
    reboot = RebootCommand(command=["sleep", "3600"], timeout_s=0.1)
    with pytest.raises(BootError, match="timed out"):
        assemble(structs.replace(CONFIG, reboot=reboot), folder, SLOT_A).parts.reboot()


def test_the_watchdog_waits_for_a_reboot_command_that_may_take_long(folder: Path) -> None:
    beats: list[float] = []

    class Listening(Keeper):
        def beat(self, within_s: float = 0.0) -> None:
            beats.append(within_s)

    keeper = Listening(Watchdog(), {}, SystemClock())
    assemble(structs.replace(CONFIG, reboot=structs.replace(CONFIG.reboot, timeout_s=500)), folder, SLOT_A, keeper).parts.reboot()
    assert beats[-1] > 500


def test_an_agent_on_block_devices_reads_the_one_that_runs_and_measures_the_other(folder: Path) -> None:
    (folder / "a.disk").write_bytes(IMAGE)
    with loop_device(folder / "a.disk", 8192) as a, loop_device(folder / "b.disk", 65536) as b:
        install = RawInstall(devices=Devices(a=str(a), b=str(b)))
        config = structs.replace(CONFIG, install=install, storage=StorageRoot(root="state"))
        runner = assemble(config, folder, SLOT_A)
        assert runner.running.found == FACTORY.image.hash
        assert runner.parts.board.slot_capacity_bytes == 65536


@pytest.fixture
def application(folder: Path) -> Config:
    """A board with an application in slot a, and its settings; ``restarts`` has where ``current`` led at each restart."""
    app = folder / "app"
    app.mkdir()
    (app / "current").symlink_to("a")
    archive = tar_of(version=b"1")
    install_archive(folder, SlotName.A, archive)
    (folder / "factory-manifest.json").write_bytes(to_pretty_json(manifest("1.0.0", archive, counter=3)))
    return structs.replace(
        CONFIG,
        install=ArchiveInstall(folder="app"),
        boot=LinkBoot(folder="app"),
        reboot=RebootCommand(command=["sh", "-c", "readlink app/current >> restarts"], restarts="application"),
    )


def tar_of(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def install_archive(folder: Path, slot: SlotName, archive: bytes) -> None:
    """Do what a factory does, and a download."""
    installer = open_installer(
        ArchiveInstall(folder="app"), PosixStorage(folder / "state"), folder, slot.other, capacity_bytes=100_000, clock=SystemClock()
    )
    file = installer.writer(slot)
    file.truncate(0)
    file.write_at(0, archive)
    installer.install(slot, len(archive), digest_of(archive))
    installer.close()


def restarts(folder: Path) -> list[str]:
    path = folder / "restarts"
    return path.read_text().split() if path.exists() else []


def test_an_application_runs_where_the_link_leads_whatever_the_kernel_says(folder: Path, application: Config) -> None:
    runner = assemble(application, folder, {"SUREFOOT_SLOT": "b"})
    assert (runner.slot, runner.running.found, restarts(folder)) == ("a", runner.state.running.hash, [])


def test_an_application_is_restarted_and_the_agent_goes_on_with_what_was_started(folder: Path, application: Config) -> None:
    runner = assemble(application, folder, {})
    archive = tar_of(version=b"2")
    install_archive(folder, SlotName.B, archive)
    activate(runner.parts.boot, SlotName.B)
    restarted = runner.parts.reboot()
    assert restarted is not None
    assert (restarted.slot, restarts(folder)) == ("b", ["b"])
    assert (folder / "app/current/version").read_bytes() == b"2"


SAYS_READY = """import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b"READY=1", "heart")"""


def test_an_application_that_says_once_that_it_is_ready_is_heard_and_none_listens_in_vain(folder: Path, application: Config) -> None:
    """It says so while it is started: who listens after that would miss it."""
    probe = HeartbeatProbe(notify="heart", max_age_s=600)
    runner = assemble(
        structs.replace(
            application,
            trial=structs.replace(application.trial, probes=[probe]),
            reboot=RebootCommand(command=[sys.executable, "-c", SAYS_READY], restarts="application"),
        ),
        folder,
        {},
    )
    assert runner.parts.monitor.check().failing == "The heartbeat heart has not moved yet."
    for _ in range(2):
        restarted = runner.parts.reboot()
        assert restarted is not None
        until = time.monotonic() + 30
        while (failing := restarted.monitor.check().failing) and time.monotonic() < until:
            os.sched_yield()
        assert failing == ""
    assert _ends_as(lambda: sum(thread.name == "heartbeat heart" for thread in threading.enumerate()), 1)


def _ends_as(count: Callable[[], int], expected: int) -> bool:
    until = time.monotonic() + 30
    while count() != expected and time.monotonic() < until:
        os.sched_yield()
    return count() == expected


def test_an_application_on_trial_that_has_no_start_left_is_not_left_running(folder: Path, application: Config) -> None:
    runner = assemble(application, folder, {})
    activate(runner.parts.boot, SlotName.B)
    for _ in range(TRIES):
        runner.parts.reboot()
    assert running_slot(application, PosixStorage(folder / "state"), folder, {}) == "b"
    del runner
    gc.collect()
    assert assemble(application, folder, {}).slot == "a"
    assert restarts(folder) == ["b"] * TRIES + ["a"]


def come_up(config: Config, folder: Path, boot: str) -> SlotName:
    return starting.started_slot(config, PosixStorage(folder / "state"), folder, {}, boot)


def test_an_application_that_could_not_be_started_is_started_when_the_agent_comes_up_again(folder: Path, application: Config) -> None:
    assert come_up(application, folder, "boot 1") == "a"
    boot = open_bootloader(application.boot, PosixStorage(folder / "state"), folder, A, SAID)
    activate(boot, B)
    failing = structs.replace(application, reboot=RebootCommand(command=["false"], restarts="application"))
    for _ in range(TRIES + 1):
        with pytest.raises(BootError, match="The reboot command failed"):
            come_up(failing, folder, "boot 1")
    assert come_up(failing, folder, "boot 1") == "a", "which runs all the time"
    activate(boot, B)
    assert (come_up(application, folder, "boot 1"), come_up(application, folder, "boot 1"), restarts(folder)) == ("b", "b", ["b"])


def test_as_the_system_comes_up_it_starts_what_the_link_leads_to(folder: Path, application: Config) -> None:
    come_up(application, folder, "boot 1")
    activate(open_bootloader(application.boot, PosixStorage(folder / "state"), folder, A, SAID), B)
    assert (come_up(application, folder, "boot 2"), restarts(folder)) == ("b", [])


@pytest.mark.parametrize("note", [None, b"", b"{}", b'{"boot":"boot 1","slot":"c"}'])
def test_without_a_note_what_is_on_trial_is_restarted_and_nothing_else(folder: Path, application: Config, note: bytes | None) -> None:
    storage = PosixStorage(folder / "state")

    def forget() -> None:
        storage.remove(STARTED)
        if note is not None:
            replace_file(storage, STARTED, note)

    forget()
    assert (come_up(application, folder, "boot 1"), restarts(folder)) == ("a", [])
    activate(open_bootloader(application.boot, storage, folder, A, SAID), B)
    forget()
    failing = structs.replace(application, reboot=RebootCommand(command=["false"], restarts="application"))
    with pytest.raises(BootError):
        come_up(failing, folder, "boot 1")
    assert (come_up(application, folder, "boot 1"), restarts(folder)) == ("b", ["b"])


def test_a_board_that_reboots_for_its_application_is_not_told_that_it_runs_already(folder: Path, application: Config) -> None:
    whole = structs.replace(application, reboot=RebootCommand(command=application.reboot.command))
    come_up(whole, folder, "boot 1")
    activate(open_bootloader(whole.boot, PosixStorage(folder / "state"), folder, A, SAID), B)
    with pytest.raises(BootError, match="the board reboots for it"):
        come_up(whole, folder, "boot 1")
    assert (come_up(whole, folder, "boot 2"), restarts(folder)) == ("b", ["b"])


def test_a_restart_that_fails_is_the_boards_failure_and_costs_a_start(folder: Path, application: Config) -> None:
    failing = structs.replace(application, reboot=RebootCommand(command=["false"], restarts="application"))
    runner = assemble(failing, folder, {})
    activate(runner.parts.boot, SlotName.B)
    for _ in range(TRIES + 1):
        with pytest.raises(BootError, match="The reboot command failed"):
            runner.parts.reboot()
    assert runner.parts.boot.get_primary() is SlotName.A


@pytest.mark.parametrize("lead", ["c", "../a", None])
def test_a_link_that_leads_to_no_slot_stops_the_agent(folder: Path, application: Config, lead: str | None) -> None:
    link = folder / "app/current"
    link.unlink()
    if lead is not None:
        link.symlink_to(lead)
    with pytest.raises(BootError, match="The link current leads"):
        assemble(application, folder, {})


SETTINGS = """\
[device]
id = "t-1"
hardware = "thermostat-v1"
bootloader_version = "2.1.0"
factory_manifest = "factory-manifest.json"

[storage]
root = "state"
slot_capacity_bytes = 100000

[reboot]
command = ["true"]

[watchdog]
device = "watchdog"
"""


@pytest.mark.parametrize("moment", ["coming up", "disk full"])
def test_a_stop_is_in_order_while_the_agent_comes_up_and_where_it_cannot_be_noted(
    moment: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "agent.toml").write_text(SETTINGS.replace('"watchdog"', f'"{folder / "watchdog"}"'))
    (folder / "watchdog").touch()

    class Full:
        def run(self) -> None:
            raise Stopping

        def stop(self) -> None:
            raise SpaceError("The disk is full.")

    def assembled(*_: object) -> Full:
        if moment == "coming up":
            raise Stopping
        return Full()

    monkeypatch.setattr(agent, "assemble", assembled)
    monkeypatch.setattr(os, "nice", lambda _by: 0)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["agent", "run", "--config", str(folder / "agent.toml")]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (folder / "watchdog").read_bytes().strip(b"\0") == b"V"


def test_an_agent_that_systemd_stops_ends_in_order_and_leaves_the_watchdog_so(folder: Path) -> None:
    (folder / "agent.toml").write_text(SETTINGS.replace('"watchdog"', f'"{folder / "watchdog"}"'))
    (folder / "watchdog").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(60)
        environment = os.environ | SLOT_A | {"NOTIFY_SOCKET": str(folder / "notify")}
        command = [sys.executable, "-m", "surefoot", "agent", "run", "--config", str(folder / "agent.toml")]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as agent:
            heard = [systemd.recv(1000).decode() for _ in range(5)]
            agent.send_signal(signal.SIGTERM)
            status = agent.wait(60)
        while heard[-1] != "STOPPING=1":
            heard.append(systemd.recv(1000).decode())
        extended = [heard.pop(0).startswith("EXTEND_TIMEOUT_USEC=") for _ in range(2)]
        assert extended == [True, True], "the slot is read for the journal, and for what runs"
        assert heard[:3] == ["READY=1", "STATUS=checking", "STATUS=idle"], "nobody answers where it is enrolled"
    assert status == 0
    assert (folder / "watchdog").read_bytes().strip(b"\0") == b"V"
