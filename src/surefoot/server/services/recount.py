# SPDX-License-Identifier: Apache-2.0
"""Recount: hold the counters against what they count, and put right what is off.

Counters move in the transaction that stores what they count, so they are never off unless a disk, a person or a mistake of ours
changed them. Doubt holds: a rollout that may have been judged by wrong counters pauses and says so.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial

from surefoot.rollout.decision import Pause
from surefoot.rollout.evidence import FIELDS, Counts
from surefoot.server.services.conduct import carry_out, evidence_of
from surefoot.server.services.ports import Ledger, Write

Segment = tuple[int, str, str]
"""Stage, hardware and region of a counter."""

CountersOff = Callable[[int], Awaitable[Mapping[Segment, Counts]]]
"""Says what must be added to each counter of a rollout, as of one moment; may take its time."""

VersionsOff = Callable[[], Awaitable[Mapping[tuple[str, str], int]]]
"""Says what must be added to each count of devices by (product, version); may take its time."""

RECOUNT = "recount"
"""Who pauses a rollout whose counters were off."""


async def recount_all(write: Write, counters: CountersOff, versions: VersionsOff, now: datetime) -> list[str]:
    """Recount every rollout that runs or is paused, and the devices by version.

    Returns:
        A sentence for everything that was off; it is right now.

    Raises:
        StoreError: The database cannot be used.
    """
    found: list[str] = []
    for rollout_id in await write(lambda ledger: ledger.rollouts.unfinished()):
        off = await counters(rollout_id)
        if off:
            found.append(await write(partial(_put_right, rollout_id=rollout_id, off=off, now=now)))
    wrong = await versions()
    if wrong:
        await write(lambda ledger: ledger.move_versions(wrong))
        found.append(f"The number of devices by version was off for {len(wrong)} versions; it was counted anew.")
    return found


def _put_right(ledger: Ledger, rollout_id: int, off: Mapping[Segment, Counts], now: datetime) -> str:
    for segment, counts in off.items():
        ledger.rollouts.move(rollout_id, segment, counts)
    words = "; ".join(_words(segment, counts) for segment, counts in off.items())
    reason = f"Paused: its counters did not say what its attempts say ({words}). They were counted anew; look at it, then resume."
    stored = ledger.rollouts.rollout(rollout_id)
    if stored is not None:
        carry_out(ledger, stored, evidence_of(ledger, stored, now), Pause(cause=RECOUNT, reason=reason, by=RECOUNT), now)
    return f"Rollout {rollout_id}: {reason}"


def _words(segment: Segment, counts: Counts) -> str:
    stage, hardware, _ = segment
    amounts = ", ".join(f"{name} {getattr(counts, name):+d}" for name in FIELDS if getattr(counts, name))
    return f"stage {stage + 1}, {hardware}: {amounts}"
