# SPDX-License-Identifier: Apache-2.0
"""How a batch closes once everybody in it has been offered the release: it is heard of, soaks, and something follows.

1. It is heard of: enough has ended, and nine of ten that started have.
2. It has soaked: nine of ten of the installs that were good by then have run that long.
3. Something in it went well.
4. The next batch that adds a device opens, or the next stage; after the last, the rollout ends once no attempt is open and it was watched.
"""

from datetime import datetime, timedelta

from msgspec import structs

from surefoot.model.duration import seconds
from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout import default_gate
from surefoot.rollout.ceiling import next_batch
from surefoot.rollout.decision import Advance, Decision, Hold, Pause
from surefoot.rollout.evidence import Counts, Evidence, total
from surefoot.rollout.plan import Rollout
from surefoot.rollout.standing import soaked_at
from surefoot.rollout.words import batch_words, capital, devices


def closed(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    """Return why the open batch has not closed yet, or what follows it."""
    return _unsettled(rollout, evidence.of_stage(rollout.stage)) or _soak(rollout, evidence, now)


def following(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    """Return what follows the open batch once it has closed: the next one, the next stage, or the end."""
    stage = rollout.open_stage
    counts = evidence.of_stage(rollout.stage)
    done = f"{counts.succeeded} of {counts.resolved} attempts in stage {stage.name} went well"
    batch = next_batch(rollout, evidence)
    if batch is not None:
        then = structs.replace(rollout, batch=batch)
    elif rollout.stage + 1 < len(rollout.plan.stages):
        then = structs.replace(rollout, stage=rollout.stage + 1, batch=0)
    else:
        return _end(rollout, evidence, now)
    return Advance(
        cause="batch" if then.stage == rollout.stage else "stage",
        reason=f"{done}: open {batch_words(then)}.",
        stage=then.stage,
        batch=then.batch,
        warnings=_unknown(rollout, evidence),
    )


def _unsettled(rollout: Rollout, counts: Counts) -> Hold | None:
    """Return why the open batch does not soak yet; nothing when it does."""
    if rollout.settled_at:
        return None
    # An attempt that was replaced or refused after its start has ended, though it says nothing.
    unresolved = min(counts.started - counts.resolved, counts.open)
    opened = rollout.opened
    heard = counts.resolved - opened.resolved
    enough = _enough(rollout, counts.taken - opened.resolved)
    if counts.offered and not counts.resolved and not counts.open:
        return _nothing_learnt(rollout, counts)
    if heard < enough:
        return Hold(cause="evidence", reason=f"{capital(batch_words(rollout))}: {heard} of at least {enough} attempts have ended.")
    if unresolved * 10 > counts.started:
        reason = f"{capital(batch_words(rollout))}: {unresolved} of {counts.started} devices that started have not ended yet."
        return Hold(cause="unresolved", reason=reason)
    return None


def _enough(rollout: Rollout, taken: int) -> int:
    """Return how many of a batch must have ended; what earlier batches still owe counts too, and only makes the wait longer.

    Under the default gate at least half: a batch whose windows open tomorrow has told nothing today.
    """
    least = rollout.plan.simple.min_resolved
    return min(max(least, -(-taken // 2)) if rollout.plan.has_default_gate else least, taken)


def _nothing_learnt(rollout: Rollout, counts: Counts) -> Hold:
    """Return the hold of a batch whose attempts all ended without saying anything of the release: to go on would be to guess."""
    stage = batch_words(rollout)
    if counts.rejected:
        reason = f"Nothing was learnt in {stage}: {devices(counts.rejected)} refused it. 'surefoot device why DEVICE_ID' says why."
        return Hold(cause="all_refused", reason=reason)
    void = counts.cancelled + counts.superseded
    reason = f"Nothing was learnt in {stage}: {devices(void)} had another order, or did not start in time. Put other devices into it."
    return Hold(cause="nothing_learnt", reason=reason)


def _soak(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    until = soaked_at(rollout, evidence, now)
    if now < until:
        soak = rollout.open_stage.soak_of(rollout.batch)
        reason = f"{capital(batch_words(rollout))} soaks until nine of ten good installs have run for {soak}, at {utc_text(until)}."
        return Hold(cause="soak", reason=reason, is_settled=True)
    return _none_good(rollout, evidence) or following(rollout, evidence, now)


def _none_good(rollout: Rollout, evidence: Evidence) -> Pause | None:
    """Return the pause of a batch in which nothing went well, however few it tried; nothing once a person has seen that."""
    counts = evidence.of_stage(rollout.stage)
    acknowledged = rollout.acknowledged[rollout.stage] if rollout.stage < len(rollout.acknowledged) else Counts()
    fresh = counts.resolved - max(acknowledged.resolved, rollout.opened.resolved)
    if fresh <= 0 or counts.running > rollout.opened.running:
        return None
    return Pause(cause="none_good", reason=f"Paused: nothing went well in {batch_words(rollout)}; {devices(fresh)} ended badly.")


def _unknown(rollout: Rollout, evidence: Evidence) -> list[str]:
    """Return what the default gate cannot know yet."""
    if not rollout.plan.has_default_gate:
        return []
    little = default_gate.little_known(rollout.ledger, evidence, rollout.excluded)
    found = [f"Nothing is known of hardware {name}: {devices(number)} of it reported so far." for name, number in little]
    alone = sorted({share.region for share in evidence.audience} - {one.region for one in evidence.control if one.devices + one.settled})
    return [*found, *(f"In region {name or '(none)'} no device is left to compare with." for name in alone)]


def _end(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    """Return what follows the last batch, from the counts of all stages: an attempt of an early stage may still be open."""
    counts = total(tally.counts for tally in evidence.tallies)
    if counts.open:
        still = "attempt is" if counts.open == 1 else "attempts are"
        return Hold(cause="open_attempts", reason=f"Everybody has been offered it; {counts.open} {still} still open.", is_settled=True)
    if evidence.retries_waiting:
        reason = f"Everybody has been offered it; {devices(evidence.retries_waiting)} that failed will be offered it again."
        return Hold(cause="retries", reason=reason, is_settled=True)
    settled = parse_utc(rollout.settled_at) if rollout.settled_at else now
    until = settled + timedelta(seconds=seconds(rollout.plan.watch))
    if now < until:
        reason = f"Everybody has been offered it; the fleet is watched for {rollout.plan.watch}, until {utc_text(until)}."
        return Hold(cause="watch", reason=reason, is_settled=True)
    silent = f" {counts.silent} went silent." if counts.silent else ""
    unheeded = f" {counts.cancelled} offers were never taken up." if counts.cancelled else ""
    return Advance(
        cause="end",
        reason=f"Finished: {counts.succeeded} of {counts.resolved} attempts went well.{silent}{unheeded}",
        stage=rollout.stage,
        batch=rollout.batch,
        is_end=True,
    )
