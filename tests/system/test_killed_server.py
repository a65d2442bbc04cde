# SPDX-License-Identifier: Apache-2.0
"""A server that is killed wherever it hurts: nothing acknowledged is lost, nothing doubled, no device offered twice.

The server is ``mortal_server.py``, which strikes itself down at a named place; each restart is a new process on the same folder
and ports. Devices are the real agent, and note what they were promised; ``reckoning.py`` holds that against the database.
"""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from surefoot.model.assignment import Outcome
from surefoot.model.record import from_json, from_plain, to_json
from surefoot.model.wire import EnrolmentOffer
from surefoot.rollout.plan import Gates, Plan, Stage, Status
from surefoot.server.app import Addresses
from surefoot.server.services.catalogue import RolloutStory
from surefoot.simulator.story import Ending
from tests.server.running import Clock, Running, request_for, write_data
from tests.simulator.images import image
from tests.system.lab import PATIENCE_S, wait_for
from tests.system.reckoning import attempts_of, faults, stored_events
from tests.system.witnesses import Witnesses
from tests.trust.repositories import PRODUCT, Repositories, listing, manifest

BOARDS = 20
VERSION = "1.1.0"
PLAN = Plan(release=f"{PRODUCT} {VERSION}", stages=[Stage(name="all", batches=["20%", "60%", "100%"], soak="1s")], gate=Gates(), watch="0s")

Place = tuple[str, int]

IN_REPORT: list[Place] = [
    ("report write", 2),
    ("report commit", 1),
    ("report committed", 3),
    ("report write", 11),
    ("report commit", 4),
]
IN_ADVANCE: list[Place] = [
    ("advance write", 2),
    ("advance commit", 1),
    ("advance committed", 1),
    ("advance write", 4),
    ("advance committed", 2),
]
IN_PUBLISH: list[Place] = [
    ("tempfile.mkstemp", 2),  # between the first blob and the second
    ("os.chmod", 1),  # the bytes of a blob are written, and not synced
    ("os.link", 1),  # they are synced, and have no name
    ("put_blob write", 1),  # they have a name, and the database knows nothing of it
    ("publish write", 2),
    ("publish commit", 1),
    ("publish committed", 1),
]
_CHANCE = random.Random(20)  # noqa: S311  # the same moments every time, as far as threads keep them
ANYWHERE: list[Place] = [("any write", _CHANCE.randint(1, 60)) for _ in range(4)] + [("os.rename", 1)]
DEATHS = [place for places in zip(IN_REPORT, IN_ADVANCE, ANYWHERE, strict=True) for place in places]
AT_FIRST_START: list[Place] = [
    ("os.rename", 1),
    ("os.rename", 3),
    ("start write", 1),  # in the migration
    ("start write", 20),
    ("start commit", 1),
    ("os.rename", 1),  # the first token is written, and has no name
    ("start write", 5),
    ("start commit", 1),
    ("os.rename", 1),
]


@dataclass
class Mortal:
    """A folder, and one server process after the other on it."""

    data: Path
    repositories: Repositories
    ports: list[str] = field(default_factory=lambda: ["0", "0", "0"])
    process: subprocess.Popen[bytes] | None = None
    deaths: list[str] = field(default_factory=list)

    def start(self, place: str = "never", number: int = 1) -> bool:
        """Start a server that dies at a place; say whether it lived to take connections."""
        command = [sys.executable, str(Path(__file__).with_name("mortal_server.py")), str(self.data), *self.ports, place, str(number)]
        path = os.pathsep.join(sys.path)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
        assert self.process.stdout is not None
        with self.process.stdout as said:
            is_up = bool(said.readline())
        if is_up:
            found = self.addresses
            self.ports = [url.rpartition(":")[2] for url in (found.device_url, found.enroll_url, found.operator_url)]
        return is_up

    @property
    def addresses(self) -> Addresses:
        return from_json((self.data / "server.json").read_bytes(), Addresses, what="server.json")

    @property
    def operator(self) -> Running:
        """A way to call the server that runs now."""
        return Running(data=self.data, addresses=self.addresses, repositories=self.repositories, clock=Clock())

    def bury(self, place: str) -> None:
        """Wait until the server has struck itself down."""
        assert self.process is not None
        assert self.process.wait(PATIENCE_S) == -signal.SIGKILL, f"it should have died at {place}"
        self.deaths.append(place)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.deaths.append("from outside")


@contextmanager
def mortal(data: Path) -> Iterator[Mortal]:
    repositories = Repositories(now=Clock()())
    write_data(data, repositories)
    server = Mortal(data=data, repositories=repositories)
    try:
        yield server
    finally:
        if server.process is not None:
            server.kill()


@contextmanager
def under_way(server: Mortal, witnesses: Witnesses) -> Iterator[None]:
    """Bring up boards, and start a rollout to all of them."""
    assert server.start()
    operator = server.operator
    operator.publish(VERSION, image(note=VERSION))
    witnesses.join([from_plain(operator.offer(), EnrolmentOffer, what="offer") for _ in range(BOARDS)])
    with witnesses.powered():
        wait_for("the boards", lambda: all(witness.is_up for witness in witnesses.boards.values()))
        assert operator.call("POST", "rollouts", json.loads(to_json(PLAN))).status == 201
        assert operator.call("POST", "rollouts/1/start", {}).status == 200
        server.kill()
        yield


