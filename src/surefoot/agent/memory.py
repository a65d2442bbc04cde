# SPDX-License-Identifier: Apache-2.0
"""What an agent remembers as it comes up: the journal as it was left, one begun at the factory, or one begun anew."""

import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from surefoot.agent.boot.control import BootControl
from surefoot.agent.clock import Clock
from surefoot.agent.config import Config
from surefoot.agent.home import DATA, JOURNAL, open_journal
from surefoot.agent.install import commit, prepare, revert
from surefoot.agent.installers.port import Installer
from surefoot.agent.journal import Emitted, Journal, begin, salvage
from surefoot.agent.pulse import Pulse, Unheard
from surefoot.agent.recovery import GoBack, Remembered, begin_anew, read_kept
from surefoot.agent.runner import factory_state
from surefoot.agent.starting import run
from surefoot.agent.state import State, in_slot
from surefoot.agent.storage import Storage, read_file, replace_file
from surefoot.model.digest import Digest
from surefoot.model.errors import DeviceError, DigestError, Error, InvalidInput, JournalLostError
from surefoot.model.event import EventType
from surefoot.model.manifest import Manifest, built_at
from surefoot.model.record import from_json, utc_text
from surefoot.model.slot import Installed, SlotName, SlotState

_LOG = logging.getLogger("surefoot.agent")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FACTORY = "Put the manifest of the very image in the slot that runs where device.factory_manifest says, or flash the board again."


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where the agent comes up: what it needs to see in order to know what it is."""

    config: Config
    folder: Path
    storage: Storage
    slots: Installer
    boot: BootControl
    slot: SlotName
    clock: Clock
    pulse: Pulse = field(default_factory=Unheard)

    @property
    def manifest(self) -> Path:
        """Where the manifest of the factory's image lies."""
        return self.folder / self.config.device.factory_manifest

    def digest(self, slot: SlotName, size: int) -> Digest:
        """Return the digest of the image of ``size`` bytes in ``slot``, and say before how long reading it may take."""
        self.pulse.beat(self.slots.read_s(size))
        return self.slots.running_digest(slot, size)


def remember(scene: Scene) -> Journal[State]:
    """Return the journal with a state in it: as it was left, begun at the factory, or begun anew.

    Raises:
        InvalidInput: The factory manifest is needed and cannot be read.
        DigestError: The factory image is not what its manifest says.
        JournalLostError: The journal is damaged, and nothing proves what runs; or a trial is given up for that, and the board reboots.
        DeviceError: The disk refuses.
    """
    try:
        journal = open_journal(scene.storage)
    except JournalLostError as damage:
        return _anew(scene, damage.message)
    if journal.state is not None and in_slot(journal.state, scene.slot) is not None:
        return journal
    if journal.state is not None:
        journal.close()
        return _anew(scene, f"The journal {JOURNAL} knows of nothing in slot {scene.slot}, which runs.")
    if read_kept(scene.storage, DATA) is not None:
        journal.close()
        return _anew(scene, f"The journal {JOURNAL} is gone.")
    manifest = _read_manifest(scene.manifest)
    journal.append(factory_state(_factory_release(scene, manifest), scene.slot, built_at(manifest.build_id) or _EPOCH))
    return journal


def _anew(scene: Scene, damage: str) -> Journal[State]:
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
    known = begin_anew(remembered, scene.slot, {each: scene.boot.get_state(each) for each in SlotName}, scene.digest)
    if isinstance(known, GoBack):
        revert(scene.boot, known.bad, known.to)
        run(scene.config.reboot, scene.folder)
        raise JournalLostError(f"{damage} What runs was on trial: the board goes back to slot {known.to}.", hint="It reboots by itself.")
    if scene.boot.get_state(known.slot) is not SlotState.GOOD:
        commit(scene.boot, known.slot)
    if known.fallback is None:
        # An update may have been about to start what the new journal knows nothing of.
        prepare(scene.boot, known.slot.other, known.slot)
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
        raise InvalidInput(f"The factory manifest {path} cannot be read: {error.strerror}.", hint=_FACTORY) from error


def _factory_release(scene: Scene, manifest: Manifest) -> Installed:
    path, slots, slot = scene.manifest, scene.slots, scene.slot
    scene.pulse.beat(slots.read_s(manifest.image.size))
    try:
        slots.verify(slot, manifest.image.size, manifest.image.hash)
    except DigestError as error:
        raise DigestError(f"The factory image is not what {path} says: {error.message}", hint=_FACTORY) from error
    return installed_from(manifest)
