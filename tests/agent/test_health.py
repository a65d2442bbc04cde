# SPDX-License-Identifier: Apache-2.0
"""Health probes: what holds, what fails and in which words, and for how long all have held."""

import os
import select
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from surefoot.agent.health import Health, Monitor
from surefoot.agent.probes.settings import CommandProbe, HeartbeatProbe, HttpProbe, Probe
from surefoot.simulator.clock import VirtualClock

BEAT = HeartbeatProbe(path="run/heartbeat", max_age_s=2)


class Answers(BaseHTTPRequestHandler):
    """Answers with what its path says; ``/silent`` never answers."""

    released: ClassVar[threading.Event]

    def do_GET(self) -> None:
        if self.path == "/silent":
            self.released.wait(30)
            return
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "/200")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    Answers.released = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        Answers.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def failing(folder: Path, probe: Probe) -> str:
    monitor = Monitor([probe], VirtualClock(), folder)
    try:
        return monitor.check().failing
    finally:
        monitor.close()


def beat(folder: Path, stamp: int) -> None:
    path = folder / BEAT.path
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, ns=(stamp, stamp))


def test_a_heartbeat_holds_from_when_it_is_seen_to_move(tmp_path: Path, clock: VirtualClock) -> None:
    monitor = Monitor([BEAT], clock, tmp_path)
    assert monitor.check().failing == "There is no heartbeat run/heartbeat."
    beat(tmp_path, 1)
    clock.sleep(1)
    assert monitor.check() == Health(healthy_s=0, failing="", has_held=True)
    clock.sleep(2)
    assert monitor.check() == Health(healthy_s=2, failing="", has_held=True)
    clock.sleep(0.5)
    assert monitor.check() == Health(healthy_s=0, failing="The heartbeat run/heartbeat has not moved for 2.5 s.", has_held=True)


def test_a_heartbeat_left_by_an_earlier_boot_is_none(tmp_path: Path, clock: VirtualClock) -> None:
    beat(tmp_path, 1)
    monitor = Monitor([BEAT], clock, tmp_path)
    for _ in range(3):
        assert monitor.check().failing == "The heartbeat run/heartbeat has not moved yet."
        clock.sleep(0.5)
    beat(tmp_path, 2)
    assert not monitor.check().failing


def test_a_jump_of_the_wall_clock_does_not_stop_a_heart(tmp_path: Path, clock: VirtualClock) -> None:
    monitor = Monitor([BEAT], clock, tmp_path)
    monitor.check()
    for stamp, jump in ((10, 10**9), (5, -2 * 10**9), (6, 0)):
        beat(tmp_path, stamp)
        clock.jump(jump)
        clock.sleep(1)
        assert not monitor.check().failing


def test_a_break_starts_the_count_anew(tmp_path: Path, clock: VirtualClock) -> None:
    probe = CommandProbe(command=["test", "-e", "fine"])
    monitor = Monitor([probe], clock, tmp_path)
    (tmp_path / "fine").touch()
    monitor.check()
    clock.sleep(10)
    assert monitor.check().healthy_s == 10
    (tmp_path / "fine").unlink()
    assert monitor.check().healthy_s == 0
    (tmp_path / "fine").touch()
    clock.sleep(5)
    assert monitor.check().healthy_s == 0
    clock.sleep(5)
    assert monitor.check().healthy_s == 5


def test_the_first_failing_probe_is_named(tmp_path: Path, clock: VirtualClock) -> None:
    probes: list[Probe] = [CommandProbe(command=["true"]), CommandProbe(command=["false"]), BEAT]
    assert Monitor(probes, clock, tmp_path).check().failing == "The command 'false' exited with status 1."


def test_no_probes_hold(tmp_path: Path, clock: VirtualClock) -> None:
    monitor = Monitor([], clock, tmp_path)
    monitor.check()
    clock.sleep(3)
    assert monitor.check() == Health(healthy_s=3, failing="", has_held=True)


def test_http_holds_with_200_alone(tmp_path: Path, port: int) -> None:
    said = {status: failing(tmp_path, HttpProbe(url=f"http://127.0.0.1:{port}/{status}")) for status in (200, 302, 500)}
    assert said == {
        200: "",
        302: f"http://127.0.0.1:{port}/302 answers with status 302.",
        500: f"http://127.0.0.1:{port}/500 answers with status 500.",
    }


def test_http_takes_the_port_from_a_file(tmp_path: Path, port: int) -> None:
    probe = HttpProbe(port_file="run/health-port", path="/200")
    assert failing(tmp_path, probe) == "There is no port in run/health-port."
    (tmp_path / "run").mkdir()
    (tmp_path / probe.port_file).write_text("soon\n")
    assert failing(tmp_path, probe) == "There is no port in run/health-port."
    (tmp_path / probe.port_file).write_text(f"{port}\n")
    assert not failing(tmp_path, probe)


def test_http_that_does_not_answer_in_time_fails(tmp_path: Path, port: int) -> None:
    probe = HttpProbe(url=f"http://127.0.0.1:{port}/silent", timeout_s=0.05)
    assert failing(tmp_path, probe) == f"{probe.url} does not answer: ReadTimeoutError."


def test_http_that_is_not_there_fails(tmp_path: Path) -> None:
    assert "does not answer" in failing(tmp_path, HttpProbe(url="http://127.0.0.1:1/"))
    assert "does not answer" in failing(tmp_path, HttpProbe(url="http://[::/"))


def test_a_command_that_hangs_fails_and_ends_with_its_children(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # The shell and its child hold the pipe open for as long as they live.
    probe = CommandProbe(command=["sh", "-c", "exec 3>pipe; sleep 1000 & printf x >&3; wait"], timeout_s=0.5)
    with os.fdopen(os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        assert failing(tmp_path, probe).endswith("took longer than 0.5 s.")
        assert pipe.read(1) == b"x"
        assert select.select([pipe], [], [], 30)[0]
        assert pipe.read(1) == b""


def test_a_command_that_does_not_exist_fails(tmp_path: Path) -> None:
    probe = CommandProbe(command=["no-such-program", "-x"])
    assert failing(tmp_path, probe) == "The command 'no-such-program -x' cannot be started: No such file or directory."


def test_probes_are_read_by_their_kind() -> None:
    plain = [
        {"kind": "heartbeat", "path": "run/heartbeat"},
        {"kind": "http", "port_file": "run/health-port", "path": "/health"},
        {"kind": "command", "command": ["true"], "timeout_s": 1},
    ]
    assert msgspec.convert(plain, list[Probe]) == [
        HeartbeatProbe(path="run/heartbeat"),
        HttpProbe(port_file="run/health-port", path="/health"),
        CommandProbe(command=["true"], timeout_s=1),
    ]


@pytest.mark.parametrize(
    "plain",
    [
        {"kind": "http"},
        {"kind": "http", "url": "http://x/", "port_file": "y"},
        {"kind": "command", "command": []},
        {"kind": "heartbeat", "path": "x", "max_age_s": 0},
        {"kind": "heartbeat", "path": "x", "maxage": 1},
        {"kind": "tcp", "port": 1},
    ],
)
def test_a_wrong_probe_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain, Probe)
