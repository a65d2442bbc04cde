# SPDX-License-Identifier: Apache-2.0
"""Renew: give a device its next certificate; the one it calls with serves until it expires."""

from datetime import datetime

from surefoot.fleet.enroll import certificate_terms
from surefoot.model.assignment import DeviceId
from surefoot.model.wire import EnrolmentAnswer, RenewalRequest
from surefoot.server.services.ports import DeviceCertificates, Ledger, Write


async def renew(device_id: DeviceId, request: RenewalRequest, ca: DeviceCertificates, write: Write, now: datetime) -> EnrolmentAnswer:
    """Issue a certificate for the key behind a request; the caller has been let in already.

    Raises:
        FormatError: The request's CSR cannot be used.
    """

    def job(ledger: Ledger) -> EnrolmentAnswer:
        terms = certificate_terms(device_id, now)
        issued = ca.issue(request.csr, terms)
        ledger.add_certificate(device_id, issued.serial, issued.issuer, terms)
        return EnrolmentAnswer(certificate=issued.pem)

    return await write(job)
