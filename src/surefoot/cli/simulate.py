# SPDX-License-Identifier: Apache-2.0
"""``surefoot simulate``: make a board in a folder and run it in wall time; or many of them at once."""

import argparse
import fcntl
import json
import shlex
import signal
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import msgspec

from surefoot.agent.boot.file import save
from surefoot.agent.boot.state import factory
from surefoot.agent.installer import SLOTS
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import replace_file
from surefoot.cli import simulate_fleet
from surefoot.cli.flashing import BOOTLOADER_VERSION, DEFAULT_CAPACITY_BYTES, make_empty, read_release, require_fit
from surefoot.model import version
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import ConflictError, FormatError, InvalidInput, UnknownError
from surefoot.model.slot import SlotName
from surefoot.simulator.supervisor import Board


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``surefoot simulate``."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    flash = verbs.add_parser("flash", help="make a board with a release in slot a")
    flash.add_argument("folder", type=Path, metavar="DIR", help="the board; must be empty or not exist")
    flash.add_argument("--bundle", type=Path, required=True, help="folder or .tar of the release")
    flash.add_argument("--hardware", required=True, help="which of the bundle's hardware the board is")
    flash.add_argument("--variant", default="release", help="which variant to flash (default: release)")
    flash.add_argument("--serial", required=True, help="serial number and device id of the board")
    flash.add_argument("--bootloader-version", default=BOOTLOADER_VERSION, help=f"default: {BOOTLOADER_VERSION}")
    flash.add_argument("--slot-bytes", type=int, default=DEFAULT_CAPACITY_BYTES, help=f"size of a slot (default: {DEFAULT_CAPACITY_BYTES})")
    flash.set_defaults(run=run_flash)
    board = verbs.add_parser("board", help="run a board until SIGTERM")
    board.add_argument("folder", type=Path, metavar="DIR", help="the board")
    board.set_defaults(run=run_board)
    simulate_fleet.configure(verbs)


def run_flash(arguments: argparse.Namespace) -> int:
    """Write a release into a new board.

    Raises:
        InvalidInput: The bundle is none or has nothing for this board, the image is larger than a slot, or there is something in
            the folder already; nothing was written.
        DigestError: The bundle has been changed; nothing was written.
    """
    serial = _serial(arguments.serial)
    version.parse(arguments.bootloader_version)
    manifest_bytes, _, image = read_release(arguments.bundle, arguments.hardware, arguments.variant)
    require_fit(image, arguments.slot_bytes)
    folder: Path = arguments.folder
    make_empty(folder)
    storage = PosixStorage(folder)
    replace_file(storage, SLOTS[SlotName.A], image)
    replace_file(storage, "factory-manifest.json", manifest_bytes)
    settings = agent_settings(serial, arguments.hardware, arguments.bootloader_version, arguments.slot_bytes)
    replace_file(storage, "agent.toml", settings.encode())
    save(storage, factory())
    print(f"board {serial}: flashed {arguments.hardware} into {folder}")
    print(f"Next: surefoot token new {serial} --hardware {arguments.hardware} -o enrol.json")
    print(f"      surefoot agent enroll --with enrol.json --config {folder}/agent.toml")
    print(f"      surefoot simulate board {folder}")
    return 0


def run_board(arguments: argparse.Namespace) -> int:
    """Run a board until SIGTERM or SIGINT.

    Raises:
        UnknownError: There is no board in the folder.
        FormatError: Its ``agent.toml`` cannot be read.
        BootError: Its bootloader finds no state.
        ConflictError: It runs already.
    """
    serial = _read_serial(arguments.folder / "agent.toml")
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _switched_on(arguments.folder):
        Board(arguments.folder, serial, say=lambda line: print(f"board {serial}: {line}", flush=True)).run(stop)
    return 0


def agent_settings(serial: str, hardware: str, bootloader_version: str, slot_bytes: int) -> str:
    """Return the ``agent.toml`` of a simulated board."""
    # A JSON string is a TOML basic string.
    self_test = f"exec {shlex.quote(sys.executable)} slots/$SUREFOOT_SLOT.img --self-test"
    return f"""\
[device]
id = {json.dumps(serial)}
hardware = {json.dumps(hardware)}
bootloader_version = {json.dumps(bootloader_version)}
factory_manifest = "factory-manifest.json"

[storage]
root = "."
slot_capacity_bytes = {slot_bytes}

[reboot]
command = ["touch", "run/reboot"]

[trial]
settle_s = 2
timeout_s = 20

[[trial.probes]]
kind = "heartbeat"
path = "run/heartbeat"
max_age_s = 2

[[trial.probes]]
kind = "http"
port_file = "run/health-port"
path = "/health"
timeout_s = 2

[[trial.probes]]
kind = "command"
command = ["sh", "-c", {json.dumps(self_test)}]
timeout_s = 5
"""


@contextmanager
def _switched_on(folder: Path) -> Iterator[None]:
    """Hold a board for this process: two bootloaders on one board would each undo what the other counts."""
    with (folder / "board.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"The board in {folder} runs already.", hint="Stop it first.") from error
        yield


def _serial(text: str) -> str:
    try:
        return msgspec.convert(text, DeviceId)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{text!r} is no serial number.", hint="Use letters, digits and . _ : - only.") from error


def _read_serial(path: Path) -> str:
    try:
        settings = tomllib.loads(path.read_text())
    except OSError as error:
        raise UnknownError(f"There is no board in {path.parent}.", hint="Make one with 'surefoot simulate flash'.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: {error}.") from error
    try:
        return msgspec.convert(settings["device"]["id"], DeviceId)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise FormatError(f"{path}: [device] id is missing or no device id.", hint="Flash the board again.") from error
