# SPDX-License-Identifier: Apache-2.0
"""SoftHSM as a real token: one folder of tokens for each process of tests, since a module reads its settings when it starts."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from surefoot.model.errors import InvalidInput

PIN = "73-right-81"
SO_PIN = "56781234"

_CANDIDATES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/libsofthsm2.so")
_NUMBERS = count(1)


@dataclass
class Given:
    """Secrets as a test gives them; what was asked for is kept."""

    value: str = PIN

    def __post_init__(self) -> None:
        self.asked: list[str] = []

    def secret(self, what: str) -> str:
        self.asked.append(what)
        if not self.value:
            raise InvalidInput("no secret")
        return self.value


@dataclass(frozen=True)
class Token:
    """A token of its own, with a label that no other test has."""

    label: str
    folder: Path

    def uri(self, key: str, more: str = "") -> str:
        return f"pkcs11:token={self.label};object={key}?module-path={module_path()}{more}"

    def take_away(self) -> None:
        """Unplug it: its folder vanishes from the folder of tokens."""
        self.folder.rename(tokens_folder().parent / self.folder.name)

    def bring_back(self) -> None:
        (tokens_folder().parent / self.folder.name).rename(self.folder)


def module_path() -> str:
    return next(path for path in _CANDIDATES if Path(path).exists())


@cache
def tokens_folder() -> Path:
    """Return this process's folder of tokens, and tell SoftHSM of it; removed when the process ends."""
    kept = tempfile.TemporaryDirectory(prefix="surefoot-tokens-")
    folder = Path(kept.name) / "tokens"
    folder.mkdir()
    settings = Path(kept.name) / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    _KEPT.append(kept)
    return folder


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def new_token() -> Token:
    folder = tokens_folder()
    label = f"token-{next(_NUMBERS)}"
    before = set(folder.iterdir())
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN],
        check=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    (made,) = set(folder.iterdir()) - before
    return Token(label=label, folder=made)
