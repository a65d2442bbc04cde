# SPDX-License-Identifier: Apache-2.0
"""The open proposals of a keys folder: made, signed with what lies there, and taken into ``metadata/`` once they are finished.

Proposals that need one another (a root with other targets keys, and the targets that those sign) go in together or not at all.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tuf.api.metadata import Root, Targets

from surefoot.cli.keys_folder import KeysFolder, write_new
from surefoot.model.errors import ConflictError, InvalidInput, TrustError
from surefoot.model.record import Record, from_json, to_json
from surefoot.trust import ceremony
from surefoot.trust.ceremony import Proposal
from surefoot.trust.changes import keys_of, read_vouching
from surefoot.trust.metadata import read
from surefoot.trust.signer import load

_ROOTS = {"root.json", "director-root.json"}
_ENCRYPTED = b"ENCRYPTED PRIVATE KEY"
# A product with a hundred thousand images, each some 430 bytes, as it is and as it is to be.
_MOST_BYTES = 128 * 1024 * 1024


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


def file_of(proposal: Proposal) -> str:
    """Return the name that the proposed file has in ``metadata/``."""
    return "director-root.json" if proposal.repository == "director" else f"{proposal.role}.json"


def read_proposal(path: Path) -> Proposal:
    """Return the proposal in a file; ``InvalidInput`` when there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", hint="Name a '.proposal.json' file.") from error
    if len(data) > _MOST_BYTES:
        raise InvalidInput(f"{path} is too large for a proposal.", hint="Name a '.proposal.json' file.")
    proposal = from_json(data, Proposal, what=str(path))
    known = proposal.repository == "image" or (proposal.repository, proposal.role) == ("director", "root")
    if not known or (proposal.role != "root") != bool(proposal.delegator):
        raise InvalidInput(f"{path} is not a proposal for a role that people sign.", hint="Ask for the file again.")
    role_name(f"product-{proposal.role}")
    return proposal


def write_proposal(path: Path, proposal: Proposal) -> None:
    """Write a proposal, replacing what is there; the file is whole at any time."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    write_new(draft, to_json(proposal) + b"\n", 0o644)
    draft.replace(path)


def open_proposals(keys: KeysFolder) -> dict[Path, Proposal]:
    """Return the open proposals of a folder by their path."""
    return {path: read_proposal(path) for path in sorted((keys.path / "proposals").glob("*.proposal.json"))}


def lay(keys: KeysFolder, proposals: list[Proposal], *, instead_of: Sequence[Path] = ()) -> list[Path]:
    """Lay new proposals into the folder, in place of some that lie there.

    Raises:
        ConflictError: There is another open proposal for one of these files.
    """
    paths = [keys.path / "proposals" / f"{proposal.repository}-{proposal.role}-{proposal.version}.proposal.json" for proposal in proposals]
    taken = {file_of(proposal): path for path, proposal in open_proposals(keys).items() if path not in instead_of}
    for proposal in proposals:
        if file_of(proposal) in taken:
            raise ConflictError(
                f"{taken[file_of(proposal)]} changes {file_of(proposal)} already.",
                hint="Have that signed first, or delete it together with its group.",
            )
    for path, proposal in zip(paths, proposals, strict=True):
        write_proposal(path, proposal)
    return paths


def sign_here(keys: KeysFolder, proposal: Proposal) -> Proposal:
    """Sign with every key of the folder that has a say and lies there in the clear; others need their holder."""
    for path in sorted(keys.path.glob("*.pem")):
        if _ENCRYPTED in path.read_bytes():
            continue
        signer = load(path)
        bearing = read_vouching(proposal.after.encode(), proposal.kind, name=proposal.role).signatures
        if signer.public_key.keyid in _wanted(proposal) - bearing.keys():
            proposal = ceremony.sign(proposal, signer)
    return proposal


def _wanted(proposal: Proposal) -> set[str]:
    texts = [proposal.before, proposal.after] if proposal.role == "root" else [proposal.delegator]
    kind = ceremony.delegator_kind(proposal)
    return {keyid for text in texts for keyid in keys_of(read_vouching(text.encode(), kind, name=proposal.role).signed, proposal.role)}


def require_ours(keys: KeysFolder, proposal: Proposal) -> None:
    """Refuse a proposal that does not build on what this folder holds.

    Raises:
        ConflictError: The folder has another present file, or another file that vouches for it.
    """
    builds_on = {file_of(proposal): proposal.before, **{f"{role}.json": part.before for role, part in proposal.more.items()}}
    for name, text in builds_on.items():
        if keys.metadata(name) != text.encode():
            raise ConflictError(
                f"The proposal does not build on the {name} of {keys.path}: it is old, or of another fleet.",
                hint="Have it proposed anew.",
            )
    if proposal.delegator and not any(ceremony.vouches_alike(text, proposal) for text in _vouching(keys, proposal)):
        raise ConflictError(f"{keys.path} knows another file that vouches for {proposal.role}.", hint="Have it proposed anew.")


def _vouching(keys: KeysFolder, proposal: Proposal) -> Iterator[str]:
    name = "root.json" if proposal.role == "targets" else "targets.json"
    yield keys.metadata(name).decode()
    yield from (other.after for other in open_proposals(keys).values() if file_of(other) == name)


def settle(keys: KeysFolder) -> list[str]:
    """Take what is finished into ``metadata/``; return the names of the files that changed.

    Raises:
        ConflictError: A finished proposal does not build on what the folder holds.
    """
    opened = open_proposals(keys)
    done: dict[str, bytes] = {}
    if not opened:
        return []
    for proposal in opened.values():
        require_ours(keys, proposal)
    for group in _groups(opened):
        files = {file_of(opened[path]): _finished(opened[path]) for path in group}
        if all(data is not None for data in files.values()):
            whole = {name: data for name, data in files.items() if data is not None}
            for path in group:
                whole |= ceremony.further_files(opened[path])
            _absorb(keys, whole)
            done |= whole
            for path in group:
                path.unlink()
    return sorted(done)


def _groups(opened: dict[Path, Proposal]) -> list[list[Path]]:
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


def _absorb(keys: KeysFolder, files: dict[str, bytes]) -> None:
    roots = {name: read(data, Root, name=name).signed.version for name, data in files.items() if name in _ROOTS}
    # A server may lack several roots, and takes them one after the other.
    (keys.path / "metadata/roots").mkdir(exist_ok=True)
    keys.keep({f"roots/{version}.{name}": files[name] for name, version in roots.items()})
    keys.keep(files)


def describe(proposal: Proposal) -> str:
    """Return the counts of a proposal in one line."""
    tallies = ceremony.count(proposal)
    return "; ".join(f"{tally.authority}: {len(tally.signed)} of {tally.threshold}" for tally in tallies)