def rollout_of(server: Mortal) -> RolloutStory:
    return from_json(server.operator.call("GET", "rollouts/1").data, RolloutStory, what="rollout")


def signed_release(server: Mortal, version: str) -> tuple[list[bytes], dict[str, Any]]:
    """Return a release as it lies in a bundle: its blobs, and the request that publishes it."""
    content, sbom = image(note=version), f"sbom of {version}".encode()
    wanted = manifest(version, content)
    current = server.operator.call("GET", f"metadata/image/{PRODUCT}.json").data
    role = listing(current, [wanted], [server.repositories.product], Clock()())
    return [content, sbom], request_for(wanted, sbom, role, server.repositories.product)


def publish(server: Mortal, blobs: list[bytes], request: dict[str, Any]) -> dict[str, Any]:
    operator = server.operator
    for blob in blobs:
        operator.put(blob)
    answer = operator.call("POST", "releases", request)
    assert answer.status == 200, answer.data
    found: dict[str, Any] = answer.json()
    return found


def die_publishing(server: Mortal, place: str, number: int, version: str) -> None:
    """Strike the server down while it publishes; the release is then there or not, and publishing it again succeeds."""
    server.start(place, number)
    blobs, request = signed_release(server, version)
    with pytest.raises(HTTPError):
        publish(server, blobs, request)
    server.bury(place)
    assert server.start()
    is_there = server.operator.call("GET", f"releases/{PRODUCT}/{version}").status == 200
    assert is_there == (place == "publish committed")
    assert faults(server.data, {}) == []
    assert publish(server, blobs, request)["is_new"] is not is_there
    server.kill()


def is_told(data: Path, witnesses: Witnesses) -> bool:
    """Say whether the boards were promised all that the server has."""
    with closing(sqlite3.connect(data / "surefoot.db")) as connection:
        return stored_events(connection) == witnesses.heard


# Where a connection is reset just before the handshake, CPython's ssl leaves the half-made socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_a_server_killed_all_through_a_rollout_loses_and_doubles_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    witnesses = Witnesses(tmp_path / "boards")
    with mortal(tmp_path / "server") as server, under_way(server, witnesses):
        publishing = dict(enumerate(IN_PUBLISH, 1))
        for index, (place, number) in enumerate(DEATHS, 1):
            server.start(place, number)
            server.bury(place)
            if index in publishing:
                die_publishing(server, *publishing[index], f"2.0.{index}")
        assert server.start()
        assert rollout_of(server).rollout.status is Status.RUNNING, "it went on too fast to be disturbed"
        wait_for("the rollout to finish", lambda: rollout_of(server).rollout.status is Status.FINISHED)
        wait_for("the last events", lambda: is_told(server.data, witnesses))
        assert faults(server.data, witnesses.heard) == []
        with closing(sqlite3.connect(server.data / "surefoot.db")) as connection:
            attempts = attempts_of(connection, 1)
        # The last server outlived the rollout; its own end is none of these.
        killed = len(server.deaths)
    assert {attempt.device_id for attempt in attempts} == set(witnesses.boards)
    assert {attempt.outcome for attempt in attempts} == {Outcome.SUCCEEDED}
    remembered = {
        device_id: [(one.assignment_id, one.version, one.ended) for one in story.attempts]
        for device_id, story in witnesses.stories().items()
    }
    assert remembered == {attempt.device_id: [(attempt.assignment_id, VERSION, Ending.COMMITTED)] for attempt in attempts}
    record_property("figure", f"server killed {killed} times in a rollout to {BOARDS} boards, {len(witnesses.heard)} events")


def test_a_server_killed_all_through_its_first_start_starts(tmp_path: Path) -> None:
    with mortal(tmp_path) as server:
        for place, number in AT_FIRST_START:
            server.start(place, number)
            server.bury(place)
        assert server.start()
        server.operator.publish(VERSION, image(note=VERSION))
        device = server.operator.join()
        assert device.poll().status == 200
        assert faults(server.data, {}) == []


def test_the_reckoning_finds_what_a_hasty_server_loses(tmp_path: Path) -> None:
    heard = {}
    with mortal(tmp_path) as server:
        assert server.start()
        device = server.operator.join()
        server.kill()
        assert server.start("never", 0)
        for seq in range(1, 6):
            event = {"seq": seq, "type": "update.check.started", "at": "2026-11-23T08:00:00Z"}
            answer = device.send({"journal": "f1c2f1c2f1c2f1c2", "events": [event]})
            assert answer.json()["acknowledged"]["seq"] == seq
            heard["t-1", "f1c2f1c2f1c2f1c2", seq] = to_json(event)
        server.kill()
    assert faults(tmp_path, heard) == [f"event ('t-1', 'f1c2f1c2f1c2f1c2', {seq}) was acknowledged and is lost" for seq in range(1, 6)]
