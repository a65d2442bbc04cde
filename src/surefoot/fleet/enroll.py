# SPDX-License-Identifier: Apache-2.0
"""The rules of joining the fleet: single-use tokens, and what a device certificate says.

- A token is kept as its SHA-256 only, is bound to one device and one hardware, and works once, before it expires.
- Whatever is wrong with a token, a stranger reads the same sentence.
- Everything in a certificate but the public key is the server's word.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from surefoot.model.assignment import DeviceId
from surefoot.model.errors import DeniedError
from surefoot.model.record import Name
from surefoot.model.wire import DEVICE_URN

CERTIFICATE_LIFE = timedelta(days=7)
CLOCK_SKEW = timedelta(minutes=5)
"""How far back a certificate starts, for devices whose clock is a little behind."""

TOKEN_LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A permission to enrol once.

    Attributes:
        hash: SHA-256 of the secret; the secret itself is never kept.
        device_id: The only device that may use it.
        hardware: The only hardware that may use it.
        expires_at: First instant at which it no longer works.
    """

    hash: bytes
    device_id: DeviceId
    hardware: Name
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateTerms:
    """What the server will say in a device certificate (RFC 5280): subject CN, SAN URI and validity."""

    common_name: str
    uri: str
    not_before: datetime
    not_after: datetime


def token_hash(secret: str) -> bytes:
    """Return what is kept of a secret with 128 bits of randomness or more: its SHA-256."""
    return hashlib.sha256(secret.encode()).digest()


def token_for(secret: str, device_id: DeviceId, hardware: Name, now: datetime, life: timedelta = TOKEN_LIFE) -> Token:
    """Return the record of a new token."""
    return Token(hash=token_hash(secret), device_id=device_id, hardware=hardware, expires_at=now + life)


def certificate_terms(device_id: DeviceId, now: datetime) -> CertificateTerms:
    """Return what the certificate of this device says, issued now. A CN holds 64 characters at most (RFC 5280 A.1)."""
    return CertificateTerms(
        common_name=device_id[:64],
        uri=DEVICE_URN + device_id,
        not_before=now - CLOCK_SKEW,
        not_after=now + CERTIFICATE_LIFE,
    )


def refusal() -> DeniedError:
    """Return the one error for every reason a token does not work."""
    return DeniedError("This token does not let this device join.", hint="Ask for a new one with 'surefoot token new'.")
