# SPDX-License-Identifier: Apache-2.0
"""Attack D28: somebody else has an account on the device, while a real agent runs there."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from surefoot.agent.boot.file import save
from surefoot.agent.boot.state import factory
from surefoot.agent.config import Config, Device, RebootCommand, StorageRoot
from surefoot.agent.enrol import Home, keep_certificate
from surefoot.agent.home import DATA, storage_root
from surefoot.agent.keystore import pem_of
from surefoot.agent.posix import PosixStorage
from surefoot.agent.storage import replace_file
from surefoot.cli.main import main
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import InvalidInput
from surefoot.model.record import to_json, to_pretty_json
from tests.agent.loopback import Authority, Loopback, http, loopback
from tests.trust.repositories import Repositories, manifest

IMAGE = b"factory image" * 100
CONFIG = """
[device]
id = "t-1"
hardware = "thermostat-v1"
bootloader_version = "2.1.0"
factory_manifest = "factory-manifest.json"
[storage]
root = "state"
slot_capacity_bytes = 100000
[reboot]
command = ["false"]
"""


@pytest.fixture
def device(tmp_path: Path, ca: Authority) -> Iterator[tuple[Path, Loopback]]:
    """An enrolled device and its server, under the loosest umask there is."""
    before = os.umask(0)
    try:
        root = tmp_path / "state"
        root.mkdir(mode=0o755)
        storage = PosixStorage(root)
        save(storage, factory())
        replace_file(storage, "slots/a.img", IMAGE)
        (tmp_path / "factory-manifest.json").write_bytes(to_pretty_json(manifest("1.0.0", IMAGE)))
        (tmp_path / "agent.toml").write_text(CONFIG)
        key = ec.generate_private_key(ec.SECP256R1())
        keep_certificate(storage, DATA, pem_of(key), ca.issue("t-1", public=key.public_key()))
        replace_file(storage, f"{DATA}/identity/server-ca.pem", ca.pem.encode())
        repositories = Repositories()
        for name, data in (("director", repositories.director_root), ("image", repositories.image["root.json"])):
            replace_file(storage, f"{DATA}/trusted/{name}.json", to_json({"root.json": data.decode()}))
        with loopback(tmp_path, ca, client_ca=ca) as server:
            replace_file(storage, f"{DATA}/identity/server.json", to_json(Home(device_url=server.url)))
            yield tmp_path, server
    finally:
        os.umask(before)


@contextmanager
def at_work(folder: Path, server: Loopback) -> Iterator[int]:
    """Let an agent run as a process of its own until it has polled, and while the block does; gives its number."""
    has_polled = threading.Event()

    def polled(_: bytes) -> bytes:
        has_polled.set()
        return http("304 Not Modified", Content_Length="", Surefoot_Next_Poll="3600")

    server.answers += [lambda _: http("503 Later"), polled]
    command = [sys.executable, "-m", "surefoot", "agent", "run", "--config", str(folder / "agent.toml")]
    with subprocess.Popen(command, env={**os.environ, "SUREFOOT_SLOT": "a"}, stdout=subprocess.DEVNULL) as agent:
        try:
            assert has_polled.wait(20), "the agent did not poll"
            assert agent.poll() is None
            yield agent.pid
        finally:
            agent.terminate()


def test_d28_a_running_agent_listens_nowhere_and_its_files_are_its_own(device: tuple[Path, Loopback]) -> None:
    folder, server = device
    with at_work(folder, server) as pid:
        sockets = sockets_of(pid)
        assert sockets - listening(pid) == sockets, "the agent listens"
        assert not bound_datagrams(pid) & sockets, "the agent takes datagrams"
    found = {path.relative_to(folder / "state"): path.stat().st_mode & 0o777 for path in (folder / "state").rglob("*")}
    loose = {str(path): oct(mode) for path, mode in found.items() if mode not in {0o600, 0o700}}
    assert loose == {}
    assert found[Path(DATA, "identity", "device.pem")] == 0o600
    assert found[Path(DATA, "journal")] == 0o600


def test_d28_a_listening_socket_would_be_seen() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = os.fstat(listener.fileno()).st_ino
        assert inode in sockets_of(os.getpid()) & listening(os.getpid())


@pytest.mark.parametrize("loose", ["state", f"state/{DATA}"])
def test_d28_a_state_folder_that_everybody_may_write_is_refused(
    device: tuple[Path, Loopback], loose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = device
    config = Config(
        device=Device(id=DeviceId("t-1"), hardware="thermostat-v1", bootloader_version="2.1.0", factory_manifest="x"),
        storage=StorageRoot(root="state", slot_capacity_bytes=100_000),
        reboot=RebootCommand(command=["false"]),
    )
    assert storage_root(config, folder) == folder / "state"
    (folder / loose).chmod(0o777)
    with pytest.raises(InvalidInput) as refused:
        storage_root(config, folder)
    assert refused.value.hint == f"Run 'chmod o-w {folder / loose}'."
    for verb in ("run", "status"):
        assert main(["agent", verb, "--config", str(folder / "agent.toml")]) == 2
        assert "chmod o-w" in capsys.readouterr().err
    assert server.requests == []
    (folder / loose).chmod(0o700)
    assert storage_root(config, folder) == folder / "state"


def sockets_of(pid: int) -> set[int]:
    """Return the inodes of all sockets that a process has open."""
    links: list[str] = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            links.append(str(link.readlink()))
    return {int(link[len("socket:[") : -1]) for link in links if link.startswith("socket:[")}


def listening(pid: int) -> set[int]:
    """Return the inodes of all stream sockets that listen where a process is, whoever's they are."""
    streams = [line.split() for name in ("tcp", "tcp6") for line in lines(pid, name)]
    local = [line.split() for line in lines(pid, "unix")]
    return {int(words[9]) for words in streams if words[3] == "0A"} | {int(words[6]) for words in local if int(words[3], 16) & 0x10000}


def bound_datagrams(pid: int) -> set[int]:
    return {int(line.split()[9]) for name in ("udp", "udp6") for line in lines(pid, name)}


def lines(pid: int, name: str) -> list[str]:
    file = Path(f"/proc/{pid}/net/{name}")
    return file.read_text().splitlines()[1:] if file.exists() else []
