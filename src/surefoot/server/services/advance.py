# SPDX-License-Identifier: Apache-2.0
"""Advance: let rollouts decide and do what they decided; the only verb that decides.

Doubt holds: evidence that cannot be read is a ``Hold`` that says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from surefoot.fleet.attempt import after_deadline
from surefoot.model.errors import Error, StoreError
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Decision, Halt, Hold
from surefoot.rollout.evidence import Control, Evidence
from surefoot.rollout.plan import Rollout, Status
from surefoot.rollout.urgency import alarms
from surefoot.server.services.attempts import keep
from surefoot.server.services.conduct import carry_out, evidence_of
from surefoot.server.services.ports import Ledger, Write
from surefoot.server.services.revert import after_halt
from surefoot.server.services.rollout_store import StoredRollout, Survey, Walk
from surefoot.server.services.views import require_live

_MOST_OVERDUE = 500
_MOST_DECISIONS = 50

_LOOK_AGAIN_S = 60


class Lookout:
    """What a survey last saw of each rollout's control: looked at once a minute, and again after a restart."""

    def __init__(self, survey: Survey) -> None:
        """Look through ``survey``."""
        self.survey = survey
        self._seen: dict[int, tuple[datetime, list[Control]]] = {}

    async def control(self, stored: StoredRollout, now: datetime) -> list[Control]:
        """Return what is to be compared with; ``StoreError`` when the database cannot be read."""
        if not stored.rollout.plan.has_default_gate:
            return []
        at, controls = self._seen.get(stored.rollout_id, (None, []))
        if at is None or (now - at).total_seconds() >= _LOOK_AGAIN_S:
            controls = await self.survey.watch(stored, now)
            self._seen[stored.rollout_id] = (now, controls)
        return controls


async def advance_all(write: Write, lookout: Lookout, now: datetime) -> list[Error]:
    """Give up what is overdue, then let every running rollout go as far as it may.

    Returns:
        What kept single rollouts from being looked at; they hold, and are tried again next time.

    Raises:
        StoreError: The database cannot be used.
    """
    while await write(lambda ledger: _look_at_due(ledger, now)) == _MOST_OVERDUE:
        pass
    failures: list[Error] = []
    for rollout_id in await write(lambda ledger: ledger.rollouts.live()):
        try:
            await _go_far(rollout_id, write, lookout, now)
        except StoreError:
            raise
        except Error as error:
            failures.append(error)
    return failures


async def advance(rollout_id: int, write: Write, control: Sequence[Control], now: datetime) -> Decision:
    """Decide for one rollout, do it, and store it, in one transaction.

    Raises:
        StoreError: The database cannot be used; nothing was done.
    """
    try:
        return await write(lambda ledger: _advance(ledger, rollout_id, control, now))
    except StoreError:
        raise
    except Error as error:
        doubt = Hold(cause="evidence_unreadable", reason=f"Nothing can be decided: {error.message}")
        return await write(lambda ledger: _hold(ledger, rollout_id, doubt, now))


async def _go_far(rollout_id: int, write: Write, lookout: Lookout, now: datetime) -> None:
    stored = await write(lambda ledger: ledger.rollouts.rollout(rollout_id))
    control = [] if stored is None else await lookout.control(stored, now)
    for _ in range(_MOST_DECISIONS):
        decision = await advance(rollout_id, write, control, now)
        if isinstance(decision, Hold) and decision.cause == "counting":
            await _count(rollout_id, write, lookout.survey, now)
        elif not isinstance(decision, Advance):
            return


def _advance(ledger: Ledger, rollout_id: int, control: Sequence[Control], now: datetime) -> Decision:
    stored = ledger.rollouts.rollout(rollout_id)
    if stored is None or not stored.rollout.is_live or _only_waits(stored.rollout, now):
        return Hold(cause="at_rest", reason="The rollout does not run.")
    if not stored.rollout.has_begun:
        require_live(ledger, stored.rollout.plan.product, stored.rollout.plan.version)
    if stored.walk.is_over and now.timestamp() >= stored.walk.again_at:
        stored = replace(stored, walk=Walk())
    evidence = evidence_of(ledger, stored, now, control)
    decision = decide(stored.rollout, evidence, now)
    carry_out(ledger, stored, evidence, decision, now)
    if isinstance(decision, Halt) and decision.reverts:
        after_halt(ledger, rollout_id, decision.by, now)
    return decision


def _only_waits(rollout: Rollout, now: datetime) -> bool:
    """Say whether a paused rollout waits for a person, and there is no alarm to raise."""
    return rollout.status is Status.PAUSED and not rollout.is_judged and not alarms(rollout, now)


def _hold(ledger: Ledger, rollout_id: int, doubt: Hold, now: datetime) -> Hold:
    stored = ledger.rollouts.rollout(rollout_id)
    if stored is not None:
        carry_out(ledger, stored, Evidence(), doubt, now)
    return doubt


async def _count(rollout_id: int, write: Write, survey: Survey, now: datetime) -> None:
    stored = await write(lambda ledger: ledger.rollouts.rollout(rollout_id))
    if stored is not None:
        census = await survey.count(stored, now)
        counted = replace(stored, population=census.population, audience=census.audience)
        # Dropped when the rollout has moved on meanwhile; it is then counted again.
        await write(lambda ledger: ledger.rollouts.put(counted))


def _look_at_due(ledger: Ledger, now: datetime) -> int:
    overdue = ledger.rollouts.overdue(now, _MOST_OVERDUE)
    for attempt in overdue:
        keep(ledger, attempt, after_deadline(attempt, now))
        if attempt.outcome is None:
            ledger.call_again(attempt.device_id)
    return len(overdue)
