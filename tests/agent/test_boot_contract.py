# SPDX-License-Identifier: Apache-2.0
"""Every bootloader backend keeps the port's contract."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.contract_boot import CONTRACT, Rig
from tests.agent.rigs import RIGS


@pytest.mark.parametrize("law", CONTRACT, ids=lambda law: law.__name__)
@pytest.mark.parametrize("backend", RIGS)
def test_backend(backend: str, law: Callable[[Rig], None], tmp_path: Path) -> None:
    law(RIGS[backend](tmp_path))
