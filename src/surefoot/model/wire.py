# SPDX-License-Identifier: Apache-2.0
"""The device API: what agent and server say to each other besides events.

``GET /v1/poll`` with ``If-None-Match`` answers 304 with ``Surefoot-Next-Poll`` (seconds) when nothing changed, else 200
with a ``PollAnswer``. ``POST /v1/enroll`` takes an ``EnrolmentRequest`` on the enrolment listener.
"""

from typing import Annotated

from msgspec import Meta

from surefoot.model.assignment import DeviceId
from surefoot.model.digest import Digest
from surefoot.model.record import Hint, Name, Record, Size

NEXT_POLL_HEADER = "Surefoot-Next-Poll"
RENEW_HEADER = "Surefoot-Renew"
"""In any answer to a poll: the seconds after which the device is to renew its certificate, however long that still lasts."""

DEVICE_URN = "urn:surefoot:device:"
"""The SAN URI of a device certificate is this, followed by the device id."""


class ArtifactHint(Hint, frozen=True, kw_only=True):
    """Where an image may be fetched; nothing here is trusted."""

    hash: Digest
    urls: list[str]
    size: Size


class PollMetadata(Hint, frozen=True, kw_only=True):
    """Signed files by repository and name, each file as base64."""

    director: dict[str, bytes] = {}
    image: dict[str, bytes] = {}


class PollAnswer(Hint, frozen=True, kw_only=True):
    """What changed for a device since the ETag it sent."""

    next_poll_s: Annotated[int, Meta(ge=1, le=86_399)]
    metadata: PollMetadata
    artifacts: list[ArtifactHint] = []


class EnrolmentOffer(Record, frozen=True, kw_only=True):
    """``enrol.json``: all a device needs to join, written by ``surefoot token new``.

    Attributes:
        device_id: The only device that may use the token.
        hardware: The only hardware that may use it.
        enroll_url: The enrolment listener, ``https://host:port``; server TLS, no client certificate.
        device_url: The device listener, ``https://host:port``; mutual TLS.
        token: Single-use secret.
        server_ca: PEM of the CA behind both listeners.
        director_root: First trusted root of the director, as its JSON text.
        image_root: First trusted root of the image repository, as its JSON text.
    """

    device_id: DeviceId
    hardware: Name
    enroll_url: str
    device_url: str
    token: str
    server_ca: str
    director_root: str
    image_root: str


class EnrolmentRequest(Record, frozen=True, kw_only=True):
    """A device's request for its first certificate; of the CSR only the public key is used."""

    device_id: DeviceId
    hardware: Name
    token: Annotated[str, Meta(max_length=200)]
    csr: Annotated[str, Meta(max_length=8_192)]


class RenewalRequest(Record, frozen=True, kw_only=True):
    """A device's request for its next certificate, ``POST /v1/renew``; the certificate it calls with says who it is."""

    csr: Annotated[str, Meta(max_length=8_192)]


class EnrolmentAnswer(Record, frozen=True, kw_only=True):
    """A device certificate (PEM, seven days)."""

    certificate: str
