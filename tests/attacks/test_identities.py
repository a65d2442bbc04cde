# SPDX-License-Identifier: Apache-2.0
"""Attack D29: somebody copies a device's storage, with its identity and its memory, and lets the copy call."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from surefoot.agent.download import Response
from surefoot.agent.state import Phase
from surefoot.agent.transport import Polled
from surefoot.cli.main import main
from surefoot.model.errors import TransportError
from surefoot.model.event import Acknowledgement, EventBatch, EventType
from surefoot.server.services.report import report
from surefoot.simulator.board import SimulatedBoard
from tests.attacks.stage import Stage
from tests.server.office import DEVICE, JOURNAL, Office, event, open_office
from tests.server.running import Joined, Running, running


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with open_office(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as found:
        yield found


@dataclass
class Registrar:
    """The server's own verb for reports; polls fail while it is told so, so that agents have something to tell."""

    office: Office
    is_away: bool = True
    sent: int = field(default=0)

    def poll(self, etag: str) -> Polled:
        if self.is_away:
            raise TransportError("Nobody answers.")
        return Polled(next_poll_s=300, answer=None, etag=etag)

    def send(self, batch: EventBatch) -> Acknowledgement:
        self.sent += len(batch.events)
        return asyncio.run(report(DEVICE, batch, self.office.do, self.office.repositories.director, self.office.now))

    def open(self, url: str, offset: int) -> Response:
        raise TransportError(f"{url} does not answer, from {offset} or anywhere.")


def divergences(office: Office) -> list[tuple[str, str]]:
    return office.connection.execute("SELECT device_id, journal FROM divergence").fetchall()


def live(board: SimulatedBoard, registrar: Registrar, away_s: float) -> None:
    """Let a board find the server gone, note that, and tell it when the server is back."""
    board.server, registrar.is_away = registrar, True
    board.clock.sleep(away_s)
    board.run(lambda runner: runner.state.phase is Phase.IDLE and bool(runner.parts.journal.pending))
    registrar.is_away = False
    board.run(lambda runner: runner.state.phase is Phase.IDLE and not runner.parts.journal.pending)


def test_d29_a_clone_with_copied_state_is_noticed(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    original, registrar = Stage().board, Registrar(office)
    live(original, registrar, 10)
    clone = Stage().board
    clone.flash = original.flash.fork()
    assert divergences(office) == []
    live(original, registrar, 60)
    assert divergences(office) == [], "one device alone is never taken for two"
    with caplog.at_level(logging.WARNING, "surefoot.server"):
        live(clone, registrar, 90)
    ((device_id, journal),) = divergences(office)
    assert (device_id, journal) == (DEVICE, office.connection.execute("SELECT DISTINCT journal FROM event").fetchone()[0])
    assert f"device {DEVICE} told event" in caplog.text
    assert "two ways" in caplog.text


def test_d29_a_device_that_repeats_itself_is_no_clone(office: Office) -> None:
    for _ in range(3):
        office.report(event(1, EventType.CHECK_STARTED, reason="the answer was lost"), event(2, EventType.CHECK_COMPLETED))
    assert divergences(office) == []


def test_d29_what_the_clone_says_has_no_effect_and_is_told_once(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.add_release("1.1.0")
    attempt = office.order("1.1.0")
    office.report(event(1, EventType.DOWNLOAD_STARTED, attempt))
    for seq in (1, 2):
        office.report(event(seq, EventType.DOWNLOAD_STARTED, attempt))
    for _ in range(2):
        office.report(event(1, EventType.INSTALL_FAILED, attempt), event(2, EventType.INSTALL_FAILED, attempt))
    assert office.attempt(attempt).outcome is None
    assert divergences(office) == [(DEVICE, JOURNAL)]
    assert caplog.text.count("two ways") == 1


def test_d29_a_divergence_is_shown_with_the_device(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    device = server.join()
    for kind in (EventType.CHECK_STARTED, EventType.HEALTH_OK):
        tell(device, EventBatch(journal=JOURNAL, events=[event(7, kind)]))
    (told,) = server.story(device)["divergences"]
    assert (told["journal"], told["event"]["seq"], told["event"]["type"]) == (JOURNAL, 7, EventType.HEALTH_OK)
    options = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    assert main(["device", "show", device.device_id, *options]) == 0
    assert f"copied?    event 7 of journal {JOURNAL} was told in two ways" in capsys.readouterr().out


def tell(device: Joined, batch: EventBatch) -> None:
    assert device.send(batch).status == 200
