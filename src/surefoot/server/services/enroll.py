# SPDX-License-Identifier: Apache-2.0
"""Enrol: let a device join, once per token; and make the tokens."""

from datetime import datetime

from msgspec import structs

from surefoot.fleet.device import Device, DeviceState
from surefoot.fleet.enroll import certificate_terms, refusal, token_for, token_hash
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import ConflictError
from surefoot.model.record import Name, Record, utc_text
from surefoot.model.wire import EnrolmentAnswer, EnrolmentOffer, EnrolmentRequest
from surefoot.server.services.membership import regroup
from surefoot.server.services.ports import Act, DeviceCertificates, Ledger, Reads, Write


class TokenRequest(Record, frozen=True, kw_only=True):
    """What an operator asks for: a token for this device, being this hardware."""

    device_id: DeviceId
    hardware: Name


class Doors(Record, frozen=True, kw_only=True):
    """Where devices come in, as the offer tells them."""

    enroll_url: str
    device_url: str
    server_ca: str


async def enroll(request: EnrolmentRequest, ca: DeviceCertificates, write: Write, now: datetime) -> EnrolmentAnswer:
    """Use a token up and issue the device's certificate, both or neither.

    Raises:
        DeniedError: The token does not work, in the same words whatever the reason.
        FormatError: The request's CSR cannot be used; the token still can.
    """

    def job(ledger: Ledger) -> EnrolmentAnswer:
        if not ledger.use_token(token_hash(request.token), request.device_id, request.hardware, now):
            raise refusal()
        known = ledger.device(request.device_id)
        if known is not None and known.state is DeviceState.REVOKED:
            raise refusal()
        terms = certificate_terms(request.device_id, now)
        issued = ca.issue(request.csr, terms)
        ledger.put_device(_joined(request, known, now))
        regroup(ledger, request.device_id, now)
        ledger.add_certificate(request.device_id, issued.serial, issued.issuer, terms)
        return EnrolmentAnswer(certificate=issued.pem)

    return await write(job)


async def offer(request: TokenRequest, secret: str, doors: Doors, *, by: str, reads: Reads, write: Write, now: datetime) -> EnrolmentOffer:
    """Store a token made from ``secret`` and return all that its device needs to join.

    Raises:
        ConflictError: The device is revoked.
    """

    def job(ledger: Ledger) -> None:
        known = ledger.device(request.device_id)
        if known is not None and known.state is DeviceState.REVOKED:
            raise ConflictError(f"Device {request.device_id} is revoked; it may not join again.")
        ledger.add_token(token_for(secret, request.device_id, request.hardware, now))
        ledger.add_act(Act(at=now, by=by, what="token.new", subject=request.device_id))

    await write(job)
    return EnrolmentOffer(
        device_id=request.device_id,
        hardware=request.hardware,
        enroll_url=doors.enroll_url,
        device_url=doors.device_url,
        token=secret,
        server_ca=doors.server_ca,
        director_root=reads.metadata("director", ("root.json",)).files["root.json"].decode(),
        image_root=reads.metadata("image", ("root.json",)).files["root.json"].decode(),
    )


def _joined(request: EnrolmentRequest, known: Device | None, now: datetime) -> Device:
    if known is not None:
        return structs.replace(known, hardware=request.hardware, state=DeviceState.ACTIVE)
    return Device(device_id=request.device_id, hardware=request.hardware, state=DeviceState.ACTIVE, enrolled_at=utc_text(now))
