# SPDX-License-Identifier: Apache-2.0
"""A PKCS#11 module in this process: loaded once, one caller at a time, one login a token.

- A login counts for all sessions of a process (PKCS#11 2.40 §5.6), so each token has one session that logs in, kept here; those of
  signers are opened without a PIN and may be closed without logging anybody out.
- A token that is not seen makes the module start anew, since some look for tokens only then. Sessions opened before are worthless.
- A PIN that a token refused is not tried again: tokens lock after a few. Otherwise a PIN is asked for at each login and kept nowhere.
"""

import os
import threading
from contextlib import suppress

import pkcs11
from pkcs11 import TokenFlag
from pkcs11._pkcs11 import lib
from pkcs11.exceptions import PinIncorrect, PinInvalid, PinLenRange, PinLocked, PKCS11Error, UserAlreadyLoggedIn

from surefoot.model.errors import InvalidInput, SignerUnavailableError
from surefoot.trust.pkcs11_uri import Pkcs11Uri
from surefoot.trust.secret import Secrets

MODULE_VARIABLE = "SUREFOOT_PKCS11_MODULE"
"""Environment variable that names the PKCS#11 module for URIs without ``module-path``."""


class Pkcs11Module:
    """A PKCS#11 module as one process has loaded it; its methods are called with ``lock`` held.

    Attributes:
        lock: Held during every call into the module.
        generation: Counts the restarts; what was opened in an earlier one is worthless.
    """

    def __init__(self, path: str, *, is_inherited: bool) -> None:
        self.lock = threading.RLock()
        self.generation = 0
        self._path = path
        self._is_inherited = is_inherited
        self._library: lib | None = None
        self._logins: dict[bytes, pkcs11.Session] = {}
        self._refused: dict[bytes, str] = {}

    def token(self, uri: Pkcs11Uri) -> pkcs11.Token:
        """Return the one token that fits a URI.

        Raises:
            InvalidInput: Several do.
            SignerUnavailableError: None does, at present.
            PKCS11Error: The module does not start.
        """
        try:
            found = self._tokens(uri)
        except PKCS11Error:
            found = []
        if not found:
            # Some modules, SoftHSM's among them, look for tokens only when they are initialised.
            self._restart()
            found = self._tokens(uri)
        if len(found) > 1:
            raise InvalidInput(f"{len(found)} tokens fit the PKCS#11 URI.", hint="Add 'token=', 'serial=' or 'slot-id=' to it.")
        if not found:
            raise SignerUnavailableError(f"The token {uri.token_name} is not there.", hint="Connect it, or correct the URI.")
        return found[0]

    def log_in(self, token: pkcs11.Token, uri: Pkcs11Uri, secrets: Secrets) -> None:
        """Log this process in to a token.

        Raises:
            InvalidInput: The PIN is wrong, was refused before, or is not to be had; or the token is locked.
            PKCS11Error: The token does not answer.
        """
        pin = _pin(token, uri, secrets)
        if self._refused.get(token.serial) == pin:
            raise InvalidInput(
                f"The token {token.label} refused this PIN before; it is not tried again, since tokens lock.", hint=_PIN_HINT
            )
        earlier = self._logins.pop(token.serial, None)
        if earlier is not None:
            with suppress(PKCS11Error):
                earlier.close()
        try:
            self._logins[token.serial] = token.open(user_pin=pin)
        except UserAlreadyLoggedIn:
            return
        except (PinIncorrect, PinInvalid, PinLenRange) as error:
            self._refused[token.serial] = pin
            raise InvalidInput(f"The PIN does not open the token {token.label}.", hint=_PIN_HINT) from error
        except PinLocked as error:
            raise InvalidInput(f"The token {token.label} is locked: too many wrong PINs.", hint="Unlock it with its SO PIN.") from error
        self._refused.pop(token.serial, None)

    def _tokens(self, uri: Pkcs11Uri) -> list[pkcs11.Token]:
        library = self._library or pkcs11.lib(self._path)
        # A child must initialise the module for itself (PKCS#11 2.40 §5.4); and whoever else ended it, ended our sessions with it.
        if self._is_inherited or not library.initialized:
            self._restart()
        self._is_inherited, self._library = False, library
        found = library.get_tokens(token_label=uri.token or None, token_flags=TokenFlag.TOKEN_INITIALIZED)
        return [token for token in found if _fits(token, uri)]

    def _restart(self) -> None:
        self.generation += 1
        self._logins.clear()
        library = pkcs11.lib(self._path)
        with suppress(PKCS11Error):
            library.finalize()
        library.initialize()


_PIN_HINT = "Correct the file that 'pin-source' names, or the credential."

# The state of a loaded module is the process's by its nature: one initialisation, one login a token.
_MODULES: dict[tuple[str, int], Pkcs11Module] = {}


def module_at(path: str) -> Pkcs11Module:
    """Return the module at ``path`` as this process uses it; nothing is loaded yet."""
    key = path, os.getpid()
    if key not in _MODULES:
        is_inherited = any(known == path for known, _ in tuple(_MODULES))
        _MODULES.setdefault(key, Pkcs11Module(path, is_inherited=is_inherited))
    return _MODULES[key]


def module_path(uri: Pkcs11Uri) -> str:
    """Return which module a URI is for: its own ``module-path``, or the one that the environment names.

    Raises:
        InvalidInput: Neither says one, or there is none there.
    """
    path = uri.module_path or os.environ.get(MODULE_VARIABLE, "")
    if not path:
        raise InvalidInput("Nobody says which PKCS#11 module to load.", hint=f"Add 'module-path=' to the URI, or set {MODULE_VARIABLE}.")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"There is no PKCS#11 module at {path}.", hint="Install the token's driver, or correct the path.")
    return path


def _pin(token: pkcs11.Token, uri: Pkcs11Uri, secrets: Secrets) -> str:
    if uri.pin_source is None:
        return secrets.secret(f"{token.label}.pin")
    try:
        return uri.pin_source.read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The PIN cannot be read from {uri.pin_source}.", hint="Correct 'pin-source' in the URI.") from error


def _fits(token: pkcs11.Token, uri: Pkcs11Uri) -> bool:
    return (
        uri.slot_id in {None, token.slot.slot_id}
        and uri.serial in {"", token.serial.decode("utf-8", "replace").strip()}
        and uri.manufacturer in {"", token.manufacturer_id}
        and uri.model in {"", token.model}
    )
