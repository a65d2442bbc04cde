# SPDX-License-Identifier: Apache-2.0

"""An agent put together from what lies on a real disk, or not put together at all."""

import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import structs

from surefoot.agent import assembly
from surefoot.agent.assembly import DATA, JOURNAL, assemble, booted_slot, open_journal
from surefoot.agent.boot.file import save
from surefoot.agent.boot.settings import CustomBoot
from surefoot.agent.boot.state import factory
from surefoot.agent.config import Config, Device, RebootCommand, StorageRoot
from surefoot.agent.enrol import Home, keep_certificate
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import replace_file
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import BootError, ConflictError, DeviceError, DigestError, Error, FormatError, InvalidInput
from surefoot.model.record import to_json, to_pretty_json
from surefoot.model.slot import SlotName
from tests.agent.loopback import Authority, http, loopback
from tests.trust.repositories import manifest

IMAGE = b"factory image" * 100
FACTORY = manifest("1.0.0", IMAGE, counter=3)
CONFIG = Config(
    device=Device(id=DeviceId("t-1"), hardware="thermostat-v1", bootloader_version="2.1.0", factory_manifest="factory-manifest.json"),
    storage=StorageRoot(root="state", slot_capacity_bytes=100_000),
    reboot=RebootCommand(command=["touch", "rebooted"]),
)
SLOT_A = {"SUREFOOT_SLOT": "a"}


@pytest.fixture
def folder(tmp_path: Path, ca: Authority) -> Path:
    """A board as it is after enrolment, before its agent first runs."""
    (tmp_path / "state").mkdir()
    storage = PosixStorage(tmp_path / "state")
    save(storage, factory())
    replace_file(storage, "slots/a.img", IMAGE)
    (tmp_path / "factory-manifest.json").write_bytes(to_pretty_json(FACTORY))
    key = ec.generate_private_key(ec.SECP256R1())
    keep_certificate(storage, DATA, key, ca.issue("t-1", public=key.public_key()))
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


def spoil_journal(folder: Path) -> None:
    (folder / "state/data/journal").write_text("garbage\n")


def lose_root(folder: Path) -> None:
    (folder / "state").rename(folder / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "refusal", "says"),
    [
        (spoil_image, DigestError, "factory-manifest.json says: Slot a holds sha256:"),
        (shorten_image, DigestError, "holds 1299 bytes and not the 1300"),
        (lose_manifest, InvalidInput, "factory-manifest.json cannot be read: No such file or directory. Flash the board again."),
        (spoil_manifest, FormatError, "factory-manifest.json: Object missing required field"),
        (never_enrol, InvalidInput, "This device is not enrolled. Run 'surefoot agent enroll"),
        (spoil_server, FormatError, "identity/server.json"),
        (spoil_certificate, InvalidInput, "Run 'surefoot agent enroll'"),
        (spoil_journal, DeviceError, "Line 1 of the journal data/journal is damaged"),
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
    if spoil not in {spoil_journal, lose_root, spoil_certificate}:
        assert open_journal(PosixStorage(folder / "state")).state is None


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
    monkeypatch.setattr(assembly, "_kernel_words", kernel.split)
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


def test_an_agent_that_systemd_stops_ends_in_order_and_leaves_the_watchdog_so(folder: Path) -> None:
    (folder / "agent.toml").write_text(SETTINGS.replace('"watchdog"', f'"{folder / "watchdog"}"'))
    (folder / "watchdog").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(60)
        environment = os.environ | SLOT_A | {"NOTIFY_SOCKET": str(folder / "notify")}
        command = [sys.executable, "-m", "surefoot", "agent", "run", "--config", str(folder / "agent.toml")]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as agent:
            heard = [systemd.recv(1000).decode() for _ in range(3)]
            agent.send_signal(signal.SIGTERM)
            status = agent.wait(60)
        while heard[-1] != "STOPPING=1":
            heard.append(systemd.recv(1000).decode())
    assert heard[:3] == ["READY=1", "STATUS=checking", "STATUS=idle"], "nobody answers where it is enrolled"
    assert status == 0
    assert (folder / "watchdog").read_bytes().strip(b"\0") == b"V"
