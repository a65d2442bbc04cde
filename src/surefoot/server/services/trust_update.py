# SPDX-License-Identifier: Apache-2.0
"""Take in what people signed anew: roots, top-level targets and product roles; in one transaction, or nothing.

What is refused: whatever a device would refuse, whatever breaks the tree of delegations, a key with two roles, and a root that names an
online key which this server does not have. From the same moment on the server signs with the keys that the newest roots name.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from tuf.api.metadata import Key, Root, Snapshot, Targets, Timestamp

from surefoot.model.errors import InvalidInput, StoreError
from surefoot.model.record import Record, utc_text
from surefoot.server.services.ports import Act, Ledger, Reads, Write
from surefoot.trust.director import try_out
from surefoot.trust.keyring import Keyring
from surefoot.trust.layout import product_of
from surefoot.trust.metadata import read
from surefoot.trust.one_role import delegators, require_one_role
from surefoot.trust.online import Keys, Online
from surefoot.trust.product_files import retirements
from surefoot.trust.repository import versions
from surefoot.trust.succession import ROOT_FILE, Signed, follow_roots, merged, resign, signed_by, verify_whole
from surefoot.trust.tree import parents_of
from surefoot.trust.verify import Trusted, load


class TrustUpdate(Record, frozen=True, kw_only=True):
    """Signed metadata to take in. In JSON, bytes are base64.

    Attributes:
        image: Files of the image repository: ``<n>.root.json``, ``targets.json``, ``<role>.json``.
        director: Roots of the director, ``<n>.root.json``.
    """

    image: dict[str, bytes] = {}
    director: dict[str, bytes] = {}


class TrustChange(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What was taken in, as ``<repository>/<file>``; what the server signed anew on that account is not named."""

    changed: list[str]


