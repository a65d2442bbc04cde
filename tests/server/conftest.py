# SPDX-License-Identifier: Apache-2.0
"""One running server a test module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.office import Office, open_office
from tests.server.running import Running, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with open_office(tmp_path) as found:
        yield found
