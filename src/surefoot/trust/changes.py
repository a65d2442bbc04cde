# SPDX-License-Identifier: Apache-2.0
"""Changes of who may sign, as pure functions: each gives the next version of a file, without signatures.

- A threshold can be met by the keys that are left, and a root's is never below two.
- No key has two roles, whatever it is called: keys are compared by what they are.
- A key says who holds it, in its field ``holder``.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import Metadata, Role, Root, Targets

from surefoot.model.errors import ConflictError, InvalidInput
from surefoot.model.record import parse_name
from surefoot.trust.metadata import expiry, read, same_key, sign_with
from surefoot.trust.offline import ROOT_THRESHOLD, delegate

HOLDER_FIELD = "holder"
"""Field of a key in metadata that names the person who holds it."""

ONLY_KEY = "*"
"""Means the key of a role that has one; no holder is called so."""

Vouching = Root | Targets
"""What names keys and thresholds: a root, or targets that delegate."""


def read_vouching(data: bytes, kind: type[Root] | type[Targets], *, name: str) -> Metadata[Any]:
    """Parse a root or targets, verifying nothing; ``MetadataError`` as for ``read``."""
    return read(data, Root, name=name) if kind is Root else read(data, Targets, name=name)


def held(key: Key, holder: str) -> Key:
    """Return the key with the name of its holder.

    Raises:
        InvalidInput: The name is none: up to 64 lower-case letters, digits, dots, hyphens and underscores.
    """
    name = parse_name(holder, what="who holds a key")
    return SSlibKey(key.keyid, key.keytype, key.scheme, dict(key.keyval), {HOLDER_FIELD: name})


def called(key: Key) -> str:
    """Return how to speak of a key: its holder, if it says so, and its id."""
    holder = str(key.unrecognized_fields.get(HOLDER_FIELD, ""))
    # Somebody else may have written it: nothing but a name may reach a terminal.
    return (
        f"{holder} ({key.keyid})" if holder.replace("-", "").replace("_", "").replace(".", "").isalnum() and holder.isascii() else key.keyid
    )


def roles_of(signed: Vouching) -> dict[str, Role]:
    """Return the roles whose keys a file names."""
    if isinstance(signed, Root):
        return dict(signed.roles)
    return dict(signed.delegations.roles or {}) if signed.delegations is not None else {}


def keys_of(signed: Vouching, role: str) -> dict[str, Key]:
    """Return the keys of a role by their id; ``InvalidInput`` when the file knows no such role."""
    roles = roles_of(signed)
    if role not in roles:
        raise InvalidInput(f"There is no role '{role}'.", hint=f"Known are: {', '.join(sorted(roles))}.")
    known = signed.keys if isinstance(signed, Root) else signed.delegations.keys if signed.delegations is not None else {}
    return {keyid: known[keyid] for keyid in roles[role].keyids if keyid in known}


def find_key(signed: Vouching, role: str, wanted: str) -> str:
    """Return the id of the key that ``wanted`` means: a holder's name, a key id, or ``ONLY_KEY``.

    Raises:
        InvalidInput: The role has no such key, or several that this holder holds.
    """
    keys = keys_of(signed, role)
    found = [keyid for keyid, key in keys.items() if wanted in {keyid, key.unrecognized_fields.get(HOLDER_FIELD), ONLY_KEY}]
    if len(found) != 1:
        known = ", ".join(called(key) for key in keys.values())
        if wanted == ONLY_KEY:
            raise InvalidInput(f"The role '{role}' has {len(found)} keys; which of them goes?", hint=f"Name one of: {known}.")
        raise InvalidInput(f"'{wanted[:80]}' names {len(found)} keys of the role '{role}'.", hint=f"Name one of: {known}.")
    return found[0]


def change_keys(
    before: bytes,
    kind: type[Root] | type[Targets],
    role: str,
    now: datetime,
    *,
    add: Sequence[Key] = (),
    remove: Sequence[str] = (),
    threshold: int | None = None,
    elsewhere: Iterable[Key] = (),
) -> bytes:
    """Return the next version of a file, in which ``role`` has other keys; it bears no signature yet.

    Args:
        before: The file as it is.
        kind: What it is.
        role: Whose keys change.
        now: When; the expiry is counted from it.
        add: New keys.
        remove: Ids of keys that go.
        threshold: How many must sign from then on; ``None`` leaves it.
        elsewhere: Keys of other files, which may not have this role too.

    Raises:
        InvalidInput: The role or a key is unknown, a key has a role already, or the threshold cannot be met.
    """
    metadata: Metadata[Any] = read_vouching(before, kind, name=role)
    signed = metadata.signed
    keys_of(signed, role)
    for keyid in remove:
        signed.revoke_key(find_key(signed, role, keyid), role)
    taken = [*elsewhere, *(key for name in roles_of(signed) for key in keys_of(signed, name).values())]
    require_unused(add, taken)
    for key in add:
        signed.add_key(key, role)
    changed = roles_of(signed)[role]
    changed.threshold = changed.threshold if threshold is None else threshold
    require_attainable(role, changed.threshold, len(changed.keyids), is_root=role == "root" and isinstance(signed, Root))
    return _next(metadata, now)


def add_delegation(
    before: bytes, product: str, keys: Sequence[Key], threshold: int, now: datetime, *, elsewhere: Iterable[Key] = ()
) -> bytes:
    """Return the next version of the top-level targets, in which a product has a role; it bears no signature yet.

    Args:
        before: The targets as they are.
        product: The new product.
        keys: Who may release it.
        threshold: How many of them must sign.
        now: When; the expiry is counted from it.
        elsewhere: Keys of other files, which may not have this role too.

    Raises:
        ConflictError: The product has a role already.
        InvalidInput: It cannot be called so, a key has a role already, or the threshold cannot be met.
    """
    metadata: Metadata[Any] = read_vouching(before, Targets, name="targets.json")
    known = roles_of(metadata.signed)
    if product in known:
        raise ConflictError(f"The product '{product}' has a role already.", hint="It can be released: 'surefoot release sign'.")
    require_unused(keys, [*elsewhere, *(key for name in known for key in keys_of(metadata.signed, name).values())])
    require_attainable(product, threshold, len(keys), is_root=False)
    delegate(metadata.signed, product, keys, threshold)
    return _next(metadata, now)


def renew(before: bytes, kind: type[Root] | type[Targets], now: datetime) -> bytes:
    """Return the next version of a file with the same content and a new expiry; it bears no signature yet."""
    metadata: Metadata[Any] = read_vouching(before, kind, name="metadata")
    return _next(metadata, now)


def _next(metadata: Metadata[Any], now: datetime) -> bytes:
    metadata.signed.version += 1
    metadata.signed.expires = expiry("root" if isinstance(metadata.signed, Root) else "targets", now)
    return sign_with(metadata, [])


def require_unused(keys: Iterable[Key], taken: Iterable[Key]) -> None:
    """Refuse keys of which one has a role already, or stands twice among them, with ``InvalidInput``."""
    seen = list(taken)
    for key in keys:
        if any(same_key(key, other) for other in seen):
            raise InvalidInput(
                f"The key {called(key)} has a role already, and no key has two.", hint="Make another with 'surefoot trust new-key'."
            )
        seen.append(key)


def require_attainable(name: str, threshold: int, keys: int, *, is_root: bool) -> None:
    """Refuse a threshold that so many keys cannot meet, or that is too low for a root, with ``InvalidInput``."""
    lowest = ROOT_THRESHOLD if is_root else 1
    if not lowest <= threshold <= keys:
        raise InvalidInput(
            f"The role '{name}' would need {threshold} signatures and have {keys} keys.",
            hint=f"Between {lowest} and {max(lowest, keys)} must sign: name it with --threshold, or add a key first.",
        )
