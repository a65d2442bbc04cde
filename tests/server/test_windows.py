# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows on the server: whose apply, what the signed order says, and when a change reaches a device."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs
from tuf.api.metadata import Targets

from surefoot.model.assignment import DeviceId, Order, Outcome
from surefoot.model.digest import digest_of
from surefoot.model.errors import InvalidInput, UnknownError
from surefoot.model.event import EventBatch, EventType
from surefoot.model.record import from_plain, parse_utc, utc_text
from surefoot.model.window import DownloadTime, Window
from surefoot.schedule.nearest import Level, WindowSetting
from surefoot.server.services.groups import AttributesRequest, give_attributes
from surefoot.server.services.report import report
from surefoot.server.services.rollouts import Verb
from surefoot.server.services.views import direct
from surefoot.server.services.windows import DeviceWindows, device_windows, remove_windows, set_windows
from surefoot.trust.metadata import read
from tests.server.campaign import Campaign
from tests.server.office import DEVICE, JOURNAL, Office, event, statement

NIGHT = Window(start="02:00", length="3h")
BERLIN = WindowSetting(windows=[NIGHT], timezone="Europe/Berlin")


def put(office: Office, level: Level, key: str, setting: WindowSetting = BERLIN) -> None:
    asyncio.run(set_windows(level, key, setting, by="ann", write=office.do, now=office.now))
    office.poll_verb.reload()


def give(office: Office, **attributes: str) -> None:
    asyncio.run(give_attributes(DEVICE, AttributesRequest(attributes=attributes), by="ann", write=office.do, now=office.now))


def shown(office: Office) -> DeviceWindows:
    return device_windows(office.ledger, DEVICE, office.now)


def signed(office: Office) -> Order:
    """Return the order in the device's view as a device would read it."""
    stored = office.ledger.view(DEVICE)
    assert stored is not None
    (entry,) = read(stored.view.targets, Targets, name="targets.json").signed.targets.values()
    return from_plain(entry.custom, Order, what="order")


def starts(office: Office) -> list[tuple[str, str]]:
    return [(window.start, window.zone) for window in signed(office).windows]


@pytest.fixture
def ordered(office: Office) -> Office:
    office.add_release("1.1.0")
    put(office, Level.FLEET, "-")
    office.order("1.1.0")
    return office


# --- whose apply ------------------------------------------------------------------------------------------------------------


def test_the_nearest_level_wins_by_the_devices_attributes(office: Office) -> None:
    give(office, site="berlin", customer="acme")
    for level, key, hour in ((Level.FLEET, "-", 1), (Level.CUSTOMER, "acme", 2), (Level.SITE, "berlin", 3), (Level.DEVICE, DEVICE, 4)):
        put(office, level, key, WindowSetting(windows=[Window(start=f"0{hour}:00", length="1h")], timezone="UTC"))
        assert (shown(office).level, shown(office).windows[0].start) == (level.value, f"0{hour}:00")


def test_the_settings_of_others_do_not_count(office: Office) -> None:
    give(office, site="berlin")
    put(office, Level.SITE, "paris")
    put(office, Level.CUSTOMER, "berlin")
    assert (shown(office).level, shown(office).windows) == ("", [])


def test_what_is_removed_leaves_it_to_the_next_level(office: Office) -> None:
    give(office, site="berlin")
    put(office, Level.FLEET, "-")
    put(office, Level.SITE, "berlin", WindowSetting(windows=[Window(start="04:00", length="1h", zone="UTC")]))
    asyncio.run(remove_windows(Level.SITE, "berlin", by="ann", write=office.do, now=office.now))
    assert shown(office).level == "fleet"
    with pytest.raises(UnknownError, match="No windows are set for site berlin"):
        asyncio.run(remove_windows(Level.SITE, "berlin", by="ann", write=office.do, now=office.now))


