# SPDX-License-Identifier: Apache-2.0
"""What a caller of the operator API reaches: an operator of the fleet everything, a customer what is wholly that customer's.

- A route is closed to customers unless it names the rule of this module by which it opens: what is forgotten stays closed.
- A device is a customer's when its attribute ``customer`` says so; a site, when it has devices and all of them are.
- Who may not is told one thing, whatever there is: nobody learns from a refusal which devices, sites, groups or rollouts exist.
"""

from collections.abc import Awaitable, Callable, Mapping

from surefoot.fleet.device import attributes
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import DeniedError
from surefoot.schedule.nearest import Level
from surefoot.server.services.ports import Caller, Reads

Sites = Callable[[str], Awaitable[set[str]]]
"""Says of which customers the active devices of a site are, two of them at most; a device that says none is of the customer ''."""

Reach = Callable[[Caller, str, Mapping[str, str], Reads, Sites], Awaitable[bool]]
"""``reach(caller, customer, path, reads, sites)``: whether a route with these path parameters is open to a customer's caller."""


async def own_device(_caller: Caller, customer: str, path: Mapping[str, str], reads: Reads, _sites: Sites) -> bool:
    """Open a route that is about one device of the customer: ``device_id``."""
    device = reads.device(DeviceId(path["device_id"]))
    return device is not None and attributes(device).get("customer") == customer


async def own_windows(caller: Caller, customer: str, path: Mapping[str, str], reads: Reads, sites: Sites) -> bool:
    """Open a route that is about the windows of the customer, or of a site or device of the customer: ``level`` and ``key``."""
    level, key = path["level"], path["key"]
    match level:
        case Level.CUSTOMER:
            return key == customer
        case Level.SITE:
            return await sites(key) == {customer}
        case Level.DEVICE:
            return await own_device(caller, customer, {"device_id": key}, reads, sites)
        case _:
            return False


async def own_consent(caller: Caller, customer: str, path: Mapping[str, str], reads: Reads, sites: Sites) -> bool:
    """Open a route that is about a device of the customer in a group that was opened to the caller: ``name`` and ``device_id``."""
    return path["name"] in caller.groups and await own_device(caller, customer, path, reads, sites)


async def require(caller: Caller, reach: Reach | None, path: Mapping[str, str], reads: Reads, sites: Sites) -> None:
    """See that a caller reaches a route.

    Args:
        caller: Who calls.
        reach: The rule by which the route opens to customers; nothing when it never does.
        path: Its path parameters, as texts.
        reads: Devices.
        sites: Who is at a site.

    Raises:
        DeniedError: It is a customer's caller, and the route is not open to it; says the same whatever there is.
    """
    if caller.customer is not None and (reach is None or not await reach(caller, caller.customer, path, reads, sites)):
        raise DeniedError(
            "This token is a customer's: it does not reach that.",
            hint="It reaches windows of the customer's own devices and sites, and opt-ins to groups that were opened to it.",
        )
