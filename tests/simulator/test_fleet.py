# SPDX-License-Identifier: Apache-2.0
"""A fleet in wall time against a real server: what the boards remember is what the server was told."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import environ
from pathlib import Path
from typing import Any

import pytest

from surefoot.agent.admission import Board
from surefoot.agent.memory import installed_from
from surefoot.agent.state import Policy
from surefoot.cli.main import main
from surefoot.cli.simulate_fleet import read_offers
from surefoot.model.digest import digest_of, hex_of
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.manifest import ManifestEntry, ReleaseIndex
from surefoot.model.record import from_json, from_plain, to_json, to_pretty_json
from surefoot.model.wire import EnrolmentOffer
from surefoot.server.app import ServerSettings
from surefoot.simulator.fleet import JOURNALS, Fleet, Model, Pace
from surefoot.simulator.story import BoardStory, Ending
from tests.server.running import HARDWARE, Clock, Running, serving, write_data
from tests.simulator.images import CRASHES_ON_ODD, image
from tests.trust.repositories import Repositories, manifest

FACTORY = image(note="1.0.0")
RELEASES = {
    "1.1.0": image(note="1.1.0"),
    "1.2.0": image(CRASHES_ON_ODD, note="1.2.0"),
    "1.3.0": image("import threading; threading.Event().wait()"),
    "1.4.0": image(is_healthy="False"),
    "1.5.0": image(environment="{'SUREFOOT_SERVER_OVERRIDE': 'https://127.0.0.1:9'}"),
}
QUICK = Pace(
    boot_s=0.02,
    watchdog_s=0.2,
    spread_s=0.1,
    retry_s=0.1,
    policy=Policy(settle_s=0.1, trial_s=1.5, probe_s=0.05, backoff_cap_s=1),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("server")
    clock = Clock()
    repositories = Repositories(now=clock())
    write_data(data, repositories)
    settings = ServerSettings(data=data, host="127.0.0.1", device_port=0, enrol_port=0, operator_port=0, poll_interval_s=1)
    with serving(settings, clock) as addresses:
        running = Running(data=data, addresses=addresses, repositories=repositories, clock=clock)
        for version, content in RELEASES.items():
            running.publish(version, content)
        yield running


def offers(server: Running, *serials: str) -> list[EnrolmentOffer]:
    return [from_plain(server.offer(serial), EnrolmentOffer, what="offer") for serial in serials]


def model() -> Model:
    board = Board(hardware=HARDWARE, bootloader_version="2.1.0", slot_capacity_bytes=2**20)
    return Model(board=board, running=installed_from(manifest("1.0.0", FACTORY)), image=FACTORY)


@contextmanager
def powered(fleet: Fleet) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=fleet.run, args=(stop, 0.05))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def until(is_so: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(1200):
        if is_so():
            return
        pause.wait(0.05)
    pytest.fail("it did not happen within a minute")


def story(server: Running, serial: str) -> dict[str, Any]:
    found: dict[str, Any] = server.call("GET", f"devices/{serial}").json()
    return found


def as_the_server_says(server: Running, serial: str) -> tuple[str, list[tuple[int, str, str]]]:
    told = story(server, serial)
    attempts = [(attempt["assignment_id"], attempt["version"], attempt.get("outcome", "")) for attempt in told["assignments"]]
    return told["device"]["report"]["version"], attempts[::-1]


def as_the_board_says(fleet: Fleet, serial: str) -> tuple[str, list[tuple[int, str, str]]]:
    told = {str(key): value for key, value in fleet.stories().items()}[serial]
    words = {Ending.COMMITTED: "succeeded", Ending.OPEN: ""}
    return told.version, [(one.assignment_id, one.version, words.get(one.ended, str(one.ended))) for one in told.attempts]


def order(server: Running, version: str, *serials: str) -> None:
    for serial in serials:
        assert server.call("POST", f"devices/{serial}/order", {"version": version}).status == 201


def test_the_code_in_the_slot_decides_which_boards_come_back_and_boards_and_server_agree(server: Running, tmp_path: Path) -> None:
    serials = [f"a-{number}" for number in range(6)]
    said: list[str] = []
    fleet = Fleet(tmp_path, model(), offers(server, *serials), say=said.append, pace=QUICK)
    with powered(fleet):
        until(lambda: fleet.up == len(serials))
        for version in ("1.1.0", "1.2.0"):
            order(server, version, *serials)
            until(lambda: all("outcome" in story(server, serial)["assignments"][0] for serial in serials))
        until(lambda: all(as_the_server_says(server, serial) == as_the_board_says(fleet, serial) for serial in serials))
    written = from_json((tmp_path / JOURNALS).read_bytes(), dict[str, BoardStory], what=JOURNALS)
    seen = [(written[serial].version, [(one.version, str(one.ended), one.boots) for one in written[serial].attempts]) for serial in serials]
    harmed = ("1.1.0", [("1.1.0", "committed", 1), ("1.2.0", "rolled_back", 3)])
    updated = ("1.2.0", [("1.1.0", "committed", 1), ("1.2.0", "committed", 1)])
    assert seen == [updated, harmed] * 3
    assert said[-2:] == ["all 6 boards are up", "off"]


def test_releases_that_hang_are_unwell_or_lose_the_server_are_taken_back(server: Running, tmp_path: Path) -> None:
    bad = {"b-1": "1.3.0", "b-2": "1.4.0", "b-3": "1.5.0"}
    fleet = Fleet(tmp_path, model(), offers(server, *bad), say=lambda _: None, pace=QUICK)
    with powered(fleet):
        until(lambda: fleet.up == len(bad))
        for serial, version in bad.items():
            order(server, version, serial)
        until(lambda: all("outcome" in story(server, serial)["assignments"][0] for serial in bad))
        until(lambda: all(as_the_server_says(server, serial) == as_the_board_says(fleet, serial) for serial in bad))
    assert [(told.version, told.attempts[-1].ended) for told in fleet.stories().values()] == [("1.0.0", Ending.ROLLED_BACK)] * 3


def test_a_board_whose_offer_is_spent_is_named_and_the_others_run(server: Running, tmp_path: Path) -> None:
    good, spent = offers(server, "c-1", "c-2")
    said: list[str] = []
    first = Fleet(tmp_path / "one", model(), [spent], say=said.append, pace=QUICK)
    with powered(first):
        until(lambda: first.up)
    second = Fleet(tmp_path / "two", model(), [good, spent], say=said.append, pace=QUICK)
    with powered(second):
        until(lambda: second.up and second.failures)
    assert (second.up, second.failures) == (1, 1)
    assert any(line.startswith("c-2: ") for line in said)


def bundle_in(folder: Path) -> Path:
    wanted = manifest("1.0.0", FACTORY)
    data = to_pretty_json(wanted)
    entry = ManifestEntry(hardware=HARDWARE, variant="release", file="m.json", hash=digest_of(data))
    index = ReleaseIndex(
        product="thermostat",
        version="1.0.0",
        build_id=wanted.build_id,
        manifests=[entry],
        sbom=digest_of(b"{}"),
        provenance=digest_of(b"{}"),
    )
    (folder / "images").mkdir(parents=True)
    (folder / "release.json").write_bytes(to_pretty_json(index))
    (folder / "m.json").write_bytes(data)
    (folder / "images" / hex_of(digest_of(FACTORY))).write_bytes(FACTORY)
    return folder


def write_offers(path: Path, found: list[EnrolmentOffer]) -> Path:
    path.write_bytes(b"\n".join(to_json(offer) for offer in found) + b"\n")
    return path


def words(tmp_path: Path, file: Path, *more: str) -> list[str]:
    bundle = tmp_path / "bundle"
    options = ["--offers", str(file), "--bundle", str(bundle if bundle.exists() else bundle_in(bundle)), "--hardware", HARDWARE]
    return ["simulate", "fleet", str(tmp_path / "fleet"), *options, *more]


def test_the_command_runs_until_it_is_told_to_end(server: Running, tmp_path: Path) -> None:
    file = write_offers(tmp_path / "offers", offers(server, "d-1", "other-1", "d-2", "d-3"))
    command = [sys.executable, "-m", "surefoot", *words(tmp_path, file, "--prefix", "d-", "--count", "2", "--spread", "0.1")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ | {"PYTHONPATH": "src"}) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("fleet: 2 boards, d-1 to d-2; ")
        while "all 2 boards are up" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readlines()[-1] == "fleet: off\n"
        assert process.wait(30) == 0
    written = from_json((tmp_path / "fleet" / JOURNALS).read_bytes(), dict[str, BoardStory], what=JOURNALS)
    assert {serial: told.version for serial, told in written.items()} == {"d-1": "1.0.0", "d-2": "1.0.0"}


def test_offers_are_chosen_by_name_and_number(server: Running, tmp_path: Path) -> None:
    file = write_offers(tmp_path / "offers", offers(server, "e-1", "f-1", "e-2", "e-3"))
    assert [offer.device_id for offer in read_offers(file, "e-", 2)] == ["e-1", "e-2"]
    assert len(read_offers(file, "", None)) == 4


def test_offers_that_cannot_serve_are_refused(server: Running, tmp_path: Path) -> None:
    (offer,) = offers(server, "g-1")
    with pytest.raises(InvalidInput, match="has 1 offers"):
        read_offers(write_offers(tmp_path / "few", [offer]), "", 2)
    with pytest.raises(InvalidInput, match="two offers"):
        read_offers(write_offers(tmp_path / "twice", [offer, offer]), "", None)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_offers(tmp_path / "nowhere", "", None)
    (tmp_path / "broken").write_text("{}\n")
    with pytest.raises(FormatError, match="broken, line 1"):
        read_offers(tmp_path / "broken", "", None)


def test_offers_for_other_hardware_make_no_fleet(server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_offers(tmp_path / "offers", [from_plain(server.offer("h-1", "lamp-v1"), EnrolmentOffer, what="offer")])
    assert main(words(tmp_path, file)) == 2
    assert "is for lamp-v1" in capsys.readouterr().err
    assert not (tmp_path / "fleet").exists()
