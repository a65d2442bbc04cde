# SPDX-License-Identifier: Apache-2.0
"""What the publisher refuses in delegations, whoever signed them: a graph that is no tree, or one that cannot hold.

- No role has two parents; no name lies outside the alphabet, and neither name nor paths beyond the parent's product.
- No threshold exceeds the number of distinct keys.
- A product's roles have the layout of ``surefoot.trust.layout``: each image in its own leaf or that leaf's archive, and in one only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from securesystemslib.signer import Key
from tuf.api.metadata import Delegations, Role, TargetFile, Targets

from surefoot.model.errors import MetadataError
from surefoot.trust.layout import archive_of, bits_of, leaf_of, leaves, product_of
from surefoot.trust.metadata import Files, identity, read, verified
from surefoot.trust.offline import RESERVED


def require_tree(targets: Targets, roles: Mapping[str, Targets]) -> None:
    """Refuse delegations that are no tree, or cannot hold.

    Args:
        targets: The top-level targets.
        roles: Delegated roles by name, as far as they are at hand.

    Raises:
        MetadataError: A role has two parents, a name that no role may have, paths outside its product, or a threshold that its keys
            cannot meet.
    """
    _walk(lambda role, _: targets if role == "targets" else roles.get(role))


def parents_of(files: Files) -> dict[str, str]:
    """Return the parent of every delegated role, parents before their children; ``files`` is the whole repository.

    Raises:
        MetadataError: As for ``require_tree``, or a role's file is missing.
    """

    def find(role: str, parent: str) -> Targets:
        name = f"{role}.json"
        if name not in files:
            raise MetadataError(f"{parent}.json delegates to the role {role}, and {name} is missing.", hint="Sign it, and send it too.")
        return read(files[name], Targets, name=name).signed

    return _walk(find)


def require_attainable(said_by: str, role: str, terms: Role, keys: Mapping[str, Key]) -> None:
    """Refuse a threshold that its keys cannot meet; one key under two ids is one (``MetadataError``)."""
    there = {identity(keys[keyid]) for keyid in terms.keyids if keyid in keys}
    if terms.threshold > len(there):
        raise MetadataError(
            f"{said_by} asks for {terms.threshold} signatures of the role {role} and names {len(there)} keys.",
            hint="Name more keys, or ask for less.",
        )


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
    children = list(_children(signed))
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


def _walk(find: Callable[[str, str], Targets | None]) -> dict[str, str]:
    """Return the parent of every role; ``find`` gives a role of a parent, or ``None`` when it is not at hand."""
    parents: dict[str, str] = {}
    waiting = deque([("targets", "root")])
    while waiting:
        role, parent = waiting.popleft()
        signed = find(role, parent)
        for child in () if signed is None else _children(signed):
            if child in parents:
                raise MetadataError(
                    f"The role {child} has two parents, {parents[child]} and {role}.", hint="Delegate it once and sign again."
                )
            _require_name(role, child)
            parents[child] = role
            waiting.append((child, role))
        if signed is not None and signed.delegations is not None:
            _require_terms(role, signed.delegations)
    return parents


def _children(signed: Targets) -> Iterator[str]:
    delegations = signed.delegations
    if delegations is not None and delegations.succinct_roles is not None:
        bits_of(signed)  # not too many to be named one by one
        yield from delegations.succinct_roles.get_roles()
    elif delegations is not None:
        yield from delegations.roles or {}


def _require_name(parent: str, child: str) -> None:
    product = product_of(child)
    is_known = product is not None and child not in RESERVED and not child.endswith(".root")
    if not is_known or (product != child if parent == "targets" else product != product_of(parent)):
        raise MetadataError(
            f"{parent}.json delegates to {child[:80]!r}, which is no name that it may delegate to.",
            hint="Products have lower-case letters and digits; what a product delegates begins with its name.",
        )


def _require_terms(parent: str, delegations: Delegations) -> None:
    succinct = delegations.succinct_roles
    if succinct is not None:
        require_attainable(f"{parent}.json", succinct.name_prefix, succinct, delegations.keys)
        return
    for name, role in (delegations.roles or {}).items():
        begin = f"{product_of(name)}/"
        if not role.paths or any(not path.startswith(begin) for path in role.paths):
            raise MetadataError(f"{parent}.json lets the role {name} speak for paths outside {begin}.", hint=f"Delegate {begin}* alone.")
        require_attainable(f"{parent}.json", name, role, delegations.keys)


def _file(files: Files, role: str) -> bytes:
    name = f"{role}.json"
    if name not in files:
        raise MetadataError(f"{name} is delegated and missing.", hint="Send all role files that signing changed.")
    return files[name]
