# SPDX-License-Identifier: Apache-2.0
"""Report: store a device's events once, and end the attempt that they end.

- The answer is given after the events are durable; a batch sent again is stored once and acknowledged again.
- Events of an attempt that is not this device's are stored, and have no effect on it.
- An event that comes again with another content is stored beside, once a journal, and told: two devices share one identity and
  one memory, or a device was set back to an old copy of its own. What was stored first stays, and the other has no effect.
- When the attempt a view orders has ended, the device is told "stay as you are" in the same transaction.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from surefoot.fleet.attempt import Attempt, after_events
from surefoot.model.assignment import DeviceId
from surefoot.model.errors import FormatError
from surefoot.model.event import Acknowledgement, DeploymentEvent, EventBatch, Position
from surefoot.model.record import utc_text
from surefoot.server.services.attempts import keep
from surefoot.server.services.membership import regroup
from surefoot.server.services.ports import Ledger, Write
from surefoot.server.services.views import settle, stand_down
from surefoot.trust.director import DirectorSigners

_LOG = logging.getLogger("surefoot.server")


async def report(device_id: DeviceId, batch: EventBatch, write: Write, signers: DirectorSigners, now: datetime) -> Acknowledgement:
    """Take a batch in; durable on return.

    Raises:
        FormatError: The events are not in the order of their sequence numbers.
        StoreError: The batch could not be stored; nothing of it was.
    """
    if any(earlier.seq >= later.seq for earlier, later in pairwise(batch.events)):
        raise FormatError("The events of a batch are not in the order of their sequence numbers.", hint="Send them oldest first.")
    divergent = await write(lambda ledger: _take(ledger, device_id, batch, signers, now))
    if divergent is not None:
        _LOG.warning("device %s told event %d of journal %s in two ways: is there a copy of it?", device_id, divergent, batch.journal)
    last = batch.events[-1].seq if batch.events else 0
    return Acknowledgement(acknowledged=Position(journal=batch.journal, seq=last))


def _take(ledger: Ledger, device_id: DeviceId, batch: EventBatch, signers: DirectorSigners, now: datetime) -> int | None:
    """Take a batch in; return the number of the first event of its journal that is known with another content, unless that is noted."""
    fresh: list[DeploymentEvent] = []
    divergent: list[int] = []
    for event in batch.events:
        if ledger.add_event(device_id, batch.journal, event, now):
            fresh.append(event)
        elif ledger.note_divergence(device_id, batch.journal, event, now):
            divergent.append(event.seq)
    # A batch sent again may be older than what the device said last; only news moves its report.
    is_moved = False
    if batch.report is not None and (fresh or not batch.events):
        is_moved = ledger.put_report(device_id, batch.report)
        regroup(ledger, device_id, now)
    if is_moved and ledger.open_attempt(device_id) is not None:
        # It may be elsewhere now, where other windows apply.
        ledger.look_again(device_id)
    # A device that reports was there: its first sign of life is not left to the next round of presence.
    ledger.put_presence({device_id: (int(now.timestamp()), 0)})
    running = None if batch.report is None else batch.report.hash
    for attempt in _attempts(ledger, device_id, fresh):
        _advance(ledger, attempt, after_events(attempt, fresh, running, utc_text(now)), signers, now)
    return divergent[0] if divergent else None


def _attempts(ledger: Ledger, device_id: DeviceId, events: Sequence[DeploymentEvent]) -> list[Attempt]:
    """Return the device's attempts that this batch may move: those its events name, and the open one."""
    named = sorted({event.assignment_id for event in events if event.assignment_id is not None})
    found = [ledger.attempt(assignment_id) for assignment_id in named]
    open_ = ledger.open_attempt(device_id)
    if open_ is not None and open_.assignment_id not in named:
        found.append(open_)
    return [attempt for attempt in found if attempt is not None and attempt.device_id == device_id]


def _advance(ledger: Ledger, before: Attempt, after: Attempt, signers: DirectorSigners, now: datetime) -> None:
    if after == before:
        return
    keep(ledger, before, after)
    stored = ledger.view(after.device_id)
    if stored is None or stored.attempt is None or stored.attempt.assignment_id != after.assignment_id:
        return
    if after.outcome is not None:
        stand_down(ledger, after.device_id, signers, now)
    elif after.is_started and not before.is_started:
        settle(ledger, stored, after)
