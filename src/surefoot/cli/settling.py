# SPDX-License-Identifier: Apache-2.0
"""How open proposals end: taken into ``metadata/`` once they are finished, or taken back; in one step.

Proposals that need one another (a root with other targets keys, and the targets that those sign) go in together or not at all, and
are taken back together.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Root

from surefoot.cli.keys_folder import KeysFolder
from surefoot.cli.one_step import change
from surefoot.cli.proposals import file_of, open_proposals, read_proposal, why_stale
from surefoot.model.errors import Error, InvalidInput, TrustError
from surefoot.trust import ceremony
from surefoot.trust.metadata import read
from surefoot.trust.proposal import Proposal

_ROOTS = {"root.json", "director-root.json"}


def settle(keys: KeysFolder, now: datetime) -> list[str]:
    """Take what is finished into ``metadata/``, in one step; return the names of the files that changed.

    What does not build on what the folder holds stays where it is, and its group with it.

    Raises:
        SignatureError: An open proposal was changed after somebody had signed it.
    """
    opened = open_proposals(keys)
    write: dict[str, bytes] = {}
    remove: list[Path] = []
    for group in _groups(opened):
        files = {file_of(opened[path]): _finished(opened[path]) for path in group if not why_stale(keys, opened[path], now)}
        done = {name: data for name, data in files.items() if data is not None}
        if len(done) == len(group):
            write |= done
            for path in group:
                write |= ceremony.further_files(opened[path])
            remove += group
    if write:
        kept = {f"metadata/{name}": data for name, data in (write | _chain(write)).items()}
        change(keys.path, kept, [str(path.relative_to(keys.path)) for path in remove])
    return sorted(write)


def withdraw(keys: KeysFolder, file: Path) -> list[Path]:
    """Remove an open proposal and those that need it, in one step; return their paths.

    Args:
        keys: The folder.
        file: The proposal in the folder, or its name there; it may be unreadable.

    Raises:
        InvalidInput: The folder has no such open proposal.
    """
    path = keys.path / "proposals" / file.name
    if file.name != str(file) and file.resolve() != path.resolve():
        raise InvalidInput(f"{file} is not in {keys.path}/proposals.", hint="Only what this folder proposed is taken back.")
    readable = _readable(keys)
    if path not in readable and not (path.is_file() and path.name.endswith(".proposal.json")):
        raise InvalidInput(f"{path} is no open proposal.", hint=f"'surefoot trust status --keys {keys.path}' says which are open.")
    gone = next((group for group in _groups(readable) if path in group), [path])
    change(keys.path, {}, [str(one.relative_to(keys.path)) for one in gone])
    return sorted(gone)


def _readable(keys: KeysFolder) -> dict[Path, Proposal]:
    """Return what can be read: a damaged proposal must not keep another, or itself, from being taken back."""
    found: dict[Path, Proposal] = {}
    for path in sorted((keys.path / "proposals").glob("*.proposal.json")):
        try:
            proposal = read_proposal(path)
            ceremony.words(proposal)
        except Error:
            continue
        found[path] = proposal
    return found


def _groups(opened: Mapping[Path, Proposal]) -> list[list[Path]]:
    groups: list[list[Path]] = []
    for path, proposal in opened.items():
        bound = [group for group in groups if any(_are_bound(proposal, opened[other]) for other in group)]
        groups = [group for group in groups if group not in bound] + [[*(other for group in bound for other in group), path]]
    return groups


def _are_bound(one: Proposal, other: Proposal) -> bool:
    return any(
        child.delegator
        and parent.repository == "image"
        and parent.role == ("root" if child.role == "targets" else "targets")
        and ceremony.same_content(child.delegator, parent.after, parent.kind)
        for child, parent in ((one, other), (other, one))
        if child is not parent and child.role != parent.role
    )


def _finished(proposal: Proposal) -> bytes | None:
    try:
        return ceremony.finished(proposal)
    except TrustError:
        raise
    except InvalidInput:
        return None


def _chain(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return each root but the first once more, by its version: a server may lack several, and takes them one after the other."""
    roots = {name: read(data, Root, name=name).signed.version for name, data in files.items() if name in _ROOTS}
    return {f"roots/{version}.{name}": files[name] for name, version in roots.items() if version > 1}
