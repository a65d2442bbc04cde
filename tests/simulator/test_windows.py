# SPDX-License-Identifier: Apache-2.0
"""A fleet over many zones in virtual time: real agents, the server's real verbs, and each device's own night."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from surefoot.model.assignment import DeviceId
from surefoot.model.event import DeploymentEvent, EventType
from surefoot.model.record import from_json, parse_utc
from surefoot.model.window import DownloadTime, Window
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.schedule.zones import zone
from surefoot.server.services.groups import AttributesRequest, give_attributes
from surefoot.server.services.windows import set_windows
from surefoot.simulator.board import Behaviour
from tests.simulator.town import Town, open_town

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC")
NIGHT = Window(start="02:00", length="3h")
DEVICES = [f"d-{number:02}" for number in range(60)]
DAY_S = 86_400


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with open_town(tmp_path, interval_s=900) as found:
        yield found


def set_night(town: Town, *windows: Window) -> None:
    setting = WindowSetting(windows=list(windows))
    asyncio.run(set_windows(Level.FLEET, "-", setting, by="ann", write=town.office.do, now=town.office.now))
    town.office.poll_verb.reload()


def settle(town: Town) -> None:
    town.release("1.1.0", Behaviour.GOOD)
    for number, serial in enumerate(DEVICES):
        town.settle(serial, ahead_s=15.0 * number)
        request = AttributesRequest(attributes={"timezone": ZONES[number % len(ZONES)]})
        asyncio.run(give_attributes(DeviceId(serial), request, by="ann", write=town.office.do, now=town.office.now))


def told(town: Town, kind: EventType) -> dict[str, list[DeploymentEvent]]:
    found: dict[str, list[DeploymentEvent]] = {}
    for device_id, body in town.office.connection.execute("SELECT device_id, body FROM event ORDER BY device_id, seq"):
        event = from_json(body, DeploymentEvent, what="event")
        if event.type == kind:
            found.setdefault(device_id, []).append(event)
    return found


def is_over(town: Town) -> Callable[[], bool]:
    return lambda: "" not in town.outcomes(*DEVICES)


def local(serial: str, at: str) -> datetime:
    return parse_utc(at).astimezone(zone(ZONES[DEVICES.index(serial) % len(ZONES)]))


def test_each_device_fetches_by_day_and_installs_in_its_own_night(town: Town, record_property: Callable[[str, object], None]) -> None:
    settle(town)
    set_night(town, NIGHT)
    town.order("1.1.0", *DEVICES)
    begun = town.world.now
    town.world.run(is_over(town), at_most_s=2 * DAY_S)
    assert town.outcomes(*DEVICES) == ["succeeded"] * len(DEVICES)
    downloaded, installed = told(town, EventType.DOWNLOAD_COMPLETED), told(town, EventType.INSTALL_STARTED)
    assert all(parse_utc(events[0].at) < begun + timedelta(hours=1) for events in downloaded.values())
    minutes = []
    for serial, (event,) in installed.items():
        at = local(serial, event.at)
        minutes.append((at.hour - 2) * 60 + at.minute)
    assert min(minutes) >= 0
    assert max(minutes) <= 90, "in the first half of the window"
    assert max(minutes) - min(minutes) > 60, "and spread over it"
    record_property("figure", f"{len(DEVICES)} boards in {len(ZONES)} zones: each installed between 02:00 and 03:30 of its own night")


def test_devices_on_a_metered_line_fetch_by_night(town: Town) -> None:
    settle(town)
    setting = WindowSetting(windows=[NIGHT], metered_downloads=DownloadTime.WINDOW)
    asyncio.run(set_windows(Level.FLEET, "-", setting, by="ann", write=town.office.do, now=town.office.now))
    town.office.poll_verb.reload()
    metered = DEVICES[::7]
    for serial in metered:
        request = AttributesRequest(attributes={"timezone": ZONES[DEVICES.index(serial) % len(ZONES)], "connectivity": "cellular"})
        asyncio.run(give_attributes(DeviceId(serial), request, by="ann", write=town.office.do, now=town.office.now))
    town.order("1.1.0", *DEVICES)
    begun = town.world.now
    town.world.run(is_over(town), at_most_s=2 * DAY_S)
    assert town.outcomes(*DEVICES) == ["succeeded"] * len(DEVICES)
    for serial, (event,) in told(town, EventType.DOWNLOAD_STARTED).items():
        if serial in metered:
            assert 2 <= local(serial, event.at).hour < 5
        else:
            assert parse_utc(event.at) < begun + timedelta(hours=1)


def test_an_order_taken_back_by_day_is_installed_by_nobody(town: Town) -> None:
    settle(town)
    set_night(town, Window(start="02:00", length="3h", zone="UTC"))
    town.order("1.1.0", *DEVICES)
    town.world.run(lambda: len(told(town, EventType.INSTALL_WAITING)) == len(DEVICES), at_most_s=DAY_S)
    for serial in DEVICES:
        attempt = town.office.ledger.open_attempt(DeviceId(serial))
        assert attempt is not None
        town.office.ledger.put_attempt(msgspec.structs.replace(attempt, outcome="cancelled"))
        town.office.ledger.call_again(DeviceId(serial))
    town.world.run(lambda: False, at_most_s=2 * DAY_S)
    assert told(town, EventType.INSTALL_STARTED) == {}
    assert all(events[-1].data == {"withdrawn": True} for events in told(town, EventType.CHECK_COMPLETED).values())


def test_windows_set_anew_while_devices_wait_are_obeyed(town: Town) -> None:
    settle(town)
    set_night(town, Window(start="23:00", length="1h", zone="UTC"))
    town.order("1.1.0", *DEVICES)
    town.world.run(lambda: len(told(town, EventType.INSTALL_WAITING)) == len(DEVICES), at_most_s=DAY_S)
    set_night(town, Window(start="12:00", length="1h", zone="UTC"))
    town.world.run(is_over(town), at_most_s=2 * DAY_S)
    assert {parse_utc(event.at).hour for (event,) in told(town, EventType.INSTALL_STARTED).values()} == {12}
