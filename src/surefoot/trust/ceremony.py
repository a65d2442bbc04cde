# SPDX-License-Identifier: Apache-2.0
"""A change that several people sign, each when it suits them: what they are shown, who has signed, and when it holds.

- A proposal carries the role as it is, as it is to be, and what vouches for it. Nobody needs anything else to judge it.
- What people are shown comes from the bytes they sign, and is the whole state that results, so that a forged ``before`` hides nothing;
  one that those who sign now have not signed is called so.
- A role's first version has no ``before``; it is signed by the keys that it, or what vouches for it, names.
- A new root is signed by the threshold of the old one and by its own (TUF 6.1).
- What is finished was verified by the functions that devices use.
- A product is signed whole: its role, its bins and their archives travel in one proposal, and a key signs all of them or none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Targets

from surefoot.model.errors import InvalidInput, SignatureError, TrustError
from surefoot.model.record import utc_text
from surefoot.trust.changes import Vouching, called, keys_of, read_vouching, roles_of
from surefoot.trust.metadata import join_signatures, same_key, sign_bytes, verified
from surefoot.trust.product_files import counted, differences, enumerated, require_whole
from surefoot.trust.proposal import Proposal, authorities, delegator_kind, present, proposed, require_sound, texts, vouching
from surefoot.trust.verify import load, update_root

_UNPROVED = (
    "What was before CANNOT BE VERIFIED with the keys that sign now, as is so when they change. "
    "Rely on what will hold, not on what is said to change."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One authority that must sign.

    Attributes:
        authority: What it is called: ``root version 1 (old)``.
        signed: Who has signed, by holder and key id.
        awaited: Who still may.
        threshold: How many must.
    """

    authority: str
    signed: tuple[str, ...]
    awaited: tuple[str, ...]
    threshold: int

    @property
    def is_met(self) -> bool:
        """Whether enough have signed."""
        return len(self.signed) >= self.threshold


def words(proposal: Proposal) -> list[str]:
    """Say in sentences what changes, then all that will hold, and whose signatures count; errors as for ``count``."""
    require_sound(proposal)
    before, after = present(proposal), proposed(proposal)
    files = texts(proposal, "after") if isinstance(after, Targets) else {}
    if before is None:
        return [
            f"{proposal.repository} {proposal.role}: version {after.version}, the first there is.",
            f"It expires {utc_text(after.expires)}.",
            *_state(after),
            *counted(files),
            *enumerated(files),
            *_signatories(proposal),
        ]
    is_proved = _is_proved(proposal)
    return [
        f"{proposal.repository} {proposal.role}: version {before.version} becomes {after.version}.",
        *([] if is_proved else [_UNPROVED]),
        f"It expires {utc_text(after.expires)}; before, {utc_text(before.expires)}.",
        *_differences(before, after),
        *(differences(texts(proposal, "before"), files) if files else ()),
        *_state(after),
        *counted(files),
        *([] if is_proved else enumerated(files)),
        *_signatories(proposal),
    ]


def count(proposal: Proposal) -> list[Tally]:
    """Say for each authority who has signed.

    Raises:
        SignatureError: A signature does not fit: the proposal was changed after somebody had signed.
        InvalidInput, MetadataError: Nobody may sign it, as for ``require_sound``.
    """
    require_sound(proposal)
    files = [read_vouching(data, proposal.kind, name=name) for name, data in texts(proposal, "after").items()]
    tallies = [_tally(files, authority, proposal.role, name) for authority, name in authorities(proposal)]
    _require_whole(proposal, files)
    return tallies


def require_unexpired(proposal: Proposal, now: datetime) -> None:
    """Refuse a proposal that would be expired before it holds, with ``InvalidInput``; else errors as for ``count``."""
    expires = proposed(proposal).expires
    if expires <= now:
        raise InvalidInput(
            f"The proposed {proposal.repository} {proposal.role} {proposal.version} expired on {utc_text(expires)}.",
            hint="Have it proposed anew.",
        )


