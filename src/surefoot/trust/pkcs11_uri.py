# SPDX-License-Identifier: Apache-2.0
"""PKCS#11 URIs: which key on which token, as RFC 7512 writes it.

- ``pkcs11:token=release;object=ann?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/ann.pin``
- A ``pin-value`` is refused, and never repeated: URIs are logged and shown in lists of processes.
- An attribute that is not known is refused, since leaving it out could name another key (RFC 7512 §2.3).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from surefoot.model.errors import InvalidInput

_PATH = frozenset({"token", "serial", "manufacturer", "model", "object", "id", "slot-id", "type"})
_QUERY = frozenset({"module-path", "pin-source"})
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HINT = "Write it as in 'pkcs11:token=release;object=ann?module-path=/usr/lib/softhsm/libsofthsm2.so' (RFC 7512)."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """A key on a token; what is empty or ``None`` was not said.

    Attributes:
        token: Label of the token.
        serial: Serial number of the token.
        manufacturer: Who made the token.
        model: Its model.
        slot_id: Number of the slot it is in.
        label: Label of the key (``object`` in the URI).
        key_id: Identifier of the key (``id``).
        module_path: The PKCS#11 module, an absolute path.
        pin_source: File whose first line is the PIN.
    """

    token: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""
    slot_id: int | None = None
    label: str = ""
    key_id: bytes = b""
    module_path: str = ""
    pin_source: Path | None = None

    @property
    def token_name(self) -> str:
        """What to call the token in messages."""
        return self.token or self.serial or ("" if self.slot_id is None else f"slot {self.slot_id}") or "any token"

    @property
    def key_name(self) -> str:
        """What to call the key in messages."""
        return self.label or self.key_id.hex() or "the only key"


def parse(text: str) -> Pkcs11Uri:
    """Read a URI.

    Raises:
        InvalidInput: It is no PKCS#11 URI, carries a PIN, or says something that is not known; values are not repeated.
    """
    path, _, query = text.removeprefix("pkcs11:").partition("?")
    if "pin-value" in re.split(r"[;&?=]", text):
        raise InvalidInput("A PIN in a URI (pin-value) is refused, since URIs are logged.", hint="Use 'pin-source=file:/PATH'.")
    found = _attributes(path, ";", _PATH)
    asked = _attributes(query, "&", _QUERY)
    if found.get("type", b"private") != b"private":
        raise InvalidInput("A key that signs has 'type=private' in its PKCS#11 URI, or no type.", hint=_HINT)
    return Pkcs11Uri(
        token=_text(found, "token"),
        serial=_text(found, "serial"),
        manufacturer=_text(found, "manufacturer"),
        model=_text(found, "model"),
        slot_id=_number(found, "slot-id"),
        label=_text(found, "object"),
        key_id=found.get("id", b""),
        module_path=_module(asked),
        pin_source=_pin_source(asked),
    )


def _attributes(text: str, separator: str, known: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else []:
        name, equals, value = part.partition("=")
        if not equals or name not in known:
            raise InvalidInput(f"A PKCS#11 URI has no attribute {name[:40]!r} there.", hint=_HINT)
        if name in found:
            raise InvalidInput(f"The PKCS#11 URI says '{name}' twice.", hint=_HINT)
        if _BROKEN_PERCENT.search(value):
            raise InvalidInput(f"In the PKCS#11 URI, '{name}' has a percent sign without two hex digits.", hint=_HINT)
        found[name] = unquote_to_bytes(value)
    return found


def _text(found: Mapping[str, bytes], name: str) -> str:
    try:
        return found.get(name, b"").decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"In the PKCS#11 URI, '{name}' is not UTF-8.", hint=_HINT) from error


def _number(found: Mapping[str, bytes], name: str) -> int | None:
    text = _text(found, name)
    if text and not (text.isascii() and text.isdigit()):
        raise InvalidInput(f"In the PKCS#11 URI, '{name}' is not a number.", hint=_HINT)
    return int(text) if text else None


def _module(asked: Mapping[str, bytes]) -> str:
    path = _text(asked, "module-path")
    if path and not path.startswith("/"):
        raise InvalidInput("In the PKCS#11 URI, 'module-path' is not an absolute path.", hint=_HINT)
    return path


def _pin_source(asked: Mapping[str, bytes]) -> Path | None:
    source = _text(asked, "pin-source")
    if not source:
        return None
    path = source.removeprefix("file:")
    # RFC 8089 knows one slash and three; RFC 7512's "|command" would run whatever a URI says.
    path = path.removeprefix("//") if path.startswith("///") else path
    if not source.startswith("file:") or not path.startswith("/") or path.startswith("//"):
        raise InvalidInput("In the PKCS#11 URI, 'pin-source' is not 'file:' and an absolute path.", hint=_HINT)
    return Path(path)
