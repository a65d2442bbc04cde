# SPDX-License-Identifier: Apache-2.0
"""How an agent is put together on a real board: files, bootloader, server and clocks from ``agent.toml``.

Layout below the storage root: ``boot.json`` (of the backend ``file``), ``slots/a.img`` and ``slots/b.img`` (slots that are files), and
the agent's own ``data/``: ``journal``, ``kept.json``, ``trusted/``, ``identity/``, ``boot-said.json`` (of the backends ``rauc`` and
``custom``).
"""

import logging
import os
import secrets
import stat
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from surefoot.agent.admission import Board
from surefoot.agent.asking import ConsentRule, ask
from surefoot.agent.battery import battery_inhibitors
from surefoot.agent.boot.control import BootControl
from surefoot.agent.boot.settings import LinkBoot
from surefoot.agent.boot.store import start
from surefoot.agent.bootloader import open_bootloader, open_link
from surefoot.agent.clock import Clock, ClockLift, FlooredClock
from surefoot.agent.config import Config, policy_of
from surefoot.agent.consent import put_off_until
from surefoot.agent.enrol import read_identity
from surefoot.agent.health import Monitor
from surefoot.agent.install import commit, keep, revert
from surefoot.agent.installer import open_installer
from surefoot.agent.installers.port import Installer
from surefoot.agent.interlock import inhibitors
from surefoot.agent.journal import Emitted, Journal, begin, salvage
from surefoot.agent.keystore import open_keys
from surefoot.agent.network import Surroundings
from surefoot.agent.origin import read_origin
from surefoot.agent.posix import PosixStorage, SystemClock
from surefoot.agent.pulse import Pulse, Unheard
from surefoot.agent.rate import Bucket
from surefoot.agent.recovery import GoBack, Remembered, begin_anew, read_kept
from surefoot.agent.recovery import keep as keep_copy
from surefoot.agent.renewal import Renewal
from surefoot.agent.runner import Parts, Restarted, Runner, factory_state
from surefoot.agent.state import State
from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.agent.transport import HttpsServer
from surefoot.agent.trusted import TrustedStore
from surefoot.agent.wake import note_wake
from surefoot.agent.watchdog import Keeper
from surefoot.model.assignment import Order
from surefoot.model.errors import BootError, DeviceError, DigestError, Error, InvalidInput, JournalLostError
from surefoot.model.event import EventType
from surefoot.model.manifest import Manifest, built_at
from surefoot.model.record import from_json, parse_utc, utc_text
from surefoot.model.slot import Installed, SlotName, SlotState

DATA = "data"
JOURNAL = f"{DATA}/journal"
LOCK = f"{DATA}/lock"
IDENTITY = f"{DATA}/identity"
SAID = f"{DATA}/boot-said.json"

_LOG = logging.getLogger("surefoot.agent")
_REBOOT_TIMEOUT_S = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    slot = _started_slot(config, storage, folder, environment)
    slots = open_installer(config.install, storage, folder, slot, capacity_bytes=config.storage.slot_capacity_bytes, clock=clock)
    boot = open_bootloader(config.boot, storage, folder, slot, SAID)
    journal = _journal(_Scene(config=config, folder=folder, storage=storage, slots=slots, boot=boot, slot=slot, clock=clock))
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
        monitor=Monitor(config.trial.probes, clock, folder),
        clock=clock,
        reboot=lambda: _reboot(config, storage, folder, lambda: Monitor(config.trial.probes, clock, folder)),
        renew=Renewal(storage, DATA, config.device.id, server, floored, keys=open_keys(config.identity, folder)),
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
        origin=read_origin(),
        pulse=pulse,
    )
    return Runner(parts, slot)


def storage_root(config: Config, folder: Path) -> Path:
    """Return the folder of everything that a board keeps.

    Raises:
        InvalidInput: There is none, or everybody may write there: then what the agent remembers is anybody's to forge.
    """
    root = folder / config.storage.root
    if not root.is_dir():
        raise InvalidInput(f"The storage root {root} is not a folder.", hint="Make it, or name another in agent.toml.")
    for path in (root, root / DATA):
        if path.is_dir() and path.stat().st_mode & stat.S_IWOTH:
            raise InvalidInput(f"Everybody may write in {path}.", hint=f"Run 'chmod o-w {path}'.")
    return root


def require_secret(root: Path) -> None:
    """Check that nobody but the agent can read the device's key.

    Raises:
        InvalidInput: Others may look into the folder of the identity, or read a file in it: a key that was copied serves a thief as well.
    """
    home = root / IDENTITY
    for path in (home, *sorted(home.iterdir())):
        if path.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidInput(
                f"Others than the agent have rights to {path}.",
                hint=f"Run 'chmod -R go= {home}'; enrol the device again if its key may have been read.",
            )


def open_journal(storage: Storage) -> Journal[State]:
    """Return the agent's journal, started if there is none."""
    return Journal(storage, JOURNAL, State, new_id=lambda: secrets.token_hex(16))


def booted_slot(environment: Mapping[str, str]) -> SlotName:
    """Return the slot that booted: ``SUREFOOT_SLOT``, else ``surefoot.slot=`` on the kernel's command line.

    Raises:
        BootError: Neither names a slot. It is never guessed.
    """
    words = [f"surefoot.slot={environment['SUREFOOT_SLOT']}"] if "SUREFOOT_SLOT" in environment else _kernel_words()
    named = [word.removeprefix("surefoot.slot=") for word in words if word.startswith("surefoot.slot=")]
    if len(named) != 1 or named[0] not in list(SlotName):
        raise BootError(
            "Nobody says which slot booted.",
            hint="Set SUREFOOT_SLOT, or surefoot.slot=a or =b on the kernel's command line; a board of 'surefoot simulate board' does so.",
        )
    return SlotName(named[0])


