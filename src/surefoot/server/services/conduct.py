# SPDX-License-Identifier: Apache-2.0
"""How a decision is carried out: what is known, and what changes; what advance and people's acts share.

- Deciding and doing are one transaction, fenced by the rollout's version: of two that read the same, one writes.
- A decision is stored with its evidence, unless it changes nothing and repeats the one before it.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from surefoot.fleet.attempt import end
from surefoot.model.assignment import Outcome
from surefoot.model.errors import ConflictError
from surefoot.model.record import utc_text
from surefoot.rollout.decision import Advance, Decision, Hold, Resume
from surefoot.rollout.evidence import Control, Evidence
from surefoot.rollout.plan import Status
from surefoot.rollout.standing import after
from surefoot.rollout.urgency import raised
from surefoot.server.services.attempts import keep
from surefoot.server.services.offering import offer
from surefoot.server.services.ports import SERVER, Act, Ledger
from surefoot.server.services.rollout_store import StoredRollout, Walk
from surefoot.server.services.rooms import largest_image, put_off, waiting
from surefoot.server.services.usual import baselines, learn

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


def evidence_of(ledger: Ledger, stored: StoredRollout, now: datetime, control: Sequence[Control] = ()) -> Evidence:
    """Return all that is known of a rollout; ``control`` is what a survey last saw."""
    plan = stored.rollout.plan
    retries_due, retries_waiting = ledger.rollouts.waiting(stored, now)
    image_bytes = largest_image(ledger, stored) if plan.limits.has_networks else 0
    return Evidence(
        tallies=ledger.rollouts.tallies(stored.rollout_id),
        population=stored.population,
        is_exhausted=stored.walk.is_over,
        exhausted_hardware=list(stored.walk.no_more),
        offered_last_minute=ledger.rollouts.offered_since(stored.rollout_id, now - _MINUTE),
        offered_last_hour=ledger.rollouts.offered_since(stored.rollout_id, now - _HOUR) if plan.limits.looks_back else 0,
        fetching=ledger.rollouts.fetching(stored.rollout_id) if plan.limits.concurrent_downloads else 0,
        audience=list(stored.audience),
        control=list(control),
        baselines=baselines(ledger, plan.product) if plan.has_default_gate else [],
        retries_due=retries_due,
        retries_waiting=retries_waiting,
        left_to_others=stored.walk.left,
        rival=None if stored.rollout.has_begun else ledger.rollouts.rival(stored),
        image_bytes=image_bytes,
        networks=waiting(ledger, stored, image_bytes, now) if plan.limits.has_networks else [],
        networks_waiting=ledger.networks.count(stored.rollout_id) if plan.limits.has_networks else 0,
        canaries_wait=now.timestamp() < stored.walk.canaries_at,
    )


def carry_out(ledger: Ledger, stored: StoredRollout, evidence: Evidence, decision: Decision, now: datetime) -> None:
    """Do and store one decision.

    Raises:
        ConflictError: The rollout was changed since it was read, or its release is gone; nothing was done.
    """
    moved = after(stored.rollout, decision, evidence, now)
    walk, population, offered = stored.walk, stored.population, 0
    put_off(ledger, stored, evidence, now)
    if isinstance(decision, Advance) and decision.offers:
        walk, offered = offer(ledger, stored, evidence, decision, now)
    if moved.stage != stored.rollout.stage:
        walk, population = Walk(), None
    if isinstance(decision, Resume):
        # Who was kept out until now is met by a walk that begins anew, before the batch can close.
        walk = Walk()
    if moved.status is not stored.rollout.status:
        walk = Walk()
        _withdraw(ledger, stored.rollout_id, now)
    elif isinstance(decision, Hold) and decision.regions:
        _withdraw(ledger, stored.rollout_id, now, decision.regions)
    if (moved.stage, moved.status) != (stored.rollout.stage, stored.rollout.status):
        # Whoever waited for room is met again by the walk that begins anew.
        ledger.networks.drop_all(stored.rollout_id)
    if moved.status is Status.FINISHED and moved.plan.has_default_gate:
        learn(ledger, moved)
    if moved.is_alarmed and not stored.rollout.is_alarmed:
        ledger.add_act(Act(at=now, by=SERVER, what="rollout.alarm", subject=f"{stored.rollout_id} {' '.join(raised(moved))}"))
    if not _is_repetition(ledger, stored, decision, offered):
        ledger.rollouts.add_decision(stored, evidence, decision, offered, now)
    changed = (moved, walk, population) != (stored.rollout, stored.walk, stored.population)
    if changed and not ledger.rollouts.put(replace(stored, rollout=moved, walk=walk, population=population)):
        raise ConflictError(f"Rollout {stored.rollout_id} was changed at the same moment.", hint="Look at it again.")


def _withdraw(ledger: Ledger, rollout_id: int, now: datetime, regions: Collection[str] | None = None) -> None:
    """End every offer that no device has started, in these regions alone when some are named; there are none unless the rollout ran."""
    for attempt in ledger.rollouts.unstarted(rollout_id):
        if regions is not None and attempt.region not in regions:
            continue
        keep(ledger, attempt, end(attempt, Outcome.CANCELLED, utc_text(now)))
        ledger.call_again(attempt.device_id)


def _is_repetition(ledger: Ledger, stored: StoredRollout, decision: Decision, offered: int) -> bool:
    """Say whether a decision tells nothing new: a walk that found nobody yet, or a hold like the one before it."""
    match decision:
        case Advance(cause="offer" | "retry" | "room"):
            return not offered
        case Hold(cause=cause, warnings=warnings, regions=[]):
            last = ledger.rollouts.last_decision(stored.rollout_id)
            return isinstance(last, Hold) and (last.cause, last.warnings) == (cause, warnings)
        case _:
            return False
