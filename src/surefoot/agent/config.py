# SPDX-License-Identifier: Apache-2.0
"""``agent.toml``: what an integrator says about a board, read once and strictly."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from surefoot.agent.asking import ConsentRule
from surefoot.agent.battery import InterlockRule
from surefoot.agent.boot.settings import Boot, FileBoot, LinkBoot, RaucBoot
from surefoot.agent.installers.settings import ArchiveInstall, Install, RaucInstall, RawInstall, ScriptInstall
from surefoot.agent.keystore import FileKey, KeySettings
from surefoot.agent.network import NetworkSettings
from surefoot.agent.probes.settings import Probe
from surefoot.agent.rate import DownloadRule
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
        bootloader_copies: How many copies of that there are, of which the installer writes the one that did not start the board.
        factory_manifest: File with the manifest of the image it left the factory with.
    """

    id: DeviceId
    hardware: Name
    bootloader_version: SemVer
    bootloader_copies: Literal[1, 2] = 1
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
    """How the board is booted again.

    Attributes:
        command: What does it.
        restarts: What that is: the whole board, or an application in archives alone; then the agent goes on when it is done.
        timeout_s: How long it may take; then it has failed. An application that takes its time to stop needs as much.
    """

    command: Annotated[list[str], Meta(min_length=1)]
    restarts: Literal["board", "application"] = "board"
    timeout_s: Annotated[float, Meta(gt=0, le=3_600)] = 180


class ClockRule(Record, frozen=True, kw_only=True):
    """The table ``[clock]``: whether the agent sets a clock that is behind what it knows for certain; not on a machine that it shares."""

    set: bool = False


class Process(Record, frozen=True, kw_only=True):
    """The table ``[process]``.

    Attributes:
        nice: By how much the agent, and all that it starts, stands back for the device's own work.
        run_folder: Where it notes what only counts until the next boot, if the folder is there.
    """

    run_folder: str = "/run/surefoot"
    nice: Annotated[int, Meta(ge=0, le=19)] = 0


class Trial(Record, frozen=True, kw_only=True):
    """What a release on trial must hold, and for how long; see ``surefoot.agent.state.Policy``."""

    settle_s: Seconds = 30
    timeout_s: Seconds = 300
    interval_s: Seconds = 1
    needs_server: bool = True
    probes: list[Probe] = []

    def __post_init__(self) -> None:
        """Refuse a trial that nothing could pass; the decoder turns this into ``FormatError``."""
        if self.settle_s >= self.timeout_s:
            raise ValueError("settle_s must be less than timeout_s: no release could hold for that long in its time")


class Config(Record, frozen=True, kw_only=True):
    """The whole file; ``attributes`` are what the device says of itself in its reports."""

    device: Device
    storage: StorageRoot
    reboot: RebootCommand
    boot: Boot = FileBoot()
    install: Install = RawInstall()
    identity: KeySettings = FileKey()
    trial: Trial = msgspec.field(default_factory=Trial)
    rollback: Thresholds = msgspec.field(default_factory=Thresholds)
    watchdog: Watchdog = msgspec.field(default_factory=Watchdog)
    clock: ClockRule = ClockRule()
    download: DownloadRule = DownloadRule()
    process: Process = Process()
    interlock: InterlockRule = InterlockRule()
    consent: ConsentRule = msgspec.field(default_factory=ConsentRule)
    network: NetworkSettings = msgspec.field(default_factory=NetworkSettings)
    attributes: Attributes = {}

    def __post_init__(self) -> None:
        """Refuse tables that do not fit one another; the decoder turns this into ``FormatError``."""
        has_devices = isinstance(self.install, RawInstall) and self.install.devices is not None
        if self.storage.slot_capacity_bytes is None and not has_devices:
            raise ValueError("storage.slot_capacity_bytes is missing: only block devices say themselves how large they are")
        trees = self.install.folder if isinstance(self.install, ArchiveInstall) else None
        if trees != (self.boot.folder if isinstance(self.boot, LinkBoot) else None):
            raise ValueError("archives go with the boot backend 'link', and both have one folder")
        if isinstance(self.install, RaucInstall) and not (isinstance(self.boot, RaucBoot) and self.boot.names == self.install.names):
            raise ValueError("RAUC's bundles go with the boot backend 'rauc', and both have the same names")
        if self.device.bootloader_copies > 1 and not (has_devices or isinstance(self.install, RaucInstall | ScriptInstall)):
            raise ValueError("only RAUC, a script or an image on block devices updates one of two bootloaders")
        if self.reboot.restarts == "application" and trees is None:
            raise ValueError("only an application in archives is restarted without a reboot")


_KEYS = "docs/formats.md has every key and its values, in 'agent.toml'."


def read_config(path: Path) -> Config:
    """Read ``agent.toml``.

    Raises:
        FormatError: Not TOML, or a key is missing, unknown or of the wrong type; the message names it.
        InvalidInput: The file cannot be read, or names a built-in attribute.
    """
    try:
        config = from_plain(tomllib.loads(path.read_text(encoding="utf-8")), Config, what=str(path))
    except PermissionError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", hint="Run this as root, as the agent.") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", hint="Name the file with --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is not TOML: {error}.", hint=_KEYS) from error
    except FormatError as error:
        raise FormatError(error.message, hint=_KEYS) from error
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
