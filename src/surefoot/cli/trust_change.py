# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust add-key``, ``remove-key``, ``rotate`` and ``refresh``: propose who signs from now on, or that a file lives on.

What is proposed is signed at once with the keys that lie in the folder in the clear, and waits in ``proposals/`` for the rest.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from surefoot.cli.keys_folder import KeysFolder, open_keys
from surefoot.cli.proposals import file_of, is_begun, lay, open_proposals, sign_here, tell_open, why_stale
from surefoot.cli.role_names import RoleName, given_key, role_name
from surefoot.cli.settling import settle
from surefoot.trust.changes import ONLY_KEY, change_keys, find_key, keys_of, read_vouching, renew, roles_of
from surefoot.trust.metadata import IMAGE_LIFE, is_half_spent, sign_with
from surefoot.trust.product_files import reachable, renewed
from surefoot.trust.proposal import Part, Proposal

_ROLES = "image-root, image-targets, director-root, an online role such as image-timestamp, or product-NAME"

_ROOTS = {"root.json", "director-root.json"}


def add_verbs(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the verbs of this module to ``surefoot trust``."""
    adding = _verb(add_parser, "add-key", "let another key sign for a role", _add_key)
    adding.add_argument("role", metavar="ROLE", help=_ROLES)
    adding.add_argument("key", metavar="HOLDER:FILE.pub", help="who holds the key, and its public part")
    adding.add_argument("--threshold", type=int, metavar="N", help="how many must sign from then on")
    removing = _verb(add_parser, "remove-key", "let a key sign for a role no more", _remove_key)
    removing.add_argument("role", metavar="ROLE", help=_ROLES)
    removing.add_argument("key", metavar="KEY", help="its holder, or its id")
    removing.add_argument("--threshold", type=int, metavar="N", help="how many must sign from then on")
    rotating = _verb(add_parser, "rotate", "put one key in another's place", _rotate)
    rotating.add_argument("role", metavar="ROLE", help=_ROLES)
    rotating.add_argument("old", nargs="?", metavar="OLD", help="the old key's holder, or its id; may be left out if the role has one key")
    rotating.add_argument("key", metavar="HOLDER:FILE.pub", help="who holds the new key, and its public part")
    rotating.set_defaults(threshold=None)
    renewing = _verb(add_parser, "refresh", "sign anew what is past half its life", _refresh)
    renewing.add_argument("--all", action="store_true", help="whatever its age")


def _verb(
    add_parser: Callable[..., argparse.ArgumentParser], name: str, says: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="the keys folder")
    parser.add_argument("--no-sign", action="store_true", help="only propose; sign with no key of the folder")
    parser.set_defaults(run=run)
    return parser


def _add_key(arguments: argparse.Namespace) -> int:
    return _change(arguments, add=[given_key(arguments.key)])


def _remove_key(arguments: argparse.Namespace) -> int:
    return _change(arguments, remove=[arguments.key])


def _rotate(arguments: argparse.Namespace) -> int:
    return _change(arguments, add=[given_key(arguments.key)], remove=[arguments.old or ONLY_KEY])


def _change(arguments: argparse.Namespace, *, add: Sequence[Key] = (), remove: Sequence[str] = ()) -> int:
    keys, now, name = open_keys(arguments.keys), datetime.now(UTC), role_name(arguments.role)
    opened = _to_go_on_from(keys, name, now)
    parent, children = (opened[0][1], opened[1:]) if opened else (None, [])
    before = keys.metadata(name.file)
    base = before if parent is None else _one_version_back(parent)
    gone = [find_key(read_vouching(base, name.type, name=name.file).signed, name.role, wanted) for wanted in remove]
    elsewhere = keys_elsewhere(keys, name.file)
    after = change_keys(base, name.type, name.role, now, add=add, remove=gone, threshold=arguments.threshold, elsewhere=elsewhere)
    changed = _of_file(keys, name, before, after) if parent is None else msgspec.structs.replace(parent, after=after.decode())
    # The files of a product name its keys; the top-level targets are the same, whoever signs them.
    kept = {child.role: child for _, child in children if child.role == "targets" or child.role != name.role}
    following = [msgspec.structs.replace(child, delegator=after.decode()) for child in kept.values()]
    following += [_follower(keys, role, after, now) for role in _followers(name) if role not in kept]
    return _propose(arguments, keys, [changed, *following], instead_of=[path for path, _ in opened])


def _to_go_on_from(keys: KeysFolder, name: RoleName, now: datetime) -> list[tuple[Path, Proposal]]:
    """Return the open proposal for a role's file and those made with it, if nobody has signed any: several keys go in one round."""
    opened = open_proposals(keys)
    for path, proposal in opened.items():
        if file_of(proposal) == name.file:
            group = [(path, proposal), *((other, child) for other, child in opened.items() if child.delegator == proposal.after)]
            return [] if any(_is_signed(one) or why_stale(keys, one, now) for _, one in group) else group
    return []


def _is_signed(proposal: Proposal) -> bool:
    return bool(read_vouching(proposal.after.encode(), proposal.kind, name=proposal.role).signatures)


def _one_version_back(proposal: Proposal) -> bytes:
    """Return what is proposed as if it were what holds: however many changes there are, the version goes up by one."""
    metadata = read_vouching(proposal.after.encode(), proposal.kind, name=proposal.role)
    metadata.signed.version -= 1
    return sign_with(metadata, [])


def _of_file(keys: KeysFolder, name: RoleName, before: bytes, after: bytes) -> Proposal:
    if name.file == "targets.json":
        return _proposal("targets", keys.metadata("root.json"), before, after)
    return Proposal(repository=name.repository, role="root", before=before.decode(), after=after.decode())


def _proposal(role: str, delegator: bytes, before: bytes, after: bytes) -> Proposal:
    return Proposal(repository="image", role=role, delegator=delegator.decode(), before=before.decode(), after=after.decode())


def _followers(name: RoleName) -> list[str]:
    """Return the role that must be signed anew when its keys change; a root vouches for itself, and the server signs its own."""
    is_targets = (name.repository, name.role) == ("image", "targets")
    return [name.role] if is_targets or name.file == "targets.json" else []


def _follower(keys: KeysFolder, role: str, delegator: bytes, now: datetime) -> Proposal:
    """Propose what is to be signed anew by the keys that a changed file names."""
    if role != "targets":
        return _product(keys, role, delegator, now)
    before = keys.metadata("targets.json")
    return _proposal(role, delegator, before, renew(before, Targets, now))


def _product(keys: KeysFolder, product: str, targets: bytes, now: datetime) -> Proposal:
    """Propose all role files of a product anew: what the keys in ``targets`` have not signed is worth nothing."""
    before = keys.roles_of(product)
    after = renewed({**before, "targets.json": targets}, product, now)
    parts = {
        name.removesuffix(".json"): Part(before=before[name].decode(), after=data.decode())
        for name, data in after.items()
        if name != f"{product}.json"
    }
    return msgspec.structs.replace(_proposal(product, targets, before[f"{product}.json"], after[f"{product}.json"]), more=parts)


def keys_elsewhere(keys: KeysFolder, file: str) -> list[Key]:
    """Return the keys that other files than ``file`` name, or would name once the open proposals hold."""
    others: dict[str, type[Root | Targets]] = {"root.json": Root, "director-root.json": Root, "targets.json": Targets}
    texts = [(kind, keys.metadata(other)) for other, kind in others.items() if other != file]
    proposed = [proposal for proposal in open_proposals(keys).values() if file_of(proposal) in others.keys() - {file}]
    texts += [(proposal.kind, proposal.after.encode()) for proposal in proposed]
    signed = [read_vouching(data, kind, name="metadata").signed for kind, data in texts]
    return [key for each in signed for role in roles_of(each) for key in keys_of(each, role).values()]


def _refresh(arguments: argparse.Namespace) -> int:
    keys, now = open_keys(arguments.keys), datetime.now(UTC)
    open_roles = {(proposal.repository, proposal.role) for proposal in open_proposals(keys).values()}
    due = [
        proposal
        for proposal, spent, life in _all(keys, now)
        if (arguments.all or any(is_half_spent(signed, IMAGE_LIFE[life], now) for signed in spent))
        and (proposal.repository, proposal.role) not in open_roles
    ]
    if not due:
        print("Nothing is past half its life.")
        return 0
    return _propose(arguments, keys, due)


def _all(keys: KeysFolder, now: datetime) -> Iterator[tuple[Proposal, list[Root | Targets], str]]:
    """Give a proposal for everything that people sign, with the files that it renews, and the name of their life."""
    for repository, file in (("image", "root.json"), ("director", "director-root.json")):
        before = keys.metadata(file)
        after = renew(before, Root, now)
        signed = read_vouching(before, Root, name=file).signed
        yield Proposal(repository=repository, role="root", before=before.decode(), after=after.decode()), [signed], "root"
    targets = keys.metadata("targets.json")
    top = read_vouching(targets, Targets, name="targets.json").signed
    yield _proposal("targets", keys.metadata("root.json"), targets, renew(targets, Targets, now)), [top], "targets"
    for product in sorted(roles_of(top)):
        files = keys.roles_of(product)
        whole = [read_vouching(files[name], Targets, name=name).signed for name in reachable(files, product)]
        yield _product(keys, product, targets, now), whole, "targets"


def _propose(arguments: argparse.Namespace, keys: KeysFolder, proposals: list[Proposal], *, instead_of: Sequence[Path] = ()) -> int:
    ready = proposals if arguments.no_sign else [sign_here(keys, proposal) for proposal in proposals]
    lay(keys, ready, instead_of=instead_of)
    tell_what_is_next(keys, datetime.now(UTC))
    return 0


def tell_what_is_next(keys: KeysFolder, now: datetime) -> None:
    """Take in what is finished; say that, and who must sign what is not."""
    changed = settle(keys, now)
    for name in changed:
        print(f"{name} is signed by everybody who must, and now the newest.")
    for line in tell_open(keys, now):
        print(line)
    if changed and is_begun(keys):
        print(f"Next: surefoot trust publish --keys {keys.path}" + (" --data DATA" if _is_beginning(keys, changed) else ""))


def _is_beginning(keys: KeysFolder, changed: Sequence[str]) -> bool:
    """Say whether one of these files is the first of its root, which no server can have yet."""
    return any(name in _ROOTS and not any((keys.path / "metadata/roots").glob(f"*.{name}")) for name in changed)
