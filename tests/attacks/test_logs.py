# SPDX-License-Identifier: Apache-2.0
"""Attack S18: whoever reads the logs. Everything that any part writes, at its most talkative, is searched for what is secret."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from surefoot.agent.assembly import assemble
from surefoot.agent.boot.file import save
from surefoot.agent.boot.state import factory
from surefoot.agent.config import read_config
from surefoot.agent.posix import PosixStorage
from surefoot.agent.runner import Runner
from surefoot.agent.signals import Activated, Event
from surefoot.agent.state import Phase
from surefoot.agent.storage import replace_file
from surefoot.cli.main import main
from surefoot.model.record import from_json, to_pretty_json
from surefoot.model.wire import EnrolmentOffer
from tests.server.running import Running, running
from tests.trust.repositories import manifest

FACTORY, NEW = b"factory image" * 500, b"the new image" * 500
SITE = "cellar-of-mrs-smith"
CONFIG = f"""
[device]
id = "t-18"
hardware = "thermostat-v1"
bootloader_version = "2.1.0"
factory_manifest = "factory-manifest.json"
[storage]
slot_capacity_bytes = 100000
[reboot]
command = ["false"]
[attributes]
site = "{SITE}"
"""


@dataclass
class EndToEnd:
    """A device from its token to the first reboot of an update, and every line that was written meanwhile."""

    said: str
    by_server: str
    secrets: dict[str, str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def run(server: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> EndToEnd:
    caplog.set_level(logging.DEBUG)
    options = ["--server", server.addresses.operator_url, "--token-file", str(server.data / "admin.token")]
    offer_file, config = tmp_path / "enrol.json", tmp_path / "agent.toml"
    config.write_text(CONFIG)
    replace_file(PosixStorage(tmp_path), "slots/a.img", FACTORY)
    save(PosixStorage(tmp_path), factory())
    (tmp_path / "factory-manifest.json").write_bytes(to_pretty_json(manifest("1.0.0", FACTORY)))
    server.publish("1.1.0", NEW)
    assert main(["token", "new", "t-18", "--hardware", "thermostat-v1", "-o", str(offer_file), *options]) == 0
    offer = from_json(offer_file.read_bytes(), EnrolmentOffer, what="offer")
    assert main(["agent", "enroll", "--with", str(offer_file), "--config", str(config)]) == 0
    assert main(["agent", "enroll", "--with", str(offer_file), "--config", str(config)]) == 2, "the token is spent"
    assert main(["device", "order", "t-18", "1.1.0", *options]) == 0
    key = (tmp_path / "data" / "identity" / "device.pem").read_text()
    update(assemble(read_config(config), tmp_path, {"SUREFOOT_SLOT": "a"}))
    provoke(server, offer)
    assert main(["device", "show", "nobody", *options]) == 2
    printed = capfd.readouterr()
    secrets = {"enrolment token": offer.token, "operator's token": (server.data / "admin.token").read_text().strip()}
    secrets |= {f"device key, line {number}": line for number, line in enumerate(private_lines(key))}
    for file in server.data.rglob("*.pem"):
        secrets |= {f"{file.name}, line {number}": line for number, line in enumerate(private_lines(file.read_text()))}
    by_server = "\n".join(line.getMessage() for line in caplog.records if not line.name.startswith(("surefoot.agent", "urllib3")))
    return EndToEnd(said=caplog.text + printed.out + printed.err, by_server=by_server, secrets=secrets)


def update(runner: Runner) -> None:
    """Let the agent download and verify the update; the reboot is left out."""
    event: Event = runner.booted()
    for _ in range(60):
        event = runner.advance(event)
        if isinstance(event, Activated):
            return
        assert runner.state.phase in {Phase.CHECKING, Phase.VERIFYING, Phase.DOWNLOADING, Phase.INSTALLING}, runner.state
    raise AssertionError("the update was not installed")


def provoke(server: Running, offer: EnrolmentOffer) -> None:
    """Send what is wrong in every way, with secrets in it: answers and logs of errors must not repeat them."""
    answers = [
        server.enroll(structs.asdict(offer), f"-----BEGIN CERTIFICATE REQUEST-----\n{MARK}\n-----END CERTIFICATE REQUEST-----\n"),
        server.call("GET", "devices", token=MARK),
        server.call("POST", "users", {"name": "../ann", "token": MARK}),
        server.call("POST", "tokens", {"device_id": MARK * 10, "hardware": "x"}),
        server.join("t-19").send(f'{{"journal": "00", "events": [{{"data": "{MARK}"}}]}}'.encode()),
    ]
    assert [answer.status // 100 for answer in answers] == [4] * 5
    said = b"".join(answer.data for answer in answers)
    assert MARK.encode() not in said
    assert offer.token.encode() not in said


MARK = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"


def private_lines(pem: str) -> list[str]:
    """Return the long lines of the private keys in a PEM text."""
    keys = re.findall(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", pem, re.DOTALL)
    return [line for key in keys for line in key.split() if len(line) > 30]


def test_s18_no_secret_is_in_any_log_or_output_of_a_whole_update(run: EndToEnd) -> None:
    assert "download.completed" in run.said
    assert "install.started" in run.said
    names = " ".join(run.secrets)
    assert all(word in names for word in ("enrolment token", "operator's token", "device key", "director-timestamp.pem"))
    found = [name for name, secret in run.secrets.items() if secret in run.said]
    assert found == []


def test_s18_no_key_no_request_and_no_token_of_any_form_is_in_any_log(run: EndToEnd) -> None:
    for form in ("PRIVATE KEY", "CERTIFICATE REQUEST", "Bearer ", "BEGIN CERTIFICATE", MARK):
        assert form not in run.said, form


def test_s18_what_a_device_says_of_itself_is_not_in_the_servers_log(run: EndToEnd) -> None:
    assert SITE not in run.by_server
    assert "bootloader_version" not in run.by_server


def test_s18_a_secret_in_a_log_would_be_found(run: EndToEnd, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("surefoot.server").warning("token %s", run.secrets["enrolment token"])
    assert run.secrets["enrolment token"] in caplog.text
