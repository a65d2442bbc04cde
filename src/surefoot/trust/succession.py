# SPDX-License-Identifier: Apache-2.0
"""What people sign anew, taken into a repository whole or not at all: new roots, top-level targets, and roles below them.

- A root follows the one before it: version plus one, signed by the threshold of both (TUF 5.3).
- Delegations form a tree (``surefoot.trust.tree``), and every threshold can be met.
- Versions only go up; the same bytes again change nothing.
- Snapshot and timestamp are signed again by keys of the newest root, their versions going on.
- The result is verified as a device would that holds the repository as it was; what a device would refuse is refused here.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tuf.api.metadata import MetaFile, Root, Snapshot, Targets

from surefoot.model.errors import ConflictError, InvalidInput, MetadataError, MetadataRollbackError, SignatureError
from surefoot.trust.layout import product_of
from surefoot.trust.metadata import Files, read
from surefoot.trust.repository import OnlineSigners, next_snapshot, next_timestamp, require_kept, require_newer, versions
from surefoot.trust.tree import parents_of, require_attainable
from surefoot.trust.verify import Trusted, refresh, update_root, update_targets

ROOT_FILE = re.compile(r"([1-9][0-9]{0,9})\.root\.json")
"""How a root is named: by its version."""

_RESERVED = frozenset({"root", "snapshot", "timestamp"})
_ONLINE = ("snapshot", "timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A file that was taken in, and the keys whose signatures count."""

    name: str
    role: str
    version: int
    keys: tuple[str, ...]


def follow_roots(trusted: Trusted, roots: Files, known: Callable[[str], bytes | None]) -> tuple[Trusted, list[Signed]]:
    """Follow new roots, one after the other.

    Args:
        trusted: The repository as it is.
        roots: Roots by versioned name.
        known: Returns a root that is there already, by that name.

    Returns:
        The repository under the last root, and each root that is new.

    Raises:
        InvalidInput: A name is no root's.
        ConflictError: A root's version was seen with other content.
        MetadataRollbackError: A root on the way to one is missing.
        SignatureError: It is not signed by the threshold of the one before and by its own.
        MetadataError: It cannot be read, or asks for more signatures than it names keys.
    """
    taken: list[Signed] = []
    for number, name in sorted((_number(name), name) for name in roots):
        data = roots[name]
        if number <= trusted.root.version:
            if known(name) != data:
                raise ConflictError(f"{name} was seen with other content.", hint="Make the next root from the newest one.")
            continue
        if number != trusted.root.version + 1:
            raise MetadataRollbackError(f"{trusted.root.version + 1}.root.json is missing before {name}.", hint="Send it too.")
        former, trusted = trusted.root, update_root(trusted, data)
        _require_satisfiable(name, trusted.root)
        taken.append(Signed(name=name, role="root", version=number, keys=_signers(data, name, former, trusted.root)))
    return trusted, taken


def merged(files: Files, fresh: Files) -> dict[str, bytes]:
    """Return those of ``fresh`` (targets roles by un-versioned name) that change something.

    Raises:
        InvalidInput: A name is no targets role's.
        ConflictError: A version is published with other content.
        MetadataRollbackError: A version is below the published one.
        MetadataError: A file cannot be read, or drops or changes an image that is published.
    """
    changed = {name: data for name, data in fresh.items() if files.get(name) != data}
    for name, data in changed.items():
        role = name.removesuffix(".json")
        if role == name or product_of(role) is None or role in _RESERVED or role.endswith(".root"):
            raise InvalidInput(
                f"'{name[:80]}' is not the name of a targets role.", hint="Send <n>.root.json, targets.json and <role>.json."
            )
        signed = read(data, Targets, name=name).signed
        if name in files and signed.version == read(files[name], Targets, name=name).signed.version:
            raise ConflictError(f"{name} {signed.version} is published with other content.", hint="Make the next one from the newest.")
        require_newer(files, name, signed)
    for product in {product_of(name.removesuffix(".json")) for name in changed} - {None, "targets"}:
        require_kept(files, {**files, **changed}, str(product))
    return changed


