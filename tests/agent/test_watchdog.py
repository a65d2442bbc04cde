# SPDX-License-Identifier: Apache-2.0
"""Watchdogs: kicked while the agent goes on, and not for one that hangs; told of an orderly stop, and not of a crash."""

import fcntl
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.agent.download import Response
from surefoot.agent.pulse import BeatingSource, Stopping, Unheard
from surefoot.agent.watchdog import Keeper, Life, Systemd, Watchdog
from surefoot.model.errors import InvalidInput
from surefoot.simulator.clock import VirtualClock

STALLED_S = 180.0


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """What listens where systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(30)
        yield found


def heard(systemd: socket.socket) -> list[str]:
    systemd.settimeout(0)
    said = []
    try:
        while True:
            said.append(systemd.recv(1000).decode())
    except BlockingIOError:
        return said


def environment(systemd: socket.socket, **changes: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.getsockname(), **changes}


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A file in the place of /dev/watchdog: what is written to it stays there to be read."""
    path = tmp_path / "watchdog"
    path.touch()
    return path


def keeper(device: Path | None = None, environment: dict[str, str] | None = None, clock: VirtualClock | None = None) -> Keeper:
    return Keeper(Watchdog(device="" if device is None else str(device)), environment or {}, clock or VirtualClock())


@given(beats=st.lists(st.floats(0, 1000)), within_s=st.floats(0, 10_000), later_s=st.floats(0, 20_000))
def test_an_agent_goes_on_until_it_has_not_beaten_for_as_long_as_it_may(beats: list[float], within_s: float, later_s: float) -> None:
    life, now_s = Life(STALLED_S, 0), 0.0
    for pause_s in beats:
        now_s += pause_s
        life.beat(now_s)
    life.beat(now_s, within_s)
    assert life.is_going_on(now_s + later_s) == (now_s + later_s <= now_s + max(STALLED_S, within_s))


def test_an_agent_that_hangs_is_not_kicked_for_until_it_goes_on(device: Path) -> None:
    clock = VirtualClock()
    with keeper(device, clock=clock) as it:
        kicks = [len(device.read_bytes())]
        for seconds in (STALLED_S, 1, 1):
            clock.sleep(seconds)
            it.kick()
            kicks.append(len(device.read_bytes()))
        it.beat()
        it.kick()
        kicks.append(len(device.read_bytes()))
    assert kicks == [1, 2, 2, 2, 3]


def test_a_step_that_takes_long_says_so_before(device: Path) -> None:
    clock = VirtualClock()
    with keeper(device, clock=clock) as it:
        it.beat(3600)
        clock.sleep(3600)
        it.kick()
        assert len(device.read_bytes()) == 2


@pytest.mark.parametrize(("error", "says"), [(None, b"\0V"), (Stopping, b"\0V"), (KeyboardInterrupt, b"\0V"), (RuntimeError, b"\0")])
def test_the_board_is_told_of_an_orderly_stop_and_of_nothing_after_a_crash(
    error: type[BaseException] | None, says: bytes, device: Path
) -> None:
    if error is None:
        with keeper(device):
            pass
    else:
        with pytest.raises(error), keeper(device):
            raise error
    assert device.read_bytes() == says


def test_a_watchdog_that_is_not_there_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be opened: No such file") as caught, keeper(tmp_path / "none"):
        pass
    assert "RuntimeWatchdogSec" in caught.value.hint


def test_a_watchdog_that_cannot_be_kicked_does_not_end_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    with keeper(Path("/dev/full")) as it:
        it.kick()
    assert caplog.text.count("the watchdog cannot be told anything") == 3


def test_systemd_hears_when_it_is_ready_what_it_does_that_it_lives_and_that_it_stops(systemd: socket.socket) -> None:
    with keeper(environment=environment(systemd, WATCHDOG_USEC="60000000", WATCHDOG_PID=str(os.getpid()))) as it:
        it.ready()
        it.say("downloading")
    assert heard(systemd) == ["WATCHDOG=1", "READY=1", "STATUS=downloading", "STOPPING=1"]


