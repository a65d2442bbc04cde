# SPDX-License-Identifier: Apache-2.0
"""A journal that is lost: what the slots and the bootloader prove is enough to go on, and nothing else is believed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.home import DATA
from surefoot.agent.recovery import GoBack, Kept, Remembered, begin_anew, keep, read_kept
from surefoot.agent.state import Phase, State
from surefoot.agent.storage import read_file, replace_file
from surefoot.model.digest import Digest, digest_of
from surefoot.model.errors import DeviceError, JournalLostError
from surefoot.model.record import parse_utc, to_json, utc_text
from surefoot.model.slot import Installed, SlotName, SlotState
from surefoot.simulator.flash import SimulatedFlash
from tests.agent.moments import NOW, WANTED, A, B, at_work, release, state

BUILT = NOW - timedelta(days=30)
GOOD, TRYING, BAD = SlotState.GOOD, SlotState.TRYING, SlotState.BAD


def holding(**slots: str) -> Mapping[SlotName, Digest]:
    return {SlotName(name): digest_of(version.encode()) for name, version in slots.items()}


def remembering(*states: State, kept: Kept | None = None, factory: Installed | None = None, built_at: datetime = BUILT) -> Remembered:
    return Remembered(states=states, kept=kept, factory=factory, built_at=built_at)


def anew(
    remembered: Remembered, slots: Mapping[SlotName, Digest], running: SlotName = A, a: SlotState = GOOD, b: SlotState = BAD
) -> State | GoBack:
    def digest(slot: SlotName, size: int) -> Digest:
        assert size == 1000
        if slot not in slots:
            raise DeviceError("The slot cannot be read.")
        return slots[slot]

    return begin_anew(remembered, running, {A: a, B: b}, digest)


def test_a_board_that_was_never_updated_is_proved_by_its_factory_manifest() -> None:
    found = anew(remembering(factory=release("1.0.0")), holding(a="1.0.0"))
    assert found == State(slot=A, running=release("1.0.0"), release_counter=1, time_floor=utc_text(BUILT))


def test_what_runs_is_what_lies_there_and_not_what_was_remembered_last() -> None:
    kept = Kept(slot=B, running=release("1.1.0"), fallback=release("1.0.0"), release_counter=2, time_floor=utc_text(NOW))
    found = anew(remembering(kept=kept), holding(a="1.0.0", b="1.1.0"), running=A, b=GOOD)
    assert isinstance(found, State)
    assert (found.slot, found.running, found.fallback) == (A, release("1.0.0"), release("1.1.0"))


@pytest.mark.parametrize("where", ["state", "fallback", "attempt", "copy", "copy's fallback", "factory"])
def test_every_place_that_remembers_may_propose(where: str) -> None:
    wanted = release("1.1.0", release_counter=2)
    copy = {"slot": A, "release_counter": 1, "time_floor": utc_text(BUILT)}
    remembered = {
        "state": remembering(state(running=wanted)),
        "fallback": remembering(state(fallback=wanted)),
        "attempt": remembering(at_work(Phase.TRIAL)),
        "copy": remembering(kept=Kept(running=wanted, **copy)),  # type: ignore[arg-type]  # of the types of its fields
        "copy's fallback": remembering(kept=Kept(running=release("1.0.0"), fallback=wanted, **copy)),  # type: ignore[arg-type]  # likewise
        "factory": remembering(factory=wanted),
    }[where]
    found = anew(remembered, {B: WANTED}, running=B, b=GOOD)
    assert isinstance(found, State)
    assert (found.slot, found.running.version, found.release_counter) == (B, "1.1.0", 2)


def test_bytes_that_nobody_remembers_prove_nothing_and_it_says_what_to_do() -> None:
    with pytest.raises(JournalLostError, match=r"nothing here proves what runs in slot a.*flash and enrol the board again"):
        anew(remembering(state(), factory=release("0.9.0")), holding(a="2.0.0"))
    with pytest.raises(JournalLostError):
        anew(remembering(state()), {})


@pytest.mark.parametrize("mark", [TRYING, BAD])
def test_a_trial_whose_story_is_lost_goes_back(mark: SlotState) -> None:
    remembered = remembering(at_work(Phase.TRIAL))
    assert anew(remembered, {**holding(a="1.0.0"), B: WANTED}, running=B, b=mark) == GoBack(bad=B, to=A)


@pytest.mark.parametrize("slots", [holding(a="1.0.0", b="2.0.0"), holding(a="1.0.0")], ids=["other bytes", "unreadable"])
def test_a_trial_of_what_nobody_remembers_goes_back_to_what_is_proved(slots: Mapping[SlotName, Digest]) -> None:
    copy = Kept(slot=A, running=release("1.0.0"), release_counter=1, time_floor=utc_text(NOW))
    assert anew(remembering(kept=copy), slots, running=B, b=TRYING) == GoBack(bad=B, to=A)
    with pytest.raises(JournalLostError):
        anew(remembering(kept=copy), slots, running=B, b=GOOD)


@pytest.mark.parametrize(("slots", "mark"), [(holding(a="rubble"), GOOD), (holding(a="1.0.0"), BAD), ({}, GOOD)])
def test_what_has_nothing_to_go_back_to_is_kept(slots: Mapping[SlotName, Digest], mark: SlotState) -> None:
    found = anew(remembering(at_work(Phase.TRIAL)), {**slots, B: WANTED}, running=B, a=mark, b=TRYING)
    assert isinstance(found, State)
    assert (found.slot, found.fallback) == (B, None)


def test_a_slot_that_is_not_good_is_no_fallback() -> None:
    found = anew(remembering(state(fallback=release("0.9.0"))), holding(a="1.0.0", b="0.9.0"), b=BAD)
    assert isinstance(found, State)
    assert found.fallback is None


@given(counters=st.lists(st.integers(1, 9), min_size=1, max_size=4), floors=st.lists(st.integers(-60, 60), min_size=1, max_size=4))
def test_counter_and_floor_never_go_down(counters: list[int], floors: list[int]) -> None:
    instants = [NOW + timedelta(days=days) for days in floors]
    states = [state(release_counter=counter) for counter in counters] + [state(time_floor=utc_text(at)) for at in instants[1:]]
    kept = Kept(slot=A, running=release("1.0.0"), release_counter=max(counters), time_floor=utc_text(instants[0]))
    found = anew(remembering(*states, kept=kept), holding(a="1.0.0"))
    assert isinstance(found, State)
    assert found.release_counter == max(counters)
    assert parse_utc(found.time_floor) == max([NOW, BUILT, *instants])


# --- the copy ---------------------------------------------------------------------------------------------------------------


def test_the_copy_is_written_when_it_says_something_else_and_not_for_a_later_time() -> None:
    flash = SimulatedFlash()
    keep(flash, DATA, state())
    before = flash.operations
    keep(flash, DATA, state(time_floor="2027-01-01T00:00:00Z", etag="9"))
    assert flash.operations == before
    keep(flash, DATA, state(fallback=release("0.9.0")))
    found = read_kept(flash, DATA)
    assert found is not None
    assert (found.running, found.fallback) == (release("1.0.0"), release("0.9.0"))


@pytest.mark.parametrize("content", [b"", b"\0" * 512, b"{", to_json({"slot": "a"})])
def test_a_damaged_copy_is_none_and_is_replaced(content: bytes) -> None:
    flash = SimulatedFlash()
    replace_file(flash, f"{DATA}/kept.json", content)
    assert read_kept(flash, DATA) is None
    keep(flash, DATA, state())
    assert read_kept(flash, DATA) is not None


def test_an_older_agent_reads_a_newer_copy() -> None:
    flash = SimulatedFlash()
    keep(flash, DATA, state())
    data = read_file(flash, f"{DATA}/kept.json") or b""
    replace_file(flash, f"{DATA}/kept.json", b'{"from_the_future":1,' + data[1:])
    assert read_kept(flash, DATA) is not None


def test_the_epoch_is_a_floor_of_a_board_that_knows_nothing_better() -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    found = anew(remembering(factory=release("1.0.0"), built_at=epoch), holding(a="1.0.0"))
    assert isinstance(found, State)
    assert parse_utc(found.time_floor) == epoch
