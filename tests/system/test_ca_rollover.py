# SPDX-License-Identifier: Apache-2.0
"""The drill for a device CA that is lost: rolled over with the command line, under a running server and the real agent's transport."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from surefoot.agent.enrol import enrol, read_certificate, read_identity
from surefoot.agent.keystore import FileKeys
from surefoot.agent.posix import PosixStorage
from surefoot.agent.renewal import Renewal
from surefoot.agent.transport import HttpsServer
from surefoot.agent.trusted import TrustedStore
from surefoot.cli.main import main
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import TransportError
from surefoot.model.record import from_plain
from surefoot.model.wire import RENEW_HEADER, EnrolmentOffer
from surefoot.server.ca import RENEWAL_WINDOW_S, accepted_cas
from surefoot.server.db.sqlite import connect
from surefoot.simulator.clock import VirtualClock
from tests.server.running import Running, running


class Device:
    """A device as the agent keeps it: a folder, a transport and a renewal; only its clock is the test's."""

    def __init__(self, server: Running, folder: Path, name: str) -> None:
        folder.mkdir()
        self.storage = PosixStorage(folder)
        self.folder, self.name, self.etag = folder, name, ""
        offer = from_plain(server.offer(name), EnrolmentOffer, what="offer")
        enrol(offer, self.storage, "data", TrustedStore(self.storage, "data/trusted"), FileKeys())
        self.clock = VirtualClock(server.clock())
        self.meet(server)

    def meet(self, server: Running) -> None:
        credentials = read_identity(self.storage, self.folder, "data").credentials
        self.server = HttpsServer(server.addresses.device_url, credentials, clock=self.clock)
        self.renewal = Renewal(self.storage, "data", DeviceId(self.name), self.server, self.clock, keys=FileKeys())

    def poll(self) -> None:
        """Do what the agent's loop does at each poll."""
        self.renewal()
        self.etag = self.server.poll(self.etag).etag

    @property
    def issuer(self) -> str:
        return read_certificate(self.storage, "data").issuer.rfc4514_string().removeprefix("CN=")


def ca(capsys: pytest.CaptureFixture[str], data: Path, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["ca", *words, "--data", str(data)])
    said = capsys.readouterr()
    return status, said.out + said.err


def test_drill_device_ca_rolled_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "server"
    data.mkdir()
    with running(data) as server:
        device, silent = Device(server, tmp_path / "t-1", "t-1"), Device(server, tmp_path / "t-2", "t-2")
        device.poll()
        repositories = server.repositories
        assert "needed by 2" in ca(capsys, data, "status")[1]
        assert ca(capsys, data, "rotate")[0] == 0
    lost, new = accepted_cas(data / "ca")
    # The key is lost; what is left of the old CA is its certificate.
    (data / "ca" / "device-ca.pem").write_bytes(lost.certificate.public_bytes(Encoding.PEM))

    with running(data, repositories) as server:
        device.meet(server)
        device.poll()
        assert device.issuer == lost.issuer, "the old certificate still lets the device in"
        server.clock.shift = timedelta(seconds=5)
        device.clock.sleep(RENEWAL_WINDOW_S)
        device.poll()
        assert device.issuer == new.issuer, "it renewed early, as it was told to"
        device.poll()
        assert not device.server.is_renewal_asked()
        status, said = ca(capsys, data, "retire", "device-ca")
        assert (status, "1 active devices" in said, "surefoot token new" in said) == (1, True, True)
        assert ca(capsys, data, "retire", new.name)[0] == 2
        assert "held by 2, needed by 1" in ca(capsys, data, "status")[1]
        status, said = ca(capsys, data, "retire", "device-ca", "--force")
        assert (status, "1 devices are locked out" in said) == (0, True)
    with closing(connect(data / "surefoot.db")) as connection:
        acts = connection.execute("SELECT by, what, subject FROM act WHERE what LIKE 'ca.%' ORDER BY act_id").fetchall()
    assert [(what, subject) for _, what, subject in acts] == [
        ("ca.rotate", f"{new.name} {new.issuer}"),
        ("ca.retire", f"device-ca {lost.issuer} locked_out=1"),
    ], "what was refused left none"
    assert all(by.startswith("shell:") for by, _, _ in acts)

    with running(data, repositories) as server:
        device.meet(server)
        device.poll()
        silent.meet(server)
        with pytest.raises(TransportError):
            silent.poll()
        again = Device(server, tmp_path / "t-2-again", "t-2")
        again.poll()
        assert again.issuer == new.issuer, "a new token lets a locked out device in"


def test_the_moment_of_an_early_renewal_is_the_devices_own_and_idle_answers_carry_it(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        devices = [server.join() for _ in range(3)]
        etags = [device.poll().headers["ETag"] for device in devices]
        assert all(RENEW_HEADER not in device.poll(etag).headers for device, etag in zip(devices, etags, strict=True))
        repositories = server.repositories
        assert main(["ca", "rotate", "--data", str(tmp_path)]) == 0
    with running(tmp_path, repositories) as server:
        for device in devices:
            device.url = server.addresses.device_url
        answers = [device.poll(etag) for device, etag in zip(devices, etags, strict=True)]
        assert [answer.status for answer in answers] == [304, 304, 304]
        moments = {int(answer.headers[RENEW_HEADER]) for answer in answers}
        assert len(moments) == 3
        assert all(0 <= moment < RENEWAL_WINDOW_S for moment in moments)
        server.clock.shift = timedelta(seconds=RENEWAL_WINDOW_S)
        assert {device.poll(etag).headers[RENEW_HEADER] for device, etag in zip(devices, etags, strict=True)} == {"0"}
