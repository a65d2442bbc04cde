# SPDX-License-Identifier: Apache-2.0
"""Who inhibits updates at a device: what is noted, what a power cut or damage leaves of it, and what it holds back."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from surefoot.agent.assembly import DATA
from surefoot.agent.interlock import Inhibitor, allow, inhibit, inhibitors
from surefoot.agent.storage import replace_file
from surefoot.agent.window import interlock_of, weigh
from surefoot.model.errors import InvalidInput
from surefoot.model.event import EventType
from surefoot.model.record import parse_utc, utc_text
from surefoot.model.window import Window
from surefoot.schedule.permission import Reason
from surefoot.simulator.board import Behaviour
from surefoot.simulator.flash import Damage, Flash, PowerCut
from tests.agent.moments import order, windowed
from tests.agent.test_waiting import OPENS_AT, SOON, events
from tests.powerfail.pocket import Plan, PocketWorld
from tests.trust.repositories import DEVICE, NOW, order_for

HOUR = timedelta(hours=1)
PUMP = Inhibitor(name="pump", reason="the pump runs")
SOMEBODY = st.builds(
    Inhibitor,
    name=st.sampled_from(["pump", "user", "ward"]),
    reason=st.sampled_from(["the pump runs", "a patient is connected"]),
    until=st.none() | st.integers(-5, 5).map(lambda hours: NOW + hours * HOUR),
)


# --- what counts ------------------------------------------------------------------------------------------------------------


@given(st.lists(SOMEBODY, max_size=4), st.none() | st.integers(-5, 5), st.booleans())
def test_nothing_starts_while_anybody_inhibits_it_even_past_its_deadline(several: list[Inhibitor], put_off: int | None, forced: bool) -> None:  # noqa: FBT001  # drawn
    put_off_until = None if put_off is None else NOW + put_off * HOUR
    wanted = structs.replace(order(), ignore_windows_from=utc_text(NOW - HOUR) if forced else "")
    found = weigh(wanted, NOW, put_off_until, several)
    ends: list[datetime | None] = [each.until for each in several if each.until is None or each.until > NOW]
    ends += [put_off_until] if put_off_until is not None and put_off_until > NOW else []
    assert found.may_start is (ends == [])
    if ends:
        known = [end for end in ends if end is not None]
        assert (found.reason, found.until) == (Reason.INTERLOCK, max(known) if len(known) == len(ends) else None)
        assert all(each.reason in found.detail for each in several if each.until is None)


def test_a_void_order_is_void_whoever_inhibits_it() -> None:
    late = structs.replace(order(), start_before=utc_text(NOW - HOUR))
    assert weigh(late, NOW, None, [PUMP]).reason is Reason.VOID


def test_a_required_release_is_held_by_who_inhibits_it_and_not_by_its_user() -> None:
    required = structs.replace(windowed(), consent_until=utc_text(NOW - HOUR))
    assert interlock_of(required, NOW, NOW + HOUR) is None
    held = interlock_of(required, NOW, NOW + HOUR, [PUMP])
    assert held is not None
    assert (held.words, held.until) == ("pump inhibits it: the pump runs", None)


# --- what is noted ----------------------------------------------------------------------------------------------------------


def test_each_name_has_a_word_of_its_own_and_takes_back_only_that() -> None:
    flash = Flash()
    inhibit(flash, DATA, PUMP, NOW)
    inhibit(flash, DATA, Inhibitor(name="user", reason="a demonstration", until=NOW + HOUR), NOW)
    inhibit(flash, DATA, Inhibitor(name="user", reason="another one", until=NOW + 2 * HOUR), NOW)
    assert inhibitors(flash, DATA) == [PUMP, Inhibitor(name="user", reason="another one", until=NOW + 2 * HOUR)]
    assert (allow(flash, DATA, "user"), allow(flash, DATA, "user")) == (True, False)
    assert inhibitors(flash, DATA) == [PUMP]


@pytest.mark.parametrize(
    "wrong",
    [
        Inhibitor(name="../journal", reason="x"),
        Inhibitor(name="", reason="x"),
        Inhibitor(name="user", reason=" "),
        Inhibitor(name="user", reason="two\nlines"),
        Inhibitor(name="user", reason="x" * 201),
        Inhibitor(name="user", reason="x", until=NOW),
        Inhibitor(name="user", reason="x", until=NOW + timedelta(days=30, seconds=1)),
    ],
)
def test_what_cannot_be_said_is_refused_and_changes_nothing(wrong: Inhibitor) -> None:
    flash = Flash()
    inhibit(flash, DATA, PUMP, NOW)
    with pytest.raises(InvalidInput):
        inhibit(flash, DATA, wrong, NOW)
    assert inhibitors(flash, DATA) == [PUMP]


@pytest.mark.parametrize("damaged", [b"", b"{", b'{"reason":"x","until":"tomorrow"}', b'{"why":1}'])
def test_a_damaged_word_still_holds_until_it_is_taken_away(damaged: bytes) -> None:
    flash = Flash()
    inhibit(flash, DATA, PUMP, NOW)
    replace_file(flash, f"{DATA}/inhibitors/pump.json", damaged)
    assert inhibitors(flash, DATA) == [Inhibitor(name="pump", reason="its file cannot be read")]
    assert allow(flash, DATA, "pump")
    assert inhibitors(flash, DATA) == []
