# SPDX-License-Identifier: Apache-2.0
"""Expiry: what people of devices said about groups ends when its time is over, and starts no update by that.

- An opt-in ends on time: nobody is kept in a group for longer than they said.
- An opt-out whose end would have a rollout under way offer the device a release waits: until that rollout is over, or until a person
  ends it, who is shown what that starts.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from itertools import takewhile

from surefoot.model.assignment import DeviceId
from surefoot.model.errors import UnknownError
from surefoot.server.services.guard import Guard, would_start
from surefoot.server.services.membership import end_consent
from surefoot.server.services.ports import Act, Ledger, Write

Ended = tuple[str, DeviceId]
"""A group, and a device for which what was said about it is over."""

_PIECE = 500
_MOST_AT_ONCE = 10_000
_ITSELF = "surefoot"


async def end_consents(write: Write, now: datetime) -> int:
    """End what is over, a piece at a time, and return how many that were; opt-outs that would start updates are left."""
    number = 0
    while over := await write(lambda ledger: _end(ledger, ledger.ended_consents(now, _PIECE, is_in=True), _ITSELF, now)):
        number += over
    after = ("", "")
    while piece := await write(partial(_opt_outs, now=now, after=after)):
        after = piece[-1]
        number += await _end_quietly(piece, write, now)
    return number


async def over_in(group: str, write: Write, now: datetime) -> list[DeviceId]:
    """Return the devices whose opt-out of a group waits for a person; at most ten thousand, in the order of their ids."""
    found = await write(lambda ledger: ledger.ended_consents(now, _MOST_AT_ONCE, is_in=False, after=(group, "")))
    return [device_id for _, device_id in takewhile(lambda one: one[0] == group, found)]


async def end_over(group: str, devices: Sequence[DeviceId], *, by: str, write: Write, now: datetime) -> None:
    """End opt-outs of a group whose time is over.

    Raises:
        UnknownError: None waits.
    """
    if not devices:
        raise UnknownError(f"No opt-out of group '{group}' waits for its end.", hint=f"See 'surefoot group show {group}'.")

    def job(ledger: Ledger) -> None:
        _end(ledger, [(group, one) for one in devices if ledger.consent(group, one) is not None], by, now)

    await write(job)


async def _end_quietly(over: Sequence[Ended], write: Write, now: datetime) -> int:
    devices = sorted({device_id for _, device_id in over})
    starting = await would_start(write, devices, now, lambda ledger: _end(ledger, over, _ITSELF, now))
    quiet = [one for one in over if one[1] not in starting]
    if quiet:
        # Should a rollout have begun since, nothing is ended, and the next look finds these again.
        await Guard(write, devices, now, is_preview=False, confirmed=None)(lambda ledger: _end(ledger, quiet, _ITSELF, now))
    return len(quiet)


def _opt_outs(ledger: Ledger, now: datetime, after: tuple[str, str]) -> list[Ended]:
    return ledger.ended_consents(now, _PIECE, is_in=False, after=after)


def _end(ledger: Ledger, over: Sequence[Ended], by: str, now: datetime) -> int:
    for group, device_id in over:
        end_consent(ledger, group, device_id, now)
        ledger.add_act(Act(at=now, by=by, what="group.opt-end", subject=f"{group} {device_id}"))
    return len(over)
