# SPDX-License-Identifier: Apache-2.0
from threading import Event

import pytest

from surefoot.model.errors import FormatError
from surefoot.simulator.program import HungError, Watched, load_image
from tests.simulator.images import CRASHES_ON_ODD, image, packed


def test_an_image_does_what_the_code_inside_it_says() -> None:
    program = load_image(image(is_healthy="1 > 2", environment="{'A': 'b'}"))
    program.at_start("t-1")
    assert (program.is_healthy(), program.agent_environment()) == (False, {"A": "b"})


def test_the_code_decides_by_the_serial_number_of_the_board() -> None:
    program = load_image(image(CRASHES_ON_ODD))
    program.at_start("t-2")
    with pytest.raises(RuntimeError, match="t-3"):
        program.at_start("t-3")


def test_two_boards_with_the_same_image_share_no_state() -> None:
    counts = image("global n; n = globals().get('n', 0) + 1", is_healthy="n == 1")
    first, second = load_image(counts), load_image(counts)
    first.at_start("t-1")
    first.at_start("t-1")
    second.at_start("t-2")
    assert (first.is_healthy(), second.is_healthy()) == (False, True)


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        packed({"app/other.py": ""}),
        packed({"a/behaviour.py": "", "b/behaviour.py": ""}),
        packed({"app/behaviour.py": "def at_start("}),
        packed({"app/behaviour.py": "def at_start(serial): pass"}),
    ],
)
def test_an_image_that_breaks_the_contract_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError):
        load_image(content)


class Waits:
    """A program that starts when it is told to."""

    def __init__(self) -> None:
        self.may_start = Event()

    def at_start(self, serial: str) -> None:
        self.may_start.wait()
        if serial == "bad":
            raise RuntimeError(serial)

    def is_healthy(self) -> bool:
        return True

    def agent_environment(self) -> dict[str, str]:
        return {"A": "b"}


def test_a_program_that_hangs_is_given_up() -> None:
    program = Waits()
    with pytest.raises(HungError):
        Watched(program, 0.01).at_start("t-1")
    program.may_start.set()


def test_a_watched_program_is_as_good_or_bad_as_it_is() -> None:
    program = Waits()
    program.may_start.set()
    watched = Watched(program, 30)
    watched.at_start("t-1")
    assert (watched.is_healthy(), watched.agent_environment()) == (True, {"A": "b"})
    with pytest.raises(RuntimeError, match="bad"):
        watched.at_start("bad")
