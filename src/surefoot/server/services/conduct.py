# SPDX-License-Identifier: Apache-2.0
"""How a decision is carried out: whom it reaches, what is known, and what changes; what advance and people's acts share.

- Deciding and doing are one transaction, fenced by the rollout's version: of two that read the same, one writes.
- Devices are found by walking the ring along an index, a bounded number of steps at a time.
- An offer is a row; the device's view is signed when it next asks.
- A decision is stored with its evidence, unless it changes nothing and repeats the one before it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from surefoot.fleet.attempt import Attempt, end
from surefoot.fleet.filter import Filter, matches, parse
from surefoot.model.assignment import AssignmentId, Outcome, next_assignment_id
from surefoot.model.errors import ConflictError
from surefoot.model.manifest import Manifest, target_path
from surefoot.model.record import utc_text
from surefoot.model.rules import Approval, Rule, permits
from surefoot.rollout.decision import Advance, Decision, Hold
from surefoot.rollout.evidence import Control, Evidence
from surefoot.rollout.plan import Status
from surefoot.rollout.standing import after
from surefoot.server.services.attempts import keep
from surefoot.server.services.ports import Ledger, Reads
from surefoot.server.services.rollout_store import Candidate, StoredRollout, Walk
from surefoot.server.services.usual import baselines, learn

_STRIDE = 1_000
_MOST_STEPS = 5
_PASS_AGAIN_S = 60
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Which devices a rollout is for: those that its filter takes at this moment, and that an image of its release fits."""

    filter: Filter
    now: datetime
    manifests: tuple[Manifest, ...]

    def image_for(self, candidate: Candidate) -> Manifest | None:
        """Return the image for a device of the audience; nothing for any other device."""
        if not matches(self.filter, candidate.traits, self.now):
            return None
        return next((one for one in self.manifests if candidate.attributes["hardware"] in one.target_hardware), None)


def audience_of(reads: Reads, stored: StoredRollout, now: datetime) -> Audience:
    """Return whom a rollout is for at this moment.

    Raises:
        ConflictError: Its release is not there any more.
        FilterError: Its filter cannot be read.
    """
    plan = stored.rollout.plan
    release = reads.release(plan.product, plan.version)
    if release is None:
        raise ConflictError(f"Release {plan.release} is not there any more.")
    of_variant = tuple(manifest for manifest in release.manifests if manifest.variant == plan.variant)
    return Audience(filter=parse(plan.audience), now=now, manifests=of_variant)


def evidence_of(ledger: Ledger, stored: StoredRollout, now: datetime, control: Sequence[Control] = ()) -> Evidence:
    """Return all that is known of a rollout; ``control`` is what a survey last saw."""
    plan = stored.rollout.plan
    return Evidence(
        tallies=ledger.rollouts.tallies(stored.rollout_id),
        population=stored.population,
        is_exhausted=stored.walk.is_over,
        exhausted_hardware=list(stored.walk.no_more),
        offered_last_minute=ledger.rollouts.offered_since(stored.rollout_id, now - _MINUTE),
        audience=list(stored.audience),
        control=list(control),
        baselines=baselines(ledger, plan.product) if plan.has_default_gate else [],
    )


def carry_out(ledger: Ledger, stored: StoredRollout, evidence: Evidence, decision: Decision, now: datetime) -> None:
    """Do and store one decision.

    Raises:
        ConflictError: The rollout was changed since it was read, or its release is gone; nothing was done.
    """
    moved = after(stored.rollout, decision, evidence, now)
    walk, population, offered = stored.walk, stored.population, 0
    if isinstance(decision, Advance) and decision.offers:
        walk, offered = _offer(ledger, stored, decision, now)
    if moved.stage != stored.rollout.stage:
        walk, population = Walk(), None
    if moved.status is not stored.rollout.status:
        walk = Walk()
        _withdraw(ledger, stored.rollout_id, now)
    if moved.status is Status.FINISHED and moved.plan.has_default_gate:
        learn(ledger, moved)
    if not _is_repetition(ledger, stored, decision, offered):
        ledger.rollouts.add_decision(stored, evidence, decision, offered, now)
    changed = (moved, walk, population) != (stored.rollout, stored.walk, stored.population)
    if changed and not ledger.rollouts.put(replace(stored, rollout=moved, walk=walk, population=population)):
        raise ConflictError(f"Rollout {stored.rollout_id} was changed at the same moment.", hint="Look at it again.")


