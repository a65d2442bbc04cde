# SPDX-License-Identifier: Apache-2.0
"""Groups and given attributes: what operators say of devices, so that plans can name them.

- A group is a name with members; it is there while it has any. Doing the same again changes nothing and leaves no act.
- Given attributes are replaced whole; they win over what the device reports.
"""

from datetime import datetime

from msgspec import structs

from surefoot.fleet.device import Device
from surefoot.model.assignment import DeviceId
from surefoot.model.attribute import Attributes, check_free
from surefoot.model.errors import UnknownError
from surefoot.model.record import Record, parse_name
from surefoot.server.services.ports import Act, Ledger, Write
from surefoot.server.services.windows import place


class AttributesRequest(Record, frozen=True, kw_only=True):
    """Every attribute that a device is given; those given before and not named here are taken back."""

    attributes: Attributes


async def add_member(group: str, device_id: DeviceId, *, by: str, write: Write, now: datetime) -> None:
    """Put a device into a group.

    Raises:
        UnknownError: There is no such device.
        InvalidInput: The group's name is none.
    """
    parse_name(group, what="a group")

    def job(ledger: Ledger) -> None:
        _known(ledger, device_id)
        if ledger.add_member(group, device_id):
            ledger.add_act(Act(at=now, by=by, what="group.add", subject=f"{group} {device_id}"))

    await write(job)


async def remove_member(group: str, device_id: DeviceId, *, by: str, write: Write, now: datetime) -> None:
    """Take a device out of a group.

    Raises:
        UnknownError: It is not in it.
    """

    def job(ledger: Ledger) -> None:
        if not ledger.remove_member(group, device_id):
            raise UnknownError(f"Device {device_id} is not in group '{group}'.", hint=f"See 'surefoot group show {group}'.")
        ledger.add_act(Act(at=now, by=by, what="group.remove", subject=f"{group} {device_id}"))

    await write(job)


async def give_attributes(device_id: DeviceId, request: AttributesRequest, *, by: str, write: Write, now: datetime) -> Device:
    """Set all that a device is given, and return the device.

    Raises:
        UnknownError: There is no such device.
        InvalidInput: A name is that of a built-in attribute.
    """
    check_free(request.attributes)

    def job(ledger: Ledger) -> Device:
        device = _known(ledger, device_id)
        if device.given == request.attributes:
            return device
        moved = structs.replace(device, given=request.attributes)
        ledger.put_device(moved)
        if place(moved) != place(device):
            ledger.look_again(device_id)
        device = moved
        ledger.add_act(Act(at=now, by=by, what="device.set", subject=device_id))
        return device

    return await write(job)


def _known(ledger: Ledger, device_id: DeviceId) -> Device:
    device = ledger.device(device_id)
    if device is None:
        raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
    return device
