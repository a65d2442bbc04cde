# SPDX-License-Identifier: Apache-2.0
"""Guard: an edit of devices or groups, tried before it is made, so that none starts an update by surprise.

- The edit itself is run in the writer's transaction, and what rollouts under way would then come to is compared with before. A
  preview is undone; so is an edit that would have devices offered a release, unless whoever makes it names their number.
- "Would be offered" leaves out limits, batches, pauses and excluded hardware: they pass.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from surefoot.model.assignment import DeviceId
from surefoot.model.errors import ConflictError, Error
from surefoot.model.record import Record
from surefoot.server.services.audience import audience_of, may_take
from surefoot.server.services.ports import Ledger, Write
from surefoot.server.services.rollout_store import StoredRollout

_T = TypeVar("_T")


class Effect(Record, frozen=True, kw_only=True):
    """What an edit means for one rollout: how many devices it would offer its release that it would not before, and the reverse."""

    rollout_id: int
    release: str
    offered: int
    no_longer: int


class EditAnswer(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What an edit means for rollouts under way, and whether it was made; without effects it means nothing for any."""

    is_done: bool
    effects: list[Effect]


class _UndoneError(Error):
    """Carries what was seen out of a transaction that is to leave no trace."""

    def __init__(self, effects: list[Effect], starting: set[DeviceId] | None = None) -> None:
        super().__init__("Undone.")
        self.effects = effects
        self.starting = starting or set()


class Guard:
    """A ``Write`` for one edit: lets it through, or undoes it and says what it would have done."""

    def __init__(self, write: Write, devices: Sequence[DeviceId], now: datetime, *, is_preview: bool, confirmed: int | None) -> None:
        """Guard the devices that an edit may move.

        Args:
            write: The way to the writer.
            devices: Those whose chances are compared.
            now: For what filters ask of times.
            is_preview: Whether the edit is only tried.
            confirmed: How many devices would be offered a release, as whoever makes the edit was shown; nothing when nobody looked.
        """
        self._write, self._devices, self._now = write, devices, now
        self._is_preview, self._confirmed = is_preview, confirmed
        self.effects: list[Effect] = []

    async def __call__(self, job: Callable[[Ledger], _T]) -> _T:
        """Run an edit's job.

        Raises:
            ConflictError: Devices would be offered a release, and another number of them was confirmed, or none.
        """

        def guarded(ledger: Ledger) -> _T:
            before = _chances(ledger, self._devices, self._now)
            done = job(ledger)
            self.effects = _effects(ledger, before, _chances(ledger, self._devices, self._now))
            if self._is_preview:
                raise _UndoneError(self.effects)
            _require(self.effects, self._confirmed)
            return done

        return await self._write(guarded)


async def guarded(guard: Guard, edit: Callable[[Guard], Awaitable[object]]) -> EditAnswer:
    """Make an edit through a guard; a preview changes nothing.

    Raises:
        ConflictError: It would have devices offered a release, and that was not confirmed.
    """
    try:
        await edit(guard)
    except _UndoneError as undone:
        return EditAnswer(is_done=False, effects=undone.effects)
    return EditAnswer(is_done=True, effects=guard.effects)


async def would_start(write: Write, devices: Sequence[DeviceId], now: datetime, job: Callable[[Ledger], object]) -> set[DeviceId]:
    """Return which devices rollouts under way would offer a release because of a job that they would not before; nothing is changed."""

    def tried(ledger: Ledger) -> set[DeviceId]:
        before = _chances(ledger, devices, now)
        job(ledger)
        raise _UndoneError([], {device_id for _, device_id in _chances(ledger, devices, now) - before})

    try:
        return await write(tried)
    except _UndoneError as undone:
        return undone.starting


def _require(effects: Sequence[Effect], confirmed: int | None) -> None:
    number = sum(effect.offered for effect in effects)
    if not number or number == confirmed:
        return
    said = "; ".join(f"{effect.offered} would be offered {effect.release} by rollout {effect.rollout_id}" for effect in effects)
    was = "" if confirmed is None else f" You were shown {confirmed}; it has changed since."
    raise ConflictError(
        f"This would start updates: {said}.{was}",
        hint=f"If that is meant, say so: --yes on the command line, confirm={number} in the API; preview=true shows it again.",
    )


def _chances(ledger: Ledger, devices: Sequence[DeviceId], now: datetime) -> set[tuple[int, DeviceId]]:
    """Return which rollouts under way would offer their release to which devices, sooner or later."""
    numbers = ledger.rollouts.unfinished()
    found = (ledger.rollouts.rollout(number) for number in numbers)
    return {(stored.rollout_id, one) for stored in found if stored is not None for one in _coming(ledger, stored, devices, now)}


def _coming(ledger: Ledger, stored: StoredRollout, devices: Sequence[DeviceId], now: datetime) -> list[DeviceId]:
    audience, rollout = audience_of(ledger, stored, now), stored.rollout
    coming: list[DeviceId] = []
    for device_id in devices:
        candidate = ledger.rollouts.candidate(stored, device_id)
        if candidate is None:
            continue
        own = {None, *candidate.traits.groups} - ledger.late_groups(device_id, stored.created_at)
        to_come = [number for number, stage in enumerate(rollout.plan.stages) if number >= rollout.stage and stage.group in own]
        manifest = next((image for number in to_come if (image := audience.image_for(candidate, number))), None)
        if manifest is not None and may_take(candidate, manifest, rollout.plan.approve):
            coming.append(device_id)
    return coming


def _effects(ledger: Ledger, before: set[tuple[int, DeviceId]], after: set[tuple[int, DeviceId]]) -> list[Effect]:
    effects: list[Effect] = []
    for number in sorted({number for number, _ in before ^ after}):
        stored = ledger.rollouts.rollout(number)
        gained, lost = (sum(rollout_id == number for rollout_id, _ in some) for some in (after - before, before - after))
        release = "" if stored is None else stored.rollout.plan.release
        effects.append(Effect(rollout_id=number, release=release, offered=gained, no_longer=lost))
    return effects
