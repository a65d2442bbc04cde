# SPDX-License-Identifier: Apache-2.0
"""Each kind of probe against the real thing: processes, sockets, a systemctl, a disk, and a message broker."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from surefoot.agent.health import Monitor
from surefoot.agent.posix import SystemClock
from surefoot.agent.probes.bounded import Bounded
from surefoot.agent.probes.heartbeat import SocketHeart
from surefoot.agent.probes.mqtt import ask_mqtt
from surefoot.agent.probes.network import ask_tcp
from surefoot.agent.probes.settings import (
    DiskProbe,
    HeartbeatProbe,
    MemoryProbe,
    MqttProbe,
    Probe,
    ProcessProbe,
    TcpProbe,
    UnitProbe,
    broker_of,
)
from surefoot.agent.probes.system import ask_disk, ask_memory, ask_process
from surefoot.simulator.clock import VirtualClock

MORE_THAN_WAIT = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 3
"""Datagrams that do not wait in a socket at once: who has sent so many has had the first of them read, and used."""

# --- processes --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a name of its own, brackets and all, that lives until it is told to end."""
    program = tmp_path / "pump) S (x"
    shutil.copy(shutil.which("cat") or "/bin/cat", program)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as found:
        yield found
        found.communicate()


def test_a_process_is_found_by_its_number_until_it_ends(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    probe = ProcessProbe(pid_file="pump.pid")
    assert ask_process(probe, tmp_path) == "There is no process number in pump.pid."
    (tmp_path / "pump.pid").write_text("soon\n")
    assert ask_process(probe, tmp_path) == "There is no process number in pump.pid."
    (tmp_path / "pump.pid").write_text(f"{process.pid}\n")
    assert not ask_process(probe, tmp_path)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ask_process(probe, tmp_path) == f"Process {process.pid} of pump.pid does not run.", "a zombie does not run"
    process.wait()
    assert ask_process(probe, tmp_path) == f"Process {process.pid} of pump.pid does not run."


def test_a_process_is_found_by_its_name_until_it_ends(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    probe = ProcessProbe(name="pump) S (x")
    assert not ask_process(probe, tmp_path)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ask_process(probe, tmp_path) == "No process 'pump) S (x' runs."


def test_a_long_name_is_held_against_what_the_kernel_keeps_of_it(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "stat").write_bytes(b"1 (a-very-long-nam) S 0 1 1")
    assert not ask_process(ProcessProbe(name="a-very-long-name-indeed"), tmp_path, proc=tmp_path)
    assert ask_process(ProcessProbe(name="a-very"), tmp_path, proc=tmp_path)


# --- heartbeats by socket ---------------------------------------------------------------------------------------------------


class Hearing:
    """A heart and who beats it; a beat is sent until the heart has heard one more."""

    def __init__(self, probe: HeartbeatProbe, folder: Path) -> None:
        self.clock = VirtualClock()
        self.heart = SocketHeart(probe, folder, self.clock)
        self._path = str(folder / (probe.socket or probe.notify))

    def send(self, data: bytes) -> None:
        """Send a datagram, and return once the heart's thread has read it and waits for another."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for _ in range(MORE_THAN_WAIT):
                sender.sendto(data, self._path)

    def ask(self) -> str:
        return self.heart.ask(self.clock.monotonic())


@pytest.mark.parametrize(
    ("probe", "beat"),
    [
        (HeartbeatProbe(socket="beat", max_age_s=2), b"x"),
        (HeartbeatProbe(socket="beat", max_age_s=2), b""),
        (HeartbeatProbe(notify="beat", max_age_s=2), b"WATCHDOG=1"),
        (HeartbeatProbe(notify="beat", max_age_s=2), b"READY=1\nSTATUS=up"),
    ],
)
def test_a_heart_that_is_heard_holds_until_its_last_beat_is_old(probe: HeartbeatProbe, beat: bytes, tmp_path: Path) -> None:
    it = Hearing(probe, tmp_path)
    with closing(it.heart):
        assert it.ask() == "The heartbeat beat has not moved yet."
        it.send(beat)
        assert it.ask() == ""
        it.clock.sleep(2)
        assert it.ask() == ""
        it.clock.sleep(0.5)
        assert it.ask() == "The heartbeat beat has not moved for 2.5 s."


def test_a_service_that_only_talks_does_not_beat_and_one_that_stops_beats_no_longer(tmp_path: Path) -> None:
    it = Hearing(HeartbeatProbe(notify="beat"), tmp_path)
    with closing(it.heart):
        it.send(b"STATUS=busy")
        assert it.ask() == "The heartbeat beat has not moved yet."
        for end in (b"STOPPING=1", b"WATCHDOG=trigger"):
            it.send(b"WATCHDOG=1")
            assert it.ask() == ""
            it.send(end)
            assert it.ask() == "The heartbeat beat has not moved yet."


def test_a_socket_left_by_an_earlier_agent_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    for _ in range(2):
        it = Hearing(HeartbeatProbe(socket="beat"), tmp_path)
        it.send(b"x")
        assert it.ask() == ""
        it.heart.close()
    assert (tmp_path / "beat").stat().st_mode & 0o777 == 0o660
    (tmp_path / "file").write_text("precious")
    with closing(SocketHeart(HeartbeatProbe(socket="file"), tmp_path, VirtualClock())) as heart:
        assert heart.ask(0) == "The heartbeat file cannot be heard: Address already in use."
    assert (tmp_path / "file").read_text() == "precious"


def test_a_monitor_hears_and_gives_its_sockets_back(tmp_path: Path) -> None:
    monitor = Monitor([HeartbeatProbe(socket="beat")], VirtualClock(), tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for _ in range(MORE_THAN_WAIT):
            sender.sendto(b"x", str(tmp_path / "beat"))
        assert monitor.check().failing == ""
        monitor.close()
        with pytest.raises(ConnectionError):
            sender.sendto(b"x", str(tmp_path / "beat"))


# --- ports and brokers ------------------------------------------------------------------------------------------------------


def test_a_port_holds_while_it_takes_connections(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe = TcpProbe(host="127.0.0.1", port=server.getsockname()[1])
        assert ask_tcp(probe) == ""
    assert ask_tcp(probe) == f"127.0.0.1:{probe.port} takes no connection: Connection refused."
    assert "takes no connection" in ask_tcp(TcpProbe(host="a" * 64 + ".test", port=1))
    with closing(Monitor([probe], VirtualClock(), tmp_path)) as monitor:
        assert "takes no connection" in monitor.check().failing


class Broker:
    """A real mosquitto on a port of its own."""

    def __init__(self, folder: Path, *settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        config = folder / "mosquitto.conf"
        config.write_text("\n".join([f"listener {self.port} 127.0.0.1", "log_dest stderr", "log_type all", *settings, ""]))
        # Whoever starts it as root has it change to a user that may not read the test's folder.
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") or "mosquitto"
        self._process = subprocess.Popen([program, "-c", config], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if "running" in line:
                break
        else:
            raise AssertionError("".join(said))
        # What it logs must be read, or it stops.
        self._reader = threading.Thread(target=self._process.stderr.read)
        self._reader.start()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


def said_by(port: int, folder: Path, **changes: object) -> str:
    probe = msgspec.convert({"kind": "mqtt", "host": "127.0.0.1", "port": port, **changes}, MqttProbe)
    return ask_mqtt(probe, folder, SystemClock())


def test_a_message_goes_to_a_real_broker_and_comes_back(tmp_path: Path) -> None:
    with closing(Broker(tmp_path, "allow_anonymous true")) as broker:
        assert said_by(broker.port, tmp_path) == ""
        assert said_by(broker.port, tmp_path, topic="devices/{client}/probe", client="t-1") == ""
        assert said_by(broker.port, tmp_path) == "", "a second look finds no trace of the first"
    assert said_by(broker.port, tmp_path) == f"The broker 127.0.0.1:{broker.port} cannot be reached: Connection refused."


def test_a_broker_that_wants_a_password_gets_the_one_in_the_file(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    # mosquitto_passwd hashes what it finds in place; PBKDF2 with SHA-512, as its manual says.
    passwords.write_text("t-1:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
    passwords.chmod(0o644)
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "wrong").write_text("guess\n")
    with closing(Broker(tmp_path, "allow_anonymous false", "user root", f"password_file {passwords}")) as broker:
        assert said_by(broker.port, tmp_path, username="t-1", password_file="password") == ""
        refused = f"The broker 127.0.0.1:{broker.port} refuses the connection: Not authorized."
        assert said_by(broker.port, tmp_path, username="t-1", password_file="wrong") == refused
        assert said_by(broker.port, tmp_path) == refused
        assert "No such file" in said_by(broker.port, tmp_path, username="t-1", password_file="none")


def test_a_broker_that_hands_nothing_back_is_none(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read surefoot/#\n")
    rules.chmod(0o644)
    with closing(Broker(tmp_path, "allow_anonymous true", "user root", f"acl_file {rules}")) as broker:
        said = said_by(broker.port, tmp_path, client="t-1", timeout_s=0.5)
    assert said == f"The broker 127.0.0.1:{broker.port} does not hand back what is published to surefoot/probe/t-1."


def test_a_port_that_says_nothing_is_no_broker(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert said_by(port, tmp_path, timeout_s=0.3) == f"The broker 127.0.0.1:{port} takes no connection."


def test_without_the_extra_a_broker_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    assert said_by(1, tmp_path) == "The broker 127.0.0.1:1 cannot be asked: paho-mqtt is missing; install surefoot[mqtt]."


def test_brokers_are_called_by_their_address() -> None:
    assert broker_of(MqttProbe(host="mqtt.site")) == "the broker mqtt.site:1883"
    assert broker_of(TcpProbe(host="mqtt.site", port=8883, broker=True)) == "the broker mqtt.site:8883"
    assert broker_of(TcpProbe(host="mqtt.site", port=8883)) == ""
    assert broker_of(MqttProbe(host="mqtt.site", broker=False)) == ""


# --- units, disk and memory -------------------------------------------------------------------------------------------------


def test_a_unit_is_active_when_systemctl_says_so(tmp_path: Path) -> None:
    asked: list[tuple[list[str], float]] = []

    def run(command: Sequence[str], _folder: Path, timeout_s: float) -> str:
        asked.append((list(command), timeout_s))
        return "" if command[-1] == "good.service" else "It exited with status 3."

    probes: list[Probe] = [UnitProbe(unit="good.service", timeout_s=3), UnitProbe(unit="bad.service")]
    with closing(Monitor(probes, VirtualClock(), tmp_path, run)) as monitor:
        assert monitor.check().failing == "The unit bad.service is not active: It exited with status 3."
    assert asked[0] == (["systemctl", "is-active", "--quiet", "--", "good.service"], 3)


def test_a_disk_must_have_bytes_and_inodes_left(tmp_path: Path) -> None:
    assert ask_disk(DiskProbe(free_bytes=1), tmp_path) == ""
    assert "bytes left and not 9007199254740991" in ask_disk(DiskProbe(free_bytes=2**53 - 1), tmp_path)
    has_inodes = os.statvfs(tmp_path).f_files > 0
    assert bool(ask_disk(DiskProbe(free_inodes=2**53 - 1), tmp_path)) == has_inodes
    assert ask_disk(DiskProbe(path="none", free_bytes=1), tmp_path) == "The disk of none cannot be looked at: No such file or directory."


def test_memory_must_be_available(tmp_path: Path) -> None:
    assert ask_memory(MemoryProbe(available_bytes=1)) == ""
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\nMemAvailable:    512 kB\n")
    assert ask_memory(MemoryProbe(available_bytes=512 * 1024), tmp_path) == ""
    assert ask_memory(MemoryProbe(available_bytes=512 * 1024 + 1), tmp_path) == "524288 bytes of memory are available and not 524289."
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\n")
    assert ask_memory(MemoryProbe(available_bytes=1), tmp_path) == "How much memory is available cannot be told."


# --- what hangs -------------------------------------------------------------------------------------------------------------


def test_a_probe_that_hangs_is_not_waited_for_and_not_asked_again_until_it_has_come_back() -> None:
    release, asked = threading.Event(), []

    def hang() -> str:
        asked.append(1)
        release.wait(30)
        return ""

    bounded = Bounded("The probe")
    assert bounded.call(hang, 0.05) == "The probe did not come back within 0.05 s."
    assert bounded.call(hang, 0.05) == "The probe has not come back from the look before."
    assert len(asked) == 1
    release.set()
    bounded.join()
    assert bounded.call(hang, 30) == ""


@pytest.mark.parametrize(
    "plain",
    [
        {"kind": "process"},
        {"kind": "process", "pid_file": "a", "name": "b"},
        {"kind": "heartbeat"},
        {"kind": "heartbeat", "path": "a", "socket": "b"},
        {"kind": "tcp", "host": "", "port": 1},
        {"kind": "tcp", "host": "a", "port": 65_536},
        {"kind": "mqtt", "host": "a", "topic": "a/#"},
        {"kind": "mqtt", "host": "a", "topic": "+"},
        {"kind": "unit", "unit": "-x"},
        {"kind": "unit", "unit": "a b"},
        {"kind": "disk", "free_bytes": -1},
        {"kind": "memory"},
        {"kind": "memory", "available_bytes": 1, "timeout_s": 61},
        {"kind": "memory", "available_bytes": 1, "failures": 0},
        {"kind": "memory", "available_bytes": 1, "interval_s": 0},
    ],
)
def test_a_wrong_probe_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain, Probe)


def test_a_monitor_asks_each_kind_where_it_is_to_be_asked(tmp_path: Path) -> None:
    (tmp_path / "own.pid").write_text(str(os.getpid()))
    good: list[Probe] = [ProcessProbe(pid_file="own.pid"), DiskProbe(free_bytes=1), MemoryProbe(available_bytes=1)]
    wrong: list[Probe] = [MqttProbe(host="127.0.0.1", port=1, broker=False)]
    with closing(Monitor(good, VirtualClock(), tmp_path)) as monitor:
        assert monitor.check().failing == ""
    with closing(Monitor([*good, *wrong], VirtualClock(), tmp_path)) as monitor:
        assert monitor.check().failing == "The broker 127.0.0.1:1 cannot be reached: Connection refused."
