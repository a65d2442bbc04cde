# SPDX-License-Identifier: Apache-2.0
"""Advance: let rollouts decide and do what they decided; the only verb that decides.

Doubt holds: evidence that cannot be read is a ``Hold`` that says so.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from surefoot.fleet.attempt import give_up
from surefoot.model.errors import Error, StoreError
from surefoot.rollout.decide import decide
from surefoot.rollout.decision import Advance, Decision, Hold
from surefoot.rollout.evidence import Evidence
from surefoot.rollout.plan import Status
from surefoot.server.services.attempts import keep
from surefoot.server.services.conduct import carry_out, evidence_of
from surefoot.server.services.ports import Ledger, Write
from surefoot.server.services.rollout_store import StoredRollout, Walk

_MOST_OVERDUE = 500
_MOST_DECISIONS = 50

Census = Callable[[StoredRollout], Awaitable[int]]
"""Counts the devices of a rollout's open stage, those that run the release already included; may take its time."""


async def advance_all(write: Write, census: Census, now: datetime) -> list[Error]:
    """Give up what is overdue, then let every running rollout go as far as it may.

    Returns:
        What kept single rollouts from being looked at; they hold, and are tried again next time.

    Raises:
        StoreError: The database cannot be used.
    """
    while await write(lambda ledger: _give_up(ledger, now)) == _MOST_OVERDUE:
        pass
    failures: list[Error] = []
    for rollout_id in await write(lambda ledger: ledger.rollouts.running()):
        try:
            await _go_far(rollout_id, write, census, now)
        except StoreError:
            raise
        except Error as error:
            failures.append(error)
    return failures


async def advance(rollout_id: int, write: Write, now: datetime) -> Decision:
    """Decide for one rollout, do it, and store it, in one transaction.

    Raises:
        StoreError: The database cannot be used; nothing was done.
    """
    try:
        return await write(lambda ledger: _advance(ledger, rollout_id, now))
    except StoreError:
        raise
    except Error as error:
        doubt = Hold(cause="evidence_unreadable", reason=f"Nothing can be decided: {error.message}")
        return await write(lambda ledger: _hold(ledger, rollout_id, doubt, now))


async def _go_far(rollout_id: int, write: Write, census: Census, now: datetime) -> None:
    for _ in range(_MOST_DECISIONS):
        decision = await advance(rollout_id, write, now)
        if isinstance(decision, Hold) and decision.cause == "counting":
            await _count(rollout_id, write, census)
        elif not isinstance(decision, Advance):
            return


def _advance(ledger: Ledger, rollout_id: int, now: datetime) -> Decision:
    stored = ledger.rollouts.rollout(rollout_id)
    if stored is None or stored.rollout.status is not Status.RUNNING:
        return Hold(cause="at_rest", reason="The rollout does not run.")
    if stored.walk.is_over and now.timestamp() >= stored.walk.again_at:
        stored = replace(stored, walk=Walk())
    evidence = evidence_of(ledger, stored, now)
    decision = decide(stored.rollout, evidence, now)
    carry_out(ledger, stored, evidence, decision, now)
    return decision


def _hold(ledger: Ledger, rollout_id: int, doubt: Hold, now: datetime) -> Hold:
    stored = ledger.rollouts.rollout(rollout_id)
    if stored is not None:
        carry_out(ledger, stored, Evidence(), doubt, now)
    return doubt


async def _count(rollout_id: int, write: Write, census: Census) -> None:
    stored = await write(lambda ledger: ledger.rollouts.rollout(rollout_id))
    if stored is not None:
        counted = replace(stored, population=await census(stored))
        # Dropped when the rollout has moved on meanwhile; it is then counted again.
        await write(lambda ledger: ledger.rollouts.put(counted))


def _give_up(ledger: Ledger, now: datetime) -> int:
    overdue = ledger.rollouts.overdue(now, _MOST_OVERDUE)
    for attempt in overdue:
        keep(ledger, attempt, give_up(attempt, now))
        ledger.call_again(attempt.device_id)
    return len(overdue)
