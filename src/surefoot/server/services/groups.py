# SPDX-License-Identifier: Apache-2.0
"""Groups and given attributes: what operators say of devices, so that plans can name them.

- A fixed group is a name with members, and there while it has any; a group by filter is there from when it is defined until it is removed.
- Doing the same again changes nothing and leaves no act.
- What the people of a device say about a group is dated, and kept with who said it and who wrote it down.
- Given attributes are replaced whole; they win over what the device reports.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated

from msgspec import Meta, structs

from surefoot.fleet.device import Device
from surefoot.fleet.filter import check_names, parse
from surefoot.fleet.group import Consent, GroupRule, Joins, is_asked_for, rule_filter
from surefoot.model.assignment import DeviceId
from surefoot.model.attribute import Attributes, check_free
from surefoot.model.errors import ConflictError, InvalidInput, UnknownError
from surefoot.model.record import Record, parse_name, parse_utc, utc_text
from surefoot.rollout.plan import Plan
from surefoot.server.services.catalogue import Catalogue, DevicePage
from surefoot.server.services.membership import end_consent, is_named, regroup, settle
from surefoot.server.services.ports import Act, Ledger, Write
from surefoot.server.services.windows import place

_PIECE = 500
_MOST_MOVED = 10_000


class AttributesRequest(Record, frozen=True, kw_only=True):
    """Every attribute that a device is given; those given before and not named here are taken back."""

    attributes: Attributes


class OptRequest(Record, frozen=True, kw_only=True):
    """What the people of a device say about a group.

    Attributes:
        is_in: Whether the device is to be in it; else it is to be out, whatever operators and filters say.
        who: Who says so.
        until: When that ends, RFC 3339 UTC; empty means never, which only an opt-out may last.
    """

    is_in: bool
    who: Annotated[str, Meta(min_length=1, max_length=200)]
    until: str = ""


async def add_member(group: str, device_id: DeviceId, *, by: str, write: Write, now: datetime) -> None:
    """Put a device into a fixed group; one that is opted out stays out until that ends.

    Raises:
        UnknownError: There is no such device.
        InvalidInput: The group's name is none.
        ConflictError: A filter says who is in the group.
    """
    parse_name(group, what="a group")

    def job(ledger: Ledger) -> None:
        _known(ledger, device_id)
        _name(ledger, group, device_id, is_named=True, by=by, now=now)

    await write(job)


async def remove_member(group: str, device_id: DeviceId, *, by: str, write: Write, now: datetime) -> None:
    """Take a device out of a fixed group; one that is opted in stays in until that ends.

    Raises:
        UnknownError: It is not in it.
        ConflictError: A filter says who is in the group.
    """

    def job(ledger: Ledger) -> None:
        if not _name(ledger, group, device_id, is_named=False, by=by, now=now):
            raise UnknownError(f"Device {device_id} is not in group '{group}'.", hint=f"See 'surefoot group show {group}'.")

    await write(job)


async def define(group: str, rule: GroupRule, *, by: str, write: Write, now: datetime, settled: Sequence[DeviceId] = ()) -> None:
    """Make a group by filter, or change its filter; ``fill`` then looks at the devices. The same again changes nothing.

    Those in ``settled`` are looked at in the same transaction.

    Raises:
        FilterError: The filter cannot be read, or names what no device has, or what a group cannot be made of.
        InvalidInput: The group's name is none.
        ConflictError: There is a fixed group of this name.
    """
    parse_name(group, what="a group")
    wanted = rule_filter(rule)

    def job(ledger: Ledger) -> None:
        check_names(wanted, ledger.attribute_names())
        before = ledger.group_rule(group)
        if before is None and ledger.has_group(group):
            raise ConflictError(
                f"There is a fixed group '{group}' already.",
                hint="Choose another name, or take its devices out first.",
            )
        if before != rule:
            ledger.put_group_rule(group, rule)
            ledger.add_act(Act(at=now, by=by, what="group.define", subject=f"{group} joins={rule.joins} {rule.filter}"))
        _settle(ledger, group, list(settled), now)

    await write(job)


async def remove_group(group: str, *, by: str, write: Write, now: datetime) -> None:
    """Remove a group by filter, with what people said about it. No rollout that is not over asks for it, so it changes none.

    Raises:
        UnknownError: There is no such group.
        ConflictError: It is a fixed one, or a rollout that is not over asks for it.
    """

    def job(ledger: Ledger) -> None:
        if ledger.group_rule(group) is None:
            raise _no_rule(ledger, group)
        for number in ledger.rollouts.not_over():
            stored = ledger.rollouts.rollout(number)
            if stored is not None and _asks_for(stored.rollout.plan, group, now):
                raise ConflictError(
                    f"Rollout {number} asks for group '{group}', and is not over.",
                    hint=f"Wait until it is finished, or end it: 'surefoot rollout halt {number} --why ...'.",
                )
        left = ledger.remove_group(group)
        ledger.add_act(Act(at=now, by=by, what="group.drop", subject=f"{group} of {left} devices"))

    await write(job)


async def moved_by(group: str, rule: GroupRule, catalogue: Catalogue, now: datetime) -> list[DeviceId]:
    """Return the devices that defining a group may move into it or out of it.

    Raises:
        FilterError: As ``define`` does.
        ConflictError: They are too many to be looked at at once, and would come into rollouts at once.
    """
    wanted = rule_filter(rule)
    found: list[DeviceId] = []
    reads = [lambda after: catalogue.devices(after, _PIECE, wanted, now)]
    if any(line.name == group for line in (await asyncio.to_thread(catalogue.groups)).groups):
        reads.append(lambda after: catalogue.members(group, after, _PIECE))
    for read in reads:
        async for piece in _pages(read):
            found += piece
            if len(found) > _MOST_MOVED:
                return _too_many(group, rule)
    return sorted(set(found))


async def fill(group: str, catalogue: Catalogue, write: Write, now: datetime) -> None:
    """Look at every device that is in a group by filter or that its filter means, a piece at a time; twice is as once.

    Devices that change meanwhile are looked at by themselves.
    """
    rule = await write(lambda ledger: ledger.group_rule(group))
    if rule is None:
        return
    wanted = rule_filter(rule)
    async for piece in _pages(lambda after: catalogue.members(group, after, _PIECE)):
        await write(partial(_settle, group=group, devices=piece, now=now))
    async for piece in _pages(lambda after: catalogue.devices(after, _PIECE, wanted, now)):
        await write(partial(_settle, group=group, devices=piece, now=now))

    def finish(ledger: Ledger) -> None:
        # Defined anew meanwhile, it is filled anew.
        if ledger.group_rule(group) == rule:
            ledger.note_filled(group)

    await write(finish)


async def opt(group: str, device_id: DeviceId, request: OptRequest, *, by: str, write: Write, now: datetime) -> None:
    """Write down that the people of a device want it in a group, or out of it; it replaces what they said before.

    Raises:
        UnknownError: There is no such device or group.
        InvalidInput: An opt-in has no end, or the end is past.
        FormatError: The end is no time.
    """
    if request.is_in and not request.until:
        raise InvalidInput("An opt-in needs an end.", hint="Say until when: --until 2027-01-31.")
    if request.until and parse_utc(request.until) <= now:
        raise InvalidInput(f"{request.until} is past.", hint="Name a later day; what was said before ends with 'surefoot group opt-end'.")

    def job(ledger: Ledger) -> None:
        _known(ledger, device_id)
        if not ledger.has_group(group):
            raise UnknownError(f"There is no group '{group}'.", hint="See 'surefoot group list'.")
        named = is_named(ledger, group, device_id)
        until = utc_text(parse_utc(request.until)) if request.until else ""
        said = Consent(is_in=request.is_in, who=request.who, until=until, by=by, at=utc_text(now), is_named=named)
        ledger.put_consent(group, device_id, said)
        settle(ledger, group, device_id, now)
        what = "group.opt-in" if said.is_in else "group.opt-out"
        ledger.add_act(Act(at=now, by=by, what=what, subject=f"{group} {device_id} for {said.who} until {until or 'further notice'}"))

    await write(job)


async def end_opt(group: str, device_id: DeviceId, *, by: str, write: Write, now: datetime) -> None:
    """End what the people of a device said about a group.

    Raises:
        UnknownError: They said nothing.
    """

    def job(ledger: Ledger) -> None:
        if ledger.consent(group, device_id) is None:
            raise UnknownError(f"Nobody opted {device_id} in or out of group '{group}'.", hint=f"See 'surefoot group show {group}'.")
        end_consent(ledger, group, device_id, now)
        ledger.add_act(Act(at=now, by=by, what="group.opt-end", subject=f"{group} {device_id}"))

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
        regroup(ledger, device_id, now)
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


def _name(ledger: Ledger, group: str, device_id: DeviceId, *, is_named: bool, by: str, now: datetime) -> bool:
    """Note whether operators name a device as a member; say whether that was otherwise before."""
    if ledger.group_rule(group) is not None:
        raise ConflictError(
            f"A filter says who is in group '{group}'.",
            hint=f"Change its filter with 'surefoot group define {group} --filter …', or the device with 'surefoot device set'.",
        )
    said = ledger.consent(group, device_id)
    if said is None:
        has_changed = ledger.add_member(group, device_id, now) if is_named else ledger.remove_member(group, device_id)
    else:
        has_changed = said.is_named is not is_named
        ledger.put_consent(group, device_id, structs.replace(said, is_named=is_named))
    if has_changed:
        ledger.add_act(Act(at=now, by=by, what="group.add" if is_named else "group.remove", subject=f"{group} {device_id}"))
    return has_changed


def _no_rule(ledger: Ledger, group: str) -> UnknownError | ConflictError:
    if not ledger.has_group(group):
        return UnknownError(f"There is no group '{group}'.", hint="See 'surefoot group list'.")
    hint = f"Take its devices out: 'surefoot group remove {group} DEVICE_ID ...'; with the last one it is gone."
    return ConflictError(f"Group '{group}' is a fixed one, and there while it has devices.", hint=hint)


def _asks_for(plan: Plan, group: str, now: datetime) -> bool:
    audiences = (plan.audience, *(stage.audience for stage in plan.stages))
    return any(stage.group == group for stage in plan.stages) or any(is_asked_for(group, parse(text), now) for text in audiences)


def _too_many(group: str, rule: GroupRule) -> list[DeviceId]:
    if rule.joins is Joins.NEXT_ROLLOUT:
        # Nobody comes into a rollout that is under way because of it.
        return []
    raise ConflictError(
        f"Group '{group}' moves more than {_MOST_MOVED} devices: what rollouts under way would offer them cannot be said.",
        hint="Define it with --joins next-rollout, so that it is nothing; rollouts created from then on come to all of them.",
    )


def _settle(ledger: Ledger, group: str, devices: list[DeviceId], now: datetime) -> None:
    for device_id in devices:
        settle(ledger, group, device_id, now)


async def _pages(read: Callable[[str], DevicePage]) -> AsyncIterator[list[DeviceId]]:
    after = ""
    while True:
        page = await asyncio.to_thread(read, after)
        yield [device.device_id for device in page.devices]
        after = page.next
        if not after:
            return
