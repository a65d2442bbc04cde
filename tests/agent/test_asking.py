# SPDX-License-Identifier: Apache-2.0
"""A script that is asked before an update starts: it decides as long as people may, when nothing else holds the order."""

from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.agent.asking import ConsentRule, ask
from surefoot.agent.state import Phase
from surefoot.agent.window import consented, weigh
from surefoot.model.assignment import Order
from surefoot.model.record import utc_text
from surefoot.schedule.permission import Reason
from surefoot.simulator.board import Behaviour
from tests.agent.moments import NOW, order, windowed
from tests.agent.test_runner import WINDOWS, Story, drive, story
from tests.powerfail.pocket import Plan

HOUR = timedelta(hours=1)


def asked(tmp_path: Path, script: str, timeout_s: float = 10) -> str:
    return ask(ConsentRule(ask=["sh", "-c", script], timeout_s=timeout_s), order(), tmp_path)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 0", ""),
        ("echo 'no, thanks'", ""),
        ("echo 'a film is on'; echo more; exit 1", "sh says no: a film is on"),
        ("exit 3", "sh says no: it does not say why"),
        ("printf 'a\\tb\\033[31m\\nc'; exit 1", "sh says no: a?b?[31m"),
        ("printf '\\377'; exit 1", "sh says no: \ufffd"),
        ("kill -9 $$", "sh says no: it does not say why"),
        ("yes", "consent cannot be asked for: The tool sh says more than 65536 bytes and was ended."),
    ],
)
def test_the_scripts_word(tmp_path: Path, script: str, says: str) -> None:
    assert asked(tmp_path, script) == says


def test_a_script_that_hangs_or_is_missing_has_not_said_yes(tmp_path: Path) -> None:
    assert "took longer than 0.2 s" in asked(tmp_path, "while :; do :; done", timeout_s=0.2)
    assert "cannot be started" in ask(ConsentRule(ask=["./missing"]), order(), tmp_path)


def test_the_script_is_told_what_it_is_about_and_runs_where_the_settings_lie(tmp_path: Path) -> None:
    script = 'echo "$SUREFOOT_PRODUCT $SUREFOOT_VERSION $SUREFOOT_ORDER $PWD"; exit 1'
    assert asked(tmp_path, script) == f"sh says no: thermostat 1.1.0 1 {tmp_path.resolve()}"


def test_nobody_is_asked_about_what_may_not_start_anyway_or_may_not_be_put_off() -> None:
    def never(_: Order) -> str:
        raise AssertionError("somebody is asked")

    closed = weigh(windowed(), NOW)
    assert consented(windowed(), closed, NOW, never) == closed
    required = structs.replace(order(), consent_until=utc_text(NOW - HOUR))
    assert consented(required, weigh(required, NOW), NOW, never).may_start


def test_people_are_asked_as_long_as_they_may_put_it_off() -> None:
    later = structs.replace(order(), consent_until=utc_text(NOW + HOUR))
    held = consented(later, weigh(later, NOW), NOW, lambda _: "busy")
    assert (held.may_start, held.reason, held.detail) == (False, Reason.INTERLOCK, "busy")


@pytest.mark.parametrize("windows", [(), WINDOWS], ids=["without windows", "with a window"])
def test_an_order_starts_when_it_is_said_yes_to_and_the_server_hears_why_it_waits(windows: list[object]) -> None:
    it: Story = story(Plan.to(Behaviour.GOOD, windows))  # type: ignore[arg-type]  # a list of windows
    answers = ["a film is on", "a film is on", ""]
    given: list[int] = []

    def answer(found: Order) -> str:
        given.append(found.assignment_id)
        return answers.pop(0)

    drive(it.runner(ask=answer, reboot=lambda: None), lambda runner: runner.state.phase is Phase.REBOOTING)
    assert len(given) == 3, "each answer is asked for once"
    why = [event.data["detail"] for event in it.world.server.events.values() if event.data.get("reason") == "interlock"]
    assert why == ["a film is on"]
