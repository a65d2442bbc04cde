# SPDX-License-Identifier: Apache-2.0
"""What a person does with a rollout, in a browser: each act from its form, and its effect on the page that comes back."""

import re

import pytest
from playwright.sync_api import Locator, expect

from surefoot.rollout.plan import Status
from tests.browser.window import Window
from tests.server.showroom import APPROVABLE, CULPRIT, DRAFT, FINISHED, GATE_HALTED, OWN, PAUSED, RUNNING, SCHEDULED

WHY = "the depot lost power"


def form(window: Window, name: str) -> Locator:
    return window.page.get_by_role("form", name=name, exact=True)


def do(window: Window, name: str, why: str = "") -> None:
    """Fill a form in and send it."""
    if why:
        form(window, name).get_by_label(re.compile("^Why")).fill(why)
    form(window, name).get_by_role("button").click()


def says(window: Window, sentence: str) -> None:
    expect(window.page.locator("#newest")).to_have_text(sentence)


def standing(window: Window) -> Locator:
    return window.page.locator("#part-standing .badge").first


@pytest.mark.parametrize(
    ("rollout", "name", "sentence", "badge"),
    [
        (APPROVABLE, "Approve", f"Approved by ada: {WHY}.", "Approved"),
        (RUNNING, "Pause", f"Paused by ada: {WHY}.", "Paused"),
        (PAUSED, "Resume", f"Resumed by ada: {WHY}.", "Running"),
        (GATE_HALTED, "Override and resume", f"Resumed by ada: {WHY}.", "Running"),
        (CULPRIT, "Include rev-C", f"Hardware rev-C included again by ada: {WHY}.", "Running"),
        (CULPRIT, "Release eu", f"Region eu released by ada: {WHY}.", "Running"),
        (CULPRIT, "Release", f"Devices without a region released by ada: {WHY}.", "Running"),
    ],
)
def test_an_act_is_a_form_and_its_effect_is_there_at_once(window: Window, rollout: int, name: str, sentence: str, badge: str) -> None:
    window.open(f"/rollouts/{rollout}")
    do(window, name, WHY)
    says(window, sentence)
    expect(standing(window)).to_have_text(badge)
    expect(form(window, name)).to_have_count(0)


@pytest.mark.parametrize("rollout", [DRAFT, SCHEDULED])
def test_a_start_is_one_click(window: Window, rollout: int) -> None:
    window.open(f"/rollouts/{rollout}")
    do(window, "Start now")
    says(window, "Started by ada.")


def test_a_start_is_scheduled_in_utc_and_said_on_the_readers_clock(window: Window) -> None:
    window.open(f"/rollouts/{DRAFT}")
    window.page.locator("#schedule summary").click()
    window.page.get_by_label("It starts by itself").fill("2026-12-01T02:00")
    expect(window.page.locator("output")).to_have_text(re.compile("1 Dec 2026.* 03:00:00 on your clock"))
    do(window, "Schedule", WHY)
    expect(standing(window)).to_have_text("Scheduled")
    assert window.console.showroom.shows[DRAFT].rollout.starts_at == "2026-12-01T02:00:00Z"


@pytest.mark.parametrize("rollout", [GATE_HALTED, FINISHED])
def test_what_a_rollout_updated_is_taken_back(window: Window, rollout: int) -> None:
    window.open(f"/rollouts/{rollout}")
    window.page.locator("#revert summary").click()
    do(window, "Take back", WHY)
    expect(window.page.locator("#newest")).to_contain_text(f"Taken back by ada: {WHY}. Rollout 99 takes 1 device back to 1.0.0.")


def test_what_is_refused_is_said_beside_its_form_with_what_was_typed(window: Window) -> None:
    window.open(f"/rollouts/{DRAFT}")
    window.page.locator("#schedule summary").click()
    window.page.get_by_label("It starts by itself").fill("2020-01-01T02:00")
    do(window, "Schedule", WHY)
    expect(form(window, "Schedule").get_by_role("alert")).to_contain_text("2020-01-01T02:00:00Z has passed.")
    expect(form(window, "Schedule").get_by_label(re.compile("^Why"))).to_have_value(WHY)
    window.picture("rollout-refused-1440")
    window.console.showroom.shows[DRAFT].devices = window.console.showroom.shows[PAUSED].devices
    expect(window.page.locator("#part-named")).to_contain_text("t-017")
    expect(form(window, "Schedule").get_by_role("alert")).to_be_visible()
    # The browser's console names the status of the page.
    window.complaints.clear()


def test_an_act_that_comes_too_late_is_answered_with_how_it_is_now(window: Window) -> None:
    window.open(f"/rollouts/{RUNNING}")
    window.page.evaluate("document.querySelector('[sse-connect]')['htmx-internal-data'].sseEventSource.close()")
    window.console.showroom.shows[RUNNING].report(offered=38, started=38, succeeded=18, rolled_back=20)
    do(window, "Pause")
    expect(window.page.locator("#part-actions").get_by_role("alert")).to_contain_text("only a running one can be paused")
    expect(form(window, "Resume")).to_be_visible()
    window.complaints.clear()


def test_what_is_typed_outlives_a_decision_that_comes_meanwhile(window: Window) -> None:
    window.open(f"/rollouts/{RUNNING}")
    window.page.locator("#halt summary").click()
    window.page.get_by_label("Type halt to confirm").fill("hal")
    window.page.get_by_label("Why, for those").fill("It cra")
    window.console.showroom.shows[RUNNING].report(offered=38, started=38, succeeded=18, rolled_back=20)
    expect(form(window, "Resume")).to_be_visible()
    window.page.keyboard.type("shes.")
    expect(window.page.get_by_label("Type halt to confirm")).to_have_value("hal")
    expect(window.page.get_by_label("Why, for those")).to_have_value("It crashes.")


def test_who_wrote_a_rollout_that_asks_for_a_second_person_is_told_to_wait(window: Window) -> None:
    window.open(f"/rollouts/{OWN}")
    expect(window.page.locator("#part-actions")).to_contain_text("asks for a second person to approve it")
    expect(form(window, "Approve")).to_have_count(0)


def test_a_rollout_that_is_over_can_only_be_taken_back(window: Window) -> None:
    window.open(f"/rollouts/{FINISHED}")
    expect(window.page.locator("#part-actions form")).to_have_count(1)
    expect(window.page.locator("#revert form")).to_have_count(1)


def test_a_halt_waits_for_the_word(window: Window) -> None:
    window.open(f"/rollouts/{RUNNING}")
    window.page.locator("#halt summary").click()
    do(window, "Halt for good", "It crashes.")
    assert window.console.showroom.shows[RUNNING].rollout.status is Status.RUNNING


def test_a_halt_with_its_word_is_for_good(window: Window) -> None:
    window.open(f"/rollouts/{RUNNING}")
    window.page.locator("#halt summary").click()
    window.page.get_by_label("Type halt to confirm").fill("halt")
    do(window, "Halt for good", "It crashes.")
    expect(standing(window)).to_have_text("Halted")
    expect(window.page.locator("#part-track .standing-word", has_text="halted")).to_have_count(1)
    window.picture("rollout-halted-1440")
    expect(window.page.locator("#part-actions form")).to_have_count(1)
    expect(window.page.locator("#revert form")).to_have_count(1)