def _offer(ledger: Ledger, stored: StoredRollout, decision: Advance, now: datetime) -> tuple[Walk, int]:
    if decision.hardware is None:
        walk, found = _found(ledger, stored, stored.walk, decision, now)
    else:
        # A walk of its own, so that the walk past all hardware misses nobody.
        own, found = _found(ledger, stored, Walk(), decision, now)
        walk = replace(stored.walk, no_more=(*stored.walk.no_more, decision.hardware)) if own.is_over else stored.walk
    if walk.is_over and decision.hardware is None:
        walk = replace(walk, again_at=int(now.timestamp()) + _PASS_AGAIN_S)
    last = ledger.last_assignment_id()
    for candidate, manifest in found:
        last = next_assignment_id(last)
        keep(ledger, None, _attempt(stored, candidate, manifest, last, now))
        ledger.call_again(candidate.device_id)
    return walk, len(found)


def _found(
    ledger: Ledger, stored: StoredRollout, walk: Walk, decision: Advance, now: datetime
) -> tuple[Walk, list[tuple[Candidate, Manifest]]]:
    audience = audience_of(ledger, stored, now)
    found: list[tuple[Candidate, Manifest]] = []
    for _ in range(_MOST_STEPS):
        piece = ledger.rollouts.walk(replace(stored, walk=walk), _STRIDE, hardware=decision.hardware)
        for candidate in piece:
            walk = replace(walk, place=candidate.place, device_id=candidate.device_id)
            manifest = audience.image_for(candidate) if _is_meant(decision, candidate) else None
            if manifest is not None and may_take(candidate, manifest, stored.rollout.plan.approve):
                found.append((candidate, manifest))
            if len(found) == decision.offers:
                return walk, found
        if len(piece) < _STRIDE:
            return replace(walk, is_over=True), found
    return walk, found


def _is_meant(decision: Advance, candidate: Candidate) -> bool:
    hardware, region = candidate.attributes["hardware"], candidate.attributes.get("region", "")
    return hardware not in decision.not_hardware and region not in decision.not_regions


def may_take(candidate: Candidate, manifest: Manifest, approvals: Collection[Approval]) -> bool:
    """Say whether a device of the audience is free for an image, does not run it, and the version rules permit it."""
    if not candidate.is_free or candidate.hash == manifest.image.hash or candidate.running is None:
        return False
    verdict = permits(candidate.running, manifest, approvals=frozenset(approvals))
    # Other bytes of the same version are another variant of it.
    return verdict.is_permitted or verdict.rule is Rule.SAME_VERSION


def _attempt(stored: StoredRollout, candidate: Candidate, manifest: Manifest, assignment_id: AssignmentId, now: datetime) -> Attempt:
    plan, hardware = stored.rollout.plan, candidate.attributes["hardware"]
    return Attempt(
        assignment_id=assignment_id,
        device_id=candidate.device_id,
        product=manifest.product,
        version=manifest.version,
        variant=manifest.variant,
        hardware=hardware,
        path=target_path(manifest.product, manifest.version, hardware, manifest.variant),
        hash=manifest.image.hash,
        size=manifest.image.size,
        issued_at=utc_text(now),
        start_before=utc_text(now + timedelta(seconds=plan.start_within_s)),
        deadline_s=plan.deadline_s,
        rollout_id=stored.rollout_id,
        stage=stored.rollout.stage,
        region=candidate.attributes.get("region", ""),
    )


def _withdraw(ledger: Ledger, rollout_id: int, now: datetime) -> None:
    """End every offer that no device has started; there are none unless the rollout ran."""
    for attempt in ledger.rollouts.unstarted(rollout_id):
        keep(ledger, attempt, end(attempt, Outcome.CANCELLED, utc_text(now)))
        ledger.call_again(attempt.device_id)


def _is_repetition(ledger: Ledger, stored: StoredRollout, decision: Decision, offered: int) -> bool:
    """Say whether a decision tells nothing new: a walk that found nobody yet, or a hold like the one before it."""
    match decision:
        case Advance(cause="offer"):
            return not offered
        case Hold(cause=cause, warnings=warnings, regions=[]):
            last = ledger.rollouts.last_decision(stored.rollout_id)
            return isinstance(last, Hold) and (last.cause, last.warnings) == (cause, warnings)
        case _:
            return False
