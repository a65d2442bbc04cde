# SPDX-License-Identifier: Apache-2.0
"""The README's first own update and the tutorial, run as they are written; what is printed is what the pages say is printed.

A comment above a block says how it is run: ``repeat until it says``; ``in another terminal``, where it goes on running; ``once, on a new
machine``, which a test does not have. One above a text names the terminal whose words it shows: ``in the terminal of …``.
"""

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.compare import ANYTHING, says
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.shell import Desk

NOTHING = Block(mark="", language="", text="")
ELSEWHERE = "in the terminal of "

Ports = tuple[int, int, int]


@pytest.fixture
def ports() -> Ports:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b, socket.create_server(("", 0)) as c:
        return a.getsockname()[1], b.getsockname()[1], c.getsockname()[1]


@pytest.fixture
def desk(tmp_path: Path, ports: Ports) -> Iterator[Desk]:
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "examples", clone / "examples", ignore=shutil.ignore_patterns("build"))
    (clone / ".venv").symlink_to(sys.prefix)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT / "src"),
        "PYTHONWARNINGS": "",
        "SUREFOOT_SERVER": f"http://127.0.0.1:{ports[2]}",
    }
    desk = Desk(clone, tmp_path / "terminals", environment)
    try:
        yield desk
    finally:
        desk.close()


def test_the_first_own_update_goes_as_the_page_says(desk: Desk, ports: Ports, tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text()
    part = page[page.index("## Your first own update") : page.index("### When something is refused")]
    assert _follow(part, desk, ports) > 8
    assert 'VERSION = "1.2.0"' in (tmp_path / "first-update" / "lamp.py").read_text()


def test_the_tutorial_goes_as_the_page_says(desk: Desk, ports: Ports) -> None:
    assert _follow((ROOT / "docs" / "tutorial.md").read_text(), desk, ports) > 20
    for terminal in reversed(desk.terminals):
        before = len(terminal.says())
        assert terminal.interrupt() in {0, -signal.SIGINT, 128 + signal.SIGINT}
        assert "Traceback" not in terminal.says()[before:]


def test_other_words_than_the_page_has_would_be_noticed() -> None:
    assert says("one\ntwo\nthree\n", f"one\n{ANYTHING}\nthree\n")
    assert not says("one\nthree\n", "one\ntwo\nthree\n")
    assert not says("three\none\n", f"one\n{ANYTHING}\nthree\n")


def _follow(page: str, desk: Desk, ports: Ports) -> int:
    """Do what a page says, hold what is printed against it, and return how many blocks of commands there were."""
    found = [*blocks(page), NOTHING]
    done = 0
    for block, following in pairwise(found):
        expected = following.text if following.language == "text" and not following.mark else ANYTHING
        if block.language == "sh" and block.mark != "once, on a new machine":
            done += 1
            _hold(_do(block, expected, desk, ports), expected, block.text)
        elif block.mark.startswith(ELSEWHERE):
            where = block.mark.removeprefix(ELSEWHERE)
            _hold(desk.look(where, block.text), block.text, where)
    return done


def _do(block: Block, expected: str, desk: Desk, ports: Ports) -> str:
    text = _on_free_ports(block.text, ports)
    match block.mark:
        case "":
            return desk.run(text)
        case "repeat until it says":
            return desk.run_until(text, expected)
        case "in another terminal":
            return desk.start(text, expected)
        case mark:
            pytest.fail(f"What is to be done with a block that is marked {mark!r}?")


def _hold(said: str, expected: str, what: str) -> None:
    assert says(said, expected), f"{what}\nprinted:\n{said}\nthe page says:\n{expected}"


def _on_free_ports(text: str, ports: Ports) -> str:
    device, enrol, operator = ports
    words = f"surefoot serve --device-port {device} --enrol-port {enrol} --operator-port {operator}"
    return text.replace("surefoot serve", words)
