# SPDX-License-Identifier: Apache-2.0
"""The console in a browser, end to end. The fixtures fail a test whose page leaves the host or writes to the console."""

import re
from typing import Literal

import pytest
from playwright.sync_api import expect

from surefoot.model.event import EventType
from tests.browser.window import Window
from tests.server.showroom import APPROVABLE, CULPRIT, DRAFT, FINISHED, GATE_HALTED, LONG, OWN, PAUSED, RUNNING, SCHEDULED, SEARCHING

PLACES = {
    "login": "/login",
    "fleet": "/",
    "fleet-filtered": "/?filter=attic-2",
    "rollouts": "/rollouts",
    "rollout-running": f"/rollouts/{RUNNING}",
    "rollout-paused": f"/rollouts/{PAUSED}",
    "rollout-draft": f"/rollouts/{DRAFT}",
    "rollout-approvable": f"/rollouts/{APPROVABLE}",
    "rollout-own": f"/rollouts/{OWN}",
    "rollout-scheduled": f"/rollouts/{SCHEDULED}",
    "rollout-culprit": f"/rollouts/{CULPRIT}",
    "rollout-gate-halted": f"/rollouts/{GATE_HALTED}",
    "rollout-finished": f"/rollouts/{FINISHED}",
    "rollout-searching": f"/rollouts/{SEARCHING}",
    "rollout-long": f"/rollouts/{LONG}",
    "device": "/devices/t-017",
    "device-waiting": "/devices/t-018",
    "device-new": "/devices/attic-239",
}


def test_a_person_logs_in_and_out(window: Window) -> None:
    window.log_in()
    window.page.get_by_role("button", name="log out").click()
    expect(window.page).to_have_url(f"{window.console.url}/login")


def test_the_fleet_page_counts_a_device_that_changes_version(window: Window) -> None:
    window.open("/")
    window.console.showroom.runs("t-199", "9.9.9")
    expect(window.page.locator("#part-versions")).to_contain_text("thermostat 9.9.9")


def test_the_filter_finds_devices_by_the_beginning_of_their_id(window: Window) -> None:
    window.open("/")
    window.page.get_by_label("The beginning of an id, or a filter").fill("attic-21")
    window.page.get_by_role("button", name="Filter").click()
    expect(window.page.locator("#part-devices tbody tr")).to_have_count(10)


def test_a_rollout_page_tells_a_new_decision_without_a_reload(window: Window) -> None:
    window.open(f"/rollouts/{RUNNING}")
    window.page.evaluate("window.isTheSamePage = true")
    window.console.showroom.shows[RUNNING].report(offered=38, started=38, succeeded=28, rolled_back=10)
    expect(window.page.locator("#newest")).to_contain_text("Paused:")
    assert window.page.evaluate("window.isTheSamePage")


def test_a_decision_that_is_open_stays_open_when_the_next_one_comes(window: Window) -> None:
    window.open(f"/rollouts/{RUNNING}")
    window.page.locator("#decision-1 summary").click()
    number = len(window.console.showroom.shows[RUNNING].decisions) + 1
    window.console.showroom.shows[RUNNING].report(offered=45, started=38, succeeded=28)
    expect(window.page.locator(f"#decision-{number}")).to_be_visible()
    expect(window.page.locator("#decision-1 .evidence")).to_be_visible()


def test_a_decision_opens_to_its_evidence(window: Window) -> None:
    window.open(f"/rollouts/{PAUSED}")
    newest = window.page.locator("#part-decisions details").first
    newest.locator("summary").click()
    expect(newest.get_by_role("row", name=re.compile("pilot"))).to_contain_text("7")


def test_a_harmed_device_leads_to_its_timeline(window: Window) -> None:
    window.open(f"/rollouts/{PAUSED}")
    window.page.locator("#part-named").get_by_role("link", name="t-017").click()
    expect(window.page.locator("#part-events li").first).to_contain_text("Back on the release before")


def test_a_devices_timeline_grows_while_it_is_looked_at(window: Window) -> None:
    window.open("/devices/t-017")
    window.console.showroom.happened("t-017", EventType.DOWNLOAD_PROGRESS, 20, received=3 << 20, percent=60)
    expect(window.page.locator("#part-events li").first).to_contain_text("3.0 MiB")


def test_a_device_that_waits_says_until_when_on_its_own_clock_and_in_utc(window: Window) -> None:
    window.open("/devices/t-018")
    at = "Sun 2026-11-29 03:00 (Europe/Berlin) = 2026-11-29 02:00 UTC"
    expect(window.page.locator("#part-why .headline")).to_contain_text("waits for its time: window opens Sun 03:00 local")
    expect(window.page.locator("#part-why .next")).to_contain_text(f"Next {at} It may start the install then")
    expect(window.page.locator("#part-windows")).to_contain_text(f"Opens {at}")
    expect(window.page.locator("#part-windows")).to_contain_text("Set for the site plant-7")


def test_times_are_the_readers_own(window: Window) -> None:
    window.open("/devices/t-017")
    expect(window.page.locator("#part-events time").first).to_have_text(re.compile("24 Nov 2026.* 09:07:00"))


def test_a_page_says_that_its_stream_broke_and_comes_back(window: Window) -> None:
    window.open("/rollouts")
    cut = "source = document.querySelector('[sse-connect]')['htmx-internal-data'].sseEventSource; source.close()"
    told = "source.dispatchEvent(new Event('error')), document.getElementById('live').textContent"
    assert window.page.evaluate(f"{cut}; {told}") == "reconnecting"
    window.wait_live()
    # htmx tells the browser's console of the break as well.
    window.complaints.clear()


def test_the_keyboard_reaches_the_content_first(window: Window) -> None:
    window.open("/rollouts")
    window.page.keyboard.press("Tab")
    expect(window.page.locator(".skip")).to_be_focused()


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_every_page_fits_its_screen(window: Window, width: int, scheme: Literal["light", "dark"]) -> None:
    window.page.set_viewport_size({"width": width, "height": 900})
    window.page.emulate_media(color_scheme=scheme)
    window.let_in()
    too_wide = []
    for name, path in PLACES.items():
        window.go(path)
        if name == "rollout-paused":
            window.page.locator("#part-decisions summary").first.click()
        if name == "rollout-running":
            window.page.locator("#halt summary").click()
        if name == "rollout-draft":
            window.page.locator("#schedule summary").click()
        window.picture(f"{name}-{width}-{scheme}")
        if window.is_wider_than_its_screen():
            too_wide.append(name)
    assert too_wide == []
