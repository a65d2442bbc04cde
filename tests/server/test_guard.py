# SPDX-License-Identifier: Apache-2.0
"""No edit starts an update by surprise: previews say what would be offered, and what is not confirmed is not made."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from surefoot.cli.main import main
from surefoot.fleet.group import GroupRule, Joins
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import ConflictError, UnknownError
from surefoot.model.record import utc_text
from surefoot.server.services.expiry import end_consents, end_over, over_in
from surefoot.server.services.groups import AttributesRequest, OptRequest, add_member, define, end_opt, give_attributes, opt, remove_member
from surefoot.server.services.guard import EditAnswer, Effect, Guard, guarded
from surefoot.server.services.rollouts import Verb
from tests.server.campaign import Campaign
from tests.server.running import Running
from tests.server.test_membership import DEVICES, PLAN, give, make
from tests.server.test_membership import campaign as campaign  # noqa: PLC0414  # a fixture, used by its name

Edit = Callable[[Guard], Awaitable[object]]
OFFERED = [Effect(rollout_id=1, release="thermostat 1.1.0", offered=1, no_longer=0)]
LOST = [Effect(rollout_id=1, release="thermostat 1.1.0", offered=0, no_longer=1)]


@pytest.fixture
def begun(campaign: Campaign) -> Campaign:
    """A rollout to the fixed group 'pilot', in which is one device of four."""
    office = campaign.office
    asyncio.run(add_member("pilot", DEVICES[0], by="ann", write=office.do, now=office.now))
    campaign.begin(PLAN)
    return campaign


def made(campaign: Campaign, edit: Edit, *, is_preview: bool = False, confirmed: int | None = None) -> EditAnswer:
    office = campaign.office
    return asyncio.run(guarded(Guard(office.do, DEVICES, office.now, is_preview=is_preview, confirmed=confirmed), edit))


def adding(campaign: Campaign, group: str = "pilot") -> Edit:
    return lambda write: add_member(group, DEVICES[1], by="ann", write=write, now=campaign.office.now)


def test_a_preview_says_what_an_edit_would_do_and_leaves_no_trace(begun: Campaign) -> None:
    before = list(begun.connection.iterdump())
    assert made(begun, adding(begun), is_preview=True) == EditAnswer(is_done=False, effects=OFFERED)
    assert list(begun.connection.iterdump()) == before


def test_an_edit_that_starts_updates_wants_the_number_that_was_shown(begun: Campaign) -> None:
    for confirmed in (None, 2):
        with pytest.raises(ConflictError, match=r"1 would be offered thermostat 1\.1\.0 by rollout 1"):
            made(begun, adding(begun), confirmed=confirmed)
    assert begun.office.ledger.groups_of(DEVICES[1]) == []
    assert made(begun, adding(begun), confirmed=1) == EditAnswer(is_done=True, effects=OFFERED)
    begun.advance()
    assert {attempt.device_id for attempt in begun.open_attempts()} == {"t-0", "t-1"}


def test_an_edit_that_only_takes_away_needs_no_word(begun: Campaign) -> None:
    office = begun.office
    answer = made(begun, lambda write: remove_member("pilot", DEVICES[0], by="ann", write=write, now=office.now))
    assert answer == EditAnswer(is_done=True, effects=LOST)


def test_an_edit_that_concerns_no_rollout_is_just_made(begun: Campaign) -> None:
    assert made(begun, adding(begun, "others")) == EditAnswer(is_done=True, effects=[])
    begun.steer(Verb.HALT, "recalled")
    assert made(begun, adding(begun)) == EditAnswer(is_done=True, effects=[])


def test_a_pause_is_no_reason_to_be_silent(begun: Campaign) -> None:
    begun.steer(Verb.PAUSE, "holiday")
    assert made(begun, adding(begun), is_preview=True).effects == OFFERED


def test_an_opt_in_and_an_attribute_are_guarded_too(campaign: Campaign) -> None:
    office = campaign.office
    give(office, DEVICES[0], site="b")
    make(office, "pilot", "site==b", Joins.NOW)
    campaign.begin(PLAN)
    said = OptRequest(is_in=True, who="owner", until="2200-01-01T00:00:00Z")
    request = AttributesRequest(attributes={"site": "b"})
    edits: list[Edit] = [
        lambda write: opt("pilot", DEVICES[1], said, by="ann", write=write, now=office.now),
        lambda write: give_attributes(DEVICES[1], request, by="ann", write=write, now=office.now),
    ]
    assert [made(campaign, edit, is_preview=True).effects for edit in edits] == [OFFERED, OFFERED]


@pytest.mark.parametrize(("joins", "offered"), [(Joins.NOW, 3), (Joins.NEXT_ROLLOUT, 0)])
def test_a_wider_filter_offers_more_as_the_group_says(campaign: Campaign, joins: Joins, offered: int) -> None:
    office = campaign.office
    give(office, DEVICES[0], site="b")
    make(office, "pilot", "site==b", joins)
    campaign.begin(PLAN)
    office.pass_time(seconds=1)
    rule = GroupRule(filter="site=in=(a,b)", joins=joins)
    answer = made(campaign, lambda write: define("pilot", rule, by="ann", write=write, now=office.now, settled=DEVICES), is_preview=True)
    assert sum(effect.offered for effect in answer.effects) == offered


def test_an_opt_out_is_ended_early_only_with_a_yes(begun: Campaign) -> None:
    office = begun.office
    said = OptRequest(is_in=False, who="owner")
    made(begun, lambda write: opt("pilot", DEVICES[0], said, by="ann", write=write, now=office.now))
    with pytest.raises(ConflictError):
        made(begun, lambda write: end_opt("pilot", DEVICES[0], by="ann", write=write, now=office.now))


def let_out(campaign: Campaign, device_id: DeviceId, hours: int) -> None:
    office = campaign.office
    said = OptRequest(is_in=False, who="owner", until=utc_text(office.now + timedelta(hours=hours)))
    made(campaign, lambda write: opt("pilot", device_id, said, by="ann", write=write, now=office.now))


def end(campaign: Campaign) -> int:
    return asyncio.run(end_consents(campaign.office.do, campaign.office.now))


def test_an_opt_out_that_is_over_starts_nothing_by_itself(campaign: Campaign) -> None:
    office = campaign.office
    make(office, "pilot", "site==a", Joins.NOW)
    let_out(campaign, DEVICES[0], hours=1)
    campaign.begin(PLAN)
    office.pass_time(hours=2)
    assert end(campaign) == 0
    # Neither does a change of the device, which has it looked at again.
    give(office, DEVICES[0], site="a", floor="2")
    campaign.advance()
    assert {attempt.device_id for attempt in campaign.open_attempts()} == set(DEVICES[1:])


def test_an_opt_out_that_is_over_ends_with_a_yes_that_names_its_number(begun: Campaign) -> None:
    office = begun.office
    let_out(begun, DEVICES[0], hours=1)
    office.pass_time(hours=2)
    waiting = asyncio.run(over_in("pilot", office.do, office.now))
    ending: Edit = lambda write: end_over("pilot", waiting, by="ann", write=write, now=office.now)  # noqa: E731  # as the others
    assert made(begun, ending, is_preview=True) == EditAnswer(is_done=False, effects=OFFERED)
    with pytest.raises(ConflictError, match="1 would be offered"):
        made(begun, ending)
    assert made(begun, ending, confirmed=1).is_done
    begun.advance()
    assert {attempt.device_id for attempt in begun.open_attempts()} == {DEVICES[0]}
    with pytest.raises(UnknownError, match="waits for its end"):
        asyncio.run(end_over("pilot", asyncio.run(over_in("pilot", office.do, office.now)), by="ann", write=office.do, now=office.now))


def test_an_opt_out_that_is_over_ends_by_itself_once_the_rollout_is(begun: Campaign) -> None:
    let_out(begun, DEVICES[0], hours=1)
    begun.office.pass_time(hours=2)
    end(begun)
    begun.steer(Verb.HALT, "recalled")
    assert (end(begun), begun.office.ledger.groups_of(DEVICES[0])) == (1, ["pilot"])


def test_what_waits_hinders_nobody_else(begun: Campaign) -> None:
    office = begun.office
    for device_id in (DEVICES[0], DEVICES[2]):
        let_out(begun, device_id, hours=1)
    office.pass_time(hours=2)
    assert end(begun) == 1, "t-2 was in no group before, and is in none now"
    assert asyncio.run(over_in("pilot", office.do, office.now)) == [DEVICES[0]]


def test_who_was_offered_it_is_not_counted_again(begun: Campaign) -> None:
    office = begun.office
    begun.advance()
    answer = made(begun, lambda write: remove_member("pilot", DEVICES[0], by="ann", write=write, now=office.now))
    assert answer.effects == []


def test_the_command_line_previews_and_asks_for_a_yes(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    device_id = server.join().device_id
    options = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    assert main(["group", "add", "quiet", device_id, "--preview", *options]) == 0
    assert main(["device", "set", device_id, "site=x", "--yes", *options]) == 0
    assert main(["group", "define", "quiet-ones", "--filter", "site==x", "--preview", *options]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "No rollout under way would offer anything else to anybody.",
        f"{device_id} was given: site=x",
        "No rollout under way would offer anything else to anybody.",
    ]
    assert "quiet" not in str(server.call("GET", "groups").json())
