# SPDX-License-Identifier: Apache-2.0
"""No key has two roles, over both repositories and all products, whatever the key is called.

A product's bins and archives are one role with the product: they are signed by its keys. Keys are compared by what they are, since a
key id is only a name.
"""

from collections.abc import Iterable, Iterator, Mapping

from securesystemslib.signer import Key
from tuf.api.metadata import Role, Root, Targets

from surefoot.model.errors import MetadataError
from surefoot.trust.layout import product_of
from surefoot.trust.metadata import Files, identity, read


def require_one_role(director: Root, image: Root, delegators: Iterable[Targets]) -> None:
    """Refuse a key that has two roles.

    Args:
        director: The director's root.
        image: The image repository's root.
        delegators: Whatever delegates there: the top-level targets, and roles below them.

    Raises:
        MetadataError: A key has two roles; the message names both.
    """
    roles: dict[bytes, str] = {}
    for role, keyid, key in _given(director, image, delegators):
        other = roles.setdefault(identity(key), role)
        if other != role:
            raise MetadataError(
                f"The key {keyid} would have two roles, {other} and {role}, and no key has two.",
                hint="Make another with 'surefoot trust new-key', and sign again with that one in its place.",
            )


def delegators(files: Files) -> Iterator[Targets]:
    """Return those of a repository's targets roles that delegate; ``MetadataError`` when one cannot be read."""
    for name, data in files.items():
        # A thousand bins need not be parsed to see that most delegate nothing.
        if name not in {"root.json", "snapshot.json", "timestamp.json"} and b'"delegations"' in data:
            yield read(data, Targets, name=name).signed


def _given(director: Root, image: Root, delegators: Iterable[Targets]) -> Iterator[tuple[str, str, Key]]:
    for repository, root in (("director", director), ("image", image)):
        for name, terms in root.roles.items():
            yield from _of(f"{repository} {name}", terms, root.keys)
    for targets in delegators:
        if targets.delegations is None:
            continue
        for name, role in _delegated(targets):
            yield from _of(f"product {product_of(name)}", role, targets.delegations.keys)


def _delegated(targets: Targets) -> Iterator[tuple[str, Role]]:
    delegations = targets.delegations
    if delegations is None:
        return
    if delegations.succinct_roles is not None:
        yield delegations.succinct_roles.name_prefix, delegations.succinct_roles
    yield from (delegations.roles or {}).items()


def _of(role: str, terms: Role, keys: Mapping[str, Key]) -> Iterator[tuple[str, str, Key]]:
    yield from ((role, keyid, keys[keyid]) for keyid in terms.keyids if keyid in keys)
