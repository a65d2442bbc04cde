# SPDX-License-Identifier: Apache-2.0
"""Attacks D01 to D08 on the device: foreign software, stolen keys, orders of others."""

import pytest

from surefoot.model.wire import PollAnswer
from tests.attacks.stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_d01_a_foreign_image_is_not_installed(stage: Stage) -> None:
    wanted = stage.release("1.1.0")
    stage.order(wanted)
    stage.refused(stage.answer(), "corrupt_download", images={wanted.url: b"x" * len(wanted.content)}, is_verified=True)


def test_d02_an_image_that_nobody_released_is_not_installed(stage: Stage) -> None:
    wanted = stage.release("1.1.0", publish=False)
    stage.order(wanted)
    answer: PollAnswer = stage.answer()
    stage.refused(answer, "not_in_image_repo")
