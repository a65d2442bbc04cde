# SPDX-License-Identifier: Apache-2.0
"""The state machine against a naive board and a naive server, through power cuts at any moment."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import structs

from surefoot.agent.machine import step
from surefoot.agent.signals import (
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
    Marked,
    MarkGood,
    Nothing,
    Poll,
    Probe,
    Reboot,
    Received,
    Refused,
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
from surefoot.agent.state import Phase, Policy, State, kept
from surefoot.agent.triggers import judge
from surefoot.agent.vitals import Reset, lived, started
from surefoot.model.assignment import AssignmentId
from surefoot.model.digest import Digest, digest_of
from surefoot.model.event import EventType
from surefoot.model.record import from_json, to_json
from surefoot.model.slot import SlotName, SlotState
from surefoot.model.window import DownloadTime
from tests.agent.moments import (
    ANSWER,
    FLOOR,
    FRESH,
    MAY_START,
    NOW,
    A,
    B,
    accepted,
    held,
    interrupted,
    order,
    probed,
    rejected,
    release,
    state,
    windowed,
)

POLICY = Policy(settle_s=2, trial_s=20, max_boots=3)
TRIES = 3
SIZE = 3
WATCHED = {Phase.IDLE, Phase.WAITING, Phase.REPORTING}
AT_REST = {Phase.IDLE, Phase.CHECKING, Phase.VERIFYING, Phase.REPORTING}
FINAL = {EventType.HEALTH_OK, EventType.ROLLBACK_COMPLETED, EventType.DOWNLOAD_FAILED, EventType.INSTALL_FAILED}
GARBAGE = digest_of(b"garbage")
FACTORY = release("1.0.0")
MISHAPS = st.sampled_from(["", "", "", "", "transport", "board", "corrupt", "late"])


class BoardAndServer(RuleBasedStateMachine):
    """A board as simple as one can be: two slots, what lies in them, and a bootloader that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.state = self.journal = state()
        self.now = NOW
        self.slots: dict[SlotName, Digest | None] = {A: FACTORY.hash, B: None}
        self.states = {A: SlotState.GOOD, B: SlotState.BAD}
        self.tries_left = 0
        self.primary = self.running = A
        self.crashing: set[Digest] = set()
        self.ordered: tuple[AssignmentId, Digest] | None = None
        self.etag = 1
        self.has_windows, self.download = False, DownloadTime.ANY
        self.is_open, self.is_put_off = True, False
        self.assignments = 0
        self.emitted: list[Emit] = []
        self.effects: list[Effect] = []
        self.highest_counter = 1
        self.boots = 0

    # --- what a test does -------------------------------------------------------------------------------------------

    @initialize()
    def power_on(self) -> None:
        self._boot()

    @precondition(lambda self: self._is_quiet() or self.state.phase is Phase.WAITING)
    @rule(
        crashes=st.sampled_from([False, False, False, True]),
        is_same=st.booleans(),
        has_windows=st.booleans(),
        download=st.sampled_from(DownloadTime),
    )
    def order_a_release(self, *, crashes: bool, is_same: bool, has_windows: bool, download: DownloadTime) -> None:
        """Order a new release, or the same image once more under a new number; with windows, or without."""
        self.has_windows, self.download = has_windows, download
        self.assignments += 1
        digest = self.ordered[1] if is_same and self.ordered is not None else digest_of(f"image {self.assignments}".encode())
        if crashes:
            self.crashing.add(digest)
        self.ordered, self.etag = (AssignmentId(self.assignments), digest), self.etag + 1

    @rule()
    def the_server_signs_the_same_order_again(self) -> None:
        self.etag += 1

    @rule()
    def a_window_opens_or_closes(self) -> None:
        self.is_open = not self.is_open

    @rule()
    def people_put_updates_off_or_do_not_any_longer(self) -> None:
        self.is_put_off = not self.is_put_off

    @precondition(lambda self: self.ordered is not None)
    @rule()
    def withdraw(self) -> None:
        self.ordered, self.etag = None, self.etag + 1

    @rule(mishap=MISHAPS, part=st.integers(0, SIZE), count=st.integers(1, 5))
    def go_on(self, mishap: str, part: int, count: int) -> None:
        for _ in range(count):
            self._perform(mishap, part)

    @precondition(lambda self: not self._is_quiet())
    @rule(phase=st.sampled_from(sorted(set(Phase) - {Phase.CHECKING, Phase.VERIFYING})))
    def go_on_undisturbed_to_a_phase(self, phase: Phase) -> None:
        for _ in range(30):
            if self.state.phase is phase or self._is_quiet():
                break
            self._perform("", 0)

    @precondition(lambda self: self.state.attempt is not None)
    @rule()
    def cut_the_power(self) -> None:
        self._boot()

    @precondition(lambda self: self.state.attempt is not None)
    @rule(mishap=MISHAPS, part=st.integers(0, SIZE))
    def cut_the_power_before_the_machine_hears_of_what_was_done(self, mishap: str, part: int) -> None:
        self._act(mishap, part)
        self._boot()

    @precondition(lambda self: self.state.attempt is not None)
    @rule(count=st.integers(1, 4))
    def kill_the_agent(self, count: int) -> None:
        for _ in range(count):
            self._start_agent()

    @precondition(lambda self: self.state.phase in AT_REST | {Phase.WAITING} and self.state.fallback is not None)
    @rule()
    def the_bootloader_gives_up_the_committed_release(self) -> None:
        self.states[self.running] = SlotState.BAD
        self.primary = self.running.other
        self._boot()

    @precondition(lambda self: self.state.phase in WATCHED and self.state.vitals is not None)
    @rule(seconds=st.sampled_from([1, 61, 121, 400, 90_000]), is_failing=st.booleans(), looks=st.integers(1, 3))
    def the_release_is_looked_at_in_a_wait(self, seconds: int, looks: int, *, is_failing: bool) -> None:
        """Let the release that was kept be well or unwell for a while, as a wait hears of it."""
        for _ in range(looks):
            vitals = self.state.vitals
            if self.state.phase not in WATCHED or vitals is None:
                return
            self.now += timedelta(seconds=seconds)
            counted = lived(vitals, seconds, is_failing=is_failing, reached=())
            other = self.states[self.running.other]
            must_leave = other is SlotState.GOOD and judge(counted, POLICY.rollback) is not None
            self._tell(Sensed(now=self.now, vitals=counted, failing="It hangs." if is_failing else "", other=other, left_s=1.0))
            assert bool(self.state.leaving) == must_leave

    @precondition(lambda self: self.state.vitals is not None)
    @rule(times=st.integers(1, 5))
    def the_board_resets_itself_again_and_again(self, times: int) -> None:
        for _ in range(times):
            self._boot()

    @precondition(lambda self: self.state.phase is Phase.DOWNLOADING)
    @rule(minutes=st.integers(1, 300))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    def _is_quiet(self) -> bool:
        return self.state.phase is Phase.IDLE and self.state.etag == str(self.etag)

    # --- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def an_attempt_has_at_most_one_final_outcome(self) -> None:
        counts = Counter(emit.assignment_id for emit in self.emitted if is_final(emit))
        assert not [assignment for assignment, count in counts.items() if count > 1], counts

    @invariant()
    def an_attempt_that_is_over_has_an_outcome(self) -> None:
        if self.state.finished is not None and self.state.attempt is None:
            assert any(is_final(emit) and emit.assignment_id == self.state.finished for emit in self.emitted)

    @invariant()
    def nothing_is_written_to_the_slot_that_runs(self) -> None:
        attempt = self.state.attempt
        assert attempt is None or attempt.slot is not self.state.slot
        for effect in self.effects:
            if isinstance(effect, Download | Install):
                assert effect.attempt.slot is not self.running

    @invariant()
    def nothing_is_counted_of_a_release_that_nothing_could_be_done_about(self) -> None:
        attempt = self.state.attempt
        assert self.state.vitals is None or self.state.fallback is not None or attempt is not None
        assert self.state.phase is not Phase.DOWNLOADING or self.state.vitals is None

    @invariant()
    def a_release_is_left_for_one_that_lies_there(self) -> None:
        if self.state.leaving:
            assert self.state.phase is Phase.ROLLING_BACK
            assert self.state.fallback is not None
            assert self.slots[self.state.slot.other] == self.state.fallback.hash

    @invariant()
    def what_is_written_over_is_not_what_the_next_boot_starts(self) -> None:
        attempt = self.state.attempt
        if self.state.phase is Phase.DOWNLOADING and attempt is not None and self.slots[attempt.slot] == GARBAGE:
            assert self.primary is self.running
            assert self.states[self.running] is SlotState.GOOD

    @invariant()
    def the_journal_lacks_nothing_that_the_server_was_told_of(self) -> None:
        assert (self.journal.leaving, self.journal.finished) == (self.state.leaving, self.state.finished)

    @invariant()
    def tries_are_bounded(self) -> None:
        assert self.state.attempt is None or self.state.attempt.tries < POLICY.max_tries

    @invariant()
    def what_is_committed_lies_where_the_device_thinks(self) -> None:
        assert self.slots[self.state.slot] == self.state.running.hash

    @invariant()
    def the_board_runs_something_released(self) -> None:
        assert self.slots[self.running] not in {None, GARBAGE}

    @invariant()
    def the_release_counter_never_goes_back(self) -> None:
        assert self.state.release_counter >= self.highest_counter
        self.highest_counter = self.state.release_counter

    def teardown(self) -> None:
        """Leave the device alone, and the window open: it must come to rest."""
        self.is_open, self.is_put_off = True, False
        for _ in range(400):
            if self._is_quiet():
                break
            self._perform("", 0)
        else:
            raise AssertionError(f"no rest: {self.state.phase}, next {self.effects}")
        assert self.state.attempt is None
        self.an_attempt_has_at_most_one_final_outcome()

    # --- the naive world --------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        self.state, effects = step(self.state, event, POLICY)
        news = [effect for effect in effects if isinstance(effect, Emit)]
        attempt = self.state.attempt
        if attempt is not None and attempt.order.windows and any(emit.type is EventType.INSTALL_STARTED for emit in news):
            assert isinstance(event, Weighed), "an install with a window starts only when the window says so"
            assert event.permission.may_start
        if any(emit.type is self._starts_with() for emit in news):
            assert not self.is_put_off, "nothing starts that people have put off"
        assert list(effects[: len(news)]) == news, "events come before effects"
        self.emitted += news
        self.effects = list(effects[len(news) :])
        if news or kept(self.state) != kept(self.journal):
            self.journal = from_json(to_json(kept(self.state)), State, what="journal")

    def _starts_with(self) -> EventType:
        attempt = self.state.attempt
        has_windows = attempt is not None and bool(attempt.order.windows)
        return EventType.INSTALL_STARTED if has_windows else EventType.DOWNLOAD_STARTED

    def _boot(self) -> None:
        """Be the bootloader until an agent starts: a slot on trial has three starts, and a crash uses one up."""
        while True:
            slot = self.primary
            if self.states[slot] is SlotState.TRYING and self.tries_left == 0:
                self.states[slot] = SlotState.BAD
            if self.states[slot] is SlotState.BAD:
                self.primary = slot.other
                continue
            if self.states[slot] is SlotState.TRYING:
                self.tries_left -= 1
            self.running, self.boots = slot, self.boots + 1
            if self.states[slot] is SlotState.TRYING and self.slots[slot] in self.crashing:
                continue
            self._start_agent()
            return

    def _start_agent(self) -> None:
        self.state = structs.replace(self.journal)
        attempt, vitals = self.state.attempt, self.state.vitals
        is_wanted = attempt is not None and self.running is attempt.slot and self.slots[self.running] == attempt.hash
        counted = None if vitals is None else started(vitals, str(self.boots), Reset.UNKNOWN)
        self._tell(
            Booted(
                now=self.now,
                slot=self.running,
                primary=self.primary,
                states=dict(self.states),
                is_wanted=is_wanted,
                vitals=counted,
            )
        )

    def _perform(self, mishap: str, part: int) -> None:
        event = self._act(mishap, part)
        if event is None:
            self._boot()
        else:
            self._tell(event)

    def _act(self, mishap: str, part: int) -> Event | None:
        """Perform what the machine asked for and return what comes of it; nothing when the board goes down to boot."""
        for effect in self.effects:
            match effect:
                case Emit():
                    continue
                case Poll(etag=etag):
                    return self._poll(etag, mishap)
                case Verify(etag=etag):
                    return self._verify(etag, mishap)
                case Download():
                    return self._download(effect, mishap, part)
                case Shut(slot=slot):
                    self._shut(slot)
                case Install():
                    return self._install(effect, mishap)
                case Probe():
                    return self._probe(mishap)
                case MarkGood(slot=slot):
                    return self._mark_good(slot, mishap)
                case Report():
                    return self._failed("transport") if mishap == "transport" else Reported(now=self.now)
                case Weigh(order=weighed):
                    may_start = not self.is_put_off and (self.is_open or not weighed.windows)
                    return replace(MAY_START, now=self.now) if may_start else held(self.now + timedelta(hours=2), now=self.now)
                case Wait(seconds=seconds):
                    self.now += timedelta(seconds=seconds)
                    return Woke(now=self.now)
                case Revert(bad=bad, to=to):
                    if mishap == "board":
                        return self._stayed()
                    self.primary = to
                    if mishap == "corrupt":
                        return self._stayed()
                    self.states[bad] = SlotState.BAD
                case Reboot():
                    return self._stayed() if mishap == "late" else None
        raise AssertionError("nothing answers")

    def _poll(self, etag: str, mishap: str) -> Event:
        if mishap == "transport":
            return CheckFailed(now=self.now, code="transport", message="Nobody answers.")
        if etag == str(self.etag):
            return Unchanged(now=self.now, next_poll_s=300)
        return Answered(now=self.now, answer=ANSWER, etag=str(self.etag))

    def _verify(self, etag: str, mishap: str) -> Event:
        match mishap, self.ordered:
            case "corrupt", _:
                return Refused(now=self.now, code="bad_signature", message="It is not signed.")
            case "board", _:
                return self._failed("no_space")
            case _, None:
                return Nothing(now=self.now, etag=etag, time_floor=FLOOR, fresh_until=FRESH, next_poll_s=300)
            case "late", (assignment, _):
                return replace(rejected(assignment), now=self.now, etag=etag)
            case _, (assignment, digest):
                wanted = order(assignment, release_counter=assignment // 2 + 1)
                if self.has_windows:
                    wanted = structs.replace(wanted, windows=windowed().windows, download=self.download)
                return accepted(now=self.now, etag=etag, size=SIZE, hash=digest, order=wanted, is_put_off=self.is_put_off)
        raise AssertionError(mishap)

    def _download(self, effect: Download, mishap: str, part: int) -> Event:
        slot = effect.attempt.slot
        self._shut(slot)
        self.slots[slot] = GARBAGE
        match mishap:
            case "transport":
                return interrupted(min(max(part, effect.attempt.received), effect.until), self.now)
            case "corrupt":
                return Corrupt(now=self.now, code="corrupt_download", message="Other bytes.")
            case "board":
                return self._failed("no_space")
            case _:
                pass
        if effect.until == effect.attempt.size:
            self.slots[slot] = effect.attempt.hash
        return Received(now=self.now, received=effect.until)

    def _shut(self, slot: SlotName) -> None:
        if self.states[self.running] is SlotState.BAD:
            self.states[self.running] = SlotState.GOOD
        if self.primary is slot:
            self.primary = self.running
        self.states[slot] = SlotState.BAD

    def _install(self, effect: Install, mishap: str) -> Event:
        slot = effect.attempt.slot
        if mishap == "board":
            return self._failed("boot")
        if mishap == "corrupt" or self.slots[slot] != effect.attempt.hash:
            self.slots[slot] = GARBAGE
            return Corrupt(now=self.now, code="bad_digest", message="Other bytes in the slot.")
        self.states[slot], self.tries_left, self.primary = SlotState.TRYING, TRIES, slot
        return Activated(now=self.now)

    def _probe(self, mishap: str) -> Event:
        match mishap:
            case "late":
                return probed(now=self.now, trial_s=POLICY.trial_s, failing="It hangs.")
            case "transport":
                return probed(now=self.now, healthy_s=POLICY.settle_s, trial_s=POLICY.trial_s, is_reported=False)
            case "":
                return probed(now=self.now, healthy_s=POLICY.settle_s)
            case _:
                return probed(now=self.now)

    def _mark_good(self, slot: SlotName, mishap: str) -> Event:
        if mishap == "board":
            return self._failed("boot")
        self.states[slot] = SlotState.GOOD
        return Marked(now=self.now)

    def _stayed(self) -> Stayed:
        return Stayed(now=self.now, code="boot", message="It failed.", primary=self.primary, states=dict(self.states))

    def _failed(self, code: str) -> Failed:
        return Failed(now=self.now, code=code, message="It failed.")


def is_final(emit: Emit) -> bool:
    """Say whether an event ends its attempt; that a release was given up after it was kept is a fact beside the outcome."""
    if "from" in emit.data:
        return False
    is_refusal = emit.type is EventType.CHECK_COMPLETED and "refused" in emit.data and emit.assignment_id is not None
    return emit.type in FINAL or is_refusal


BoardAndServer.TestCase.settings = settings(max_examples=300, stateful_step_count=80, deadline=None)
test_the_machine_holds_its_promises_on_a_naive_board = BoardAndServer.TestCase
