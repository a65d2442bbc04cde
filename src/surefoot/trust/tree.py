# SPDX-License-Identifier: Apache-2.0
"""What the publisher refuses in delegations, whoever signed them: a graph that is no tree, or one that cannot hold.

- No role has two parents; no name lies outside the alphabet or beyond its parent's product.
- No threshold exceeds the number of distinct keys.
- A product's roles have the layout of ``surefoot.trust.layout``: each image in its own leaf or that leaf's archive, and in one only.
"""

from collections.abc import Iterable, Iterator, Mapping

from tuf.api.metadata import DelegatedRole, Delegations, Role, SuccinctRoles, TargetFile, Targets

from surefoot.model.errors import MetadataError
from surefoot.trust.layout import archive_of, bits_of, leaf_of, leaves, product_of
from surefoot.trust.metadata import Files, read, verified
from surefoot.trust.offline import RESERVED


def require_tree(targets: Targets, roles: Mapping[str, Targets]) -> None:
    """Refuse delegations that are no tree.

    Args:
        targets: The top-level targets.
        roles: Delegated roles by name, as far as they are at hand.

    Raises:
        MetadataError: A role has two parents, a name that no role may have, or a threshold that its keys cannot meet.
    """
    parents: dict[str, str] = {}
    for parent, signed in {"targets": targets, **roles}.items():
        for child, role, delegations in _children(signed):
            _require_name(parent, child)
            if child in parents:
                raise MetadataError(
                    f"{child} is delegated twice, by {parents[child]} and by {parent}.", hint="Delegate it once and sign again."
                )
            parents[child] = parent
            _require_threshold(child, role, delegations)


def verified_leaf(files: Files, product: str, top: Targets, leaf: str) -> dict[str, TargetFile]:
    """Return all images of a leaf and its archive, by path.

    Args:
        files: Role files by un-versioned name.
        product: The product.
        top: Its verified role.
        leaf: One of its leaves.

    Raises:
        SignatureError: A file is not signed as its delegation asks.
        MetadataError: A file is missing, delegates what it may not, or lists a path that belongs elsewhere or stands there twice.
    """
    signed = top if leaf == product else verified(_file(files, leaf), Targets, top, leaf, name=f"{leaf}.json")
    images = dict(signed.targets)
    archive = archive_of(leaf)
    children = [child for child, _, _ in _children(signed)]
    if children not in ([], [archive]):
        raise MetadataError(
            f"{leaf} delegates {', '.join(children)}; at most {archive} is allowed.", hint="Sign again with 'surefoot release'."
        )
    if children:
        retired = verified(_file(files, archive), Targets, signed, archive, name=f"{archive}.json")
        if retired.delegations is not None:
            raise MetadataError(f"{archive} delegates, which an archive may not.")
        for path, entry in retired.targets.items():
            if path in images:
                raise MetadataError(f"{path} stands in {leaf} and in {archive}.")
            images[path] = entry
    elif f"{archive}.json" in files:
        raise MetadataError(f"{leaf} no longer delegates to {archive}, which is published.")
    for path in images:
        if leaf_of(product, bits_of(top), path) != leaf or not path.startswith(f"{product}/"):
            raise MetadataError(f"{leaf} lists {path}, which does not belong there.")
    return images


def images_of(files: Files, product: str, top: Targets, only: Iterable[str] | None = None) -> dict[str, TargetFile]:
    """Return the images of all leaves of a product, or of some of them, by path; as ``verified_leaf`` otherwise."""
    bits = bits_of(top)
    if bits and top.targets:
        raise MetadataError(f"{product}.json has bins and lists images itself.", hint="Sign again with 'surefoot release'.")
    images: dict[str, TargetFile] = {}
    for leaf in leaves(product, bits) if only is None else only:
        images |= verified_leaf(files, product, top, leaf)
    return images


def leaf_named(role: str) -> str:
    """Return the leaf that a role is, or is the archive of."""
    return role.removesuffix("+archive")


def published(files: Files, product: str) -> Targets | None:
    """Return a product's role as published, or ``None``."""
    data = files.get(f"{product}.json")
    return None if data is None else read(data, Targets, name=f"published {product}.json").signed


def _children(signed: Targets) -> Iterator[tuple[str, Role, Delegations]]:
    delegations = signed.delegations
    if delegations is None:
        return
    succinct: SuccinctRoles | None = delegations.succinct_roles
    if succinct is not None:
        for name in succinct.get_roles():
            yield name, succinct, delegations
        return
    roles: Mapping[str, DelegatedRole] = delegations.roles or {}
    for name, role in roles.items():
        yield name, role, delegations


def _require_name(parent: str, child: str) -> None:
    product = product_of(child)
    is_known = product is not None and child not in RESERVED and not child.endswith(".root")
    if not is_known or (product != child if parent == "targets" else product != product_of(parent)):
        raise MetadataError(f"{parent} delegates to {child[:80]!r}, which is no name that it may delegate to.")


def _require_threshold(child: str, role: Role, delegations: Delegations) -> None:
    keys = {str(sorted(delegations.keys[keyid].keyval.items())) for keyid in role.keyids if keyid in delegations.keys}
    if not 1 <= role.threshold <= len(keys):
        raise MetadataError(f"{child} needs {role.threshold} signatures and has {len(keys)} keys.", hint="Name more keys and sign again.")


def _file(files: Files, role: str) -> bytes:
    name = f"{role}.json"
    if name not in files:
        raise MetadataError(f"{name} is delegated and missing.", hint="Send all role files that signing changed.")
    return files[name]
