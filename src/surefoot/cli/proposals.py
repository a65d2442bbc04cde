# SPDX-License-Identifier: Apache-2.0
"""The open proposals of a keys folder: laid there, read, signed with what lies there, and held against what the folder knows."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Signer

from surefoot.cli.keys_folder import KeysFolder
from surefoot.cli.one_step import change
from surefoot.cli.role_names import role_name
from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.model.record import from_json, to_json
from surefoot.server.durable import write_durably
from surefoot.trust import ceremony
from surefoot.trust.changes import keys_of, read_vouching
from surefoot.trust.proposal import Proposal, delegator_kind
from surefoot.trust.signer import is_encrypted, load

BEGINNING = ("root.json", "director-root.json", "targets.json")
"""What a keys folder has once its fleet has begun."""

# A product with a hundred thousand images, each some 430 bytes, as it is and as it is to be.
_MOST_BYTES = 128 * 1024 * 1024


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
    """Write a proposal, replacing what is there; the file is whole at any time. ``InvalidInput`` when it cannot be written."""
    try:
        write_durably(path, proposal_bytes(proposal), 0o644)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.", hint="Copy it to where you may write.") from error


def proposal_bytes(proposal: Proposal) -> bytes:
    """Return a proposal as its file holds it."""
    return to_json(proposal) + b"\n"


def open_proposals(keys: KeysFolder) -> dict[Path, Proposal]:
    """Return the open proposals of a folder by their path."""
    return {path: read_proposal(path) for path in sorted((keys.path / "proposals").glob("*.proposal.json"))}


def lay(
    keys: KeysFolder, proposals: list[Proposal], *, beside: Mapping[str, bytes] | None = None, instead_of: Collection[Path] = ()
) -> None:
    """Lay new proposals into the folder, all in one step.

    Args:
        keys: The folder.
        proposals: What is proposed.
        beside: Other new files of the folder that belong to it, such as a new key.
        instead_of: Open proposals that these replace, by their path.

    Raises:
        ConflictError: There is an open proposal for one of these files already.
    """
    require_none_open(keys, [file_of(proposal) for proposal in proposals], but=instead_of)
    written = {_place(proposal): proposal_bytes(proposal) for proposal in proposals}
    gone = {str(path.relative_to(keys.path)) for path in instead_of} - written.keys()
    change(keys.path, {**(beside or {}), **written}, sorted(gone))


def require_none_open(keys: KeysFolder, files: Iterable[str], *, but: Collection[Path] = ()) -> None:
    """Refuse to propose a change of a file that an open proposal, other than ``but``, changes already, with ``ConflictError``."""
    taken = {file_of(proposal): path for path, proposal in open_proposals(keys).items() if path not in but}
    for file in files:
        if file in taken:
            raise ConflictError(
                f"{taken[file]} changes {file} already.",
                hint=f"Have that signed first, or take it back: {withdrawal(keys, taken[file])}",
            )


def withdrawal(keys: KeysFolder, path: Path) -> str:
    """Return the command that takes an open proposal back."""
    return f"surefoot trust withdraw {path} --keys {keys.path}"


def sign_here(keys: KeysFolder, proposal: Proposal, more: Iterable[Signer] = ()) -> Proposal:
    """Sign with every key of the folder that has a say and lies there in the clear, and with ``more``; others need their holder."""
    clear = (path for path in sorted(keys.path.glob("*.pem")) if not is_encrypted(path))
    for signer in (*(load(path) for path in clear), *more):
        bearing = read_vouching(proposal.after.encode(), proposal.kind, name=proposal.role).signatures
        if signer.public_key.keyid in _wanted(proposal) - bearing.keys():
            proposal = ceremony.sign(proposal, signer)
    return proposal


def _wanted(proposal: Proposal) -> set[str]:
    texts = [proposal.before, proposal.after] if proposal.role == "root" else [proposal.delegator]
    texts = [text for text in texts if text]
    kind = delegator_kind(proposal)
    return {keyid for text in texts for keyid in keys_of(read_vouching(text.encode(), kind, name=proposal.role).signed, proposal.role)}


def require_ours(keys: KeysFolder, proposal: Proposal, now: datetime) -> None:
    """Refuse a proposal that does not build on what this folder holds, with ``ConflictError``; see ``why_stale``."""
    reason = why_stale(keys, proposal, now)
    if reason:
        here = keys.path / _place(proposal)
        hint = f"Take it back, and have it proposed anew: {withdrawal(keys, here)}" if here.exists() else "Have it proposed anew."
        raise ConflictError(reason, hint=hint)


def why_stale(keys: KeysFolder, proposal: Proposal, now: datetime) -> str:
    """Say why a proposal can never be taken into this folder; empty when it can.

    The folder has another present file, or another file that vouches for it; or the proposal expired.
    """
    builds_on = {file_of(proposal): proposal.before, **{f"{role}.json": part.before for role, part in proposal.more.items()}}
    for name, text in builds_on.items():
        if keys.present(name) != text.encode():
            return f"{_place(proposal)} does not build on the {name} of {keys.path}: it is old, or of another fleet."
    if proposal.delegator and not any(ceremony.vouches_alike(text, proposal) for text in _vouching(keys, proposal)):
        return f"{_place(proposal)} relies on another file that vouches for {proposal.role} than {keys.path} knows."
    try:
        ceremony.require_unexpired(proposal, now)
    except InvalidInput as error:
        return error.message
    return ""


def _vouching(keys: KeysFolder, proposal: Proposal) -> Iterator[str]:
    name = "root.json" if proposal.role == "targets" else "targets.json"
    yield from (text.decode() for text in [keys.present(name)] if text)
    yield from (other.after for other in open_proposals(keys).values() if file_of(other) == name)


def _place(proposal: Proposal) -> str:
    return f"proposals/{proposal.repository}-{proposal.role}-{proposal.version}.proposal.json"


def describe(proposal: Proposal) -> str:
    """Return the counts of a proposal in one line."""
    tallies = ceremony.count(proposal)
    return "; ".join(f"{tally.authority}: {len(tally.signed)} of {tally.threshold}" for tally in tallies)


def is_begun(keys: KeysFolder) -> bool:
    """Say whether the first version of everything that a fleet begins with holds."""
    return all(keys.present(name) for name in BEGINNING)


def tell_open(keys: KeysFolder, now: datetime) -> Iterator[str]:
    """Say what is open, and what is to be done about it: to have it signed, or to take it back."""
    for path, proposal in open_proposals(keys).items():
        reason = why_stale(keys, proposal, now)
        if reason:
            yield f"{reason}"
            yield f"Next: {withdrawal(keys, path)}"
        elif all(tally.is_met for tally in ceremony.count(proposal)):
            yield f"{path} is signed: {describe(proposal)}; it waits for those that go in with it."
        else:
            yield f"{path} waits: {describe(proposal)}"
            yield f"Next: send it to who may sign: surefoot trust sign {path.name} --key KEY"
