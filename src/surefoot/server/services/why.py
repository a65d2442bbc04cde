# SPDX-License-Identifier: Apache-2.0
"""Why: gathers what is stored of one device and of the rollouts that might mean it, and lets ``explanation`` say what came of it.

- Everything is read by key: what it costs depends on how many rollouts are under way, not on the fleet.
- Asked for one rollout it answers for that; else for all that are not over, for the last one that is, and for what a person ordered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, running, traits
from surefoot.fleet.filter import parse
from surefoot.fleet.path import Path, paths
from surefoot.fleet.setback import Setback
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.errors import UnknownError
from surefoot.model.event import DeploymentEvent, EventType
from surefoot.model.manifest import Manifest
from surefoot.model.record import Record, parse_utc
from surefoot.rollout.decision import Advance, Halt, Pause
from surefoot.rollout.limits import is_full, room_of
from surefoot.rollout.network import all_of
from surefoot.rollout.plan import Status
from surefoot.schedule.permission import Permission, Reason, Terms, forced_at, may_start
from surefoot.schedule.zones import zones_of
from surefoot.server.services.answer import Answer, rank
from surefoot.server.services.attempt_story import Order, explain_order
from surefoot.server.services.catalogue import StoredDecision
from surefoot.server.services.explanation import Facts, explain
from surefoot.server.services.outlook import Outlook, Subject, outlook
from surefoot.server.services.ports import Ledger
from surefoot.server.services.rollout_store import StoredRollout
from surefoot.server.services.rooms import largest_image, traffic_of
from surefoot.server.services.windows import applied, windows_of

_MOST_ATTEMPTS = 50
_MOST_DECISIONS = 20


class WhyLine(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The answer for one rollout, and what happens next; ``rollout_id`` is nothing for what a person ordered."""

    rollout_id: int | None
    release: str
    name: str
    answer: Answer
    next: Outlook


