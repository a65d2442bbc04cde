# SPDX-License-Identifier: Apache-2.0
"""Attempts kept: stored, counted, and shown to the device; the one way in which every verb changes an attempt.

A rollout's counter moves by the difference that a change makes, in the transaction that makes it.
"""

from surefoot.fleet.attempt import Attempt
from surefoot.rollout.evidence import Counts, Facts, counts_of
from surefoot.server.services.ports import Ledger


def keep(ledger: Ledger, before: Attempt | None, after: Attempt) -> None:
    """Store an attempt as it is now; ``before`` is what was stored, nothing for a new one."""
    ledger.put_attempt(after)
    if after.rollout_id is None:
        return
    moved = counts_of(facts(after)).minus(Counts() if before is None else counts_of(facts(before)))
    if moved != Counts():
        ledger.rollouts.move(after.rollout_id, (after.stage, after.hardware, after.region), moved)


def facts(attempt: Attempt) -> Facts:
    """Return what an attempt says of its rollout's release."""
    return Facts(
        is_started=attempt.is_started,
        is_unhealthy=attempt.is_unhealthy,
        outcome=attempt.outcome,
        is_late_good=attempt.is_late_good,
        is_late_bad=attempt.is_late_bad,
        is_due=attempt.is_due,
        is_relapsed=attempt.is_relapsed,
    )
