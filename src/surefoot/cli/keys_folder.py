# SPDX-License-Identifier: Apache-2.0
"""The folder of a release engineer: private keys, and the newest metadata that was signed with them.

It lies on no server. The metadata in it is what the next signature builds on, so a stolen server cannot talk anyone into
signing something old or foreign.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.metadata import Role, Root, Targets

from surefoot.cli.key_secrets import KeySecrets
from surefoot.cli.one_step import change, finish
from surefoot.model.errors import InvalidInput
from surefoot.trust import key_file
from surefoot.trust.keyring import signers_in
from surefoot.trust.layout import product_of
from surefoot.trust.metadata import read
from surefoot.trust.secret import Secrets
from surefoot.trust.signer import choose, generate
from surefoot.trust.tree import leaf_named


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFolder:
    """Keys as ``<name>-<n>.pem`` (0600) or ``.uri``, metadata in ``metadata/``.

    Attributes:
        path: The folder.
        secrets: Asked for the passphrases and PINs of its keys.
    """

    path: Path
    secrets: Secrets = field(default_factory=lambda: KeySecrets(may_ask=True))

    def make(self, name: str, count: int) -> list[CryptoSigner]:
        """Make and write that many new keys.

        Raises:
            InvalidInput: One of that name exists; keys are never overwritten.
        """
        signers = [generate() for _ in range(count)]
        for number, signer in enumerate(signers, 1):
            write_new(self.path / f"{name}-{number}.pem", signer.private_bytes, 0o600)
        return signers

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Write metadata in one step, replacing what had the same names."""
        change(self.path, {f"metadata/{name}": data for name, data in files.items()})

    def present(self, name: str) -> bytes:
        """Return a metadata file, or nothing when there is none yet."""
        return self.metadata(name) if (self.path / "metadata" / name).exists() else b""

    def metadata(self, name: str) -> bytes:
        """Return a metadata file; ``InvalidInput`` when there is none."""
        try:
            return (self.path / "metadata" / name).read_bytes()
        except PermissionError as error:
            raise InvalidInput(f"{self.path} may not be read: {error.strerror}.", hint="Sign as the owner of the folder.") from error
        except OSError as error:
            raise InvalidInput(
                f"{self.path} holds no metadata {name}.",
                hint="Name the folder that 'surefoot trust init' made; 'surefoot trust status' says what waits to be signed in it.",
            ) from error

    def all_metadata(self) -> dict[str, bytes]:
        """Return the newest of every file that people sign, by name; errors as for ``metadata``."""
        return {path.name: self.metadata(path.name) for path in sorted((self.path / "metadata").glob("*.json"))}

    def roles_of(self, product: str) -> dict[str, bytes]:
        """Return every role file of a product by name, at least its own; ``InvalidInput`` when there is none."""
        name = f"{product}.json"
        found = {file.name for file in (self.path / "metadata").glob("*.json") if product_of(file.stem) == product}
        return {file: self.metadata(file) for file in sorted(found | {name})}

    def moved_leaves(self, product: str) -> set[str]:
        """Return the leaves between which and whose archives releases were moved; the next publication carries them."""
        file = self._moved(product)
        return set(file.read_text().split()) if file.exists() else set()

    def note_moved(self, product: str, leaves: Iterable[str]) -> None:
        """Add to the moved leaves."""
        self.keep({self._moved(product).name: "\n".join(sorted(self.moved_leaves(product) | set(leaves))).encode()})

    def note_carried(self, product: str, roles: Mapping[str, bytes]) -> None:
        """Strike out the moved leaves that a publication of these role files carried as they are now."""
        mine = self.roles_of(product)
        behind = {leaf_named(name.removesuffix(".json")) for name, data in mine.items() if roles.get(name) != data}
        left = self.moved_leaves(product) & behind
        if left:
            self.keep({self._moved(product).name: "\n".join(sorted(left)).encode()})
        else:
            self._moved(product).unlink(missing_ok=True)

    def signers_for_targets(self) -> list[Signer]:
        """Return as many keys as the top-level targets need."""
        root = read(self.metadata("root.json"), Root, name="root.json").signed
        return self._chosen(root.roles["targets"], root.keys, "targets")

    def signers_for_product(self, product: str) -> list[Signer]:
        """Return as many keys as the role of ``product`` needs."""
        targets = read(self.metadata("targets.json"), Targets, name="targets.json").signed
        delegations = targets.delegations
        if delegations is None or product not in (delegations.roles or {}):
            raise InvalidInput(
                f"Nobody may release the product '{product}'.",
                hint=f"Add it with 'surefoot trust add-product {product} --keys {self.path}'.",
            )
        return self._chosen(targets.get_delegated_role(product), delegations.keys, product)

    def _moved(self, product: str) -> Path:
        return self.path / "metadata" / f"{product}+moved"

    def _chosen(self, role: Role, keys: Mapping[str, Key], name: str) -> list[Signer]:
        return choose(signers_in(self.path, self.secrets, role.keyids), role, dict(keys), name=name)


def open_keys(path: Path) -> KeysFolder:
    """Return the folder at ``path``, with what was interrupted in it finished; ``InvalidInput`` when there is none."""
    if not path.is_dir():
        raise InvalidInput(f"There is no folder of keys at {path}.", hint="Make one with 'surefoot trust init'.")
    finish(path)
    return KeysFolder(path=path)


def require_free(path: Path) -> None:
    """Refuse a place for a new folder at which there is something but an empty folder, with ``InvalidInput``."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InvalidInput(f"There is something at {path} already.", hint="Name another folder; nothing was changed.")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a draft folder that becomes ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        InvalidInput: There is something at ``path`` already, or no folder can be made there.
    """
    require_free(path)
    draft = path.parent / f".{path.name}.new"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidInput(f"The folder {path} cannot be made: {error.strerror}.", hint="Name another one.") from error
    try:
        yield draft
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


write_new = key_file.write_new
