# SPDX-License-Identifier: Apache-2.0
"""Where passphrases and PINs come from: a port, implemented at the edge."""

from typing import NoReturn, Protocol

from surefoot.model.errors import InvalidInput


class Secrets(Protocol):
    """Where passphrases and PINs come from; implemented at the edge."""

    def secret(self, what: str) -> str:
        """Return a secret.

        Args:
            what: Its name: ``<key's file name without .pem>.passphrase``, or ``<token's label>.pin``.

        Raises:
            InvalidInput: There is none; the message says where it is looked for.
        """
        ...


class NoSecrets:
    """For keys that need no passphrase and no PIN."""

    def secret(self, what: str) -> NoReturn:
        """Refuse."""
        raise InvalidInput(f"The secret '{what}' is needed, and nobody is asked for it here.")


NO_SECRETS = NoSecrets()
"""The one there needs to be."""