def verify_all(trusted: Trusted, fetched: Files, parents: Mapping[str, str], now: datetime) -> Trusted:
    """Verify a repository up to its last delegated role, as a device would that trusts ``trusted``.

    Raises:
        TrustError: A device would refuse it; the message says which file and why.
    """
    trusted = refresh(trusted, fetched, now)
    for role, parent in parents.items():
        try:
            trusted = update_targets(trusted, fetched, role, parent, now)
        except SignatureError as error:
            number = trusted.targets[parent].version
            raise SignatureError(
                f"The role {role} is not signed as {parent}.json {number} asks: {error.message}",
                hint=f"Sign {role}.json again with the keys that {parent}.json {number} names, and send it too.",
            ) from error
    return trusted


def verify_whole(trusted: Trusted, files: Files, roots: Files, fresh: Iterable[str], now: datetime) -> dict[str, str]:
    """Verify all files of a repository as a device would that trusts ``trusted``, and return the parent of every delegated role.

    Args:
        trusted: What the device has.
        files: The whole repository by un-versioned name.
        roots: The roots on the way from the device's to the newest, by versioned name.
        fresh: Names of the files that are new.
        now: When.

    Raises:
        InvalidInput: A new file is of a role that nobody delegates to.
        MetadataError: The delegations are no tree, as for ``parents_of``.
        TrustError: A device would refuse it; the message says which file and why.
    """
    parents = parents_of(files)
    known = {f"{role}.json" for role in ("root", *_ONLINE, "targets", *parents)}
    strangers = sorted(set(fresh) - known)
    if strangers:
        raise InvalidInput(f"Nobody delegates to {', '.join(strangers[:8])}.", hint="Add the role that does, signed, or leave it out.")
    numbers = versions(files)
    wire = {name if name == "timestamp.json" else f"{numbers[name]}.{name}": data for name, data in files.items()}
    verify_all(trusted, wire | dict(roots), parents, now)
    return parents


def resign(files: Files, signers: OnlineSigners, now: datetime) -> dict[str, bytes]:
    """Return a new snapshot and timestamp over ``files``, their versions one above those in it."""
    snapshot = read(files["snapshot.json"], Snapshot, name="snapshot.json")
    for name, data in files.items():
        if name.removesuffix(".json") not in _RESERVED:
            snapshot.signed.meta[name] = MetaFile(read(data, Targets, name=name).signed.version)
    changed = {"snapshot.json": next_snapshot(snapshot, signers, now)}
    return changed | {"timestamp.json": next_timestamp({**files, **changed}, signers, now)}


def signed_by(files: Files, fresh: Iterable[str], parents: Mapping[str, str]) -> list[Signed]:
    """Say of each named targets role which keys signed it; ``files`` is the whole repository, verified."""
    return [_signed(files, name, parents) for name in sorted(fresh)]


def _number(name: str) -> int:
    found = ROOT_FILE.fullmatch(name)
    if found is None:
        raise InvalidInput(f"'{name[:80]}' is not the name of a root.", hint="Name it <version>.root.json.")
    return int(found[1])


def _require_satisfiable(name: str, root: Root) -> None:
    for role, terms in root.roles.items():
        require_attainable(name, role, terms, root.keys)
    for role in _ONLINE:
        if root.roles[role].threshold != 1:
            raise MetadataError(f"{name} asks for {root.roles[role].threshold} signatures of the role {role}; the server gives one.")


def _signed(files: Files, name: str, parents: Mapping[str, str]) -> Signed:
    role = name.removesuffix(".json")
    parent: Root | Targets = (
        read(files["root.json"], Root, name="root.json").signed
        if role == "targets"
        else read(files[f"{parents[role]}.json"], Targets, name="targets").signed
    )
    version = read(files[name], Targets, name=name).signed.version
    return Signed(name=name, role=role, version=version, keys=_signers(files[name], name, parent))


def _signers(data: bytes, name: str, *delegators: Root | Targets) -> tuple[str, ...]:
    is_root = ROOT_FILE.fullmatch(name) is not None
    metadata = read(data, Root, name=name) if is_root else read(data, Targets, name=name)
    role = "root" if is_root else name.removesuffix(".json")
    results = [delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures) for delegator in delegators]
    return tuple(sorted({keyid for result in results for keyid in result.signed}))
