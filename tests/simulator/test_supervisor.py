# SPDX-License-Identifier: Apache-2.0
"""The board in wall time: small real programs in its slots, and what the supervisor does about them."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest

from surefoot.agent.boot.file import file_control, save
from surefoot.agent.boot.state import factory
from surefoot.agent.install import activate
from surefoot.agent.posix import PosixStorage
from surefoot.model.errors import BootError
from surefoot.model.slot import SlotName, SlotState
from surefoot.simulator.supervisor import Board, Timing, Watchdog

QUICK = Timing(look_s=0.01, pause_s=0.01, watchdog_s=30, grace_s=60, stop_s=30)
STAYS = "import signal; print('up', flush=True); signal.pause()"
ENDS = "import sys; sys.exit(3)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "slots").mkdir()
    save(PosixStorage(tmp_path), factory())
    return tmp_path


def flash(folder: Path, *, a: str = STAYS, b: str = STAYS) -> None:
    (folder / "slots/a.img").write_text(a)
    (folder / "slots/b.img").write_text(b)


@contextmanager
def running(folder: Path, timing: Timing = QUICK) -> Iterator[Callable[[], str]]:
    """Run a board, give a function that returns its next line, and stop the board."""
    lines: Queue[str] = Queue()
    stop = Event()
    thread = Thread(target=Board(folder, "t-1", say=lines.put, timing=timing).run, args=(stop,))
    thread.start()
    try:
        yield lambda: lines.get(timeout=30)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_a_program_that_stays_is_booted_once_and_stopped_cleanly(folder: Path) -> None:
    flash(folder)
    with running(folder) as line:
        assert line() == "boot #1 slot a"
    assert [line(), line()] == ["stopping", "off"]


def test_a_trial_that_ends_is_given_up_after_three_boots(folder: Path) -> None:
    flash(folder, b=ENDS)
    control = file_control(PosixStorage(folder))
    activate(control, SlotName.B)
    with running(folder) as line:
        said = [line() for _ in range(7)]
    assert said == [
        "boot #1 slot b",
        "slot b ended with status 3",
        "boot #2 slot b",
        "slot b ended with status 3",
        "boot #3 slot b",
        "slot b ended with status 3",
        "boot #4 slot a",
    ]
    assert control.get_state(SlotName.B) is SlotState.BAD


def test_a_program_that_asks_for_a_reboot_is_asked_to_end_first(folder: Path) -> None:
    asks = "import pathlib, signal, sys; signal.signal(15, lambda *_: (pathlib.Path('ended').touch(), sys.exit()));"
    flash(folder, a=f"{asks} pathlib.Path('run/reboot').touch() if not pathlib.Path('ended').exists() else None; signal.pause()")
    with running(folder) as line:
        assert [line(), line(), line()] == ["boot #1 slot a", "reboot", "boot #2 slot a"]
        assert not (folder / "run/reboot").exists()
    assert (folder / "ended").exists()


def test_a_program_that_does_not_end_is_killed(folder: Path) -> None:
    flash(folder, a="import pathlib, signal; signal.signal(15, signal.SIG_IGN); pathlib.Path('run/reboot').touch(); signal.pause()")
    timing = Timing(look_s=0.01, pause_s=0.01, stop_s=0.05)
    with running(folder, timing) as line:
        assert [line(), line(), line()] == ["boot #1 slot a", "does not end within 0.05 s", "reboot"]


def test_a_program_that_stops_feeding_the_watchdog_is_booted_again(folder: Path) -> None:
    flash(folder, a="import pathlib, signal; pathlib.Path('run/watchdog').touch(); signal.pause()")
    with running(folder, Timing(look_s=0.01, pause_s=0.01, watchdog_s=0.05, grace_s=0.1)) as line:
        assert [line(), line(), line()] == ["boot #1 slot a", "watchdog", "boot #2 slot a"]


def test_a_watchdog_counts_from_the_last_touch_and_not_before_the_grace_is_over() -> None:
    watchdog = Watchdog(None, 100, Timing(watchdog_s=5, grace_s=10))
    said = [(now_s, watchdog.is_due(stamp, now_s)) for stamp, now_s in ((None, 101), (7, 102), (7, 109), (6, 109.5), (6, 114), (6, 114.5))]
    assert said == [(101, False), (102, False), (109, False), (109.5, False), (114, False), (114.5, True)]
    assert Watchdog(None, 100, Timing(watchdog_s=5, grace_s=10)).is_due(None, 110)


def test_the_program_is_told_where_it_runs(folder: Path) -> None:
    told = "import os; open('told.new', 'w').write('|'.join(os.environ['SUREFOOT_' + n] for n in ('SLOT', 'BOARD', 'SERIAL', 'AGENT')));"
    flash(folder, a=f"{told} os.rename('told.new', 'told')")
    with running(folder) as line:
        assert [line(), line()] == ["boot #1 slot a", "slot a ended with status 0"]
    told_agent = f"{sys.executable} -m surefoot agent run --config {folder}/agent.toml"
    assert (folder / "told").read_text() == f"a|{folder}|t-1|{told_agent}"


def test_run_is_empty_at_every_boot(folder: Path) -> None:
    flash(folder, a="import pathlib, sys; left = list(pathlib.Path('run').iterdir()); pathlib.Path('run/x').touch(); sys.exit(len(left))")
    with running(folder) as line:
        assert [line() for _ in range(4)][1::2] == ["slot a ended with status 0"] * 2


def test_what_a_program_started_ends_with_it(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    flash(folder, a="import os, signal; pipe = open('pipe', 'w'); os.fork() and os._exit(1); pipe.write('x'); pipe.flush(); signal.pause()")
    pipe = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(pipe, "rb", buffering=0) as reader, running(folder, Timing(look_s=0.01, pause_s=60)) as line:
        assert [line(), line()] == ["boot #1 slot a", "slot a ended with status 1"]
        while select.select([reader], [], [], 30)[0] and reader.read(1):
            pass
        assert reader.read(1) == b""


def test_a_board_without_a_readable_state_does_not_start(folder: Path) -> None:
    (folder / "boot.json").write_text("{}")
    with pytest.raises(BootError):
        Board(folder, "t-1", say=print).run(Event())