def sign(proposal: Proposal, signer: Signer) -> Proposal:
    """Return the proposal with one more signature.

    Raises:
        InvalidInput: The key has no say here, or has signed already; else as for ``count``.
        SignerUnavailableError: The key's token or service does not sign.
    """
    tallies = count(proposal)
    key = signer.public_key
    if not any(key.keyid in keys_of(authority, proposal.role) for authority, _ in authorities(proposal)):
        raise InvalidInput(f"The key {key.keyid} has no say in this: {_who(tallies)}.", hint="Sign with one of those keys.")
    metadata = read_vouching(proposal.after.encode(), proposal.kind, name=proposal.role)
    if key.keyid in metadata.signatures:
        raise InvalidInput(f"The key {key.keyid} has signed this already.", hint=f"Send it on: {_who(tallies)}.")
    more = {role: msgspec.structs.replace(part, after=_joined(proposal, part.after, signer)) for role, part in proposal.more.items()}
    fresh = msgspec.structs.replace(proposal, after=_joined(proposal, proposal.after, signer), more=more)
    count(fresh)
    return fresh


def join(proposal: Proposal, other: Proposal) -> Proposal:
    """Return the proposal with the signatures of another copy of it too; errors as for ``count``."""
    more = {role: msgspec.structs.replace(part, after=_merged(part.after, other.more[role].after)) for role, part in proposal.more.items()}
    fresh = msgspec.structs.replace(proposal, after=_merged(proposal.after, other.after, proposal.kind), more=more)
    count(fresh)
    return fresh


def finished(proposal: Proposal) -> bytes:
    """Return the file once everybody who must has signed it, verified as a device verifies it.

    Raises:
        InvalidInput: Signatures are missing; the message says whose. Else as for ``count``.
    """
    tallies = count(proposal)
    if not all(tally.is_met for tally in tallies):
        raise InvalidInput(f"{proposal.repository} {proposal.role} {proposal.version} is not signed yet: {_who(tallies)}.")
    data = proposal.after.encode()
    if proposal.role == "root" and proposal.before:
        update_root(load({"root.json": proposal.before.encode()}), data)
    elif proposal.role == "root":
        load({"root.json": data})
    elif proposal.role == "targets":
        verified(data, Targets, vouching(proposal), proposal.role, name=proposal.role)
    else:
        delegator = vouching(proposal)
        assert isinstance(delegator, Targets)  # noqa: S101  # the role says so
        require_whole(texts(proposal, "after"), proposal.role, delegator)
    return data


def further_files(proposal: Proposal) -> dict[str, bytes]:
    """Return the bins and archives of a proposal as they are to be, by file name; they are verified by ``finished``."""
    return {f"{role}.json": part.after.encode() for role, part in proposal.more.items()}


def is_alike(one: Proposal, other: Proposal) -> bool:
    """Say whether two proposals propose the same, whoever has signed them."""
    ours, others = texts(one, "after"), texts(other, "after")
    return ours.keys() == others.keys() and all(same_content(ours[name].decode(), others[name].decode(), one.kind) for name in ours)


def same_content(one: str, other: str, kind: type[Root] | type[Targets]) -> bool:
    """Say whether two files say the same, whoever signed them."""
    first: Metadata[Any] = read_vouching(one.encode(), kind, name="metadata")
    second: Metadata[Any] = read_vouching(other.encode(), kind, name="metadata")
    return first.signed_bytes == second.signed_bytes


def vouches_alike(text: str, proposal: Proposal) -> bool:
    """Say whether a file gives the proposal's role the same keys and threshold as the one that came with it."""
    other: Vouching = read_vouching(text.encode(), delegator_kind(proposal), name=f"what vouches for {proposal.role}").signed
    ours = vouching(proposal)
    roles, known = roles_of(other), roles_of(ours)
    return (
        proposal.role in roles.keys() & known.keys()
        and roles[proposal.role].threshold == known[proposal.role].threshold
        and keys_of(other, proposal.role) == keys_of(ours, proposal.role)
    )


