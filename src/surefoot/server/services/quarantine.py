# SPDX-License-Identifier: Apache-2.0
"""Quarantine by people: an order withdrawn that its device has not started, and quarantines ended.

- What has started finishes: nobody pulls a device out of its update.
- When a rollout made the offer, the device is quarantined for that release, since the rollout would make it again at its next pass.
- When a quarantine ends, its failures are forgotten; a rollout of the release that is still under way tries the device again at once.
"""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, structs

from surefoot.fleet.attempt import Attempt, end
from surefoot.fleet.setback import Setback, quarantined
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.errors import ConflictError, UnknownError
from surefoot.model.record import Record, utc_text
from surefoot.rollout.plan import Status
from surefoot.server.services.attempts import keep
from surefoot.server.services.ports import Act, Ledger, Write


class WhyRequest(Record, frozen=True, kw_only=True):
    """Why, in a person's words; may be empty."""

    why: Annotated[str, Meta(max_length=500)] = ""


class UnquarantineAnswer(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The releases that a device may be offered again, as ``thermostat 1.1.0``."""

    releases: list[str]


async def cancel(device_id: DeviceId, said: WhyRequest, *, by: str, write: Write, now: datetime) -> Attempt:
    """Withdraw the device's open order; return the attempt as it ended.

    Raises:
        UnknownError: There is no such device.
        ConflictError: It has no open order, or has started it.
    """

    def job(ledger: Ledger) -> Attempt:
        if ledger.device(device_id) is None:
            raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
        attempt = ledger.open_attempt(device_id)
        if attempt is None:
            raise ConflictError(f"Device {device_id} has no open order.", hint=f"See 'surefoot device show {device_id}'.")
        if attempt.is_started:
            raise ConflictError(
                f"Device {device_id} has started {attempt.product} {attempt.version}; what has started finishes.",
                hint="When it has ended, order the release that it should run instead.",
            )
        ended = end(attempt, Outcome.CANCELLED, utc_text(now))
        keep(ledger, attempt, ended)
        known = ledger.rollouts.setback(device_id, attempt.product, attempt.version)
        held = quarantined(known, attempt, by, utc_text(now))
        if held is not None:
            ledger.rollouts.put_setback(held)
        ledger.call_again(device_id)
        words = f"{device_id} {attempt.product} {attempt.version}{': ' if said.why else ''}{said.why}"
        ledger.add_act(Act(at=now, by=by, what="device.cancel", subject=words))
        return ended

    return await write(job)


async def unquarantine(device_id: DeviceId, said: WhyRequest, *, by: str, write: Write, now: datetime) -> UnquarantineAnswer:
    """End every quarantine of a device.

    Raises:
        UnknownError: There is no such device.
        ConflictError: It is in none.
    """

    def job(ledger: Ledger) -> UnquarantineAnswer:
        if ledger.device(device_id) is None:
            raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
        found = [setback for setback in ledger.rollouts.setbacks(device_id) if setback.quarantined_at]
        if not found:
            raise ConflictError(f"Device {device_id} is quarantined for no release.", hint=f"See 'surefoot device show {device_id}'.")
        for setback in found:
            _let_go(ledger, setback, now)
        releases = [f"{setback.product} {setback.version}" for setback in found]
        words = f"{device_id} {', '.join(releases)}{': ' if said.why else ''}{said.why}"
        ledger.add_act(Act(at=now, by=by, what="device.unquarantine", subject=words))
        return UnquarantineAnswer(releases=releases)

    return await write(job)


def _let_go(ledger: Ledger, setback: Setback, now: datetime) -> None:
    stored = ledger.rollouts.rollout(setback.rollout_id)
    if stored is not None and stored.rollout.status in {Status.RUNNING, Status.PAUSED}:
        fresh = structs.replace(setback, failures=0, quarantined_at="", quarantined_by="", retry_at=utc_text(now))
        ledger.rollouts.put_setback(fresh)
    else:
        ledger.rollouts.forget_setback(setback.device_id, setback.product, setback.version)
