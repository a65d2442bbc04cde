# SPDX-License-Identifier: Apache-2.0
"""Revoke: a device's key is lost, so whoever calls with it is a stranger from the next request on.

All certificates of the device end, and the tokens that wait for it. The device itself stays in the fleet: it comes back with a new token,
and a new key.
"""

from datetime import datetime

from surefoot.model.assignment import DeviceId
from surefoot.model.errors import UnknownError
from surefoot.model.record import Record
from surefoot.server.services.ports import Act, Ledger, Write


class RevocationAnswer(Record, frozen=True, kw_only=True, omit_defaults=False):
    """How many certificates of a device ended, and the hardware that a new token is to name."""

    certificates: int
    hardware: str


async def revoke(device_id: DeviceId, *, by: str, write: Write, now: datetime) -> RevocationAnswer:
    """End every certificate of a device, and every token that would let it in; the same again changes nothing.

    Raises:
        UnknownError: There is no such device.
    """

    def job(ledger: Ledger) -> RevocationAnswer:
        device = ledger.device(device_id)
        if device is None:
            raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
        ended = ledger.revoke_certificates(device_id, now)
        ledger.remove_tokens(device_id)
        ledger.add_act(Act(at=now, by=by, what="device.revoke", subject=device_id))
        return RevocationAnswer(certificates=ended, hardware=device.hardware)

    return await write(job)
