# SPDX-License-Identifier: Apache-2.0
"""Why, gathered from a real database: what is stored of rollouts, attempts and events becomes one answer for each."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.cli.device import coming_line
from surefoot.cli.main import main
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import UnknownError
from surefoot.model.event import EventType
from surefoot.model.manifest import Requires
from surefoot.model.window import Weekday, Window
from surefoot.rollout.plan import Gates, Plan, Stage
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.server.db.clues import SqliteClues
from surefoot.server.db.groups import add
from surefoot.server.services.answer import Code
from surefoot.server.services.rollouts import Verb
from surefoot.server.services.why import Sources, Why, why
from tests.server.campaign import OLD_IMAGE, PLAN, Campaign
from tests.server.office import Office, event, open_office, statement
from tests.server.running import Running
from tests.server.test_operator_api import problem
from tests.trust.repositories import PRODUCT

GENERAL = DeviceId("t-05")
CANARY = DeviceId("t-00")


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    with open_office(tmp_path) as office:
        office.add_release("1.1.0", b"new image")
        for number in range(20):
            device_id = office.add_device(DeviceId(f"t-{number:02}"))
            office.ledger.put_report(device_id, statement(OLD_IMAGE))
            office.ledger.put_presence({device_id: (int(office.now.timestamp()), 1)})
        add(office.connection, "canary", CANARY)
        yield Campaign(office=office)


def ask(office: Office, device_id: DeviceId, rollout_id: int | None = None) -> Why:
    sources = Sources(ledger=office.ledger, clues=SqliteClues(office.connection), live=office.live, offline_after=timedelta(hours=1))
    return why(sources, device_id, rollout_id, office.now)


def codes(office: Office, device_id: DeviceId) -> list[Code]:
    return [line.answer.code for line in ask(office, device_id).lines]


def test_nothing_is_there_to_be_explained(campaign: Campaign) -> None:
    told = ask(campaign.office, GENERAL)
    assert (told.runs, told.is_offline, told.lines) == ("thermostat 1.0.0", False, [])


def test_a_device_is_followed_through_a_rollout(campaign: Campaign) -> None:
    office = campaign.office
    campaign.begin()
    campaign.advance()
    assert (codes(office, CANARY), codes(office, GENERAL)) == ([Code.OFFERED], [Code.STAGE_AHEAD])
    attempt = campaign.open_attempts()[0]
    campaign.tell(attempt, EventType.DOWNLOAD_STARTED)
    assert codes(office, CANARY) == [Code.UNDER_WAY]
    campaign.steer(Verb.PAUSE, "the weather is bad")
    line = ask(office, GENERAL).lines[0]
    assert (line.answer.code, "by ann: " in line.answer.sentence) == (Code.PAUSED, True)
    campaign.tell(attempt, EventType.HEALTH_OK, running=attempt.hash)
    assert codes(office, CANARY) == [Code.SUCCEEDED]


def test_rollouts_that_are_over_are_told_of_when_they_are_the_last(campaign: Campaign) -> None:
    office = campaign.office
    for _ in range(2):
        campaign.begin()
        campaign.advance()
        campaign.steer(Verb.HALT, "recalled")
    assert [(line.rollout_id, line.answer.code) for line in ask(office, GENERAL).lines] == [(2, Code.HALTED)]
    (line,) = ask(office, GENERAL, 1).lines
    # Nobody goes on with what a person halted.
    assert (line.rollout_id, line.next.words.startswith("Nothing more by this rollout. A person may order it")) == (1, True)


def test_the_most_telling_answer_comes_first(campaign: Campaign) -> None:
    office = campaign.office
    office.add_release("1.0.0", b"door", product="door")
    campaign.begin(Plan(release="door 1.0.0", gate=Gates()))
    office.add_release("1.0.1", b"small")
    campaign.begin(Plan(release="thermostat 1.0.1", gate=Gates(), audience="state==revoked"))
    campaign.begin()
    campaign.advance()
    assert codes(office, CANARY) == [Code.OFFERED, Code.NOT_MATCHED, Code.OTHER_PRODUCT]


def test_an_order_waits_for_its_window(campaign: Campaign) -> None:
    office = campaign.office
    setting = WindowSetting(windows=[Window(start="02:00", length="2h", days=[Weekday.SAT], zone="Europe/Berlin")])
    office.ledger.put_window_setting(Level.DEVICE, CANARY, setting)
    campaign.begin()
    campaign.advance()
    line = ask(office, CANARY).lines[0]
    assert line.answer.code is Code.WINDOW
    assert "window opens Sat 02:00 local (Europe/Berlin)" in line.answer.sentence


def test_a_refusal_says_what_the_device_said(campaign: Campaign) -> None:
    office = campaign.office
    campaign.begin()
    campaign.advance()
    attempt = campaign.open_attempts()[0]
    refused = event(1, EventType.CHECK_COMPLETED, attempt, refused="space", detail="The other slot is too small.")
    office.report(refused, running=OLD_IMAGE, device_id=CANARY)
    line = ask(office, CANARY).lines[0]
    assert line.answer.sentence.endswith("The other slot is too small (space).")


def test_the_path_is_planned_for_this_device(campaign: Campaign) -> None:
    office = campaign.office
    office.add_release("1.2.0", b"later", {"requires": Requires(from_=">=1.1.0")})
    campaign.begin(Plan(release="thermostat 1.2.0", gate=Gates()))
    campaign.advance()
    line = ask(office, CANARY).lines[0]
    assert (line.answer.code, line.answer.evidence["path"]) == (Code.PATH, "1.1.0 → 1.2.0")


def test_what_a_person_ordered_is_told_beside_rollouts(campaign: Campaign) -> None:
    office = campaign.office
    campaign.begin(structs.replace(PLAN, stages=[Stage(name="all")]))
    office.order("1.1.0", GENERAL)
    found = {line.rollout_id: line.answer.code for line in ask(office, GENERAL).lines}
    assert found == {None: Code.OFFERED, 1: Code.OTHER_ORDER}
    office.pass_time(hours=2)
    assert codes(office, GENERAL)[0] is Code.OFFLINE


def test_the_guess_of_a_batch_is_where_devices_are_really_offered_it(campaign: Campaign) -> None:
    office = campaign.office
    for number in range(20, 400):
        office.ledger.put_report(office.add_device(DeviceId(f"t-{number:02}")), statement(OLD_IMAGE))
    shares = ["25%", "50%", "75%", "100%"]
    campaign.census_step = 1_000
    campaign.begin(Plan(release="thermostat 1.1.0", gate=Gates(), stages=[Stage(name="all", batches=shares, soak="0s")]))
    campaign.advance()
    guessed: dict[DeviceId, int] = {}
    for number in range(400):
        answer = ask(office, DeviceId(f"t-{number:02}")).lines[0].answer
        guessed[DeviceId(f"t-{number:02}")] = int(answer.evidence.get("batch", 1))
    offered_in: dict[DeviceId, int] = {}
    for _ in range(20):
        for attempt in campaign.open_attempts():
            offered_in.setdefault(attempt.device_id, campaign.stored.rollout.batch + 1)
            campaign.succeed(attempt)
        campaign.advance(seconds=61)
    assert len(offered_in) == 400
    off = [device_id for device_id, batch in offered_in.items() if abs(guessed[device_id] - batch) > 1]
    right = [device_id for device_id, batch in offered_in.items() if guessed[device_id] == batch]
    assert (off, len(right) > 360) == ([], True)


def test_who_is_not_there_is_not_explained(campaign: Campaign) -> None:
    with pytest.raises(UnknownError, match="no device nobody"):
        ask(campaign.office, DeviceId("nobody"))
    with pytest.raises(UnknownError, match="no rollout 9"):
        ask(campaign.office, GENERAL, 9)


def test_the_command_line_asks_the_server(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    device = server.join()
    options = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    assert main(["device", "why", device.device_id, *options]) == 0
    assert capsys.readouterr().out == (
        f"{device.device_id}  runs what it never said; never seen (offline)\nNo rollout is there, and nobody ordered anything for it.\n"
    )
    assert main(["device", "why", device.device_id, "--json", *options]) == 0
    assert '"lines": []' in capsys.readouterr().out
    server.publish("1.1.0", b"image")
    assert server.call("POST", "rollouts", {"release": f"{PRODUCT} 1.1.0"}).status == 201
    assert main(["device", "why", device.device_id, "--rollout", "1", *options]) == 0
    assert "\n  next: Its first poll says it;" in capsys.readouterr().out
    assert problem(server.call("GET", f"devices/{device.device_id}/why?rollout=99")) == (404, "not_found")


@pytest.mark.parametrize(
    ("zone", "line"),
    [
        ("UTC", "2026-11-29T02:00:00Z: It starts."),
        ("Europe/Berlin", "2026-11-29T02:00:00Z, Sun 2026-11-29 03:00 (Europe/Berlin): It starts."),
    ],
)
def test_when_it_goes_on_is_said_in_utc_and_on_the_clock_of_the_device(zone: str, line: str) -> None:
    assert coming_line({"words": "It starts.", "at": "2026-11-29T02:00:00Z"}, zone) == line