def _joined(proposal: Proposal, text: str, signer: Signer) -> str:
    metadata = read_vouching(text.encode(), proposal.kind, name=proposal.role)
    return join_signatures(metadata, [sign_bytes(metadata.signed_bytes, signer, what=proposal.role)]).decode()


def _merged(one: str, other: str, kind: type[Root] | type[Targets] = Targets) -> str:
    metadata = read_vouching(one.encode(), kind, name="metadata")
    return join_signatures(metadata, read_vouching(other.encode(), kind, name="metadata").signatures.values()).decode()


def _tally(files: Sequence[Metadata[Any]], authority: Vouching, role: str, name: str) -> Tally:
    keys = keys_of(authority, role)
    results = [authority.get_verification_result(role, metadata.signed_bytes, metadata.signatures).signed for metadata in files]
    signed = {keyid: key for keyid, key in results[0].items() if all(keyid in result for result in results)}
    distinct = [key for index, key in enumerate(signed.values()) if not any(same_key(key, old) for old in list(signed.values())[:index])]
    return Tally(
        authority=name,
        signed=tuple(called(key) for key in distinct),
        awaited=tuple(called(key) for keyid, key in keys.items() if keyid not in signed),
        threshold=roles_of(authority)[role].threshold,
    )


def _is_proved(proposal: Proposal) -> bool:
    """Say whether what was is signed as what vouches for the role asks now; a root was checked when it was read."""
    if proposal.role == "root":
        return True
    delegator = vouching(proposal)
    try:
        if isinstance(delegator, Targets):
            require_whole(texts(proposal, "before"), proposal.role, delegator)
        else:
            verified(proposal.before.encode(), Targets, delegator, proposal.role, name=proposal.role)
    except TrustError:
        return False
    return True


def _require_whole(proposal: Proposal, files: Sequence[Metadata[Any]]) -> None:
    bearing = {keyid for metadata in files for keyid in metadata.signatures}
    for metadata in files:
        valid: set[str] = set()
        for authority, _ in authorities(proposal):
            valid |= authority.get_verification_result(proposal.role, metadata.signed_bytes, metadata.signatures).signed.keys()
        _refuse_stray(sorted(bearing - valid))


def _refuse_stray(stray: Sequence[str]) -> None:
    if stray:
        raise SignatureError(
            f"The signature by {stray[0]} does not fit: the proposal was changed after it was signed, or a stranger signed.",
            hint="Sign nothing; ask whoever sent it, and have it proposed anew.",
        )


def _who(tallies: list[Tally]) -> str:
    return "; ".join(
        f"{tally.authority} has {len(tally.signed)} of {tally.threshold}"
        + ("" if tally.is_met else f", may sign: {', '.join(tally.awaited)}")
        for tally in tallies
    )


def _differences(before: Root | Targets, after: Root | Targets) -> Iterator[str]:
    old, new = roles_of(before), roles_of(after)
    for role in sorted(old.keys() | new.keys()):
        was = keys_of(before, role) if role in old else {}
        will = keys_of(after, role) if role in new else {}
        yield from (f"Role {role} gains the key of {called(will[keyid])}." for keyid in sorted(will.keys() - was.keys()))
        yield from (f"Role {role} loses the key of {called(was[keyid])}." for keyid in sorted(was.keys() - will.keys()))
        yield from (
            f"Role {role}: the key {keyid} changes its content or holder."
            for keyid in sorted(was.keys() & will.keys())
            if was[keyid] != will[keyid]
        )


def _state(after: Root | Targets) -> Iterator[str]:
    for name, role in sorted(roles_of(after).items()):
        holders = ", ".join(called(key) for key in keys_of(after, name).values())
        yield f"Then {name} needs {role.threshold} of {len(role.keyids)}: {holders}."


def _signatories(proposal: Proposal) -> Iterator[str]:
    """Say whose signatures count. What says so came with the proposal, and may be as forged as the past that it proves."""
    for authority, name in authorities(proposal):
        keys = keys_of(authority, proposal.role)
        holders = ", ".join(called(key) for key in keys.values())
        yield f"For {name} {roles_of(authority)[proposal.role].threshold} of {len(keys)} must sign: {holders}."
