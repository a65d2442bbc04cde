# SPDX-License-Identifier: Apache-2.0
"""How an agent is put together on a real board: files, bootloader, server and clocks from ``agent.toml``.

Layout below the storage root: ``boot.json`` (of the backend ``file``), ``slots/a.img`` and ``slots/b.img`` (slots that are files), and
the agent's own ``data/``: ``journal``, ``kept.json``, ``trusted/``, ``identity/``, ``boot-said.json`` (of the backends ``rauc`` and
``custom``), ``started.json`` (of the backend ``link``).
"""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from surefoot.agent.admission import Board
from surefoot.agent.asking import ConsentRule, ask
from surefoot.agent.battery import battery_inhibitors
from surefoot.agent.bootloader import open_bootloader
from surefoot.agent.clock import ClockLift, FlooredClock
from surefoot.agent.config import Config, policy_of
from surefoot.agent.consent import put_off_until
from surefoot.agent.enrol import read_identity
from surefoot.agent.health import Monitor
from surefoot.agent.home import DATA, LOCK, SAID, require_secret, storage_root
from surefoot.agent.install import keep
from surefoot.agent.installer import open_installer
from surefoot.agent.interlock import inhibitors
from surefoot.agent.keystore import open_keys
from surefoot.agent.memory import Scene, remember
from surefoot.agent.network import Surroundings
from surefoot.agent.origin import read_origin
from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.pulse import Pulse, Unheard
from surefoot.agent.rate import Bucket
from surefoot.agent.recovery import keep as keep_copy
from surefoot.agent.renewal import Renewal
from surefoot.agent.runner import Parts, Restarted, Runner
from surefoot.agent.starting import restart, started_slot
from surefoot.agent.storage import Storage
from surefoot.agent.transport import HttpsServer
from surefoot.agent.trusted import TrustedStore
from surefoot.agent.wake import note_wake
from surefoot.agent.watchdog import Keeper
from surefoot.model.assignment import Order
from surefoot.model.record import parse_utc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENDING_S = 30.0
"""For a command that is ended because it took too long, and for what is looked at before and after it."""


def assemble(config: Config, folder: Path, environment: Mapping[str, str], keeper: Keeper | None = None) -> Runner:
    """Return an agent that is ready to run.

    Args:
        config: The content of ``agent.toml``.
        folder: The folder it lies in: relative paths and commands start there.
        environment: Environment variables: ``SUREFOOT_SLOT`` names the slot that booted, else the kernel's command line does;
            ``SUREFOOT_SERVER_OVERRIDE`` takes the place of the server's URL, for labs.
        keeper: Who kicks the watchdogs; nobody does when there is none.

    Raises:
        InvalidInput: The device is not enrolled, others may read its key, or a file it needs cannot be read.
        ConflictError: Another agent works on this device.
        BootError: Nobody says which slot booted, or the bootloader's state cannot be read.
        DigestError: The factory image is not what its manifest says.
        JournalLostError: The journal is damaged, and nothing proves what runs; or a trial is given up for that, and the board reboots.
        DeviceError: The agent's own files are damaged.
    """
    root = storage_root(config, folder)
    storage = PosixStorage(root)
    identity = read_identity(storage, root, DATA)
    require_secret(root)
    storage.hold(LOCK)
    clock = keeper or SystemClock()
    pulse: Pulse = keeper or Unheard()
    origin = read_origin()
    slot = started_slot(config, storage, folder, environment, origin.boot)
    slots = open_installer(config.install, storage, folder, slot, capacity_bytes=config.storage.slot_capacity_bytes, clock=clock)
    boot = open_bootloader(config.boot, storage, folder, slot, SAID)
    scene = Scene(config=config, folder=folder, storage=storage, slots=slots, boot=boot, slot=slot, clock=clock, pulse=pulse)
    journal = remember(scene)
    keep(boot, slot)
    floored = FlooredClock(clock, lambda: _EPOCH if journal.state is None else parse_utc(journal.state.time_floor))
    lift = ClockLift(SystemClock(), may_set=config.clock.set)
    lift(floored.now())
    server = HttpsServer(
        environment.get("SUREFOOT_SERVER_OVERRIDE", identity.device_url),
        identity.credentials,
        surroundings=Surroundings(settings=config.network, environment=environment),
        clock=floored,
    )
    monitor = Monitor(config.trial.probes, clock, folder)
    parts = Parts(
        device_id=config.device.id,
        agent_version=version("surefoot"),
        board=Board(
            hardware=config.device.hardware,
            bootloader_version=config.device.bootloader_version,
            slot_capacity_bytes=slots.capacity_bytes,
            bootloader_copies=config.device.bootloader_copies,
        ),
        journal=journal,
        trusted=TrustedStore(storage, f"{DATA}/trusted"),
        slots=slots,
        boot=boot,
        server=server,
        monitor=monitor,
        clock=clock,
        reboot=lambda: _restart(config, storage, folder, monitor, pulse=pulse, boot=origin.boot),
        renew=Renewal(storage, DATA, config.device.id, server, floored, keys=open_keys(config.identity, folder), beat=pulse.beat),
        policy=policy_of(config.trial, config.rollback),
        attributes=config.attributes,
        put_off_until=lambda: put_off_until(storage, DATA),
        inhibitors=lambda: [*inhibitors(storage, DATA), *battery_inhibitors(config.interlock)],
        ask=(lambda order: _ask(config.consent, order, folder, pulse)) if config.consent.ask else None,
        lift_clock=lift,
        will_wake=lambda seconds: note_wake(Path(config.process.run_folder), config.device.id, clock, seconds),
        bucket=None if config.download.max_bytes_per_second is None else Bucket(config.download.max_bytes_per_second),
        chance=secrets.SystemRandom().random,
        keep_copy=lambda state: keep_copy(storage, DATA, state),
        origin=origin,
        pulse=pulse,
    )
    return Runner(parts, slot)


def _restart(config: Config, storage: Storage, folder: Path, monitor: Monitor, *, pulse: Pulse, boot: str) -> Restarted | None:
    """Start the board or its application again, and say before how long that may take."""
    pulse.beat(config.reboot.timeout_s + _ENDING_S)
    return restart(config, storage, folder, monitor, boot)


def _ask(rule: ConsentRule, order: Order, folder: Path, pulse: Pulse) -> str:
    """Ask, and say before how long the answer may take."""
    pulse.beat(rule.timeout_s)
    return ask(rule, order, folder)
