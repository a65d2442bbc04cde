# SPDX-License-Identifier: Apache-2.0
"""The page on the ceremony, run as it is written: three people with tokens found a fleet, and change who signs, under a running server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.metadata import Root, Targets

from surefoot.trust.metadata import read, verified
from surefoot.trust.product_files import require_whole
from tests.docs.people import People, require_marked
from tests.docs.workshop import CEREMONY, FOUNDING, Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop(People(tmp_path))
    try:
        yield made
    finally:
        made.close()


def test_every_block_of_the_page_is_run() -> None:
    require_marked(CEREMONY)


def test_the_ceremony_goes_as_the_page_says(workshop: Workshop) -> None:
    workshop.found()
    assert workshop.people.follow(CEREMONY.replace(FOUNDING, "")) > 5
    metadata = workshop.people.place("keeper") / "keys" / "metadata"
    root = read((metadata / "root.json").read_bytes(), Root, name="root.json").signed
    targets = verified((metadata / "targets.json").read_bytes(), Targets, root, "targets", name="targets.json")
    holders = {role: {root.keys[keyid].unrecognized_fields["holder"] for keyid in root.roles[role].keyids} for role in ("root", "targets")}
    assert holders == {"root": {"ann", "bob", "cem"}, "targets": {"ann", "bob"}}
    assert targets.get_delegated_role("lamp").threshold == 2
    require_whole({"lamp.json": (metadata / "lamp.json").read_bytes()}, "lamp", targets)
