# SPDX-License-Identifier: Apache-2.0
"""Where the command line finds passphrases and PINs; the first that has one wins.

1. systemd's credentials: ``$CREDENTIALS_DIRECTORY/<name>``, then ``$CREDENTIALS_DIRECTORY/passphrase`` or ``pin`` for all keys.
2. The file that ``SUREFOOT_KEY_PASSPHRASE_FILE`` or ``SUREFOOT_KEY_PIN_FILE`` names.
3. ``SUREFOOT_KEY_PASSPHRASE`` or ``SUREFOOT_KEY_PIN``.
4. A person at the terminal, where one may be asked.

A name is ``<key>.passphrase`` or ``<token>.pin``; what is not a letter, digit, dot, dash or underscore becomes an underscore.
"""

import getpass
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from surefoot.model.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySecrets:
    """Implements ``surefoot.trust.secret.Secrets``.

    Attributes:
        may_ask: Whether a person at the terminal may be asked.
    """

    may_ask: bool

    def secret(self, what: str) -> str:
        """Implement ``Secrets``."""
        kind = what.rpartition(".")[2]
        for path in _files(what, kind):
            return read_secret(path)
        variable = _variable(kind)
        if variable in os.environ:
            return os.environ[variable]
        if self.may_ask and sys.stdin.isatty():
            return getpass.getpass(f"{what}: ")
        raise InvalidInput(f"The secret '{what}' is needed.", hint=f"Name a file with {variable}_FILE, or give it as a systemd credential.")

    def new_secret(self, what: str) -> str:
        """Return a secret that is to be: a person types it twice.

        Raises:
            InvalidInput: There is none, or the two differ.
        """
        first = self.secret(what)
        is_typed = _variable(what.rpartition(".")[2]) not in os.environ and not any(_files(what, what.rpartition(".")[2]))
        if is_typed and getpass.getpass(f"{what}, again: ") != first:
            raise InvalidInput("The two are not the same.", hint="Try again; nothing was written.")
        return first


def read_secret(path: Path) -> str:
    """Return the first line of a file; ``InvalidInput`` when it cannot be read."""
    try:
        return path.read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"No secret can be read from {path}.", hint="It holds one line.") from error


def _files(what: str, kind: str) -> Iterator[Path]:
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials:
        found = (Path(credentials) / name for name in (re.sub(r"[^A-Za-z0-9._-]", "_", what), kind))
        yield from (path for path in found if path.is_file())
    named = os.environ.get(f"{_variable(kind)}_FILE")
    if named:
        yield Path(named)


def _variable(kind: str) -> str:
    return f"SUREFOOT_KEY_{kind.upper()}"
