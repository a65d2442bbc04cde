# SPDX-License-Identifier: Apache-2.0
"""Triggers: when a release that runs is given up for the one before, judged from what the journal counted; pure.

- ``reboot_loop``: the board booted too often, unasked, in a short time.
- ``watchdog``: the watchdog reset it, or may have, too often in a short time.
- ``unhealthy``: a required probe failed for too long without a break; on trial, only after all have held at once in this boot.
- ``broker_lost``: a broker that was reached before the update, and that the release requires, has not been reached since, for too
  long. One that was reached since is not lost to the release, whoever cannot reach it later: an outage of a whole site rolls no
  fleet back. Nor is one that the release does not ask about any longer.

All of it counts while the release is on trial, and for ``watch_s`` of uptime after it was committed.
"""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from surefoot.agent.vitals import MOST_STARTS, Vitals
from surefoot.model.record import Record
from surefoot.model.rollback import RollbackReason

Count = Annotated[int, Meta(ge=1, lt=MOST_STARTS)]
Seconds = Annotated[float, Meta(gt=0, le=30 * 86_400)]


class Thresholds(Record, frozen=True, kw_only=True):
    """The table ``[rollback]`` of agent.toml: how much is too much.

    Attributes:
        reboots: More unasked boots than this within
        reboots_s: so many seconds of uptime are a loop.
        resets: More resets by the watchdog than this within
        resets_s: so many seconds of uptime are too many.
        unhealthy_s: Longer than this a required probe must not fail without a break.
        broker_lost_s: Longer than this a broker that was reached before must not stay unreached.
        watch_s: For how many seconds of uptime a committed release is watched, while the other slot is good.
    """

    reboots: Count = 3
    reboots_s: Seconds = 300
    resets: Count = 5
    resets_s: Seconds = 600
    unhealthy_s: Seconds = 120
    broker_lost_s: Seconds = 300
    watch_s: Seconds = 86_400

    @property
    def window_s(self) -> float:
        """The longest window in which boots are counted."""
        return max(self.reboots_s, self.resets_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Why a release is to be given up: as a word, and as a sentence."""

    reason: RollbackReason
    detail: str


def judge(vitals: Vitals, thresholds: Thresholds) -> Trigger | None:
    """Say whether a release is to be given up, and why; the first trigger in the order above is named.

    Args:
        vitals: What was counted; ``lived_s`` is now.
        thresholds: The integrator's numbers.
    """
    now_s = vitals.lived_s
    reboots = sum(now_s - start.at_s <= thresholds.reboots_s for start in vitals.starts)
    if reboots > thresholds.reboots:
        detail = f"The board rebooted {reboots} times within {thresholds.reboots_s:g} s of uptime."
        return Trigger(reason=RollbackReason.REBOOT_LOOP, detail=detail)
    resets = sum(start.may_be_watchdog and now_s - start.at_s <= thresholds.resets_s for start in vitals.starts)
    if resets > thresholds.resets:
        detail = f"The watchdog may have reset the board {resets} times within {thresholds.resets_s:g} s of uptime."
        return Trigger(reason=RollbackReason.WATCHDOG, detail=detail)
    if vitals.failing_s is not None and vitals.failing_s > thresholds.unhealthy_s:
        return Trigger(reason=RollbackReason.UNHEALTHY, detail=f"Health has failed for {vitals.failing_s:.0f} s of uptime.")
    if vitals.brokers and now_s > thresholds.broker_lost_s:
        detail = f"{vitals.brokers[0]} was reached before the update, and not once in {now_s:.0f} s of uptime since."
        return Trigger(reason=RollbackReason.BROKER_LOST, detail=detail)
    return None


def is_over(vitals: Vitals, thresholds: Thresholds) -> bool:
    """Say whether a committed release has been watched for long enough."""
    return vitals.kept_s is not None and vitals.lived_s - vitals.kept_s >= thresholds.watch_s