def running_slot(config: Config, storage: Storage, folder: Path, environment: Mapping[str, str]) -> SlotName:
    """Return the slot that runs, without counting a start; ``BootError`` when nobody says so."""
    if isinstance(config.boot, LinkBoot):
        return open_link(config.boot, storage, folder).read().primary
    return booted_slot(environment)


def installed_from(manifest: Manifest) -> Installed:
    """Return the release that a manifest describes, as version rules will need to know it."""
    return Installed(
        product=manifest.product,
        version=manifest.version,
        build_id=manifest.build_id,
        release_counter=manifest.release_counter,
        hash=manifest.image.hash,
        size=manifest.image.size,
        data_format=manifest.data_format,
        revert_to=manifest.revert_to,
    )


def _ask(rule: ConsentRule, order: Order, folder: Path, pulse: Pulse) -> str:
    """Ask, and say before how long the answer may take."""
    pulse.beat(rule.timeout_s)
    return ask(rule, order, folder)


def _kernel_words() -> list[str]:
    try:
        return Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Where the agent comes up: what it needs to see in order to know what it is."""

    config: Config
    folder: Path
    storage: Storage
    slots: Installer
    boot: BootControl
    slot: SlotName
    clock: Clock

    @property
    def manifest(self) -> Path:
        return self.folder / self.config.device.factory_manifest


def _journal(scene: _Scene) -> Journal[State]:
    """Return the journal with a state in it: as it was left, begun at the factory, or begun anew."""
    try:
        journal = open_journal(scene.storage)
    except JournalLostError as damage:
        return _anew(scene, damage.message)
    if journal.state is not None:
        return journal
    if read_kept(scene.storage, DATA) is not None:
        journal.close()
        return _anew(scene, f"The journal {JOURNAL} is gone.")
    manifest = _read_manifest(scene.manifest)
    journal.append(factory_state(_factory_release(scene, manifest), scene.slot, built_at(manifest.build_id) or _EPOCH))
    return journal


def _anew(scene: _Scene, damage: str) -> Journal[State]:
    """Begin a journal with what can be proved; the damaged one is kept aside for whoever looks into it."""
    _LOG.warning("%s", damage)
    manifest = None
    with suppress(Error):
        manifest = _read_manifest(scene.manifest)
    remembered = Remembered(
        states=salvage(scene.storage, JOURNAL, State),
        kept=read_kept(scene.storage, DATA),
        factory=None if manifest is None else installed_from(manifest),
        built_at=_EPOCH if manifest is None else built_at(manifest.build_id) or _EPOCH,
    )
    known = begin_anew(remembered, scene.slot, {each: scene.boot.get_state(each) for each in SlotName}, scene.slots.running_digest)
    if isinstance(known, GoBack):
        revert(scene.boot, known.bad, known.to)
        _run(scene.config.reboot.command, scene.folder)
        raise JournalLostError(f"{damage} What runs was on trial: the board goes back to slot {known.to}.", hint="It reboots by itself.")
    if scene.boot.get_state(known.slot) is not SlotState.GOOD:
        commit(scene.boot, known.slot)
    with suppress(DeviceError):
        replace_file(scene.storage, f"{JOURNAL}.damaged", read_file(scene.storage, JOURNAL) or b"")
    told = Emitted(
        type=EventType.CHECK_COMPLETED,
        at=utc_text(scene.clock.now()),
        data={"failed": JournalLostError.code, "detail": damage, "version": known.running.version},
    )
    begin(scene.storage, JOURNAL, secrets.token_hex(16), known, [told])
    return open_journal(scene.storage)


def _read_manifest(path: Path) -> Manifest:
    try:
        return from_json(path.read_bytes(), Manifest, what=str(path))
    except OSError as error:
        raise InvalidInput(f"The factory manifest {path} cannot be read: {error.strerror}.", hint="Flash the board again.") from error


def _factory_release(scene: _Scene, manifest: Manifest) -> Installed:
    path, slots, slot = scene.manifest, scene.slots, scene.slot
    try:
        slots.verify(slot, manifest.image.size, manifest.image.hash)
    except DigestError as error:
        raise DigestError(f"The factory image is not what {path} says: {error.message}", hint="Flash the board again.") from error
    return installed_from(manifest)


def _started_slot(config: Config, storage: Storage, folder: Path, environment: Mapping[str, str]) -> SlotName:
    """Return the slot that runs; where the agent is the loader of an application, this is one more start of that."""
    if not isinstance(config.boot, LinkBoot):
        return booted_slot(environment)
    store = open_link(config.boot, storage, folder)
    before = store.read().primary
    slot = start(store)
    if slot is not before:
        # The system started what ``current`` led to, and that has no start left.
        _run(config.reboot.command, folder)
    return slot


def _reboot(config: Config, storage: Storage, folder: Path, monitor: Callable[[], Monitor]) -> Restarted | None:
    if config.reboot.restarts == "board" or not isinstance(config.boot, LinkBoot):
        _run(config.reboot.command, folder)
        return None
    slot = start(open_link(config.boot, storage, folder))
    _run(config.reboot.command, folder)
    return Restarted(slot=slot, monitor=monitor())


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, timeout=_REBOOT_TIMEOUT_S, check=True, env=os.environ)
    except (OSError, subprocess.SubprocessError) as error:
        raise BootError(f"The reboot command failed: {error}.") from error
