# SPDX-License-Identifier: Apache-2.0
"""``surefoot trust add-key``, ``remove-key``, ``rotate`` and ``refresh``: propose who signs from now on, or that a file lives on.

What is proposed is signed at once with the keys that lie in the folder in the clear, and waits in ``proposals/`` for the rest.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from surefoot.cli.keys_folder import KeysFolder, open_keys
from surefoot.cli.proposals import file_of, is_begun, lay, open_proposals, sign_here, tell_open
from surefoot.cli.role_names import RoleName, given_key, role_name
from surefoot.cli.settling import settle
from surefoot.trust.ceremony import Proposal
from surefoot.trust.changes import change_keys, find_key, keys_of, read_vouching, renew, roles_of
from surefoot.trust.metadata import IMAGE_LIFE, is_half_spent

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
    rotating.add_argument("old", metavar="OLD", help="the old key's holder, or its id")
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
    return _change(arguments, add=[given_key(arguments.key)], remove=[arguments.old])


def _change(arguments: argparse.Namespace, *, add: Sequence[Key] = (), remove: Sequence[str] = ()) -> int:
    keys, now, name = open_keys(arguments.keys), datetime.now(UTC), role_name(arguments.role)
    before = keys.metadata(name.file)
    where = name.role
    gone = [find_key(read_vouching(before, name.type, name=name.file).signed, where, wanted) for wanted in remove]
    after = change_keys(
        before, name.type, where, now, add=add, remove=gone, threshold=arguments.threshold, elsewhere=keys_elsewhere(keys, name.file)
    )
    return _propose(arguments, keys, [_of_file(keys, name, before, after), *_followers(keys, name, after, now)])


def _of_file(keys: KeysFolder, name: RoleName, before: bytes, after: bytes) -> Proposal:
    if name.file == "targets.json":
        return _proposal("targets", keys.metadata("root.json"), before, after)
    return Proposal(repository=name.repository, role="root", before=before.decode(), after=after.decode())


def _proposal(role: str, delegator: bytes, before: bytes, after: bytes) -> Proposal:
    return Proposal(repository="image", role=role, delegator=delegator.decode(), before=before.decode(), after=after.decode())


def _followers(keys: KeysFolder, name: RoleName, after: bytes, now: datetime) -> Iterator[Proposal]:
    """Give what must be signed anew by the keys that a changed file names."""
    is_targets = name.repository == "image" and name.role == "targets"
    if is_targets or name.file == "targets.json":
        before = keys.metadata(f"{name.role}.json")
        yield _proposal(name.role, after, before, renew(before, Targets, now))


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
        for proposal, signed, life in _all(keys, now)
        if (arguments.all or is_half_spent(signed, IMAGE_LIFE[life], now)) and (proposal.repository, proposal.role) not in open_roles
    ]
    if not due:
        print("Nothing is past half its life.")
        return 0
    return _propose(arguments, keys, due)


def _all(keys: KeysFolder, now: datetime) -> Iterator[tuple[Proposal, Root | Targets, str]]:
    for repository, file in (("image", "root.json"), ("director", "director-root.json")):
        before = keys.metadata(file)
        after = renew(before, Root, now)
        signed = read_vouching(before, Root, name=file).signed
        yield Proposal(repository=repository, role="root", before=before.decode(), after=after.decode()), signed, "root"
    targets = keys.metadata("targets.json")
    top = read_vouching(targets, Targets, name="targets.json").signed
    yield _proposal("targets", keys.metadata("root.json"), targets, renew(targets, Targets, now)), top, "targets"
    for product in sorted(roles_of(top)):
        before = keys.metadata(f"{product}.json")
        signed = read_vouching(before, Targets, name=f"{product}.json").signed
        yield _proposal(product, targets, before, renew(before, Targets, now)), signed, "targets"


def _propose(arguments: argparse.Namespace, keys: KeysFolder, proposals: list[Proposal]) -> int:
    ready = proposals if arguments.no_sign else [sign_here(keys, proposal) for proposal in proposals]
    lay(keys, ready)
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