class Why(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Why a device did or did not update, the most telling answer first.

    Attributes:
        device_id: The device.
        runs: Product and version that it says it runs; empty when it never said.
        last_seen: RFC 3339 UTC; empty when it never called.
        is_offline: Whether it has not called for so long that it cannot be reached.
        zone: The time zone of where it is, an IANA name.
        lines: One for each rollout; none when no rollout is there and nobody ordered anything.
    """

    device_id: DeviceId
    runs: str
    last_seen: str
    is_offline: bool
    zone: str
    lines: list[WhyLine]


class Clues(Protocol):
    """What is stored of one device and of single rollouts; every call reads a few rows by key."""

    def rollouts(self, product: str) -> list[int]:
        """Return the rollouts that are not over, newest first, and after them the newest one of a product that is."""
        ...

    def attempts(self, device_id: DeviceId, limit: int) -> list[Attempt]:
        """Return a device's attempts, newest first."""
        ...

    def events(self, device_id: DeviceId) -> list[DeploymentEvent]:
        """Return a device's newest events, newest first."""
        ...

    def decisions(self, rollout_id: int, limit: int) -> list[StoredDecision]:
        """Return a rollout's newest decisions, newest first."""
        ...

    def components(self, device: Device) -> dict[str, str]:
        """Return the versions of the parts of the image that a device runs, by the names that filters call them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the answers come from.

    Attributes:
        ledger: Devices, releases, windows and rollouts.
        clues: The rest.
        live: Every manifest of a product, in one variant, that may be ordered; asked only for a path.
        offline_after: Without a call for this long, a device is offline.
    """

    ledger: Ledger
    clues: Clues
    live: Callable[[str, str], list[Manifest]]
    offline_after: timedelta


_GOING_BACK = {EventType.HEALTH_FAILED, EventType.ROLLBACK_TRIGGERED, EventType.ROLLBACK_COMPLETED}

Tell = Callable[[DeviceId, int | None], Why]
"""Says why a device did or did not update, for one rollout or all; may take its time."""


def why(sources: Sources, device_id: DeviceId, rollout_id: int | None, now: datetime) -> Why:
    """Say why a device did or did not update: for one rollout, or for all that concern it now.

    Raises:
        UnknownError: There is no such device or rollout.
    """
    device = sources.ledger.device(device_id)
    if device is None:
        raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
    found = _Device(sources, device, now)
    numbers = found.rollouts() if rollout_id is None else [rollout_id]
    lines = [found.line(number) for number in numbers]
    if rollout_id is None:
        lines = sorted([*found.by_hand(), *lines], key=lambda line: rank(line.answer))
    report = device.report
    seen = parse_utc(device.last_seen) if device.last_seen else None
    return Why(
        device_id=device_id,
        runs="" if report is None else f"{report.product} {report.version}",
        last_seen=device.last_seen,
        is_offline=seen is None or now - seen > sources.offline_after,
        zone=applied(sources.ledger, device, ()).zone,
        lines=lines,
    )


class _Device:
    """One device, read once for all rollouts."""

    def __init__(self, sources: Sources, device: Device, now: datetime) -> None:
        self._sources, self._device, self._now = sources, device, now
        ledger, clues = sources.ledger, sources.clues
        self._traits = traits(device, ledger.groups_of(device.device_id), clues.components(device))
        self._attempts = clues.attempts(device.device_id, _MOST_ATTEMPTS)
        self._open = ledger.open_attempt(device.device_id)
        self._events = clues.events(device.device_id)

    def rollouts(self) -> list[int]:
        report = self._device.report
        last = [attempt.rollout_id for attempt in self._attempts if attempt.rollout_id is not None][:1]
        return list(dict.fromkeys([*self._sources.clues.rollouts("" if report is None else report.product), *last]))

    def by_hand(self) -> list[WhyLine]:
        """Return the line of what a person ordered, when nothing was offered since."""
        newest = self._attempts[0] if self._attempts else None
        if newest is None or newest.rollout_id is not None:
            return []
        answer = explain_order(self._order(newest), self._device, self._sources.offline_after, self._now)
        release = f"{newest.product} {newest.version}"
        following = outlook(answer, Subject(device_id=self._device.device_id, release=release))
        return [WhyLine(rollout_id=None, release=release, name="", answer=answer, next=following)]

    def line(self, rollout_id: int) -> WhyLine:
        stored = self._sources.ledger.rollouts.rollout(rollout_id)
        if stored is None:
            raise UnknownError(f"There is no rollout {rollout_id}.", hint="See 'surefoot rollout list'.")
        plan, device_id = stored.rollout.plan, self._device.device_id
        setback = self._sources.ledger.rollouts.setback(device_id, plan.product, plan.version)
        answer = explain(self._facts(stored, setback))
        retry_at = setback.retry_at if setback is not None and setback.rollout_id == rollout_id else ""
        following = outlook(answer, Subject(device_id=device_id, release=plan.release, rollout_id=rollout_id, retry_at=retry_at))
        return WhyLine(rollout_id=rollout_id, release=plan.release, name=plan.name, answer=answer, next=following)

    def _facts(self, stored: StoredRollout, setback: Setback | None) -> Facts:
        sources, rollout = self._sources, stored.rollout
        plan = rollout.plan
        release = sources.ledger.release(plan.product, plan.version)
        decisions = sources.clues.decisions(stored.rollout_id, _MOST_DECISIONS)
        tallies = sources.ledger.rollouts.tallies(stored.rollout_id)
        return Facts(
            device=self._device,
            traits=self._traits,
            stored=stored,
            wanted=parse(plan.audience),
            manifests=[] if release is None else [one for one in release.manifests if one.variant == plan.variant],
            offered=sum(tally.counts.offered - tally.counts.cancelled for tally in tallies if tally.stage == rollout.stage),
            turn=_turn(rollout.status, decisions),
            newest=decisions[0] if decisions else None,
            late=sources.ledger.late_groups(self._device.device_id, stored.created_at),
            orders=[self._order(attempt) for attempt in self._attempts if attempt.rollout_id == stored.rollout_id],
            open_order=self._open,
            path=self._path(stored),
            quarantine=_quarantine(setback),
            takes_back=self._takes_back(rollout.reverts),
            is_updated=sources.ledger.rollouts.candidate(stored, self._device.device_id) is not None,
            full=self._full(stored),
            offline_after=sources.offline_after,
            now=self._now,
        )

    def _takes_back(self, rollout_id: int | None) -> str:
        reverted = None if rollout_id is None else self._sources.ledger.rollouts.rollout(rollout_id)
        return "" if reverted is None else reverted.rollout.plan.release

    def _full(self, stored: StoredRollout) -> tuple[str, str] | None:
        ledger, limits = self._sources.ledger, stored.rollout.plan.limits
        image_bytes = largest_image(ledger, stored) if limits.has_networks else 0
        for network in all_of(self._traits.attributes) if limits.has_networks else ():
            room = room_of(limits, traffic_of(ledger, stored, network, image_bytes, self._now), image_bytes)
            if is_full(room):
                return network, room.reason
        return None

    def _path(self, stored: StoredRollout) -> Path | None:
        now, plan = running(self._device), stored.rollout.plan
        if now is None or now.product != plan.product:
            return None
        return paths([now], plan.version, self._sources.live(plan.product, plan.variant))[0]

    def _order(self, attempt: Attempt) -> Order:
        own = [event for event in self._events if event.assignment_id == attempt.assignment_id]
        return Order(
            attempt=attempt,
            permission=self._permission(attempt),
            refusal=_refusal(attempt, own),
            waits=_waits(own),
            interlock=_waits(own) if _reason(own) == Reason.INTERLOCK else "",
            installs=self._installs(attempt),
            rollback=_rollback(own),
        )

    def _installs(self, attempt: Attempt) -> int:
        known = self._sources.ledger.install_times(attempt.product, attempt.hardware)
        # What was planned counts where it is longer.
        return known.installs if known.usual_s == attempt.install_s else 0

    def _permission(self, attempt: Attempt) -> Permission | None:
        if attempt.outcome is not None or attempt.is_started:
            return None
        windows, _ = windows_of(self._sources.ledger, attempt)
        terms = Terms(
            device_id=attempt.device_id,
            windows=windows,
            install_s=attempt.install_s,
            start_before=parse_utc(attempt.start_before),
            ignore_windows_from=_forced(attempt),
        )
        return may_start(terms, zones_of(windows), self._now)


def _forced(attempt: Attempt) -> datetime | None:
    if not attempt.deadline_at:
        return None
    first = parse_utc(attempt.first_offered_at or attempt.issued_at)
    return forced_at(parse_utc(attempt.deadline_at), first, timedelta(seconds=attempt.grace_s), attempt.device_id)


def _turn(status: Status, decisions: Sequence[StoredDecision]) -> StoredDecision | None:
    """Return the decision that paused, halted or ended a rollout."""
    for stored in decisions if status is not Status.RUNNING else ():
        match stored.decision:
            case Pause() | Halt() | Advance(is_end=True):
                return stored
            case _:
                continue
    return None


def _refusal(attempt: Attempt, events: Sequence[DeploymentEvent]) -> tuple[str, str]:
    for event in events if attempt.outcome is Outcome.REJECTED else ():
        if event.type == EventType.CHECK_COMPLETED and event.data.get("refused"):
            return str(event.data["refused"]), str(event.data.get("detail", ""))
    return "", ""


def _rollback(events: Sequence[DeploymentEvent]) -> str:
    return next((str(event.data["reason"]) for event in events if event.type in _GOING_BACK and event.data.get("reason")), "")


def _waits(events: Sequence[DeploymentEvent]) -> str:
    return str(events[0].data.get("detail", "")) if _reason(events) else ""


def _reason(events: Sequence[DeploymentEvent]) -> str:
    """Return the word for what a device waits for, by its newest event; empty when it does not wait."""
    newest = events[0] if events else None
    return str(newest.data.get("reason", "?")) if newest is not None and newest.type == EventType.INSTALL_WAITING else ""


def _quarantine(setback: Setback | None) -> str:
    """Say in words why a device is kept from a release; empty when it is not."""
    if setback is None or not setback.quarantined_at:
        return ""
    cause = f"{setback.quarantined_by} withdrew it" if setback.quarantined_by else _often(setback.failures)
    return f"{cause}, {setback.quarantined_at}; a person ends that: surefoot device unquarantine {setback.device_id}"


def _often(failures: int) -> str:
    return "it failed once" if failures == 1 else f"it failed {failures} times"