def test_systemd_hears_at_the_start_how_long_reading_a_slot_may_take_and_not_later(systemd: socket.socket) -> None:
    with keeper(environment=environment(systemd)) as it:
        it.beat()
        it.beat(1200.5)
        it.ready()
        it.beat(1200.5)
    assert heard(systemd) == ["EXTEND_TIMEOUT_USEC=1200500000", "READY=1", "STOPPING=1"]


def test_systemd_is_kicked_three_times_in_the_time_it_waits() -> None:
    asked = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000"}
    assert Systemd(asked, 7).watchdog_s == 30
    assert Systemd({**asked, "WATCHDOG_PID": "7"}, 7).watchdog_s == 30
    assert Systemd({**asked, "WATCHDOG_PID": "8"}, 7).watchdog_s == 0, "it asks another process"
    assert Systemd({"WATCHDOG_USEC": "30000000"}, 7).watchdog_s == 0, "nobody listens"
    assert Systemd({**asked, "WATCHDOG_USEC": "x"}, 7).watchdog_s == 0


def test_the_thread_goes_on_kicking_by_itself(systemd: socket.socket) -> None:
    with keeper(environment=environment(systemd, WATCHDOG_USEC="30000")):
        assert [systemd.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5


def test_an_abstract_address_is_one_and_a_systemd_that_is_gone_is_no_reason_to_stop() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")
        name = listener.getsockname()[1:].decode()
        Systemd({"NOTIFY_SOCKET": f"@{name}"}, 1).tell("READY=1", "STATUS=up")
        assert listener.recv(100) == b"READY=1\nSTATUS=up"
    Systemd({"NOTIFY_SOCKET": "/nowhere/notify"}, 1).tell("READY=1")
    Systemd({}, 1).tell("READY=1")


def test_pauses_are_cut_in_parts_only_while_a_watchdog_is_kicked(device: Path) -> None:
    assert keeper().rest_s() == Unheard().rest_s() == float("inf")
    with keeper(device) as it:
        assert it.rest_s() == STALLED_S / 3


def test_a_stop_that_is_asked_for_waits_for_the_next_beat() -> None:
    it = keeper()
    it.ask_to_stop()
    with pytest.raises(Stopping):
        it.beat()
    with pytest.raises(Stopping):
        it.sleep(1)


def test_a_signal_ends_a_pause_at_once() -> None:
    class Pause(VirtualClock):
        def sleep(self, seconds: float) -> None:  # noqa: ARG002  # the port's
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the signal was not taken")

    before = signal.getsignal(signal.SIGTERM)
    try:
        it = keeper(clock=Pause())
        it.listen()
        with pytest.raises(Stopping):
            it.sleep(1000)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_its_clock_is_the_one_it_was_given() -> None:
    clock = VirtualClock()
    it = keeper(clock=clock)
    it.sleep(7)
    assert (it.monotonic(), it.now()) == (7, clock.now())


def test_a_board_says_how_long_its_watchdog_waits(monkeypatch: pytest.MonkeyPatch, device: Path) -> None:
    monkeypatch.setattr(fcntl, "ioctl", lambda _fd, _request, _data: (6).to_bytes(4, "little"))
    waited: list[float] = []
    monkeypatch.setattr(Keeper, "_kick_on", lambda _self, every_s: waited.append(every_s))
    with keeper(device):
        pass
    assert waited == [2]


def test_a_download_beats_at_each_piece() -> None:
    beats: list[int] = []

    class Source:
        def open(self, _url: str, offset: int) -> Response:
            return Response(status=206, start=offset, total=3, chunks=iter([b"a", b"b", b"c"]), close=lambda: None)

    response = BeatingSource(Source(), lambda: beats.append(1)).open("https://x", 4)
    assert (response.start, list(response.chunks)) == (4, [b"a", b"b", b"c"])
    assert len(beats) == 4


def test_no_thread_is_left_behind(device: Path) -> None:
    before = threading.active_count()
    with keeper(device):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