class KeyHolder(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A key by its id, and who holds it, where the metadata says so."""

    key_id: str
    holder: str


class RoleStory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Who may sign a role, and what is published of it.

    Attributes:
        repository: ``image`` or ``director``.
        role: Its name.
        threshold: How many of the keys must sign.
        keys: Whose signatures count.
        version: Of the published file; ``None`` for a role of which each device has a file of its own.
        expires: Likewise.
    """

    repository: str
    role: str
    threshold: int
    keys: list[KeyHolder]
    version: int | None
    expires: str | None


class TrustStory(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Every role of both repositories."""

    roles: list[RoleStory]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One request inside its transaction.

    Attributes:
        ledger: Where the repositories are.
        online: The server's own keys.
        ring: Those that new roots may name; ``None`` when ``online`` has them already.
        now: When.
        ahead: A snapshot and a timestamp of this server, verified, that are newer than the ledger's: their versions go on.
    """

    ledger: Ledger
    online: Online
    ring: Keyring | None
    now: datetime
    ahead: Mapping[str, bytes] = field(default_factory=dict)


async def take(request: TrustUpdate, *, by: str, online: Online, write: Write, now: datetime) -> TrustChange:
    """Take in signed metadata and say what changed; the same again changes nothing.

    Args:
        request: The files.
        by: Who sends them.
        online: The server's own keys; those of a new root are in use when this returns.
        write: The way to the writer.
        now: When.

    Raises:
        InvalidInput: A name is no metadata file's, or the server lacks a key that a root names; the message says where to lay it.
        ConflictError: A version was taken in with other content already.
        TrustError: A device would refuse it, as the message says, or a key would have two roles; nothing was stored.
        SignerUnavailableError: One of the server's keys does not sign at present; nothing was stored.
        StoreError: The database could not store it.
    """
    # Tokens may take their time; the writer is not to wait for them.
    is_rooted = any(ROOT_FILE.fullmatch(name) for name in (*request.image, *request.director))
    ring = await asyncio.to_thread(online.ring) if is_rooted else None
    try:
        return await write(lambda ledger: take_now(Turn(ledger=ledger, online=online, ring=ring, now=now), request, by))
    except StoreError:
        if ring is not None:
            with suppress(StoreError):
                await write(lambda ledger: _fall_back(ledger, online, ring))
        raise


def story(reads: Reads) -> TrustStory:
    """Return every role of both repositories with its keys, threshold, version and expiry."""
    image, director = reads.metadata("image").files, reads.metadata("director", ("root.json",)).files
    root, own = (read(files["root.json"], Root, name="root.json").signed for files in (image, director))
    roles = [_role_story("image", root, role, image) for role in ("root", "timestamp", "snapshot", "targets")]
    for role, parent in parents_of(image).items():
        roles.append(_role_story("image", read(image[f"{parent}.json"], Targets, name=f"{parent}.json").signed, role, image))
    roles += [_role_story("director", own, role, director) for role in ("root", "timestamp", "snapshot", "targets")]
    return TrustStory(roles=roles)


def take_now(turn: Turn, request: TrustUpdate, by: str) -> TrustChange:
    """Do what ``take`` does inside a transaction that the caller holds; whatever it raises is the caller's reason to undo it."""
    director, director_signed = _director(turn, request.director)
    image, image_signed = _followed(turn, "image", turn.ledger.metadata("image").files, request.image)
    keys = turn.online.present() if turn.ring is None else turn.online.find(turn.ring, director.root, image.root)
    if director_signed:
        try_out(director, keys.director, turn.now)
        _put_roots(turn.ledger, "director", director_signed, request.director)
    image_signed += _image(turn, image, image_signed, request.image, keys)
    if director_signed or image_signed:
        require_one_role(director.root, image.root, delegators(turn.ledger.metadata("image").files))
    for repository, signed in (("director", director_signed), ("image", image_signed)):
        for one in signed:
            turn.ledger.add_act(_act(repository, one, by, turn.now))
    # Last of all, since the transaction is undone when anything before it raises.
    turn.online.use(keys)
    return TrustChange(changed=[f"director/{one.name}" for one in director_signed] + [f"image/{one.name}" for one in image_signed])


def _fall_back(ledger: Ledger, online: Online, ring: Keyring) -> None:
    """Sign with the keys of the roots as stored. What was in use before is no guide: another request may have been taken in since."""
    director, image = (ledger.metadata(repository, ("root.json",)).files["root.json"] for repository in ("director", "image"))
    online.use(online.find(ring, read(director, Root, name="root.json").signed, read(image, Root, name="root.json").signed))


def _director(turn: Turn, sent: Mapping[str, bytes]) -> tuple[Trusted, list[Signed]]:
    others = sorted(name for name in sent if ROOT_FILE.fullmatch(name) is None)
    if others:
        raise InvalidInput(f"People sign only roots of the director, and not '{others[0][:80]}'.", hint="Send <n>.root.json.")
    return _followed(turn, "director", turn.ledger.metadata("director", ("root.json",)).files, sent)


def _followed(turn: Turn, repository: str, files: Mapping[str, bytes], sent: Mapping[str, bytes]) -> tuple[Trusted, list[Signed]]:
    roots = {name: data for name, data in sent.items() if ROOT_FILE.fullmatch(name)}
    return follow_roots(load(files), roots, lambda name: turn.ledger.metadata(repository, (name,)).files.get(name))


def _image(turn: Turn, rooted: Trusted, roots: list[Signed], sent: Mapping[str, bytes], keys: Keys) -> list[Signed]:
    """Take in roles below the roots, sign what is above them, verify all, and store it; return the roles that are new."""
    files = {**turn.ledger.metadata("image").files, **turn.ahead}
    fresh = merged(files, {name: data for name, data in sent.items() if ROOT_FILE.fullmatch(name) is None})
    if not roots and not fresh and not turn.ahead:
        return []
    whole = {**files, **fresh, "root.json": rooted.files["root.json"]}
    signed_anew = resign(whole, keys.image, turn.now)
    whole |= signed_anew
    parents = verify_whole(load(files), whole, {one.name: sent[one.name] for one in roots}, fresh, turn.now)
    _put_roots(turn.ledger, "image", roots, sent)
    changed = fresh | signed_anew
    turn.ledger.put_metadata("image", changed, versions(changed))
    _note_retired(turn.ledger, fresh)
    return signed_by(whole, fresh, parents)


def _note_retired(ledger: Ledger, fresh: Mapping[str, bytes]) -> None:
    products = {product_of(name.removesuffix(".json")) for name in fresh} - {None, "targets"}
    for product in products:
        roles = {name: data for name, data in fresh.items() if product_of(name.removesuffix(".json")) == product}
        for version, is_retired in retirements(roles).items():
            ledger.set_retired(str(product), version, is_retired)


def _put_roots(ledger: Ledger, repository: str, roots: list[Signed], sent: Mapping[str, bytes]) -> None:
    for one in roots:
        ledger.put_metadata(repository, {"root.json": sent[one.name]}, {"root.json": one.version})


def _act(repository: str, signed: Signed, by: str, now: datetime) -> Act:
    what = f"trust.{signed.role if signed.role in {'root', 'targets'} else 'role'}"
    return Act(at=now, by=by, what=what, subject=f"{repository} {signed.role} {signed.version} {' '.join(signed.keys)}")


def _role_story(repository: str, delegator: Root | Targets, role: str, files: Mapping[str, bytes]) -> RoleStory:
    terms = delegator.get_delegated_role(role)
    keys: dict[str, Key] = delegator.keys if isinstance(delegator, Root) else delegator.delegations.keys if delegator.delegations else {}
    data = files.get(f"{role}.json")
    return RoleStory(
        repository=repository,
        role=role,
        threshold=terms.threshold,
        keys=[KeyHolder(key_id=keyid, holder=_holder(keys.get(keyid))) for keyid in terms.keyids],
        version=None if data is None else versions({f"{role}.json": data})[f"{role}.json"],
        expires=None if data is None else utc_text(_expires(role, data)),
    )


def _expires(role: str, data: bytes) -> datetime:
    match role:
        case "root":
            return read(data, Root, name="root.json").signed.expires
        case "snapshot":
            return read(data, Snapshot, name="snapshot.json").signed.expires
        case "timestamp":
            return read(data, Timestamp, name="timestamp.json").signed.expires
        case _:
            return read(data, Targets, name=f"{role}.json").signed.expires


def _holder(key: Key | None) -> str:
    return str(key.unrecognized_fields.get("holder", "")) if key is not None else ""
