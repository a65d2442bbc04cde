# SPDX-License-Identifier: Apache-2.0
"""``agent.toml``: what an integrator says about a board, read once and strictly."""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from surefoot.agent.boot.settings import Boot, FileBoot
from surefoot.agent.installers.settings import Install, RawInstall
from surefoot.agent.probes.settings import Probe
from surefoot.agent.state import Policy
from surefoot.agent.triggers import Thresholds
from surefoot.agent.watchdog import Watchdog
from surefoot.model.assignment import DeviceId
from surefoot.model.attribute import Attributes, check_free
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import Name, Record, Size, from_plain
from surefoot.model.version import SemVer

Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class Device(Record, frozen=True, kw_only=True):
    """Who the board is and what it was made with.

    Attributes:
        id: The device's name in the fleet.
        hardware: What it is, as releases name it.
        bootloader_version: What boots it.
        factory_manifest: File with the manifest of the image it left the factory with.
    """

    id: DeviceId
    hardware: Name
    bootloader_version: SemVer
    factory_manifest: str


class StorageRoot(Record, frozen=True, kw_only=True):
    """Where the agent's own files lie, and slots that are files.

    Attributes:
        root: Their folder.
        slot_capacity_bytes: How large an image may be; may be left out where the slots are block devices, which say it themselves.
    """

    root: str = "."
    slot_capacity_bytes: Size | None = None


class RebootCommand(Record, frozen=True, kw_only=True):
    """How the board is booted again."""

    command: Annotated[list[str], Meta(min_length=1)]


class Trial(Record, frozen=True, kw_only=True):
    """What a release on trial must hold, and for how long; see ``surefoot.agent.state.Policy``."""

    settle_s: Seconds = 30
    timeout_s: Seconds = 300
    interval_s: Seconds = 1
    needs_server: bool = True
    probes: list[Probe] = []


class Config(Record, frozen=True, kw_only=True):
    """The whole file; ``attributes`` are what the device says of itself in its reports."""

    device: Device
    storage: StorageRoot
    reboot: RebootCommand
    boot: Boot = FileBoot()
    install: Install = RawInstall()
    trial: Trial = msgspec.field(default_factory=Trial)
    rollback: Thresholds = msgspec.field(default_factory=Thresholds)
    watchdog: Watchdog = msgspec.field(default_factory=Watchdog)
    attributes: Attributes = {}

    def __post_init__(self) -> None:
        """Refuse slots whose size nobody says; the decoder turns this into ``FormatError``."""
        if self.storage.slot_capacity_bytes is None and self.install.devices is None:
            raise ValueError("storage.slot_capacity_bytes is missing: only block devices say themselves how large they are")


def read_config(path: Path) -> Config:
    """Read ``agent.toml``.

    Raises:
        FormatError: Not TOML, or a key is missing, unknown or of the wrong type; the message names it.
        InvalidInput: The file cannot be read, or names a built-in attribute.
    """
    try:
        config = from_plain(tomllib.loads(path.read_text(encoding="utf-8")), Config, what=str(path))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", hint="Name the file with --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is not TOML: {error}.") from error
    check_free(config.attributes)
    return config


def policy_of(trial: Trial, rollback: Thresholds) -> Policy:
    """Return the machine's numbers for these settings."""
    return Policy(
        settle_s=trial.settle_s,
        trial_s=trial.timeout_s,
        probe_s=trial.interval_s,
        needs_server=trial.needs_server,
        rollback=rollback,
    )
