# SPDX-License-Identifier: Apache-2.0
"""How the command line speaks of roles and of the keys that people bring."""

from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from surefoot.model.errors import InvalidInput
from surefoot.model.record import Record, parse_name
from surefoot.trust.changes import held
from surefoot.trust.key_file import read_public

_TAKEN = {"director-root", "signatures", "provenance.dsse"}


class RoleName(Record, frozen=True, kw_only=True):
    """A role as the command line names it.

    Attributes:
        repository: ``image`` or ``director``.
        role: ``root``, ``targets``, ``snapshot``, ``timestamp`` or a product.
        file: The metadata file in which its keys stand.
        kind: What that file is: ``root`` or ``targets``.
    """

    repository: str
    role: str
    file: str
    kind: str

    @property
    def type(self) -> type[Root] | type[Targets]:
        """The class of the file."""
        return Root if self.kind == "root" else Targets


def role_name(text: str) -> RoleName:
    """Read ``image-root``, ``director-timestamp``, ``product-lamp`` and the like.

    Raises:
        InvalidInput: It is none.
    """
    place, _, role = text.partition("-")
    if place == "product" and role:
        return RoleName(repository="image", role=role, file="targets.json", kind="targets")
    if place in {"image", "director"} and role in {"root", "targets", "snapshot", "timestamp"}:
        return RoleName(repository=place, role=role, file="root.json" if place == "image" else "director-root.json", kind="root")
    raise InvalidInput(
        f"{text[:80]!r} is no role.",
        hint="Write image-root, image-targets, director-root, an online role (image-timestamp), or product-NAME.",
    )


def product_name(text: str) -> str:
    """Return the name of a product; ``InvalidInput`` when none can be called so."""
    name = parse_name(text, what="a product")
    if name in _TAKEN:
        raise InvalidInput(
            f"'{name}' cannot be the name of a product: a file beside its metadata is called that.", hint="Choose another name."
        )
    return name


def given_key(text: str) -> Key:
    """Read ``HOLDER:FILE.pub``.

    Raises:
        InvalidInput: It is not written so, or the file holds no public key.
    """
    holder, colon, path = text.partition(":")
    if not colon:
        raise InvalidInput(f"{text[:80]!r} does not say whose key it is.", hint="Write HOLDER:FILE.pub, as ann:ann.pub.")
    return held(read_public(Path(path)), holder)
