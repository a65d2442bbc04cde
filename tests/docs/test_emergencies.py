# SPDX-License-Identifier: Apache-2.0
"""The page for emergencies, run as it is written: real shells, a real server, a board, tokens, two of three people."""

import dataclasses
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest
import urllib3
from urllib3.exceptions import HTTPError

from surefoot.model.assignment import DeviceId
from surefoot.model.errors import SignatureError
from surefoot.model.record import from_json
from surefoot.trust.director import DirectorSigners, View, sign_view
from surefoot.trust.metadata import Files
from surefoot.trust.repository import OnlineSigners, versions
from surefoot.trust.succession import resign
from surefoot.trust.verify import Trusted, load, refresh
from tests.docs.pages import ROOT
from tests.docs.people import People, require_marked
from tests.docs.workshop import Workshop
from tests.trust.repositories import view_files, wire_names

PAGE = (ROOT / "docs" / "emergencies.md").read_text()
LAMP = DeviceId("lamp-1")
FOREIGN = """
sed 's/^VERSION = .*/raise SystemExit("owned")/' $HOME/keeper/lamp.py > lamp.py
sed 's/1\\.4\\.0/6.6.6/' $HOME/keeper/firmware.yaml > firmware.yaml
rm -rf foreign && surefoot release build firmware.yaml -o foreign && surefoot release sign foreign --keys keys
surefoot release publish foreign
"""


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(People(tmp_path))
    try:
        made.set_up()
        yield made
    finally:
        made.close()


def section(title: str) -> str:
    """Return a section of the page."""
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_every_block_of_the_page_is_run() -> None:
    require_marked(PAGE)


def test_every_drill_goes_as_the_page_says_and_what_was_lost_is_worth_nothing(workshop: Workshop) -> None:
    online_keys(workshop)
    product_key(workshop)
    root_key(workshop)
    device_key(workshop)
    device_ca(workshop)
    server_and_product_key(workshop)


def online_keys(workshop: Workshop) -> None:
    stolen = workshop.online()
    assert believes(workshop, *stolen)
    workshop.people.follow(section("Online keys"))
    assert not believes(workshop, *stolen)
    assert believes(workshop, *workshop.online())


def product_key(workshop: Workshop) -> None:
    workshop.copy_of_the_keys()
    workshop.people.follow(section("A product's key"))
    said = workshop.people.run("thief", FOREIGN)
    assert "lamp was signed by 0 of the 1 keys it needs" in said


def root_key(workshop: Workshop) -> None:
    workshop.people.follow(section("One root key"))
    for root in ("image-root", "director-root"):
        said = workshop.people.run(
            "cem",
            f"rm -rf keys && cp -r $HOME/keeper/keys keys && surefoot trust refresh --all --no-sign --keys keys\n"
            f"surefoot trust sign keys/proposals/{root}-*.proposal.json --key 'pkcs11:token=cem;object={root}'",
        )
        assert "has no say in this" in said


def device_key(workshop: Workshop) -> None:
    lost = workshop.people.place("thief") / "device.pem"
    shutil.copy(workshop.board / "data" / "identity" / "device.pem", lost)
    assert poll(workshop, lost) == HTTPStatus.OK
    workshop.people.follow(section("One device's key"))
    assert poll(workshop, lost) == HTTPStatus.FORBIDDEN
    assert poll(workshop, workshop.board / "data" / "identity" / "device.pem") == HTTPStatus.OK


def device_ca(workshop: Workshop) -> None:
    issued = workshop.people.place("thief") / "issued.pem"
    shutil.copy(workshop.board / "data" / "identity" / "device.pem", issued)
    workshop.people.follow(section("The device CA"))
    with pytest.raises(HTTPError):
        poll(workshop, issued)
    assert poll(workshop, workshop.board / "data" / "identity" / "device.pem") == HTTPStatus.OK


def server_and_product_key(workshop: Workshop) -> None:
    workshop.systemctl("stop", "surefoot")
    workshop.does("server", "cp -a data backup")
    workshop.systemctl("start", "surefoot")
    workshop.does("keeper", "surefoot release sign lamp-1.4.0 --keys keys\nsurefoot release publish lamp-1.4.0")
    workshop.copy_of_the_keys()
    workshop.does("thief", FOREIGN)
    workshop.does("thief", "surefoot device order lamp-1 lamp 6.6.6 --approve-major")
    said = workshop.people.run_until("thief", "surefoot device show lamp-1 | grep -o ' rolled_back '", " rolled_back")
    assert "rolled_back" in said
    stolen = workshop.online()
    workshop.people.follow(section("The server and a product's key"))
    assert not believes(workshop, *stolen)
    assert believes(workshop, *workshop.online())
    assert "lamp was signed by 0 of the 1 keys it needs" in workshop.people.run("thief", "surefoot release publish foreign")


def poll(workshop: Workshop, certificate: Path) -> int:
    """Call the server as the device with this key, and return the status."""
    home = workshop.board / "data" / "identity"
    url = from_json((home / "server.json").read_bytes(), dict[str, str], what="server.json")["device_url"]
    with urllib3.PoolManager(ca_certs=str(home / "server-ca.pem"), cert_file=str(certificate), retries=False, timeout=20) as pool:
        return pool.request("GET", f"{url}/v1/poll").status


def believes(workshop: Workshop, director: DirectorSigners, image: OnlineSigners) -> bool:
    """Say whether the board, as it stands, would believe whoever has these keys: in both repositories, or in neither."""
    now = datetime.now(UTC)
    trusted, images = workshop.trusted("director"), workshop.trusted("image")
    said = {accepts(load(trusted, device_id=LAMP), view_files(next_view(trusted, director, now)), now)}
    if "snapshot.json" in images:
        said.add(accepts(load(images), wire_names({**images, **resign(images, image, now)}), now))
    (answer,) = said
    return answer


def accepts(trusted: Trusted, answer: Files, now: datetime) -> bool:
    try:
        refresh(trusted, answer, now)
    except SignatureError:
        return False
    return True


def next_view(trusted: Files, signers: DirectorSigners, now: datetime) -> View:
    targets, snapshot, timestamp = (versions(trusted)[f"{role}.json"] for role in ("targets", "snapshot", "timestamp"))
    seen = dataclasses.replace(
        sign_view(None, LAMP, None, signers, now), targets_version=targets, snapshot_version=snapshot, timestamp_version=timestamp
    )
    return sign_view(seen, LAMP, None, signers, now)
