# SPDX-License-Identifier: Apache-2.0
"""The whole way with real processes: server, board, agent, and images that really misbehave."""

import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.system.lab import RELEASES, Lab, LabBoard, surefoot, wait_for

ENDS = {
    "good": ("succeeded", "1.1.0"),
    "crashes": ("rolled_back", "1.0.0"),
    "hangs": ("rolled_back", "1.0.0"),
    "unhealthy": ("rolled_back", "1.0.0"),
    "loses-server": ("rolled_back", "1.0.0"),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    lab.prepare()
    yield lab
    lab.kill_server()


def finish(board: LabBoard) -> str:
    wait_for(f"{board.serial} to end its attempt", lambda: board.outcome() is not None)
    return str(board.outcome())


def test_each_release_ends_as_the_code_inside_it_behaves(lab: Lab) -> None:
    boards = {behaviour: lab.board(f"b-{behaviour}") for behaviour in RELEASES}
    with ExitStack() as power:
        for behaviour, board in boards.items():
            power.enter_context(board.powered())
            lab.order(board.serial, RELEASES[behaviour][0])
        outcomes = {behaviour: finish(board) for behaviour, board in boards.items()}
    assert outcomes == {behaviour: outcome for behaviour, (outcome, _) in ENDS.items()}
    for behaviour, board in boards.items():
        board.check_story(ENDS[behaviour][1])
    assert "watchdog" in boards["hangs"].said


def disturbed(lab: Lab, serial: str, strike: Callable[[LabBoard], None], *, strikes: int) -> str:
    """Order an update and strike at random moments of it; return its outcome."""
    board = lab.board(serial)
    chance = random.Random(serial)  # noqa: S311  # the same moments every time, as far as processes keep them
    with board.powered():
        lab.order(serial, "1.1.0")
        for _ in range(strikes):
            with suppress(AssertionError):
                wait_for("the moment", lambda: False, patience_s=chance.uniform(0.1, 0.9))
            strike(board)
        outcome = finish(board)
    board.check_story("1.1.0" if outcome == "succeeded" else "1.0.0")
    return outcome


def test_an_agent_that_is_killed_again_and_again_ends_its_attempt(lab: Lab) -> None:
    def kill_agent(board: LabBoard) -> None:
        for pid in board.agent_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    assert disturbed(lab, "k-agent", kill_agent, strikes=6) in {"succeeded", "rolled_back"}


def test_a_server_that_is_killed_again_and_again_loses_and_doubles_nothing(lab: Lab) -> None:
    def kill_server(_: LabBoard) -> None:
        lab.kill_server()
        lab.start_server()

    assert disturbed(lab, "k-server", kill_server, strikes=5) == "succeeded"


def test_a_board_that_loses_power_again_and_again_ends_its_attempt(lab: Lab) -> None:
    board = lab.board("k-board")
    chance = random.Random(5)  # noqa: S311  # the same moments every time
    lab.order(board.serial, "1.1.0")
    for _ in range(4):
        with board.powered(), suppress(AssertionError):
            wait_for("the moment", lambda: False, patience_s=chance.uniform(0.5, 2.5))
    with board.powered():
        outcome = finish(board)
    assert outcome in {"succeeded", "rolled_back"}
    board.check_story("1.1.0" if outcome == "succeeded" else "1.0.0")


def test_a_device_is_ordered_back_only_as_far_as_its_release_allows(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    board = lab.board("b-back")
    with board.powered():
        lab.order(board.serial, "1.1.0")
        assert finish(board) == "succeeded"
        lab.order(board.serial, "1.0.0")
        wait_for("the second attempt to end", lambda: len(lab.story(board.serial)["assignments"]) == 2 and board.outcome())
        assert board.outcome() == "succeeded", "revert_to: minor covers 1.0.0"
    surefoot("agent", "status", "--config", board.folder / "agent.toml")
    told = capsys.readouterr().out
    assert re.search(r"^slot [ab] +thermostat 1\.0\.0, build .*; committed", told, re.MULTILINE), told
    assert ", 1.0.0: installed\n" in told


def test_a_changed_image_in_the_store_is_never_run(lab: Lab) -> None:
    board = lab.board("b-tampered")
    image = _image_of(lab, "1.1.0")
    good = image.read_bytes()
    image.chmod(0o600)
    image.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    try:
        with board.powered():
            lab.order(board.serial, "1.1.0")
            assert finish(board) == "failed"
        board.check_story("1.0.0")
    finally:
        image.write_bytes(good)


def test_an_order_whose_image_is_gone_does_not_hold_up_the_next(lab: Lab) -> None:
    board = lab.board("b-gone")
    image = _image_of(lab, "1.1.0")
    away = lab.folder / "away"
    image.rename(away)
    try:
        lab.order(board.serial, "1.1.0")
        with board.powered():
            assert finish(board) == "failed"
            away.rename(image)
            lab.order(board.serial, "1.1.0")
            wait_for("the second attempt", lambda: len(lab.story(board.serial)["assignments"]) == 2 and board.outcome())
        assert board.outcome() == "succeeded"
        board.check_story("1.1.0")
    finally:
        if away.exists():
            away.rename(image)


def _image_of(lab: Lab, version: str) -> Path:
    (image,) = (lab.folder / f"release-{version}" / "images").iterdir()
    return lab.data / "blobs" / image.name[:2] / image.name[2:]
