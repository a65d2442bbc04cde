# SPDX-License-Identifier: Apache-2.0
"""How long installs take is learned from reports, each counted once, and stands in the orders that come after."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.cli.main import main
from surefoot.fleet.attempt import Attempt
from surefoot.fleet.install_time import ENOUGH, InstallTimes, with_install
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.event import EventType
from surefoot.model.record import to_json, to_plain, utc_text
from surefoot.model.window import Window
from surefoot.rollout.plan import Gates, Plan, Stage
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.server.db.clues import SqliteClues
from surefoot.server.services.why import Sources, why
from tests.server.campaign import Campaign
from tests.server.office import JOURNAL, Office, event, open_office, statement
from tests.server.running import Running
from tests.server.test_default_rollouts import V1, V2, add_devices
from tests.server.test_windows import put

SLOW_S = 500
PLAN = Plan(release="thermostat 1.1.0", stages=[Stage(name="all", soak="0s")], gate=Gates(), install_time="5m", watch="0s")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with open_office(tmp_path) as found:
        found.add_release("1.1.0", b"new image")
        found.add_release("1.2.0", b"newer image")
        add_devices(found, "a", ENOUGH)
        yield found


def install(office: Office, attempt: Attempt, took_s: int, seq: int = 1) -> None:
    """Report an install that took so long, in two batches, the second of them twice."""
    began, ended = office.now, office.now + timedelta(seconds=took_s)
    first = structs.replace(event(seq, EventType.INSTALL_STARTED, attempt), at=utc_text(began), clock="synced")
    last = structs.replace(event(seq + 1, EventType.HEALTH_OK, attempt), at=utc_text(ended), clock="synced")
    office.report(first, device_id=attempt.device_id)
    for _ in range(2):
        office.report(last, running=attempt.hash, device_id=attempt.device_id)
    assert office.attempt(attempt).outcome is Outcome.SUCCEEDED


def order(office: Office, number: int, version: str = "1.1.0") -> Attempt:
    return office.order(version, device_id=DeviceId(f"a-{number:02}"))


def test_each_install_is_counted_once_and_orders_say_more_only_when_enough_are_known(office: Office) -> None:
    for number in range(ENOUGH):
        attempt = order(office, number)
        assert (attempt.install_s, office.ledger.install_times("thermostat", V1).installs) == (300, number)
        install(office, attempt, SLOW_S)
    assert order(office, 0, "1.2.0").install_s == 600
    assert office.ledger.install_times("thermostat", V2).usual_s is None, "other hardware learns nothing from it"


def test_what_is_quick_shortens_no_order(office: Office) -> None:
    for number in range(ENOUGH):
        install(office, order(office, number), 40)
    assert office.ledger.install_times("thermostat", V1).usual_s == 45
    assert order(office, 0, "1.2.0").install_s == 300


@pytest.mark.parametrize(("planned", "expected"), [("5m", 600), ("9m", 600), ("20m", 1_200)])
def test_a_rollouts_orders_say_the_longer_of_plan_and_experience(office: Office, planned: str, expected: int) -> None:
    for number in range(ENOUGH):
        install(office, order(office, number), SLOW_S)
    campaign = Campaign(office=office)
    campaign.begin(structs.replace(PLAN, release="thermostat 1.2.0", install_time=planned))
    campaign.advance()
    assert {attempt.install_s for attempt in campaign.open_attempts()} == {expected}


def test_a_report_moves_one_row_and_looks_through_nothing(office: Office) -> None:
    attempts = [order(office, number) for number in range(3)]
    said: list[str] = []
    office.connection.set_trace_callback(said.append)
    install(office, attempts[0], SLOW_S)
    office.connection.set_trace_callback(None)
    own = [line for line in said if "install_time" in line]
    assert [line.split()[0] for line in own] == ["SELECT", "INSERT"]
    assert "SEARCH" in str(office.connection.execute(f"EXPLAIN QUERY PLAN {own[0]}").fetchall())


def test_why_says_that_no_window_has_room_for_what_installs_take(office: Office) -> None:
    for number in range(ENOUGH):
        install(office, order(office, number), SLOW_S)
    put(office, Level.FLEET, "-", WindowSetting(windows=[Window(start="02:00", length="8m", zone="UTC")]))
    attempt = order(office, 0, "1.2.0")
    office.poll(device_id=attempt.device_id)
    office.report(event(9, EventType.CHECK_STARTED), running=digest_of(b"new image"), device_id=attempt.device_id)
    assert sentence(office, attempt.device_id, office.now) == (
        "Its order of thermostat 1.2.0 waits for its time: no window is as long as an install takes, 600 s"
        " (600 s: 95 of 100 of the last 20 installs on thermostat-v1 took no longer)."
    )


def sentence(office: Office, device_id: DeviceId, now: datetime) -> str:
    clues = SqliteClues(office.connection)
    sources = Sources(ledger=office.ledger, clues=clues, live=office.live, offline_after=timedelta(days=1))
    return why(sources, device_id, None, now).lines[0].answer.sentence


@pytest.mark.parametrize(
    "case",
    [
        ("3h", ENOUGH, "95 of 100 took up to 600 s, of the last 20; orders say 600 s"),
        ("8m", ENOUGH, "On thermostat-v1 installs take 600 s, and no window of the plan is as long"),
        ("8m", ENOUGH - 1, "5m as planned; 19 known, of 20 at least"),
    ],
)
def test_plan_check_asks_a_server_how_long_installs_take(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: tuple[str, int, str]
) -> None:
    length, known, says = case
    told = {"journal": JOURNAL, "events": [], "report": to_plain(statement(digest_of(b"old image")))}
    assert server.join().send(told).status == 200
    times = InstallTimes()
    for _ in range(known):
        times = with_install(times, SLOW_S)
    with closing(sqlite3.connect(server.data / "surefoot.db")) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO install_time VALUES ('thermostat', 'thermostat-v1', ?)", (to_json(times),))
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"rollout: {{ release: thermostat 1.1.0, windows: [{{ start: '02:00', length: {length} }}] }}\n")
    where = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    assert main(["plan", "check", str(plan), *where]) == 0
    assert says in capsys.readouterr().out
