# SPDX-License-Identifier: Apache-2.0
"""The file that travels between people who sign, and what makes it sound, whoever carried it.

- Every key bears the id that belongs to it. For metadata an id is only a name, but here people compare ids with their holders.
- Its files are those of one role, of a product all that its role leads to, and each is the next version.
- What a server would never take in nobody signs: a stolen server would hand it to devices all the same.
"""

from collections.abc import Iterator

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from surefoot.model.errors import InvalidInput, MetadataError
from surefoot.model.record import Record
from surefoot.trust.changes import Vouching, called, keys_of, read_vouching, roles_of
from surefoot.trust.key_file import is_called_rightly
from surefoot.trust.metadata import identity, read
from surefoot.trust.product_files import reachable, require_own_keys
from surefoot.trust.tree import require_tree
from surefoot.trust.verify import load


class Part(Record, frozen=True, kw_only=True):
    """A further role file of the product that a proposal is for: as it is, and as it is to be."""

    before: str
    after: str


class Proposal(Record, frozen=True, kw_only=True):
    """One file that is to be signed (``*.proposal.json``); of a product, all its role files.

    Attributes:
        repository: ``image`` or ``director``.
        role: ``root``, ``targets`` or a product.
        delegator: The file that names the role's keys, as JSON text; empty for a root.
        before: The role as it is, signed; empty when this is its first version.
        after: The role as it is to be, with the signatures so far.
        more: Of a product, its bins and archives by role; signed by the same keys.
    """

    repository: str
    role: str
    delegator: str = ""
    before: str = ""
    after: str
    more: dict[str, Part] = {}

    @property
    def kind(self) -> type[Root] | type[Targets]:
        """What the file is."""
        return Root if self.role == "root" else Targets

    @property
    def version(self) -> int:
        """The version that is proposed; ``MetadataError`` when it cannot be read."""
        return proposed(self).version


def delegator_kind(proposal: Proposal) -> type[Root] | type[Targets]:
    """Say what names the keys of the proposal's role."""
    return Root if proposal.role in {"root", "targets"} else Targets


def proposed(proposal: Proposal) -> Root | Targets:
    """Return what is to be; ``MetadataError`` when it cannot be read, as for the two below."""
    signed: Root | Targets = read_vouching(proposal.after.encode(), proposal.kind, name=f"proposed {proposal.role}").signed
    return signed


def present(proposal: Proposal) -> Root | Targets | None:
    """Return what is, or nothing when there is none yet; a root is verified against itself (``SignatureError``)."""
    if not proposal.before:
        return None
    if proposal.role == "root":
        return load({"root.json": proposal.before.encode()}).root
    signed: Root | Targets = read_vouching(proposal.before.encode(), proposal.kind, name=f"present {proposal.role}").signed
    return signed


def vouching(proposal: Proposal) -> Vouching:
    """Return the file that came with the proposal to say whose signatures count."""
    signed: Vouching = read_vouching(proposal.delegator.encode(), delegator_kind(proposal), name=f"what vouches for {proposal.role}").signed
    return signed


def authorities(proposal: Proposal) -> Iterator[tuple[Vouching, str]]:
    """Give each file whose keys must sign, and what to call it."""
    if proposal.role == "root":
        before, after = present(proposal), proposed(proposal)
        if before is not None:
            yield before, f"root version {before.version} (old)"
        yield after, f"root version {after.version} (new)"
    else:
        yield vouching(proposal), proposal.role


def texts(proposal: Proposal, which: str) -> dict[str, bytes]:
    """Return all files of a proposal by name, ``before`` or ``after``."""
    whole = {proposal.role: proposal, **proposal.more}
    return {f"{role}.json": str(getattr(part, which)).encode() for role, part in whole.items()}


def require_sound(proposal: Proposal) -> None:
    """Refuse a proposal that nobody may sign, or even be shown: its words would not say what it does.

    Raises:
        MetadataError: What it carries is not metadata of that kind, a key is called by an id that is not its own, or it proposes what
            no server takes in.
        SignatureError: What is said to be the present root is not signed as it asks itself.
        InvalidInput: It has other files than its role has, one is not the next version, or it names a key twice.
    """
    before, after = present(proposal), proposed(proposal)
    _require_next(proposal.role, 0 if before is None else before.version, after.version)
    for authority in (after, *(authority for authority, _ in authorities(proposal))):
        _require_true_ids(authority)
    _require_one_role(after)
    if proposal.role in {"root", "targets"}:
        if proposal.more:
            raise InvalidInput(f"A proposal for {proposal.role} has one file, and this one more.", hint="Ask for the file again.")
        if isinstance(after, Targets):
            _require_top(after)
    else:
        _require_product(proposal)


def _require_next(role: str, before: int, after: int) -> None:
    if after != before + 1:
        raise InvalidInput(f"The proposal makes version {after} of {role} out of {before or 'none'}.", hint="Have it proposed anew.")


def _keys_in(signed: Vouching) -> Iterator[Key]:
    for role in roles_of(signed):
        yield from keys_of(signed, role).values()


def _require_true_ids(signed: Vouching) -> None:
    for key in _keys_in(signed):
        if not is_called_rightly(key):
            raise MetadataError(
                f"{key.keyid[:64]!r} is not the id of the key that is called so.", hint="Sign nothing; ask whoever proposed it."
            )


def _require_one_role(signed: Vouching) -> None:
    """Refuse a key that stands there twice: in two roles, or in one and written in two ways, so that one person seems to be two."""
    seen: set[bytes] = set()
    for key in _keys_in(signed):
        if identity(key) in seen:
            raise InvalidInput(f"The proposal names the key {called(key)} twice.", hint="Sign nothing; ask whoever proposed it.")
        seen.add(identity(key))


def _require_top(targets: Targets) -> None:
    """Refuse top-level targets with which a product could reach into another, or that list images past all products."""
    require_tree(targets, {})
    if targets.targets:
        raise MetadataError(
            "The proposed targets.json lists an image itself; images are listed by their product.",
            hint="Sign nothing; ask whoever proposed it.",
        )


def _require_product(proposal: Proposal) -> None:
    """Refuse files that are not all those of the product, that are not the next versions, or that hand it to other keys."""
    files, delegator = texts(proposal, "after"), vouching(proposal)
    assert isinstance(delegator, Targets)  # noqa: S101  # the role says so
    # A part that bore the product's own name would be shown in its place.
    if proposal.role in proposal.more or set(files) != set(reachable(files, proposal.role)):
        raise InvalidInput(f"The proposal for {proposal.role} has more, or other, files than the role has.", hint="Ask for the file again.")
    for role, part in proposal.more.items():
        before, after = (read(text.encode(), Targets, name=role).signed.version for text in (part.before, part.after))
        _require_next(role, before, after)
    require_own_keys(files, proposal.role, delegator)
