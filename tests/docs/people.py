# SPDX-License-Identifier: Apache-2.0
"""The people of the pages on keys, each at a place of their own with a token of their own, and the stick that files travel on.

A comment above a block says at whose place it is typed: ``at ann's``, ``on the server``; ``, until it says`` repeats it. Where a command
asks for it, the person types yes.
"""

import os
import pty
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.compare import ANYTHING, says
from tests.docs.pages import ROOT, Block, blocks
from tests.trust.tokens import PIN, SO_PIN, module_path

_PLACE = re.compile(r"(?:at (?:the )?(?P<person>[a-z]+)'s|on the (?P<machine>[a-z]+))(?P<until>, until it says)?")
_PATIENCE_S = 120
_LOOK_S = 0.2
_YES = b"yes\n" * 8


@dataclass
class People:
    """Shells in the folders of several people.

    Attributes:
        folder: Holds a folder for each place, and the stick.
        variables: What every shell knows besides.
    """

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Tokens of their own: the people of another page bear the same names.
        (self.folder / "tokens").mkdir(parents=True)
        self._settings.write_text(f"directories.tokendir = {self.folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        (self.folder / "stick").mkdir()

    def place(self, name: str) -> Path:
        """Return somebody's folder, made when first asked for."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def _settings(self) -> Path:
        return self.folder / "softhsm2.conf"

    def give_token(self, name: str) -> None:
        """Give somebody a token with their name on it."""
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", name, "--pin", PIN, "--so-pin", SO_PIN],
            check=True,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "SOFTHSM2_CONF": str(self._settings)},
        )

    def environment(self) -> dict[str, str]:
        """Return what every shell knows."""
        return {
            "PATH": f"{self.folder}/bin:{sys.prefix}/bin:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONWARNINGS": "",
            "PYTHONDONTWRITEBYTECODE": "1",
            "STICK": str(self.folder / "stick"),
            "SOFTHSM2_CONF": str(self._settings),
            "SUREFOOT_PKCS11_MODULE": module_path(),
            "SUREFOOT_KEY_PIN": PIN,
            **self.variables,
        }

    def run(self, name: str, text: str) -> str:
        """Let somebody type a block and answer yes; return what is printed."""
        keyboard, terminal = pty.openpty()
        try:
            os.write(keyboard, _YES)
            done = subprocess.run(
                ["bash", "-c", text],
                cwd=self.place(name),
                env=self.environment(),
                stdin=terminal,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        finally:
            os.close(terminal)
            os.close(keyboard)
        return done.stdout

    def run_until(self, name: str, text: str, expected: str) -> str:
        """Let somebody type a block until it prints what is expected, or patience ends."""
        deadline = time.monotonic() + _PATIENCE_S
        while not says(said := self.run(name, text), expected) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return said

    def follow(self, page: str) -> int:
        """Do what the marked blocks of a page say, hold what is printed against it, and return how many there were."""
        done = 0
        for block, following in pairwise([*blocks(page), Block(mark="", language="", text="")]):
            match = _PLACE.fullmatch(block.mark)
            if block.language != "sh" or match is None:
                continue
            expected = following.text if following.language == "text" and not following.mark else ANYTHING
            where = match["person"] or match["machine"]
            said = self.run_until(where, block.text, expected) if match["until"] else self.run(where, block.text)
            done += 1
            assert says(said, expected), f"{where}: {block.text}\nprinted:\n{said}\nthe page says:\n{expected}"
            # A page that shows no words of a command promises that it works.
            assert "surefoot: " not in said or "surefoot: " in expected, f"{where}: {block.text}\nprinted:\n{said}"
        return done


def unmarked(page: str) -> list[str]:
    """Return the blocks of commands that no mark says how to run."""
    return [block.text for block in blocks(page) if block.language == "sh" and _PLACE.fullmatch(block.mark) is None]


def require_marked(page: str) -> None:
    """Fail for a block of commands that would not be run."""
    if unmarked(page):
        pytest.fail(f"Who is to type this?\n{unmarked(page)[0]}")
