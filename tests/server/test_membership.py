# SPDX-License-Identifier: Apache-2.0
"""Groups by filter, and what the people of devices say: held against a model that asks anew who belongs, after every act."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs
from sqlalchemy import NullPool, create_engine

from surefoot.cli.main import main
from surefoot.fleet.filter import matches, parse
from surefoot.fleet.group import GroupRule, Joins
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import ConflictError, FilterError, InvalidInput, UnknownError
from surefoot.model.record import utc_text
from surefoot.rollout.plan import Gates, Plan, Stage
from surefoot.server.db.catalogue import SqlCatalogue
from surefoot.server.db.sqlite import connect
from surefoot.server.services.answer import Code
from surefoot.server.services.expiry import end_consents
from surefoot.server.services.groups import (
    AttributesRequest,
    OptRequest,
    add_member,
    define,
    end_opt,
    fill,
    give_attributes,
    opt,
    remove_group,
    remove_member,
)
from surefoot.server.services.rollouts import Verb
from tests.server.campaign import OLD_IMAGE, Campaign
from tests.server.office import Office, open_office, statement
from tests.server.running import Running
from tests.server.test_operator_api import acts, problem
from tests.server.test_why import codes

DEVICES = [DeviceId(f"t-{number}") for number in range(4)]
FIXED, FILTERED = "fixed", "filtered"


def catalogue_of(office: Office) -> SqlCatalogue:
    database = Path(office.connection.execute("PRAGMA database_list").fetchone()[2])
    return SqlCatalogue(create_engine("sqlite://", creator=lambda: connect(database), poolclass=NullPool))


def make(office: Office, name: str, text: str, joins: Joins = Joins.NEXT_ROLLOUT) -> None:
    asyncio.run(define(name, GroupRule(filter=text, joins=joins), by="ann", write=office.do, now=office.now))
    asyncio.run(fill(name, catalogue_of(office), office.do, office.now))


def give(office: Office, device_id: DeviceId, **attributes: str) -> None:
    asyncio.run(give_attributes(device_id, AttributesRequest(attributes=attributes), by="ann", write=office.do, now=office.now))


def say(office: Office, group: str, device_id: DeviceId, *, is_in: bool, hours: int = 0) -> None:
    until = utc_text(office.now + timedelta(hours=hours)) if hours else ""
    asyncio.run(opt(group, device_id, OptRequest(is_in=is_in, who="owner", until=until), by="ann", write=office.do, now=office.now))


def drop(office: Office, name: str) -> None:
    asyncio.run(remove_group(name, by="ann", write=office.do, now=office.now))


class Membership(RuleBasedStateMachine):
    """Who is in a fixed group and a group by filter, through edits, consents and time."""

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.office = self.stack.enter_context(open_office(folder))
        for device_id in DEVICES:
            self.office.add_device(device_id)
            give(self.office, device_id, site="a")
        self.text = "site==b"
        self.named: set[DeviceId] = set()
        self.said: dict[tuple[str, DeviceId], tuple[bool, object]] = {}
        make(self.office, FILTERED, self.text)
        asyncio.run(add_member(FIXED, DEVICES[0], by="ann", write=self.office.do, now=self.office.now))
        self.named.add(DEVICES[0])

    def teardown(self) -> None:
        self.stack.close()

    @rule(text=st.sampled_from(["site==b", "site!=b", "site=in=(a,c)"]))
    def redefine(self, text: str) -> None:
        self.text = text
        make(self.office, FILTERED, text)

    @rule(device_id=st.sampled_from(DEVICES), site=st.sampled_from("abc"))
    def move(self, device_id: DeviceId, site: str) -> None:
        give(self.office, device_id, site=site)

    @rule(device_id=st.sampled_from(DEVICES[1:]))
    def name(self, device_id: DeviceId) -> None:
        asyncio.run(add_member(FIXED, device_id, by="ann", write=self.office.do, now=self.office.now))
        self.named.add(device_id)

    @rule(device_id=st.sampled_from(DEVICES[1:]))
    def unname(self, device_id: DeviceId) -> None:
        if device_id in self.named:
            asyncio.run(remove_member(FIXED, device_id, by="ann", write=self.office.do, now=self.office.now))
            self.named.remove(device_id)
        else:
            with pytest.raises(UnknownError):
                asyncio.run(remove_member(FIXED, device_id, by="ann", write=self.office.do, now=self.office.now))

    @rule(group=st.sampled_from([FIXED, FILTERED]), device_id=st.sampled_from(DEVICES), is_in=st.booleans(), hours=st.integers(1, 3))
    def speak(self, group: str, device_id: DeviceId, *, is_in: bool, hours: int) -> None:
        say(self.office, group, device_id, is_in=is_in, hours=hours)
        self.said[group, device_id] = (is_in, self.office.now + timedelta(hours=hours))

    @rule(group=st.sampled_from([FIXED, FILTERED]), device_id=st.sampled_from(DEVICES))
    def unsay(self, group: str, device_id: DeviceId) -> None:
        if self.said.pop((group, device_id), None) is not None:
            asyncio.run(end_opt(group, device_id, by="ann", write=self.office.do, now=self.office.now))

    @rule(hours=st.integers(1, 3))
    def wait(self, hours: int) -> None:
        self.office.pass_time(hours=hours)
        asyncio.run(end_consents(self.office.do, self.office.now))
        self.said = {key: said for key, said in self.said.items() if said[1] > self.office.now}  # type: ignore[operator]  # instants

    @invariant()
    def everybody_is_where_they_belong(self) -> None:
        ledger = self.office.ledger
        for device_id in DEVICES:
            traits = ledger.traits_of(device_id)
            assert traits is not None
            belong = {FIXED: device_id in self.named, FILTERED: matches(parse(self.text), traits, self.office.now)}
            for group in belong:
                belong[group] = self.said.get((group, device_id), (belong[group],))[0]
            assert {group: group in ledger.groups_of(device_id) for group in belong} == belong


TestMembership = Membership.TestCase
TestMembership.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", b"new image")
        for device_id in DEVICES:
            office.ledger.put_report(office.add_device(device_id), statement(OLD_IMAGE))
            give(office, device_id, site="a")
        yield Campaign(office=office)


PLAN = Plan(release="thermostat 1.1.0", gate=Gates(), stages=[Stage(name="pilots", group="pilot")])


@pytest.mark.parametrize(("joins", "offered"), [(Joins.NOW, {"t-0", "t-1"}), (Joins.NEXT_ROLLOUT, {"t-0"})])
def test_a_device_that_joins_later_comes_into_a_rollout_as_the_group_says(campaign: Campaign, joins: Joins, offered: set[str]) -> None:
    office = campaign.office
    give(office, DEVICES[0], site="b")
    make(office, "pilot", "site==b", joins)
    campaign.begin(PLAN)
    office.pass_time(seconds=1)
    give(office, DEVICES[1], site="b")
    campaign.advance()
    assert {attempt.device_id for attempt in campaign.open_attempts()} == offered
    assert (codes(office, DEVICES[1]) == [Code.JOINED_LATE]) is (joins is Joins.NEXT_ROLLOUT)
    campaign.steer(Verb.HALT)
    campaign.begin(PLAN)
    campaign.advance()
    assert {attempt.device_id for attempt in campaign.open_attempts()} == {"t-0", "t-1"}


@pytest.mark.parametrize(
    "plan",
    [
        structs.replace(PLAN, stages=[Stage(name="all", group="b-site")]),
        structs.replace(PLAN, stages=[Stage(name="all")], audience="group!=b-*"),
        structs.replace(PLAN, stages=[Stage(name="all", audience="site==a or group=in=(b-site,c)")]),
    ],
)
def test_a_group_by_filter_is_removed_once_no_rollout_asks_for_it(campaign: Campaign, plan: Plan) -> None:
    office = campaign.office
    make(office, "b-site", "site==b")
    give(office, DEVICES[0], site="b")
    say(office, "b-site", DEVICES[1], is_in=True, hours=5)
    campaign.draft(plan)
    with pytest.raises(ConflictError, match="Rollout 1 asks for group 'b-site'"):
        drop(office, "b-site")
    assert office.ledger.groups_of(DEVICES[0]) == ["b-site"]
    campaign.steer(Verb.HALT, "recalled")
    drop(office, "b-site")
    assert [office.ledger.groups_of(one) for one in DEVICES[:2]] == [[], []]
    assert not office.ledger.has_group("b-site")
    give(office, DEVICES[0], site="b", floor="2")
    assert office.ledger.groups_of(DEVICES[0]) == []


def test_only_a_group_by_filter_is_removed_whole(campaign: Campaign) -> None:
    office = campaign.office
    asyncio.run(add_member("fixed", DEVICES[0], by="ann", write=office.do, now=office.now))
    with pytest.raises(ConflictError, match="'fixed' is a fixed one"):
        drop(office, "fixed")
    with pytest.raises(UnknownError, match="no group 'nobody'"):
        drop(office, "nobody")


def test_who_opted_out_is_offered_nothing(campaign: Campaign) -> None:
    office = campaign.office
    make(office, "pilot", "site==a", Joins.NOW)
    say(office, "pilot", DEVICES[2], is_in=False)
    campaign.begin(PLAN)
    campaign.advance()
    assert {attempt.device_id for attempt in campaign.open_attempts()} == {"t-0", "t-1", "t-3"}


def test_a_device_joins_a_group_by_what_it_reports(campaign: Campaign) -> None:
    office = campaign.office
    make(office, "old", "version==1.0.0 and hardware!=door")
    assert office.ledger.groups_of(DEVICES[0]) == ["old"]
    office.report(running=OLD_IMAGE, device_id=office.add_device(DeviceId("t-9")))
    assert office.ledger.groups_of(DeviceId("t-9")) == ["old"]


def test_a_group_whose_filling_was_cut_off_is_filled_later(campaign: Campaign) -> None:
    office = campaign.office
    asyncio.run(define("pilot", GroupRule(filter="site==a"), by="ann", write=office.do, now=office.now))
    assert office.ledger.unfilled_groups() == ["pilot"]
    asyncio.run(fill("pilot", catalogue_of(office), office.do, office.now))
    assert (office.ledger.unfilled_groups(), len(catalogue_of(office).members("pilot", "", 10).devices)) == ([], 4)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing is compared"),
        ("site==", "character"),
        ("seen_within==1h", "changes by itself"),
        ("site==a and last_seen>2026-01-01T00:00:00Z", "at character 13"),
        ("group==pilot", "not made of groups"),
        ("colour==red", "no device has an attribute 'colour'"),
    ],
)
def test_what_no_group_can_be_made_of_is_refused(campaign: Campaign, text: str, says: str) -> None:
    with pytest.raises(FilterError, match=says):
        make(campaign.office, "pilot", text)


def test_no_name_is_a_fixed_group_and_one_by_filter(campaign: Campaign) -> None:
    office = campaign.office
    asyncio.run(add_member(FIXED, DEVICES[0], by="ann", write=office.do, now=office.now))
    with pytest.raises(ConflictError, match="fixed group 'fixed' already"):
        make(office, FIXED, "site==a")
    make(office, FILTERED, "site==a")
    for edit in (add_member, remove_member):
        with pytest.raises(ConflictError, match="A filter says who is in"):
            asyncio.run(edit(FILTERED, DEVICES[0], by="ann", write=office.do, now=office.now))


def test_consents_that_make_no_sense_are_refused(campaign: Campaign) -> None:
    office = campaign.office
    with pytest.raises(UnknownError, match="no group 'pilot'"):
        say(office, "pilot", DEVICES[0], is_in=False)
    make(office, "pilot", "site==a")
    with pytest.raises(InvalidInput, match="needs an end"):
        say(office, "pilot", DEVICES[0], is_in=True)
    with pytest.raises(InvalidInput, match="is past"):
        say(office, "pilot", DEVICES[0], is_in=True, hours=-1)
    with pytest.raises(UnknownError, match="no device nobody"):
        say(office, "pilot", DeviceId("nobody"), is_in=False)


def test_the_command_line_defines_and_shows_groups(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    device_id = server.join().device_id
    options = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    before = len(acts(server))
    assert main(["device", "set", device_id, "wing=east", *options]) == 0
    assert main(["group", "define", "east", "--filter", "wing==east", "--joins", "now", *options]) == 0
    assert main(["group", "opt-out", "east", device_id, "--by", "Ms Smith", "--until", "2200-01-31", *options]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "Group east: 1 device, devices that join come into rollouts at once.",
        f"{device_id} is out of group east until 2200-01-31T00:00:00Z, as Ms Smith said.",
    ]
    assert main(["group", "show", "east", *options]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert (shown[0], len(shown)) == ("east       0 devices, by filter: wing==east", 4)
    assert shown[2].startswith(f"opted out  {device_id} until 2200-01-31T00:00:00Z, as Ms Smith said (admin, ")
    assert main(["device", "show", device_id, *options]) == 0
    assert "opted out  east until 2200-01-31T00:00:00Z, as Ms Smith said" in capsys.readouterr().out
    assert main(["group", "opt-end", "east", device_id, *options]) == 0
    assert main(["group", "list", *options]) == 0
    assert f"{'east':<32} {'1 device':<15} wing==east" in capsys.readouterr().out
    assert [what for _, what, _ in acts(server)[before:]] == ["device.set", "group.define", "group.opt-out", "group.opt-end"]
    assert acts(server)[-2][2] == f"east {device_id} for Ms Smith until 2200-01-31T00:00:00Z"
    assert problem(server.call("GET", "groups/nothing")) == (404, "not_found")
    assert problem(server.call("DELETE", f"groups/east/consents/{device_id}")) == (404, "not_found")
    assert problem(server.call("DELETE", "groups/east/consents")) == (404, "not_found")
    assert main(["group", "opt-end", "east", *options]) == 2
    capsys.readouterr()
    assert main(["group", "remove", "east", "--preview", *options]) == 0
    assert server.call("GET", "groups/east").status == 200
    assert main(["group", "remove", "east", *options]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "No rollout under way would offer anything else to anybody.",
        "Group east is removed; 1 device was in it.",
    ]
    assert problem(server.call("GET", "groups/east")) == (404, "not_found")


def test_who_joined_a_group_too_late_for_one_rollout_is_not_left_to_it_by_another(tmp_path: Path) -> None:
    with open_office(tmp_path) as office:
        for version in ("1.1.0", "1.2.0"):
            office.add_release(version, version.encode())
        for device_id in DEVICES:
            office.ledger.put_report(office.add_device(device_id), statement(OLD_IMAGE))
        make(office, FILTERED, "device_id==nobody")
        senior, junior = Campaign(office=office), Campaign(office=office)
        senior.begin(Plan(release="thermostat 1.2.0", gate=Gates(), precedence=9, stages=[Stage(name="all", group=FILTERED)]))
        office.pass_time(minutes=5)
        make(office, FILTERED, "device_id==t-1")
        junior.begin(Plan(release="thermostat 1.1.0", gate=Gates(), stages=[Stage(name="all", soak="1h")]))
        junior.advance()
        assert sorted(attempt.device_id for attempt in junior.attempts()) == DEVICES
        assert senior.attempts() == []
