# SPDX-License-Identifier: Apache-2.0
"""Tests of the server as a program: starting, ticking, stopping, and being killed."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3
from tuf.api.metadata import Root

from surefoot.model.errors import InvalidInput, SignatureError
from surefoot.server.app import Addresses, ServerSettings, run
from surefoot.server.db.sqlite import connect
from surefoot.trust.metadata import read, sign_with
from tests.server.running import Clock, Joined, Running, running, serving, write_data
from tests.system.lab import wait_for
from tests.trust.repositories import Repositories

JOURNAL = "f1c2f1c2f1c2f1c2"


@contextmanager
def process(data: Path) -> Iterator[tuple[subprocess.Popen[str], Addresses]]:
    """Run ``surefoot serve`` as a process; it is killed in the end if it still runs."""
    ports = [word for name in ("device", "enrol", "operator") for word in (f"--{name}-port", "0")]
    command = [sys.executable, "-m", "surefoot", "serve", "--data", str(data), "--listen", "127.0.0.1", *ports]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ) as server:
        try:
            assert server.stdout is not None
            said = [server.stdout.readline() for _ in range(4)]
            assert said[0].startswith("devices"), said
            yield server, Addresses(**json.loads((data / "server.json").read_text()))
        finally:
            server.kill()


def write_new_data(data: Path) -> Repositories:
    repositories = Repositories(now=Clock()())
    write_data(data, repositories)
    return repositories


def events_of(device: Joined, upto: int) -> Iterator[dict[str, object]]:
    for seq in range(1, upto + 1):
        yield {"journal": JOURNAL, "events": [{"seq": seq, "type": "update.check.started", "at": "2026-11-23T08:00:00Z"}]}
    device.pool.clear()


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    repositories, acknowledged = write_new_data(tmp_path), 0
    with process(tmp_path) as (server, addresses):
        device = Running(data=tmp_path, addresses=addresses, repositories=repositories, clock=Clock()).join()
        try:
            for batch in events_of(device, 400):
                acknowledged = device.send(batch).json()["acknowledged"]["seq"]
                if acknowledged == 60:
                    # The kill meets the server in the middle of the posts that follow.
                    server.kill()
        except urllib3.exceptions.HTTPError:
            pass
        assert server.wait(20) == -signal.SIGKILL
    assert acknowledged >= 60
    with running(tmp_path, repositories) as again:
        stored = again.call("GET", f"devices/{device.device_id}").json()["events"]
        assert {event["event"]["seq"] for event in stored} >= set(range(1, acknowledged + 1))
        assert len({event["event"]["seq"] for event in stored}) == len(stored)


def test_a_certificate_and_an_order_survive_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        device = server.join()
        server.publish("1.1.0", b"image")
        server.order(device, "1.1.0")
        etag = device.poll().headers["etag"]
        repositories = server.repositories
    with running(tmp_path, repositories) as server:
        device.url = server.addresses.device_url
        assert device.poll(etag).status == 304
        assert device.poll().json()["artifacts"][0]["size"] == 5


def test_sigterm_ends_the_server_in_good_order(tmp_path: Path) -> None:
    write_new_data(tmp_path)
    with process(tmp_path) as (server, _):
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert not (tmp_path / "server.json").exists()


def test_who_polled_is_written_by_the_tick_and_not_by_the_poll(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        device = server.join()
        for _ in range(3):
            device.poll()
        assert "last_seen" not in server.story(device)["device"]
        repositories = server.repositories
    with running(tmp_path, repositories) as server:
        known = server.story(device)["device"]
        assert known["polls"] == 3
        assert known["last_seen"]


def test_the_image_repository_is_signed_again_at_half_its_life(tmp_path: Path) -> None:
    repositories = write_new_data(tmp_path)
    clock = Clock()
    clock.shift = timedelta(hours=13)
    settings = ServerSettings(data=tmp_path, host="127.0.0.1", device_port=0, enrol_port=0, operator_port=0)
    with serving(settings, clock) as addresses:
        server = Running(data=tmp_path, addresses=addresses, repositories=repositories, clock=clock)
        timestamp = server.call("GET", "metadata/image/timestamp.json")
        assert timestamp.json()["signed"]["version"] == 2
    assert (tmp_path / "metadata" / "image" / "timestamp.json").read_bytes() == timestamp.data


def test_a_root_that_people_put_into_the_folder_is_taken_in_at_start(tmp_path: Path) -> None:
    repositories = write_new_data(tmp_path)
    with running(tmp_path, repositories):
        pass
    root = read(repositories.director_root, Root, name="root.json")
    root.signed.version = 2
    file = tmp_path / "metadata" / "director" / "root.json"
    file.write_bytes(sign_with(root, repositories.director_roots[:1]))
    with pytest.raises(SignatureError, match="signed by 1 of the 2 keys"), running(tmp_path, repositories):
        pass
    file.write_bytes(sign_with(root, repositories.director_roots))
    with running(tmp_path, repositories) as server:
        device = server.join()
        assert "2.root.json" in device.poll().json()["metadata"]["director"]
        assert server.call("GET", "metadata/director/1.root.json").data == repositories.director_root


def test_a_folder_without_repositories_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"root\.json\. Run 'surefoot trust init'"), running_on(tmp_path):
        pass


def test_an_empty_file_is_no_token_that_lets_anybody_in(tmp_path: Path) -> None:
    write_new_data(tmp_path)
    (tmp_path / "admin.token").touch(0o600)
    with pytest.raises(InvalidInput, match=r"no token in .*admin\.token"), running_on(tmp_path):
        pass


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    write_new_data(tmp_path)
    (tmp_path / "keys" / "director-snapshot.pem").unlink()
    with pytest.raises(InvalidInput, match="no key for the role 'snapshot'"), running_on(tmp_path):
        pass


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    with running(tmp_path), pytest.raises(InvalidInput, match="Another server uses"), running_on(tmp_path):
        pass


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    write_new_data(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput, match=f"Port {port}"), running_on(tmp_path, device_port=port):
            pass


@contextmanager
def running_on(data: Path, device_port: int = 0) -> Iterator[Addresses]:
    settings = ServerSettings(data=data, host="127.0.0.1", device_port=device_port, enrol_port=0, operator_port=0)
    with serving(settings, Clock()) as addresses:
        yield addresses


def test_a_server_that_is_told_to_stop_before_it_serves_stops(tmp_path: Path) -> None:
    write_new_data(tmp_path)
    said = list[Addresses]()

    async def main() -> None:
        stop = asyncio.Event()
        stop.set()
        settings = ServerSettings(
            data=tmp_path, hostnames=("ota.example.com",), host="127.0.0.1", device_port=0, enrol_port=0, operator_port=0
        )
        await run(settings, said.append, stop, Clock())

    asyncio.run(main())
    assert said[0].device_url.startswith("https://ota.example.com:")


def test_counters_that_were_damaged_while_the_server_was_off_are_counted_anew_at_its_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repositories = write_new_data(tmp_path)
    with running(tmp_path, repositories) as server:
        server.join()
    with closing(connect(tmp_path / "surefoot.db")) as connection:
        connection.execute("UPDATE version_count SET devices = 70")
        with running(tmp_path, repositories):
            wait_for("the recount", lambda: connection.execute("SELECT devices FROM version_count").fetchall() == [(1,)])
    assert "it was counted anew" in caplog.text
