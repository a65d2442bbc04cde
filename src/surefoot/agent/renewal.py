# SPDX-License-Identifier: Apache-2.0
"""How a device stays in: a new certificate, for the key store's next key, when a third of the old one's life is left.

A server whose CA rolled over asks for that earlier; it is obeyed, but not more than once an hour, whatever it says. A clock that is days
ahead finds every certificate old: one that was just got serves for a third of its life, by the monotonic clock, before another is due.

It is asked for over mutual TLS, and the old one serves until the new one lies whole on disk; cut off anywhere in between, the device
tries again later.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from surefoot.agent.clock import Clock
from surefoot.agent.enrol import keep_certificate, read_certificate, require_match
from surefoot.agent.keystore import KeyStore
from surefoot.agent.storage import Storage
from surefoot.model.assignment import DeviceId


class CertificateSource(Protocol):
    """Where a new certificate comes from; ``surefoot.agent.transport.HttpsServer`` is the real one."""

    def renew(self, csr: str) -> str:
        """Return a new certificate (PEM) for the key behind a request; ``TransportError`` when there is none to be had."""
        ...

    def is_renewal_asked(self) -> bool:
        """Say whether the server wants a renewal now."""
        ...

    def reload(self) -> None:
        """Use the new certificate from now on."""
        ...


ASKED_EVERY_S = 3_600
"""How long a server that asks again and again is not heard after it was."""


class Renewal:
    """Called before each poll; does something once in a few days."""

    def __init__(
        self,
        storage: Storage,
        folder: str,
        device_id: DeviceId,
        source: CertificateSource,
        clock: Clock,
        *,
        keys: KeyStore,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Look after the certificate of ``device_id`` in ``folder``; ``InvalidInput`` when there is none.

        ``beat`` is called between a key that may take a minute and an answer that may take two.
        """
        self._storage = storage
        self._folder = folder
        self._device_id = device_id
        self._source = source
        self._clock = clock
        self._keys = keys
        self._beat = beat
        self._due_at, self._third = self._read_due_at()
        self._got_s: float | None = None
        self._obeyed_s: float | None = None

    def __call__(self) -> None:
        """Renew if that is due, or asked for.

        Raises:
            TransportError: The server gave no certificate for the device's key; the old one serves on.
            DeviceError: There is no key to be had, or the new certificate could not be kept; the old one serves on.
        """
        if not self._is_due() and not self._obeys():
            return
        key = self._keys.key_for(self._device_id)
        # A token may take its time to make a key, and so may the server.
        self._beat()
        certificate = self._source.renew(key.csr)
        require_match(certificate, key.csr)
        keep_certificate(self._storage, self._folder, key.pem, certificate)
        self._source.reload()
        self._due_at, self._third = self._read_due_at()
        self._got_s = self._clock.monotonic()

    def _is_due(self) -> bool:
        is_fresh = self._got_s is not None and self._clock.monotonic() < self._got_s + self._third.total_seconds()
        return not is_fresh and self._clock.now() >= self._due_at

    def _obeys(self) -> bool:
        """Say whether the server asks and is to be heard; from then on it is not, for a while, whatever comes of it."""
        now_s = self._clock.monotonic()
        is_tired = self._obeyed_s is not None and now_s < self._obeyed_s + ASKED_EVERY_S
        if is_tired or not self._source.is_renewal_asked():
            return False
        self._obeyed_s = now_s
        return True

    def _read_due_at(self) -> tuple[datetime, timedelta]:
        """Return when the certificate is to be renewed, and a third of its life."""
        certificate = read_certificate(self._storage, self._folder)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        third = (end - begin) / 3
        return end - third, third