def test_a_device_says_its_zone_and_is_told_when_it_may(office: Office) -> None:
    put(office, Level.FLEET, "-")
    assert (shown(office).zone, shown(office).opens_at) == ("Europe/Berlin", "2026-11-24T01:00:00Z")
    give(office, timezone="America/New_York")
    assert (shown(office).zone, shown(office).opens_at, shown(office).closes_at) == (
        "America/New_York",
        "2026-11-23T07:00:00Z",
        "2026-11-23T10:00:00Z",
    )
    give(office, timezone="Mars/Base")
    assert (shown(office).zone, shown(office).notes) == ("Europe/Berlin", ["The device's time zone 'Mars/Base' does not exist."])


def test_finding_the_windows_of_a_device_is_four_reads_by_key(office: Office) -> None:
    give(office, site="berlin", customer="acme")
    seen: list[str] = []
    office.connection.set_trace_callback(seen.append)
    shown(office)
    office.connection.set_trace_callback(None)
    of_windows = [query for query in seen if "maintenance_window" in query]
    assert len(of_windows) == 4
    for query in of_windows:
        plan = " ".join(str(row[3]) for row in office.connection.execute(f"EXPLAIN QUERY PLAN {query}"))
        assert "USING PRIMARY KEY" in plan


@pytest.mark.parametrize(
    ("level", "key", "setting", "said"),
    [
        (Level.FLEET, "all", BERLIN, "The fleet's key is '-'"),
        (Level.SITE, "-", BERLIN, "The fleet's key is '-'"),
        (Level.ROLLOUT, "1", BERLIN, "A rollout's windows are written in its plan"),
        (Level.SITE, "x" * 201, BERLIN, "is no value of an attribute"),
        (Level.SITE, "a\nb", BERLIN, "is no value of an attribute"),
        (Level.FLEET, "-", WindowSetting(), "Neither windows nor a time zone"),
        (Level.FLEET, "-", WindowSetting(timezone="Europe/Berln"), "There is no time zone 'Europe/Berln'"),
        (Level.FLEET, "-", WindowSetting(timezone="device"), "'device' is no time zone for a whole level"),
        (
            Level.FLEET,
            "-",
            WindowSetting(windows=[structs.replace(NIGHT, zone="Mars/Base")]),
            r"'windows\[0\].zone': there is no time zone 'Mars/Base'",
        ),
        (Level.FLEET, "-", WindowSetting(windows=[structs.replace(NIGHT, length="0s")]), "it never opens"),
        (Level.FLEET, "-", WindowSetting(windows=[structs.replace(NIGHT, length="1m")]), "it is shorter than an install takes"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(
    office: Office, level: Level, key: str, setting: WindowSetting, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        put(office, level, key, setting)
    assert office.ledger.windows_version() == 0


def test_a_device_that_is_not_there_has_no_windows(office: Office) -> None:
    with pytest.raises(UnknownError):
        put(office, Level.DEVICE, "nobody")
    with pytest.raises(UnknownError):
        device_windows(office.ledger, DeviceId("nobody"), office.now)


def test_each_change_is_an_act_and_the_same_again_is_none(office: Office) -> None:
    for _ in range(2):
        put(office, Level.SITE, "berlin")
    asyncio.run(remove_windows(Level.SITE, "berlin", by="ann", write=office.do, now=office.now))
    acts = office.connection.execute("SELECT by, what, subject FROM act").fetchall()
    assert acts == [("ann", "window.set", "site berlin"), ("ann", "window.remove", "site berlin")]
    assert office.ledger.windows_version() == 2


# --- what the order says ----------------------------------------------------------------------------------------------------


def test_the_signed_order_names_the_windows_with_their_zone(ordered: Office) -> None:
    assert starts(ordered) == [("02:00", "Europe/Berlin")]


def test_an_order_for_any_time_names_none(ordered: Office) -> None:
    ordered.order("1.1.0", ignores_windows=True)
    assert signed(ordered).windows == []
    (subject,) = ordered.connection.execute("SELECT subject FROM act ORDER BY act_id DESC LIMIT 1").fetchone()
    assert subject == f"{DEVICE} thermostat 1.1.0 at any time"


def test_a_change_reaches_a_device_at_its_next_poll(ordered: Office) -> None:
    etag, _ = ordered.poll()
    assert ordered.is_idle(etag)
    put(ordered, Level.DEVICE, DEVICE, WindowSetting(windows=[Window(start="04:00", length="1h", zone="Asia/Tokyo")]))
    assert not ordered.is_idle(etag)
    etag, answer = ordered.poll(etag)
    assert "2.targets.json" in answer.metadata.director
    assert starts(ordered) == [("04:00", "Asia/Tokyo")]
    assert ordered.is_idle(etag)


def test_a_change_that_is_not_the_devices_signs_nothing(ordered: Office) -> None:
    etag, _ = ordered.poll()
    put(ordered, Level.SITE, "elsewhere", WindowSetting(windows=[NIGHT], timezone="UTC"))
    assert not ordered.is_idle(etag)
    etag, answer = ordered.poll(etag)
    assert answer.metadata.director == {}, "it was looked at, and holds"
    assert ordered.is_idle(etag)


def test_a_device_without_an_order_does_not_hear_of_windows(office: Office) -> None:
    etag, _ = office.poll()
    put(office, Level.FLEET, "-")
    assert office.is_idle(etag)


def test_another_site_means_other_windows_at_the_next_poll(ordered: Office) -> None:
    put(ordered, Level.SITE, "tokyo", WindowSetting(windows=[NIGHT], timezone="Asia/Tokyo"))
    etag, _ = ordered.poll()
    give(ordered, site="tokyo")
    assert not ordered.is_idle(etag)
    ordered.poll(etag)
    assert starts(ordered) == [("02:00", "Asia/Tokyo")]


def test_a_device_that_travels_gets_the_windows_of_its_new_zone_at_its_next_poll(ordered: Office) -> None:
    etag, _ = ordered.poll()
    moved = structs.replace(statement(digest_of(b"old")), attributes={"timezone": "Asia/Tokyo"})
    batch = EventBatch(journal=JOURNAL, events=[], report=moved)
    for _ in range(2):
        asyncio.run(report(DEVICE, batch, ordered.do, ordered.repositories.director, ordered.now))
    assert not ordered.is_idle(etag)
    etag, _ = ordered.poll(etag)
    assert starts(ordered) == [("02:00", "Asia/Tokyo")]
    asyncio.run(report(DEVICE, batch, ordered.do, ordered.repositories.director, ordered.now))
    assert ordered.is_idle(etag), "the same again is no news"


def test_an_attribute_that_says_nothing_of_place_signs_nothing(ordered: Office) -> None:
    etag, _ = ordered.poll()
    give(ordered, colour="red")
    assert ordered.is_idle(etag)


def test_what_has_started_is_not_asked_to_wait(ordered: Office) -> None:
    etag, _ = ordered.poll()
    attempt = ordered.ledger.open_attempt(DEVICE)
    ordered.report(event(1, EventType.INSTALL_STARTED, attempt))
    put(ordered, Level.FLEET, "-", WindowSetting(windows=[Window(start="04:00", length="1h", zone="UTC")]))
    ordered.poll(etag)
    assert starts(ordered) == [("02:00", "Europe/Berlin")]


@pytest.mark.parametrize(
    ("attributes", "download"),
    [
        ({}, DownloadTime.ANY),
        ({"metered": "true"}, DownloadTime.WINDOW),
        ({"connectivity": "cellular"}, DownloadTime.WINDOW),
        ({"metered": "false", "connectivity": "wired"}, DownloadTime.ANY),
    ],
)
def test_a_line_that_is_paid_by_the_byte_may_wait_for_the_window(
    ordered: Office, attributes: dict[str, str], download: DownloadTime
) -> None:
    put(ordered, Level.FLEET, "-", structs.replace(BERLIN, metered_downloads=DownloadTime.WINDOW))
    give(ordered, **attributes)
    ordered.poll()
    assert signed(ordered).download is download
    assert shown(ordered).download is download


# --- when it has started ----------------------------------------------------------------------------------------------------


def test_with_windows_a_download_is_no_start_and_an_install_is(ordered: Office) -> None:
    attempt = ordered.ledger.open_attempt(DEVICE)
    assert attempt is not None
    ordered.report(
        event(1, EventType.DOWNLOAD_STARTED, attempt),
        event(2, EventType.DOWNLOAD_COMPLETED, attempt),
        event(3, EventType.INSTALL_WAITING, attempt, reason="window_closed"),
    )
    assert not ordered.attempt(attempt).is_started
    ordered.report(event(4, EventType.INSTALL_STARTED, attempt))
    assert ordered.attempt(attempt).is_started


def test_without_windows_a_download_is_a_start(office: Office) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    office.report(event(1, EventType.DOWNLOAD_STARTED, attempt))
    assert office.attempt(attempt).is_started


def test_an_order_that_waits_for_days_is_renewed_while_its_device_polls(ordered: Office) -> None:
    attempt = ordered.ledger.open_attempt(DEVICE)
    assert attempt is not None
    ordered.report(event(1, EventType.DOWNLOAD_COMPLETED, attempt), event(2, EventType.INSTALL_WAITING, attempt))
    etag = ""
    for _ in range(12):
        ordered.pass_time(hours=6)
        etag, _ = ordered.poll(etag)
        assert parse_utc(signed(ordered).start_before) > ordered.now + timedelta(hours=11)
    assert signed(ordered).assignment_id == attempt.assignment_id


def test_a_pause_takes_back_what_waits_for_its_window(office: Office) -> None:
    office.add_release("1.1.0")
    put(office, Level.FLEET, "-")
    office.ledger.put_report(DEVICE, statement(digest_of(b"old")))
    office.ledger.add_member("canary", DEVICE, office.now)
    campaign = Campaign(office)
    campaign.begin()
    for _ in range(4):
        campaign.advance(seconds=1)
    (attempt,) = campaign.open_attempts()
    etag, _ = office.poll()
    assert starts(office) == [("02:00", "Europe/Berlin")]
    campaign.tell(office.attempt(attempt), EventType.DOWNLOAD_COMPLETED, EventType.INSTALL_WAITING)
    campaign.steer(Verb.PAUSE, "because")
    assert office.attempt(attempt).outcome is Outcome.CANCELLED
    assert not office.is_idle(etag)
    office.poll(etag)
    stored = office.ledger.view(DEVICE)
    assert stored is not None
    assert stored.attempt is None


# --- deadlines --------------------------------------------------------------------------------------------------------------


def urgent(office: Office, **changes: Any) -> Order:  # noqa: ANN401  # fields of an attempt
    """Offer a release with a deadline as a rollout does: the view is signed when the device polls."""
    office.add_release("1.1.0")
    put(office, Level.FLEET, "-")
    attempt = office.order("1.1.0")
    fresh = structs.replace(office.attempt(attempt), first_offered_at="", deadline_at=utc_text(office.now), **changes)
    office.ledger.put_attempt(fresh)
    office.ledger.call_again(DEVICE)
    office.pass_time(hours=5)
    direct(office.ledger, DEVICE, fresh, office.repositories.director, office.now)
    return signed(office)


def test_a_deadline_ignores_windows_after_the_devices_own_grace(office: Office) -> None:
    order = urgent(office)
    forced = parse_utc(order.ignore_windows_from)
    assert office.now + timedelta(hours=24) <= forced < office.now + timedelta(hours=48), "from when it was first offered to this device"
    assert order.deadline_at == utc_text(office.now - timedelta(hours=5))


def test_a_renewed_order_does_not_begin_the_grace_anew(office: Office) -> None:
    forced = urgent(office).ignore_windows_from
    office.pass_time(hours=13)
    office.poll()
    assert signed(office).issued_at == utc_text(office.now)
    assert signed(office).ignore_windows_from == forced


def test_without_a_deadline_windows_are_never_ignored(ordered: Office) -> None:
    assert (signed(ordered).deadline_at, signed(ordered).ignore_windows_from) == ("", "")


def test_the_windows_of_a_plan_come_before_the_fleets(ordered: Office) -> None:
    attempt = ordered.ledger.open_attempt(DEVICE)
    assert attempt is not None
    planned = structs.replace(attempt, windows=[Window(start="05:00", length="1h", zone="device")])
    ordered.ledger.put_attempt(planned)
    direct(ordered.ledger, DEVICE, planned, ordered.repositories.director, ordered.now)
    assert starts(ordered) == [("05:00", "Europe/Berlin")]
