# SPDX-License-Identifier: Apache-2.0
"""The README's first own update, run as it is written, in one shell; what it prints is what the page says it prints."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, blocks

_PATIENCE_S = 60
_ANYTHING = "…"
_MASKS = (
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}"), "BUILD"),
    (re.compile(r"(localhost|127\.0\.0\.1):\d+"), "ADDRESS"),
    (re.compile(r'"seconds": [\d.]+'), '"seconds": N'),
    (re.compile(r"\b\d+ bytes"), "N bytes"),
)


class Shell:
    """One shell for the whole tutorial, as a reader has one."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, text: str) -> str:
        """Run a block and return what it prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text}\nprintf '\\n:end\\n'\n")
        self._process.stdin.flush()
        lines = list(iter(self._process.stdout.readline, ":end\n"))
        return "".join(lines).removesuffix("\n")

    def close(self) -> None:
        """End what runs, and the shell."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture
def ports() -> tuple[int, int, int]:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b, socket.create_server(("", 0)) as c:
        return a.getsockname()[1], b.getsockname()[1], c.getsockname()[1]


@pytest.fixture
def shell(tmp_path: Path, ports: tuple[int, int, int]) -> Iterator[Shell]:
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / ".venv").symlink_to(sys.prefix)
    shell = Shell(
        clone,
        {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONWARNINGS": "",
            "SUREFOOT_SERVER": f"http://127.0.0.1:{ports[2]}",
        },
    )
    try:
        yield shell
    finally:
        shell.close()


def test_the_first_own_update_goes_as_the_page_says(shell: Shell, ports: tuple[int, int, int], tmp_path: Path) -> None:
    steps = _steps((ROOT / "README.md").read_text())
    for command, expected in steps:
        text, deadline = _on_free_ports(command.text, ports), time.monotonic() + _PATIENCE_S
        said = shell.run(text)
        while command.mark and not _says(said, expected) and time.monotonic() < deadline:
            said = shell.run(text)
        assert _says(said, expected), f"{text}\nprinted:\n{said}\nthe page says:\n{expected}"
    assert 'VERSION = "1.2.0"' in (tmp_path / "first-update" / "lamp.py").read_text()
    assert len(steps) > 8


def test_other_words_than_the_page_has_would_be_noticed() -> None:
    assert _says("one\ntwo\nthree\n", f"one\n{_ANYTHING}\nthree\n")
    assert not _says("one\nthree\n", "one\ntwo\nthree\n")
    assert not _says("three\none\n", f"one\n{_ANYTHING}\nthree\n")


def _steps(page: str) -> list[tuple[Block, str]]:
    """Return each block of commands with what the page says it prints; nothing said, anything goes."""
    start, end = page.index("## Your first own update"), page.index("### When something is refused")
    found = list(blocks(page[start:end]))
    following = [*found[1:], Block(mark="", language="", text="")]
    return [
        (one, two.text if two.language == "text" else _ANYTHING) for one, two in zip(found, following, strict=True) if one.language == "sh"
    ]


def _on_free_ports(text: str, ports: tuple[int, int, int]) -> str:
    device, enrol, operator = ports
    words = f"surefoot serve --device-port {device} --enrol-port {enrol} --operator-port {operator}"
    return text.replace("surefoot serve", words)


def _says(said: str, expected: str) -> bool:
    """Say whether all that is expected was printed, in its order and whole, but for what stands in place of "anything"."""
    lines, position = _masked(said), 0
    for part in "\n".join(_masked(expected)).split(_ANYTHING):
        wanted = part.strip("\n").split("\n") if part.strip("\n") else []
        position = _find(lines, wanted, position)
        if position < 0:
            return False
    return expected.startswith(_ANYTHING) or _masked(said)[:1] == _masked(expected)[:1]


def _find(lines: list[str], wanted: list[str], start: int) -> int:
    for place in range(start, len(lines) - len(wanted) + 1):
        if lines[place : place + len(wanted)] == wanted:
            return place + len(wanted)
    return -1


def _masked(text: str) -> list[str]:
    for pattern, name in _MASKS:
        text = pattern.sub(name, text)
    return [line.rstrip() for line in text.strip("\n").split("\n")]
