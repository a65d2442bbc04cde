# SPDX-License-Identifier: Apache-2.0
"""Every bootloader backend keeps the port's contract."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.contract_boot import CONTRACT, Rig, any_life_is_as_the_rules_say
from tests.agent.rigs import RIGS


@pytest.mark.parametrize("law", CONTRACT, ids=lambda law: law.__name__)
@pytest.mark.parametrize("backend", RIGS)
def test_backend(backend: str, law: Callable[[Rig], None], tmp_path: Path) -> None:
    with ExitStack() as stack:
        law(RIGS[backend](tmp_path, stack))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("backend", ["file", "block", "link", "efi"])
def test_many_lives_in_memory(backend: str, seed: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        any_life_is_as_the_rules_say(RIGS[backend](tmp_path, stack), seed)
