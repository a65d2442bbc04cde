# SPDX-License-Identifier: Apache-2.0
"""A folder of keys, and which of them a root lets sign what.

For each key the folder holds ``<name>.pem``, or ``<name>.uri`` with one line, a signer URI; ``<name>.pub`` beside it, if any, is its
public part. Keys are found by their id, never by their name: a new key can be laid beside the old one before a root names it.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Root

from surefoot.model.errors import InvalidInput
from surefoot.trust.director import DirectorSigners
from surefoot.trust.key_file import read_public
from surefoot.trust.repository import OnlineSigners
from surefoot.trust.secret import Secrets
from surefoot.trust.signer import open_signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys of a folder.

    Attributes:
        folder: Where they were found.
        signers: All of them.
    """

    folder: Path
    signers: tuple[Signer, ...]

    def for_role(self, root: Root, role: str) -> Signer:
        """Return a key that ``root`` gives a role.

        Raises:
            InvalidInput: None of the role's keys is here.
        """
        wanted = root.roles[role].keyids
        for signer in self.signers:
            if signer.public_key.keyid in wanted and signer.public_key.keyid in root.keys:
                return signer
        raise InvalidInput(
            f"{self.folder} holds no key for the role '{role}': {' or '.join(wanted)} is wanted.",
            hint="Lay the key there as NAME.pem, or its URI as NAME.uri.",
        )

    def director(self, root: Root) -> DirectorSigners:
        """Return the keys that the director's root names; errors as for ``for_role``."""
        return DirectorSigners(
            targets=self.for_role(root, "targets"),
            snapshot=self.for_role(root, "snapshot"),
            timestamp=self.for_role(root, "timestamp"),
        )

    def image(self, root: Root) -> OnlineSigners:
        """Return the keys that the image repository's root names; errors as for ``for_role``."""
        return OnlineSigners(snapshot=self.for_role(root, "snapshot"), timestamp=self.for_role(root, "timestamp"))


def read_ring(folder: Path, secrets: Secrets) -> Keyring:
    """Open every key of a folder.

    Raises:
        InvalidInput: One of them cannot be opened; the message says which.
        SignerUnavailableError: A token or key service cannot be reached; with ``<name>.pub`` beside it, that shows only when it is to sign.
    """
    return Keyring(folder=folder, signers=tuple(signers_in(folder, secrets)))


def signers_in(folder: Path, secrets: Secrets, wanted: Collection[str] | None = None) -> Iterator[Signer]:
    """Open the keys of a folder, in the order of their names.

    Args:
        folder: Where.
        secrets: Asked for passphrases and PINs.
        wanted: Key ids; a key whose ``.pub`` says that it is none of them is not opened, nor its secret asked for.
    """
    for path in sorted(path for path in folder.glob("*") if path.suffix in {".pem", ".uri"}):
        public_file = path.with_suffix(".pub")
        public = read_public(public_file) if public_file.exists() else None
        if wanted is None or public is None or public.keyid in wanted:
            yield open_signer(_uri(path), secrets, public)


def _uri(path: Path) -> str:
    if path.suffix == ".pem":
        return f"pem:{path}"
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read.", hint="It holds one line, the URI of a key.") from error
    if not lines[0].strip() or any(lines[1:]):
        raise InvalidInput(f"{path} does not hold one line, the URI of a key.")
    return lines[0].strip()
