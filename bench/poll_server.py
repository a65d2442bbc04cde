# SPDX-License-Identifier: Apache-2.0
"""Our server under load: a real process on a real folder, and devices that call it over mutual TLS on kept connections.

- An idle poller asks with the ETag of what it holds, and must be answered 304.
- A reporter sends one new event of its open attempt with its report, as the agent does, and must be told that it is stored.
"""

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from bench.poll_fleet import Fleet, Sampled
from bench.poll_load import PATIENCE_S, Answer, Line, expect, request
from bench.poll_rounds import pinned
from surefoot.model.errors import TransportError
from surefoot.model.event import Acknowledgement, DeploymentEvent, DeviceReport, EventBatch, EventType, JournalId
from surefoot.model.record import from_json, to_json
from tests.interop.programs import Programs
from tests.server.office import statement

_JOURNAL = JournalId("f1c2f1c2f1c2f1c2")
_AT = "2026-11-23T08:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderLoad:
    """A running server and who calls it.

    Attributes:
        pid: Its process.
        pollers: Devices with nothing to do.
        reporters: Devices on their way.
    """

    pid: int
    pollers: Sequence["IdlePoller"]
    reporters: Sequence["Reporter"]


class IdlePoller:
    """A device that holds all there is for it."""

    def __init__(self, line: Line) -> None:
        """Poll once for what there is."""
        answer = line.ask(request("GET", "/v1/poll"))
        expect(answer, HTTPStatus.OK, "A first poll")
        self.line = line
        self._request = request("GET", "/v1/poll", f'If-None-Match: "{answer.etag}"')

    def request(self) -> bytes:
        """Return the poll."""
        return self._request

    def check(self, answer: Answer) -> None:
        """Nothing has changed, or it was no idle poll."""
        expect(answer, HTTPStatus.NOT_MODIFIED, "An idle poll")


class Reporter:
    """A device on its way to an ordered release; each of its events is new."""

    def __init__(self, line: Line, device: Sampled) -> None:
        """Report on ``line`` that the download has started, which is the one event that changes the attempt."""
        self.line = line
        self._device = device
        self._report: DeviceReport = statement(device.running.image.hash)
        self._seq = 0
        self.check(line.ask(self._next(EventType.DOWNLOAD_STARTED)))

    def request(self) -> bytes:
        """Return a batch of one event, and the device's report."""
        return self._next(EventType.DOWNLOAD_PROGRESS)

    def check(self, answer: Answer) -> None:
        """The event is stored, or nothing was gained."""
        expect(answer, HTTPStatus.OK, "An event")
        if from_json(answer.body, Acknowledgement, what="Acknowledgement").acknowledged.seq != self._seq:
            raise TransportError("An event was answered with the number of another one.")

    def _next(self, kind: EventType) -> bytes:
        self._seq += 1
        data = {"received": self._seq, "percent": self._seq % 100}
        event = DeploymentEvent(seq=self._seq, type=kind, at=_AT, assignment_id=self._device.assignment_id, data=data)
        return request("POST", "/v1/events", body=to_json(EventBatch(journal=_JOURNAL, events=[event], report=self._report)))


@contextmanager
def under_load(fleet: Fleet, *, core: int, say: Callable[[str], None]) -> Iterator[UnderLoad]:
    """Serve a fleet on one core and connect its sampled devices; all is ended with the block."""
    with Programs(fleet.data) as programs, ExitStack() as stack:
        pid, port = _start(programs, fleet.data, core)
        say("its devices connect")
        pollers = [IdlePoller(_connect(stack, fleet.server_ca, device.certificate, port)) for device in fleet.idle]
        reporters = [Reporter(_connect(stack, fleet.server_ca, device.certificate, port), device) for device in fleet.ordered]
        yield UnderLoad(pid=pid, pollers=pollers, reporters=reporters)


def _start(programs: Programs, data: Path, core: int) -> tuple[int, int]:
    ports = ["--device-port", "0", "--enrol-port", "0", "--operator-port", "0"]
    with pinned(core):
        process = programs.start("serve", "serve", "--data", str(data), "--listen", "127.0.0.1", *ports)
    programs.wait_for("the server", (data / "server.json").exists)
    return process.pid, urlsplit(json.loads((data / "server.json").read_text())["device_url"]).port or 0


def _connect(stack: ExitStack, server_ca: str, certificate: Path, port: int) -> Line:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=server_ca)
    context.load_cert_chain(certificate)
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stack.enter_context(closing(Line(context.wrap_socket(plain, server_hostname="localhost"))))
