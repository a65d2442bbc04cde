# SPDX-License-Identifier: Apache-2.0
"""The agent's one loop: tell the machine an event, journal what it says, do what it asks, tell it what came of that.

All judgement lies in ``machine``, ``admission`` and ``trust.verify``; this module only carries things between them and the
board. Before anything is done the new state is durable, and everything done may be done again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from surefoot.agent import install
from surefoot.agent.admission import Board, admit
from surefoot.agent.boot.control import BootControl
from surefoot.agent.clock import Clock
from surefoot.agent.download import Downloader, DownloadTarget, InterruptedDownloadError
from surefoot.agent.installers.port import Installer, whole_slot_s
from surefoot.agent.interlock import Inhibitor
from surefoot.agent.journal import Emitted, Journal
from surefoot.agent.machine import backoff_s, step
from surefoot.agent.origin import Origin
from surefoot.agent.pulse import BeatingSource, Pulse, Unheard
from surefoot.agent.rate import Bucket
from surefoot.agent.signals import (
    Accepted,
    Activated,
    Answered,
    Booted,
    CheckFailed,
    Corrupt,
    Download,
    Effect,
    Emit,
    Event,
    Failed,
    Install,
    Interrupted,
    Marked,
    MarkGood,
    Nothing,
    Poll,
    Probe,
    Probed,
    Reboot,
    Received,
    Refused,
    Rejected,
    Report,
    Reported,
    Revert,
    Sensed,
    Shut,
    Stayed,
    Unchanged,
    Verify,
    Wait,
    Weigh,
    Weighed,
    Woke,
)
from surefoot.agent.state import Phase, Policy, State, in_slot, kept
from surefoot.agent.transport import Server
from surefoot.agent.triggers import judge
from surefoot.agent.trusted import TrustedStore
from surefoot.agent.vitals import Vitals, is_worth_noting, started
from surefoot.agent.watch import PACE_S, HealthMonitor, Watch
from surefoot.agent.window import consented, interlock_of, require_readable, weigh
from surefoot.model.assignment import DeviceId, Order
from surefoot.model.digest import Digest
from surefoot.model.errors import (
    BootError,
    ClockError,
    CorruptDownloadError,
    DeviceError,
    DigestError,
    Error,
    ExpiredError,
    RefusedDownloadError,
    SpaceError,
    TransientError,
    TransportError,
    TrustError,
)
from surefoot.model.event import MAX_BATCH, DeploymentEvent, DeviceReport, EventBatch, EventType
from surefoot.model.record import parse_utc, to_json, utc_text
from surefoot.model.slot import Installed, SlotName, SlotState
from surefoot.model.wire import PollAnswer
from surefoot.trust.verify import Verdict, verify

_LOG = logging.getLogger("surefoot.agent")
_REBOOT_S = 60.0
_MAX_URL, _MAX_URLS = 2_048, 8
_MAX_BATCH_BYTES = 512 * 1024
_MAX_TEXT = 500
_WATCHED = {Phase.IDLE, Phase.WAITING, Phase.REPORTING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """An application was started again, and the agent was not: the slot it was started from, and who looks after it now."""

    slot: SlotName
    monitor: HealthMonitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an agent is put together from; the simulator gives other ones than a device does.

    Attributes:
        device_id: Who the device is.
        agent_version: What the agent says of itself.
        board: What decides whether an image fits.
        journal: Its memory.
        trusted: Verified metadata.
        slots: What fills the two slots, and says what lies in them.
        boot: The bootloader.
        server: The server.
        monitor: The health checks.
        clock: The clocks.
        reboot: Starts a reboot; returns at once, or never. Where only an application is restarted, returns how that came up.
        renew: Gets the device a new certificate when that is due.
        policy: The integrator's numbers.
        attributes: What else the device says of itself.
        put_off_until: Until when people at the device have put updates off; nothing when they have not.
        inhibitors: Who at the device lets no update start.
        lift_clock: Told of each later time that is known for certain.
        will_wake: Told, before each pause, how many seconds it takes.
        ask: Asks people whether an order may start, as ``surefoot.agent.window.consented`` says; nothing asks nobody.
        bucket: Limits how fast images are fetched; nothing sets no limit.
        chance: Draws a number from 0 to 1, which shortens a pause before another try by up to half: not all devices of a site
            that had no power, or no network, ask again in the same second.
        keep_copy: Keeps what must outlive the journal in a second place; ``DeviceError`` when it cannot.
        origin: Where this boot came from.
        pulse: Where the agent says that it goes on.
    """

    device_id: DeviceId
    agent_version: str
    board: Board
    journal: Journal[State]
    trusted: TrustedStore
    slots: Installer
    boot: BootControl
    server: Server
    monitor: HealthMonitor
    clock: Clock
    reboot: Callable[[], Restarted | None]
    renew: Callable[[], None]
    policy: Policy
    attributes: Mapping[str, str] = field(default_factory=dict)
    put_off_until: Callable[[], datetime | None] = lambda: None
    inhibitors: Callable[[], Sequence[Inhibitor]] = tuple
    lift_clock: Callable[[datetime], None] = lambda _floor: None
    will_wake: Callable[[float], None] = lambda _seconds: None
    ask: Callable[[Order], str] | None = None
    bucket: Bucket | None = None
    chance: Callable[[], float] = lambda: 0.0
    keep_copy: Callable[[State], None] = lambda _state: None
    origin: Origin = field(default_factory=Origin)
    pulse: Pulse = field(default_factory=Unheard)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What runs: the release that should lie in the booted slot, and the digest of what was found there."""

    installed: Installed
    found: Digest


def factory_state(running: Installed, slot: SlotName, built_at: datetime) -> State:
    """Return the state of a device that has just left the factory with ``running``, built at that instant, in ``slot``.

    Its floor is not what its clock says: one that is years ahead would keep every update away until that year has come.
    """
    return State(slot=slot, running=running, release_counter=running.release_counter, time_floor=utc_text(built_at))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unnoted:
    """Why the journal could not be written, and how often in a row."""

    error: DeviceError
    tries: int


@dataclass(slots=True)
class Runner:
    """An agent at work.

    Raises:
        BootError: The slot that booted is not one in which something verified lies.
        DeviceError: The journal holds no state.
    """

    parts: Parts
    slot: SlotName
    state: State = field(init=False)
    running: Running = field(init=False)
    started_s: float = field(init=False)
    is_reported: bool = field(default=False, init=False)
    _floor: str = field(default="", init=False)
    _floor_s: float = field(default=0.0, init=False)
    _spent: frozenset[str] = field(default=frozenset(), init=False)
    _copied: tuple[object, ...] = field(default=(), init=False)
    _has_said_that_events_wait: bool = field(default=False, init=False)
    _unnoted: _Unnoted | None = field(default=None, init=False)
    downloader: Downloader = field(init=False)
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        """Read the journal, and look at what really lies in the slot that booted."""
        if self.parts.journal.state is None:
            raise DeviceError("The journal holds no state.", hint="Start the agent with the factory manifest.")
        self.state = self.parts.journal.state
        self.parts.pulse.beat(self.parts.slots.read_s(self.state.running.size))
        self.running = self._look()
        self.started_s = self.parts.clock.monotonic()
        source = BeatingSource(self.parts.server, self.parts.pulse.beat)
        self.downloader = Downloader(source, self.parts.slots, self.parts.clock, self.parts.bucket, pause=self._pause)
        self.watch = Watch(self.parts.monitor, self.parts.clock)

    def run(self) -> None:
        """Run until the board stops.

        Raises:
            BootError: The slot that booted is not one in which something verified lies.
            DeviceError: The journal or the trusted metadata cannot be read or written.
            Stopping: The agent was asked to stop.
        """
        event: Event = self.booted()
        while True:
            event = self.advance(event)

    def stop(self) -> None:
        """Note that the agent is stopped in order, so that a reboot that follows is not taken for harm.

        Raises:
            DeviceError: The journal cannot be written.
        """
        # The journal's own state: a step that was interrupted has not happened.
        noted = self.parts.journal.state
        vitals = self.watch.counted(self.state.vitals)
        if noted is not None and noted.vitals is not None and vitals is not None:
            self.parts.journal.append(structs.replace(noted, vitals=structs.replace(vitals, is_stopped=True)))

    def booted(self) -> Booted:
        """Look at the board and say how it came up."""
        boot, attempt = self.parts.boot, self.state.attempt
        return Booted(
            now=self._now(),
            slot=self.slot,
            primary=boot.get_primary(),
            states={slot: boot.get_state(slot) for slot in SlotName},
            is_wanted=attempt is not None and self.slot is attempt.slot and self.running.found == attempt.hash,
            vitals=self._started(),
        )

    def _started(self) -> Vitals | None:
        origin, vitals = self.parts.origin, self.state.vitals
        return None if vitals is None else started(vitals, origin.boot, origin.reset)

    def advance(self, event: Event) -> Event:
        """Take one step: journal the new state and its events, perform the effects, return what came of them."""
        self.parts.pulse.beat()
        before = self.state
        after, effects = step(before, event, self.parts.policy)
        emits = [effect for effect in effects if isinstance(effect, Emit)]
        if emits or kept(after) != kept(before):
            try:
                self.parts.journal.append(kept(after), [self._emitted(emit, after) for emit in [*self._owed(), *emits]])
            except DeviceError as error:
                return self._without_journal(event, error)
            self._unnoted = None
        self.state = after
        if after.time_floor != before.time_floor:
            self.parts.lift_clock(parse_utc(after.time_floor))
        self._keep_copy()
        self._drop_spent()
        _log_step(before, after, emits)
        if before.phase is not after.phase:
            self.parts.pulse.say(str(after.phase))
        for effect in effects:
            result = self._perform(effect)
            if result is not None:
                return result
        raise LookupError(f"{after.phase} asked for nothing that answers")

    def _keep_copy(self) -> None:
        facts = (self.state.slot, self.state.running, self.state.fallback, self.state.release_counter)
        if facts != self._copied:
            # Only a journal that is lost needs it, and the journal has it: what cannot be copied now is copied later.
            with suppress(DeviceError):
                self.parts.keep_copy(self.state)
                self._copied = facts

    def _drop_spent(self) -> None:
        """Drop what was fetched for former orders; not before the journal has the tag that no longer claims it."""
        if self._spent:
            with suppress(DeviceError):
                self.parts.trusted.drop("image", self._spent)
            self._spent = frozenset()

    def _without_journal(self, event: Event, error: DeviceError) -> Event:
        """Begin nothing, since it cannot be noted, and ask again later: nobody is there who would start an agent that ends for this."""
        state, attempt = self.state, self.state.attempt
        if isinstance(error, SpaceError) and state.phase is Phase.DOWNLOADING and attempt is not None and not isinstance(event, Failed):
            # The image on its way may have taken the room that the journal needs.
            with suppress(DeviceError):
                install.prepare(self.parts.boot, attempt.slot, self.slot)
                self._discard(attempt.slot)
                return Failed(now=self._now(), code=error.code, message=error.message)
        self._unnoted = _Unnoted(error=error, tries=1 if self._unnoted is None else self._unnoted.tries + 1)
        _LOG.warning("nothing can be noted, so nothing is begun: %s", error)
        back = self._leave_trial()
        if back is not None:
            return back
        self._flush(at_least_one=True)
        self._pause(backoff_s(self._unnoted.tries, self.parts.policy))
        if isinstance(event, Booted):
            # How the board came up is seen once: nobody would tell the machine later that what it takes for running was given up.
            return event
        if state.phase in {Phase.IDLE, Phase.CHECKING, Phase.VERIFYING}:
            self.state = structs.replace(state, phase=Phase.IDLE, failures=state.failures + 1)
        # What depends on the time or on health is looked at anew; anything else happened, and is still to be noted.
        is_looked_at_anew = self.state.phase in {Phase.IDLE, Phase.WAITING, Phase.TRIAL}
        return Woke(now=self._now()) if is_looked_at_anew else event

    def _leave_trial(self) -> Booted | None:
        """Go back from a release on trial under which nothing can be noted for as long as a trial may take: it cannot be kept."""
        state, attempt = self.state, self.state.attempt
        is_on_trial = attempt is not None and attempt.slot is self.slot and state.phase is not Phase.COMMITTED
        if is_on_trial and self.parts.clock.monotonic() - self.started_s > self.parts.policy.trial_s:
            with suppress(DeviceError):
                install.revert(self.parts.boot, self.slot, state.slot)
                restarted = self.parts.reboot()
                return None if restarted is None else self._went_on(restarted)
        return None

    def _owed(self) -> list[Emit]:
        """Return what the server has yet to hear of a time when nothing could be noted."""
        if self._unnoted is None:
            return []
        error = self._unnoted.error
        return [Emit(type=EventType.CHECK_COMPLETED, assignment_id=None, data={"failed": error.code, "detail": error.message})]

    def _perform(self, effect: Effect) -> Event | None:
        match effect:
            case Emit():
                return None
            case Poll(etag=etag):
                return self._poll(etag)
            case Verify():
                return self._verify(effect)
            case Download():
                return self._download(effect)
            case Weigh(order=order):
                now = self._now()
                permission = weigh(order, now, self.parts.put_off_until(), self.parts.inhibitors())
                return Weighed(now=self._now(), permission=consented(order, permission, now, self.parts.ask))
            case Install():
                return self._install(effect)
            case Shut(slot=slot):
                self._shut(slot)
                return None
            case Reboot():
                return self._leaving(self._reboot)
            case Probe():
                return self._probe()
            case MarkGood(slot=slot):
                return self._mark_good(slot)
            case Revert():
                return self._leaving(lambda: self._revert(effect))
            case Report():
                return self._report()
            case Wait(seconds=seconds):
                return self._wait(seconds * (1 - self.parts.chance() / 2) if self._tries_again() else seconds)

    def _tries_again(self) -> bool:
        """Say whether a wait comes before another try; the server spreads the polls of those who reach it itself."""
        return self.state.failures > 0 or self.state.phase in {Phase.DOWNLOADING, Phase.REPORTING}

    def _poll(self, etag: str) -> Event:
        # The first thing a server hears of a boot is what runs, whether or not anything happened.
        self._flush(at_least_one=not self.is_reported)
        self._renew()
        self.parts.pulse.beat()
        try:
            polled = self.parts.server.poll(etag)
        except ClockError as error:
            return Refused(now=self._now(), code=error.code, message=str(error))
        except TransportError as error:
            return CheckFailed(now=self._now(), code=error.code, message=error.message)
        if polled.answer is None:
            return Unchanged(now=self._now(), next_poll_s=polled.next_poll_s)
        return Answered(now=self._now(), answer=polled.answer, etag=polled.etag)

    def _renew(self) -> None:
        self.parts.pulse.beat()
        try:
            self.parts.renew()
        except (TransientError, DeviceError) as error:
            _LOG.warning("the certificate is not renewed yet: %s", error.message)

    def _verify(self, effect: Verify) -> Event:
        now = self._now()
        try:
            verdict = self._verdict(effect, now)
            self.parts.trusted.save("director", verdict.director)
            self.parts.trusted.save("image", verdict.image)
            self._spent = verdict.spent
        except ExpiredError as error:
            # Either the server signs nothing any more, or the clock here is ahead: who reads this must see both times.
            return Refused(now=now, code=error.code, message=f"{error.message} It is {utc_text(now)} here.")
        except TrustError as error:
            return Refused(now=now, code=error.code, message=error.message)
        except DeviceError as error:
            return Failed(now=now, code=error.code, message=error.message)
        return self._admitted(effect, verdict, now)

    def _verdict(self, effect: Verify, now: datetime) -> Verdict:
        return verify(
            director=self.parts.trusted.load("director"),
            image=self.parts.trusted.load("image"),
            fetched_director=effect.answer.metadata.director,
            fetched_image=effect.answer.metadata.image,
            device_id=self.parts.device_id,
            now=now,
        )

    def _admitted(self, effect: Verify, verdict: Verdict, now: datetime) -> Event:
        # A board without a clock has learnt just now how late it is; the order is judged and begun by that.
        now = max(now, verdict.issued_at)
        floor = utc_text(max(verdict.issued_at, parse_utc(self.state.time_floor)))
        fresh_until = utc_text(verdict.fresh_until)
        next_poll_s = effect.answer.next_poll_s
        ordered = verdict.ordered
        if ordered is None:
            return Nothing(now=now, etag=effect.etag, time_floor=floor, fresh_until=fresh_until, next_poll_s=next_poll_s)
        try:
            admit(ordered, self.parts.board, self.state, now)
            require_readable(ordered.order)
        except Error as error:
            return Rejected(
                now=now,
                etag=effect.etag,
                time_floor=floor,
                fresh_until=fresh_until,
                next_poll_s=next_poll_s,
                assignment_id=ordered.order.assignment_id,
                code=error.code,
                message=error.message,
            )
        return Accepted(
            now=now,
            etag=effect.etag,
            time_floor=floor,
            fresh_until=fresh_until,
            next_poll_s=next_poll_s,
            order=ordered.order,
            size=ordered.size,
            hash=ordered.hash,
            urls=_urls(effect.answer, ordered.hash),
            # Who is asked is asked when the order is weighed, and once.
            is_put_off=self.parts.ask is not None
            or interlock_of(ordered.order, now, self.parts.put_off_until(), self.parts.inhibitors()) is not None,
        )

    def _download(self, effect: Download) -> Event:
        attempt = effect.attempt
        self._flush()
        target = DownloadTarget(urls=tuple(attempt.urls), size=attempt.size, hash=attempt.hash, slot=attempt.slot)
        try:
            # A slot that cannot be written is still good for what it holds.
            self.downloader.require_ready(target)
        except DeviceError as error:
            return Failed(now=self._now(), code=error.code, message=error.message, is_untouched=self._other_state() is SlotState.GOOD)
        try:
            install.prepare(self.parts.boot, attempt.slot, self.slot)
            # An agent that was started again reads what it has before it asks for more.
            self.parts.pulse.beat(whole_slot_s(attempt.received))
            left = parse_utc(attempt.started_at) + timedelta(seconds=attempt.order.deadline_s) - self._now()
            received = self.downloader.step(target, attempt.received, effect.until, within_s=left.total_seconds())
        except InterruptedDownloadError as error:
            _LOG.info("download interrupted at %d of %d bytes: %s", error.received, attempt.size, error.message)
            return Interrupted(now=self._now(), received=error.received, code=error.code, message=error.message)
        except (CorruptDownloadError, RefusedDownloadError) as error:
            _LOG.info("download failed, try %d: %s", attempt.tries + 1, error.message)
            return Corrupt(now=self._now(), code=error.code, message=error.message)
        except SpaceError as error:
            # The journal needs room to say so.
            self._discard(attempt.slot)
            return Failed(now=self._now(), code=error.code, message=error.message)
        except DeviceError as error:
            return Failed(now=self._now(), code=error.code, message=error.message)
        return Received(now=self._now(), received=received)

    def _install(self, effect: Install) -> Event:
        attempt = effect.attempt
        beat = self.parts.pulse.beat
        beat()
        try:
            install.prepare(self.parts.boot, attempt.slot, self.slot)
            beat(self.parts.slots.install_s(attempt.size))
            self.parts.slots.install(attempt.slot, attempt.size, attempt.hash)
            beat(self.parts.slots.read_s(attempt.size))
            self.parts.slots.verify(attempt.slot, attempt.size, attempt.hash)
            beat()
            brokers = tuple(sorted(self.parts.monitor.reached()))
            install.activate(self.parts.boot, attempt.slot)
        except DigestError as error:
            self._discard(attempt.slot)
            return Corrupt(now=self._now(), code=error.code, message=error.message)
        except DeviceError as error:
            self._shut(attempt.slot)
            return Failed(now=self._now(), code=error.code, message=error.message)
        return Activated(now=self._now(), brokers=brokers)

    def _discard(self, slot: SlotName) -> None:
        """Throw away what was downloaded; a slot that cannot be written stays as it is, bad at the bootloader."""
        try:
            self.downloader.discard(slot)
        except DeviceError as error:
            _LOG.warning("what was downloaded is not thrown away: %s", error.message)

    def _shut(self, slot: SlotName) -> None:
        """See that a slot that was given up is not started, whatever a program that installed it told the bootloader."""
        try:
            install.prepare(self.parts.boot, slot, self.slot)
        except DeviceError as error:
            _LOG.warning("slot %s may still be started: %s", slot, error.message)

    def _reboot(self) -> Event:
        self._flush()
        restarted = self.parts.reboot()
        if restarted is not None:
            return self._went_on(restarted)
        self.parts.clock.sleep(_REBOOT_S)
        raise BootError(f"The board did not reboot within {_REBOOT_S:.0f} s.")

    def _went_on(self, restarted: Restarted) -> Booted:
        """Begin anew with what was started, as an agent does that a boot started."""
        self.parts = replace(self.parts, monitor=restarted.monitor)
        self.watch = Watch(restarted.monitor, self.parts.clock)
        self.slot, self.is_reported = restarted.slot, False
        self.running = self._look()
        self.started_s = self.parts.clock.monotonic()
        return self.booted()

    def _probe(self) -> Event:
        # Health first: a server that is slow to take a report must not pass for a release that is not well.
        vitals = self.watch.look(self.state.vitals, pace_s=0.0)
        health = self.watch.health
        if not self.is_reported:
            self._flush(at_least_one=True)
        return Probed(
            now=self._now(),
            healthy_s=health.healthy_s,
            trial_s=self.parts.clock.monotonic() - self.started_s,
            failing=health.failing,
            is_reported=self.is_reported,
            lost=health.lost,
            ailing=health.ailing,
            vitals=vitals,
        )

    def _pause(self, seconds: float) -> None:
        """Wait with a pulse, and for nothing else: whoever waits long must not be taken for one who hangs."""
        clock, pulse = self.parts.clock, self.parts.pulse
        end_s = clock.monotonic() + seconds
        while (left_s := end_s - clock.monotonic()) > 0:
            pulse.beat()
            clock.sleep(min(left_s, pulse.rest_s()))

    def _wait(self, seconds: float) -> Event:
        clock, pulse = self.parts.clock, self.parts.pulse
        end_s = clock.monotonic() + seconds
        self.parts.will_wake(seconds)
        while True:
            pulse.beat()
            is_watched = self.state.vitals is not None and self.state.phase in _WATCHED
            if is_watched and (sensed := self._sense(end_s)) is not None:
                return sensed
            left_s = end_s - clock.monotonic()
            if left_s <= 0:
                return Woke(now=self._now())
            clock.sleep(min(left_s, pulse.rest_s(), self.watch.rest_s() if is_watched else left_s))

    def _sense(self, end_s: float) -> Sensed | None:
        """Look after the committed release; return what is worth a note, if anything is."""
        noted, rollback = self.state.vitals, self.parts.policy.rollback
        vitals = self.watch.look(noted, pace_s=PACE_S)
        if vitals is None or noted is None:
            return None
        other = self._other_state() if judge(vitals, rollback) is not None else None
        if other is None and not is_worth_noting(noted, vitals, rollback.window_s):
            return None
        left_s = max(0.0, end_s - self.parts.clock.monotonic())
        return Sensed(now=self._now(), vitals=vitals, failing=self.watch.health.failing, other=other, left_s=left_s)

    def _other_state(self) -> SlotState | None:
        try:
            return self.parts.boot.get_state(self.slot.other)
        except DeviceError as error:
            _LOG.warning("the bootloader cannot say whether there is a release to go back to: %s", error.message)
            return None

    def _revert(self, effect: Revert) -> None:
        kept = effect.release
        self.parts.pulse.beat(self.parts.slots.read_s(0 if kept is None else kept.size))
        if kept is not None and self.parts.slots.running_digest(effect.to, kept.size) != kept.hash:
            raise BootError(f"Slot {effect.to} does not hold {kept.version} any longer.", hint="Install a good release.")
        install.revert(self.parts.boot, effect.bad, effect.to)

    def _mark_good(self, slot: SlotName) -> Event:
        try:
            install.commit(self.parts.boot, slot)
        except DeviceError as error:
            return Failed(now=self._now(), code=error.code, message=error.message)
        return Marked(now=self._now())

    def _report(self) -> Event:
        try:
            self._send_pending()
        except (TransientError, DeviceError) as error:
            return Failed(now=self._now(), code=error.code, message=error.message)
        return Reported(now=self._now())

    def _leaving(self, act: Callable[[], Event | None]) -> Event | None:
        """Perform a step towards another slot; when that fails, look at what the bootloader thinks by now."""
        try:
            return act()
        except DeviceError as error:
            stayed = Stayed(now=self._now(), code=error.code, message=error.message, primary=None, states={})
        with suppress(DeviceError):
            boot = self.parts.boot
            return replace(stayed, primary=boot.get_primary(), states={slot: boot.get_state(slot) for slot in SlotName})
        return stayed

    def _flush(self, *, at_least_one: bool = False) -> None:
        """Send what waits, if the server is there; what does not get through, or cannot be noted as sent, waits for the next time."""
        try:
            self._send_pending(at_least_one=at_least_one)
            self._has_said_that_events_wait = False
        except (TransientError, DeviceError) as error:
            if not self._has_said_that_events_wait:
                _LOG.info("events wait: %s", error.message)
            self._has_said_that_events_wait = True

    def _send_pending(self, *, at_least_one: bool = False) -> None:
        journal = self.parts.journal
        while journal.pending or at_least_one:
            events = _batch(journal.pending)
            self.parts.pulse.beat()
            answer = self.parts.server.send(EventBatch(journal=journal.id, events=events, report=self._device_report()))
            if answer.acknowledged.journal != journal.id or (events and answer.acknowledged.seq < events[0].seq):
                raise TransportError("The server acknowledged other events than were sent.")
            self.is_reported = True
            at_least_one = False
            if events:
                journal.acknowledge(min(answer.acknowledged.seq, events[-1].seq))

    def _device_report(self) -> DeviceReport:
        installed = self.running.installed
        return DeviceReport(
            hardware=self.parts.board.hardware,
            bootloader_version=self.parts.board.bootloader_version,
            agent_version=self.parts.agent_version,
            slot=self.slot,
            product=installed.product,
            version=installed.version,
            build_id=installed.build_id,
            hash=self.running.found,
            release_counter=self.state.release_counter,
            data_format=installed.data_format,
            revert_to=installed.revert_to,
            attributes=dict(self.parts.attributes),
        )

    def _emitted(self, emit: Emit, state: State) -> Emitted:
        clock = self.parts.clock.now()
        is_believable = clock >= parse_utc(state.time_floor)
        return Emitted(
            type=emit.type,
            at=utc_text(clock),
            clock="synced" if is_believable else "unsynced",
            assignment_id=emit.assignment_id,
            data=_short(emit.data),
        )

    def _now(self) -> datetime:
        # A board whose clock is behind counts on from the floor by itself: else time would stand still, and nothing ever expire.
        # It counts no further than it needs to see that: a floor that a stolen key has lifted must not run away from true time.
        now_s = self.parts.clock.monotonic()
        if self.state.time_floor != self._floor:
            self._floor, self._floor_s = self.state.time_floor, now_s
        floor = parse_utc(self._floor)
        counted = min(floor + timedelta(seconds=now_s - self._floor_s), parse_utc(self.state.fresh_until or self._floor))
        return max(self.parts.clock.now(), floor, counted)

    def _look(self) -> Running:
        installed = in_slot(self.state, self.slot)
        if installed is None:
            raise BootError(f"The board booted slot {self.slot}, in which nothing verified lies.", hint="Flash the device again.")
        return Running(installed=installed, found=self.parts.slots.running_digest(self.slot, installed.size))


def _urls(answer: PollAnswer, digest: Digest) -> list[str]:
    """Return where an image may be fetched, as far as unsigned hints are worth keeping."""
    urls = (url for hint in answer.artifacts if hint.hash == digest for url in hint.urls)
    return [url for url in urls if len(url) <= _MAX_URL][:_MAX_URLS]


def _batch(pending: Sequence[DeploymentEvent]) -> list[DeploymentEvent]:
    """Return the oldest events that fit one call, by number and by bytes; at least one if there is any."""
    batch: list[DeploymentEvent] = []
    size = 0
    for event in pending[:MAX_BATCH]:
        size += len(to_json(event))
        if batch and size > _MAX_BATCH_BYTES:
            break
        batch.append(event)
    return batch


def _short(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's facts with long texts cut: what a peer said must not make an event that no server takes."""
    return {name: value[:_MAX_TEXT] if isinstance(value, str) else value for name, value in data.items()}


def _log_step(before: State, after: State, emits: list[Emit]) -> None:
    for emit in emits:
        details = " ".join(f"{key}={value}" for key, value in emit.data.items())
        _LOG.info("%s %s", emit.type.removeprefix("update."), details)
    if before.phase is not after.phase:
        _LOG.debug("%s -> %s", before.phase, after.phase)
