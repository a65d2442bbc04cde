# SPDX-License-Identifier: Apache-2.0
"""Attempts kept: stored, counted, and shown to the device; the one way in which every verb changes an attempt.

A rollout's counter moves by the difference that a change makes, in the transaction that makes it, and so does what is remembered of a
device that failed, and of how long installs take. Who waits for room in a network is looked at as soon as one there has fetched its
image, or will not any more.
"""

from surefoot.fleet.attempt import Attempt, end, load
from surefoot.fleet.setback import Setback, failed, is_news, next_setback
from surefoot.model.assignment import Outcome
from surefoot.rollout.evidence import Counts, Facts, counts_of
from surefoot.rollout.plan import Retries
from surefoot.server.services.ports import Ledger
from surefoot.server.services.usual import learn_install


def keep(ledger: Ledger, before: Attempt | None, after: Attempt) -> None:
    """Store an attempt as it is now; ``before`` is what was stored, nothing for a new one."""
    ledger.put_attempt(after)
    if is_news(before, after):
        _remember(ledger, before, after)
    if after.install_took_s is not None and (before is None or before.install_took_s is None):
        learn_install(ledger, after.product, after.hardware, after.install_took_s)
    if after.rollout_id is None:
        return
    moved = counts_of(facts(after)).minus(Counts() if before is None else counts_of(facts(before)))
    if moved != Counts():
        ledger.rollouts.move(after.rollout_id, (after.stage, after.hardware, after.region), moved)
    if before is not None and load(before) and not load(after):
        for network in after.networks:
            ledger.networks.wake(after.rollout_id, network)


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
        is_retry=attempt.retry > 0,
    )


def _remember(ledger: Ledger, before: Attempt | None, after: Attempt) -> None:
    release = (after.device_id, after.product, after.version)
    known = ledger.rollouts.setback(*release)
    most, backoff_s = _policy(ledger, after) if failed(before, after) else (0, 0)
    setback = next_setback(known, before, after, most=most, backoff_s=backoff_s)
    if setback is not None and setback != known:
        ledger.rollouts.put_setback(setback)
        if setback.quarantined_at:
            _take_back(ledger, setback, after)
    elif setback is None and known is not None:
        ledger.rollouts.forget_setback(*release)


def _take_back(ledger: Ledger, setback: Setback, attempt: Attempt) -> None:
    """Withdraw an offer of the release that was made before an older one was heard to have failed; what has started finishes."""
    other = ledger.open_attempt(setback.device_id)
    if other is None or other.assignment_id == attempt.assignment_id or other.is_started:
        return
    if (other.product, other.version) == (setback.product, setback.version):
        keep(ledger, other, end(other, Outcome.CANCELLED, max(other.issued_at, setback.quarantined_at)))
        ledger.call_again(other.device_id)


def _policy(ledger: Ledger, attempt: Attempt) -> tuple[int, int]:
    """Return how often the plan lets a device try again, and after how many seconds first."""
    stored = None if attempt.rollout_id is None else ledger.rollouts.rollout(attempt.rollout_id)
    retries = Retries() if stored is None else stored.rollout.plan.retries
    return retries.max, retries.backoff_s
