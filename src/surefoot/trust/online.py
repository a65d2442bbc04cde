# SPDX-License-Identifier: Apache-2.0
"""The server's own keys at this moment: whoever holds them signs with the newest root's keys, without being told of a rotation.

What they sign is noted in memory, by role, as the SHA-256 of each payload; the audit takes the notes once in a while.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock

from securesystemslib.signer import Key, SecretsHandler, Signature, Signer
from tuf.api.metadata import Root

from surefoot.model.errors import InvalidInput
from surefoot.trust.director import DirectorSigners
from surefoot.trust.keyring import Keyring
from surefoot.trust.repository import OnlineSigners


@dataclass(slots=True)
class Notes:
    """What was signed since the notes were last taken: ``(role, SHA-256 of the payload)``, in order; safe between threads."""

    _signed: list[tuple[str, bytes]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def add(self, role: str, payload: bytes) -> None:
        """Note one signature."""
        with self._lock:
            self._signed.append((role, sha256(payload).digest()))

    def take(self) -> list[tuple[str, bytes]]:
        """Return what was noted, and begin again."""
        with self._lock:
            signed, self._signed = self._signed, []
        return signed

    def give_back(self, signed: list[tuple[str, bytes]]) -> None:
        """Put back what was taken, before what has come since."""
        with self._lock:
            self._signed[:0] = signed


class _Held(Signer):
    """A signer whose key can be changed while others hold it."""

    def __init__(self, role: str, key: Signer, notes: Notes) -> None:
        self.role, self.key, self._notes = role, key, notes

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None) -> Signer:  # noqa: ARG003  # the port's
        """Refuse with ``InvalidInput``; no scheme leads here, since a held key is made from one that is open."""
        raise InvalidInput("A held key has no URI.", hint="Use surefoot.trust.signer.open_signer.")

    @property
    def public_key(self) -> Key:
        return self.key.public_key

    def sign(self, payload: bytes) -> Signature:
        signature = self.key.sign(payload)
        self._notes.add(self.role, payload)
        return signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys that a pair of roots names, ready to sign."""

    director: DirectorSigners
    image: OnlineSigners


class Online:
    """The keys in use; ``director`` and ``image`` may be handed out once and always sign with the present ones."""

    def __init__(self, ring: Callable[[], Keyring], director: Root, image: Root) -> None:
        """Find the keys of two roots.

        Args:
            ring: Reads the folder of keys anew.
            director: The director's root.
            image: The image repository's root.

        Raises:
            InvalidInput: The folder lacks a key of theirs, or one cannot be opened.
        """
        self.ring = ring
        self.notes = Notes()
        found = self.find(ring(), director, image)
        self.director, self.image = found.director, found.image

    def find(self, ring: Keyring, director: Root, image: Root) -> Keys:
        """Return the keys of two roots, without using them yet; each signature of theirs is noted.

        Raises:
            InvalidInput: The folder lacks one of them; the message names the role, the key and the folder.
        """
        own, shared = ring.director(director), ring.image(image)
        return Keys(
            director=DirectorSigners(
                targets=self._held("director targets", own.targets),
                snapshot=self._held("director snapshot", own.snapshot),
                timestamp=self._held("director timestamp", own.timestamp),
            ),
            image=OnlineSigners(
                snapshot=self._held("image snapshot", shared.snapshot), timestamp=self._held("image timestamp", shared.timestamp)
            ),
        )

    def present(self) -> Keys:
        """Return the keys in use now, which do not change with ``use``."""
        return Keys(
            director=DirectorSigners(
                targets=_copy(self.director.targets), snapshot=_copy(self.director.snapshot), timestamp=_copy(self.director.timestamp)
            ),
            image=OnlineSigners(snapshot=_copy(self.image.snapshot), timestamp=_copy(self.image.timestamp)),
        )

    def use(self, keys: Keys) -> None:
        """Sign with these from now on."""
        for mine, theirs in (
            (self.director.targets, keys.director.targets),
            (self.director.snapshot, keys.director.snapshot),
            (self.director.timestamp, keys.director.timestamp),
            (self.image.snapshot, keys.image.snapshot),
            (self.image.timestamp, keys.image.timestamp),
        ):
            mine.key = theirs.key  # type: ignore[attr-defined]  # all of them were made here

    def _held(self, role: str, key: Signer) -> Signer:
        return _Held(role, key, self.notes)


def _copy(held: Signer) -> Signer:
    assert isinstance(held, _Held)  # noqa: S101  # all of them were made here
    return _Held(held.role, held.key, held._notes)  # noqa: SLF001  # the same class
