# SPDX-License-Identifier: Apache-2.0
"""Setbacks: how often one device failed with one release, and what follows: another try later, or quarantine.

- Only attempts of rollouts count. Going silent is a failure, and so is a withdrawn offer that was carried out all the same and failed.
- A device is tried again after a wait that doubles with each failure, a day at most, as often as the plan of its rollout says.
- One failure more, whichever rollouts they came in, and no rollout offers it that release until a person says so.
- Once the release runs well on the device all of it is forgotten.
"""

from datetime import timedelta

from msgspec import structs

from surefoot.fleet.attempt import Attempt
from surefoot.model.assignment import DeviceId, Outcome
from surefoot.model.record import Name, Record, parse_utc, utc_text
from surefoot.model.version import SemVer

LONGEST_WAIT_S = 86_400
"""However often a device failed, it waits no longer than this, seconds."""

_BAD = {Outcome.FAILED, Outcome.ROLLED_BACK, Outcome.SILENT}


class Setback(Record, frozen=True, kw_only=True):
    """What is remembered of a device and a release that did not get along.

    Attributes:
        failures: How often it failed.
        rollout_id: The rollout that offered it last.
        stage: The stage in which it counts there.
        hardware: The device's.
        region: The device's when it was offered; empty when it had none.
        retry_at: From when that rollout may offer it again, RFC 3339 UTC; empty when it is not to.
        quarantined_at: Since when no rollout offers it, RFC 3339 UTC; empty when that is not so.
        quarantined_by: Who said so; empty when it failed too often.
    """

    device_id: DeviceId
    product: Name
    version: SemVer
    rollout_id: int
    hardware: Name
    stage: int = 0
    region: str = ""
    failures: int = 0
    retry_at: str = ""
    quarantined_at: str = ""
    quarantined_by: str = ""


def is_news(before: Attempt | None, after: Attempt) -> bool:
    """Say whether a change of an attempt may change a setback: it is new, it ended, or its end turned out otherwise."""
    if before is None:
        return True
    return (before.outcome, before.is_late_good, before.is_late_bad) != (after.outcome, after.is_late_good, after.is_late_bad)


def failed(before: Attempt | None, after: Attempt) -> bool:
    """Say whether this change of an attempt is a failure of its release on its device."""
    if after.rollout_id is None or before is None:
        return False
    if before.outcome is None:
        return after.outcome in _BAD
    return after.outcome is Outcome.CANCELLED and after.is_late_bad and not before.is_late_bad


def next_setback(known: Setback | None, before: Attempt | None, after: Attempt, *, most: int, backoff_s: int) -> Setback | None:
    """Return what is remembered after a change of an attempt; nothing when all is well.

    Args:
        known: What was remembered.
        before: The attempt as it was; nothing for a new one.
        after: The attempt as it is.
        most: How often the plan lets a device try again.
        backoff_s: How long it waits after the first failure, seconds.
    """
    if after.outcome is Outcome.SUCCEEDED or after.is_late_good:
        return None
    if failed(before, after):
        return _failed(known or _blank(after), after, most, backoff_s)
    if known is None or after.rollout_id is None:
        return known
    if before is None:
        return structs.replace(known, rollout_id=after.rollout_id, stage=after.stage, region=after.region, retry_at="")
    if after.outcome is Outcome.CANCELLED and before.outcome is None and after.retry and not known.quarantined_at:
        return structs.replace(known, retry_at=after.ended_at)
    return known


def quarantined(known: Setback | None, attempt: Attempt, by: str, now: str) -> Setback | None:
    """Return what is remembered when a person withdraws an offer: it is not made again; nothing when no rollout made it."""
    if attempt.rollout_id is None:
        return known
    return structs.replace(known or _blank(attempt), retry_at="", quarantined_at=now, quarantined_by=by)


def _failed(known: Setback, attempt: Attempt, most: int, backoff_s: int) -> Setback:
    counted = structs.replace(_blank(attempt), failures=known.failures + 1)
    if known.quarantined_at or counted.failures > most:
        return structs.replace(counted, quarantined_at=known.quarantined_at or attempt.ended_at, quarantined_by=known.quarantined_by)
    # Doubled ten times, any wait that a plan may have is past the longest.
    wait_s = min(LONGEST_WAIT_S, backoff_s * 2 ** min(known.failures, 10))
    return structs.replace(counted, retry_at=utc_text(parse_utc(attempt.ended_at) + timedelta(seconds=wait_s)))


def _blank(attempt: Attempt) -> Setback:
    return Setback(
        device_id=attempt.device_id,
        product=attempt.product,
        version=attempt.version,
        rollout_id=attempt.rollout_id or 0,
        hardware=attempt.hardware,
        stage=attempt.stage,
        region=attempt.region,
    )
