# SPDX-License-Identifier: Apache-2.0
"""Where an agent keeps its own files, and who else may touch them.

Layout of ``data/`` below the storage root: ``journal``, ``kept.json``, ``trusted/``, ``identity/``, ``boot-said.json`` (of the backends
``rauc`` and ``custom``), ``started.json`` (of the backend ``link``).
"""

import secrets
import stat
from pathlib import Path

from surefoot.agent.config import Config
from surefoot.agent.journal import Journal
from surefoot.agent.state import State
from surefoot.agent.storage import Storage
from surefoot.model.errors import InvalidInput

DATA = "data"
JOURNAL = f"{DATA}/journal"
LOCK = f"{DATA}/lock"
IDENTITY = f"{DATA}/identity"
SAID = f"{DATA}/boot-said.json"
STARTED = f"{DATA}/started.json"


def storage_root(config: Config, folder: Path) -> Path:
    """Return the folder of everything that a board keeps.

    Raises:
        InvalidInput: There is none, or everybody may write there: then what the agent remembers is anybody's to forge.
    """
    root = folder / config.storage.root
    if not root.is_dir():
        raise InvalidInput(f"The storage root {root} is not a folder.", hint="Make it, or name another in agent.toml.")
    for path in (root, root / DATA):
        if path.is_dir() and path.stat().st_mode & stat.S_IWOTH:
            raise InvalidInput(f"Everybody may write in {path}.", hint=f"Run 'chmod o-w {path}'.")
    return root


def require_secret(root: Path) -> None:
    """Check that nobody but the agent can read the device's key.

    Raises:
        InvalidInput: Others may look into the folder of the identity, or read a file in it: a key that was copied serves a thief as well.
    """
    home = root / IDENTITY
    for path in (home, *sorted(home.iterdir())):
        if path.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidInput(
                f"Others than the agent have rights to {path}.",
                hint=f"Run 'chmod -R go= {home}'; enrol the device again if its key may have been read.",
            )


def open_journal(storage: Storage) -> Journal[State]:
    """Return the agent's journal, started if there is none."""
    return Journal(storage, JOURNAL, State, new_id=lambda: secrets.token_hex(16))
