# SPDX-License-Identifier: Apache-2.0
"""What lies in the server's folder of metadata when it starts, taken in as if it had been sent: whole, verified, or not at all.

- Empty database: each set is verified against its own first root, as by a device that was born with it.
- Else: files newer than the database's go the way of ``POST /api/v1/trust``. Older ones are left alone: the database is the truth.
- A newer snapshot or timestamp, as a restored database meets it, must be this server's own; the versions go on from there.
- The server's own files may have expired while it was off; it signs them anew before anything is judged.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from tuf.api.metadata import Root, Snapshot, Timestamp

from surefoot.model.errors import Error, InvalidInput, MetadataError, MetadataRollbackError, TrustError
from surefoot.server.services.ports import Ledger, Reads
from surefoot.server.services.trust_update import TrustUpdate, Turn, take_now
from surefoot.trust.metadata import Files, read, verified
from surefoot.trust.one_role import delegators, require_one_role
from surefoot.trust.online import Online
from surefoot.trust.repository import refresh, versions
from surefoot.trust.succession import ROOT_FILE, follow_roots, resign, verify_whole
from surefoot.trust.verify import Trusted, load, settle_root

FOLDER = "metadata/"
"""In the audit, who did it: the people who may write this folder."""

_OWN = ("snapshot.json", "timestamp.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One repository of the folder, its roots followed; nothing else is verified yet.

    Attributes:
        before: What is trusted without the folder; for an empty database, the folder's first root.
        trusted: What is trusted under the folder's newest root.
        roots: The roots after the first trusted one, by versioned name.
        files: The other files that are newer than the database's, by un-versioned name.
    """

    before: Trusted
    trusted: Trusted
    roots: Files
    files: Files


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Both repositories of the folder; ``trusted.root`` of each names the keys that the server needs."""

    director: Found
    image: Found


def follow_folder(ledger: Reads, files: Mapping[str, Files]) -> Folder:
    """Follow the roots in the folder, and pick what is newer than the database.

    Args:
        ledger: The database.
        files: The files of ``image`` and ``director`` as they lie in the folder.

    Raises:
        TrustError: A root does not follow the one before it, or a file is no metadata.
    """
    with _explained():
        return Folder(**{repository: _follow(ledger, repository, files[repository]) for repository in ("director", "image")})


def take_folder(ledger: Ledger, folder: Folder, online: Online, now: datetime) -> None:
    """Take in what is newer than the database, inside a transaction that the caller holds and undoes if this raises.

    Args:
        ledger: The database.
        folder: What was found.
        online: The server's keys, those that the newest roots name.
        now: When.

    Raises:
        InvalidInput: A file is of a role that nobody delegates to, or that people do not sign.
        TrustError: A device would refuse it, as the message says.
        SignerUnavailableError: One of the server's keys would have to sign for it and cannot.
    """
    with _explained():
        director, image = folder.director, folder.image
        if ledger.metadata("image", ("root.json",)).files:
            _go_on(Turn(ledger=ledger, online=online, ring=None, now=now, ahead=_own(image)), director, image)
        else:
            _begin(ledger, director, image, online, now)


def _follow(ledger: Reads, repository: str, files: Files) -> Found:
    roots = _roots(files)
    known = ledger.metadata(repository)
    changed = {name: data for name, data in files.items() if data != known.files.get(name)}
    others = {name: data for name, data in changed.items() if name != "root.json" and ROOT_FILE.fullmatch(name) is None}
    numbers = versions(others)
    newer = {name: data for name, data in others.items() if numbers[name] > known.versions.get(name, 0)}
    before = load(known.files or {"root.json": roots[min(roots)]})
    fresh = {f"{number}.root.json": data for number, data in roots.items() if number > before.root.version}
    trusted, _ = follow_roots(before, fresh, lambda _: None)
    return Found(before=before, trusted=trusted, roots=fresh, files=newer)


def _roots(files: Files) -> dict[int, bytes]:
    """Return the roots that lie in the folder, by version."""
    named = [(name, data) for name, data in files.items() if name == "root.json" or ROOT_FILE.fullmatch(name)]
    roots: dict[int, bytes] = {}
    for name, data in named:
        number = read(data, Root, name=name).signed.version
        if name not in {"root.json", f"{number}.root.json"}:
            raise MetadataError(f"{name} has version {number}.", hint="Name it as its version says.")
        if roots.setdefault(number, data) != data:
            raise MetadataRollbackError(f"root.json and {number}.root.json are of one version and not the same.", hint="Keep the true one.")
    return roots


def _own(image: Found) -> dict[str, bytes]:
    own = {name: data for name, data in image.files.items() if name in _OWN}
    _require_own(own, image.trusted.root)
    return own


def _require_own(files: Files, root: Root) -> None:
    if "snapshot.json" in files:
        verified(files["snapshot.json"], Snapshot, root, "snapshot", name="snapshot.json")
    if "timestamp.json" in files:
        verified(files["timestamp.json"], Timestamp, root, "timestamp", name="timestamp.json")


def _go_on(turn: Turn, director: Found, image: Found) -> None:
    sent = {name: data for name, data in image.files.items() if name not in _OWN}
    take_now(turn, TrustUpdate(image={**sent, **image.roots}, director={**director.files, **director.roots}), FOLDER)


def _begin(ledger: Ledger, director: Found, image: Found, online: Online, now: datetime) -> None:
    if director.files:
        raise InvalidInput(f"The director's folder holds {min(director.files)}; only roots belong there.", hint="Remove it.")
    settle_root(director.trusted, now)
    for name in ("targets.json", *_OWN):
        if name not in image.files:
            raise MetadataError(f"{name} of the image repository is missing.")
    whole = {**image.files, "root.json": image.trusted.files["root.json"]}
    _require_own({name: whole[name] for name in _OWN}, image.trusted.root)
    whole |= (resign if _is_snapshot_behind(whole) else refresh)(whole, online.image, now)
    verify_whole(image.before, whole, image.roots, image.files, now)
    require_one_role(director.trusted.root, image.trusted.root, delegators(whole))
    for repository, found in (("director", director), ("image", image)):
        for data in (found.before.files["root.json"], *(found.roots[name] for name in _in_order(found.roots))):
            ledger.put_metadata(repository, {"root.json": data}, versions({"root.json": data}))
    ledger.put_metadata("image", whole, versions(whole))


def _is_snapshot_behind(files: Files) -> bool:
    """Say whether there are newer roles than the snapshot names, and none older: people put them beside it."""
    meta = read(files["snapshot.json"], Snapshot, name="snapshot.json").signed.meta
    roles = {name: number for name, number in versions(files).items() if name not in {"root.json", *_OWN}}
    named = {name: meta[name].version if name in meta else 0 for name in roles}
    return named != roles and all(named[name] <= number for name, number in roles.items())


def _in_order(roots: Files) -> list[str]:
    return sorted(roots, key=lambda name: int(name.split(".")[0]))


@contextmanager
def _explained() -> Iterator[None]:
    """Say of a refusal where the file lies and what to do about it."""
    try:
        yield
    except (TrustError, InvalidInput) as error:
        raise _with_place(error) from error


def _with_place(error: Error) -> Error:
    hint = f"{error.hint} Nothing was taken in: put the file right in the server's {FOLDER}, or take it away, and start again.".lstrip()
    return type(error)(f"What lies in the server's {FOLDER} is refused: {error.message}", hint=hint)
