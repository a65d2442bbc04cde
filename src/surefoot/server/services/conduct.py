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

from msgspec import structs

from surefoot.fleet.attempt import Attempt, end
from surefoot.fleet.filter import Filter, matches, parse
from surefoot.model.assignment import AssignmentId, Outcome, next_assignment_id
from surefoot.model.duration import seconds
from surefoot.model.errors import ConflictError
from surefoot.model.manifest import Manifest, target_path
from surefoot.model.record import parse_utc, utc_text
from surefoot.model.rules import Approval, Rule, permits
from surefoot.rollout.decision import Advance, Decision, Hold
from surefoot.rollout.evidence import Control, Evidence
from surefoot.rollout.plan import Status
from surefoot.rollout.standing import after
from surefoot.rollout.urgency import raised
from surefoot.server.services.attempts import keep
from surefoot.server.services.ports import SERVER, Act, Ledger, Reads
from surefoot.server.services.rollout_store import Candidate, StoredRollout, Walk
from surefoot.server.services.usual import baselines, install_s, learn

_STRIDE = 1_000
_MOST_STEPS = 5
_PASS_AGAIN_S = 60
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Which devices a rollout is for: those that its filters take at this moment, and that an image of its release fits.

    Attributes:
        filter: The plan's.
        stages: Each stage's own.
        now: The moment.
        manifests: The images of the release.
    """

    filter: Filter
    stages: tuple[Filter, ...]
    now: datetime
    manifests: tuple[Manifest, ...]

    def image_for(self, candidate: Candidate, stage: int) -> Manifest | None:
        """Return the image for a device of the audience of a stage; nothing for any other device. Groups are the caller's affair."""
        if not all(matches(wanted, candidate.traits, self.now) for wanted in (self.filter, self.stages[stage])):
            return None
        return next((one for one in self.manifests if candidate.attributes["hardware"] in one.target_hardware), None)


def audience_of(reads: Reads, stored: StoredRollout, now: datetime) -> Audience:
    """Return whom a rollout is for at this moment.

    Raises:
        ConflictError: Its release is not there any more.
        FilterError: A filter of it cannot be read.
    """
    plan = stored.rollout.plan
    release = reads.release(plan.product, plan.version)
    if release is None:
        raise ConflictError(f"Release {plan.release} is not there any more.")
    of_variant = tuple(manifest for manifest in release.manifests if manifest.variant == plan.variant)
    of_stages = tuple(parse(stage.audience) for stage in plan.stages)
    return Audience(filter=parse(plan.audience), stages=of_stages, now=now, manifests=of_variant)


def evidence_of(ledger: Ledger, stored: StoredRollout, now: datetime, control: Sequence[Control] = ()) -> Evidence:
    """Return all that is known of a rollout; ``control`` is what a survey last saw."""
    plan = stored.rollout.plan
    retries_due, retries_waiting = ledger.rollouts.waiting(stored, now)
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
    )


def carry_out(ledger: Ledger, stored: StoredRollout, evidence: Evidence, decision: Decision, now: datetime) -> None:
    """Do and store one decision.

    Raises:
        ConflictError: The rollout was changed since it was read, or its release is gone; nothing was done.
    """
    moved = after(stored.rollout, decision, evidence, now)
    walk, population, offered = stored.walk, stored.population, 0
    if isinstance(decision, Advance) and decision.cause == "retry":
        offered = _offer_again(ledger, stored, decision, now)
    elif isinstance(decision, Advance) and decision.offers:
        walk, offered = _offer(ledger, stored, decision, now)
    if moved.stage != stored.rollout.stage:
        walk, population = Walk(), None
    if moved.status is not stored.rollout.status:
        walk = Walk()
        _withdraw(ledger, stored.rollout_id, now)
    elif isinstance(decision, Hold) and decision.regions:
        _withdraw(ledger, stored.rollout_id, now, decision.regions)
    if moved.status is Status.FINISHED and moved.plan.has_default_gate:
        learn(ledger, moved)
    if moved.is_alarmed and not stored.rollout.is_alarmed:
        ledger.add_act(Act(at=now, by=SERVER, what="rollout.alarm", subject=f"{stored.rollout_id} {' '.join(raised(moved))}"))
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
    for candidate, manifest in found:
        _order(ledger, _attempt(ledger, stored, candidate, manifest, now), ledger.last_assignment_id())
    return walk, len(found)


def _offer_again(ledger: Ledger, stored: StoredRollout, decision: Advance, now: datetime) -> int:
    """Offer the release again to devices that failed; who has another order now waits, and who may not take it any more is let go."""
    audience = audience_of(ledger, stored, now)
    plan, offered = stored.rollout.plan, 0
    for candidate in ledger.rollouts.to_retry(stored, now, decision.offers):
        known = ledger.rollouts.setback(candidate.device_id, plan.product, plan.version)
        if known is None:
            continue
        manifest = audience.image_for(candidate, known.stage)
        if candidate.is_fresh and candidate.busy_with is not None:
            ledger.rollouts.put_setback(structs.replace(known, retry_at=utc_text(now + _MINUTE)))
        elif manifest is None or not may_take(candidate, manifest, plan.approve):
            ledger.rollouts.put_setback(structs.replace(known, retry_at=""))
        else:
            attempt = _attempt(ledger, stored, candidate, manifest, now)
            again = structs.replace(attempt, stage=known.stage, region=known.region, retry=max(1, known.failures))
            _order(ledger, again, ledger.last_assignment_id())
            offered += 1
    return offered


def _order(ledger: Ledger, attempt: Attempt, last: int) -> None:
    keep(ledger, None, structs.replace(attempt, assignment_id=next_assignment_id(last)))
    ledger.call_again(attempt.device_id)


def _found(
    ledger: Ledger, stored: StoredRollout, walk: Walk, decision: Advance, now: datetime
) -> tuple[Walk, list[tuple[Candidate, Manifest]]]:
    audience, others, reverts = audience_of(ledger, stored, now), _seniors(ledger, stored, now), stored.rollout.reverts
    found: list[tuple[Candidate, Manifest]] = []
    for _ in range(_MOST_STEPS):
        piece = ledger.rollouts.walk(replace(stored, walk=walk), _STRIDE, hardware=decision.hardware)
        for candidate in piece:
            walk = replace(walk, place=candidate.place, device_id=candidate.device_id)
            if reverts is not None and candidate.busy_with == reverts:
                # It is still at the update that it is to be taken back from.
                walk = replace(walk, left=walk.left + 1)
                continue
            manifest = audience.image_for(candidate, stored.rollout.stage) if _is_meant(decision, candidate) else None
            if manifest is None or not _would_take(candidate, manifest, stored.rollout.plan.approve):
                continue
            is_elsewhere = candidate.busy_with not in {None, 0, stored.rollout_id}
            if is_elsewhere or (candidate.is_free and any(_goes_first(ledger, other, candidate) for other in others)):
                walk = replace(walk, left=walk.left + 1)
            elif candidate.is_free:
                found.append((candidate, manifest))
            if len(found) == decision.offers:
                return walk, found
        if len(piece) < _STRIDE:
            return replace(walk, is_over=True), found
    return walk, found


def _seniors(ledger: Ledger, stored: StoredRollout, now: datetime) -> list[tuple[StoredRollout, Audience]]:
    found = [ledger.rollouts.rollout(rollout_id) for rollout_id in ledger.rollouts.seniors(stored)]
    return [(senior, audience_of(ledger, senior, now)) for senior in found if senior is not None]


def _goes_first(ledger: Ledger, other: tuple[StoredRollout, Audience], candidate: Candidate) -> bool:
    """Say whether a rollout that has precedence wants a device, at once or later."""
    senior, audience = other
    rollout = senior.rollout
    if candidate.attributes["hardware"] in rollout.excluded:
        return False
    to_come = [
        number
        for number, stage in enumerate(rollout.plan.stages)
        if number >= rollout.stage and (stage.group is None or stage.group in candidate.traits.groups)
    ]
    manifest = next((image for number in to_come if (image := audience.image_for(candidate, number))), None)
    wants = manifest is not None and _fits(candidate, manifest, rollout.plan.approve)
    return wants and ledger.rollouts.takes(senior, candidate.device_id)


def _is_meant(decision: Advance, candidate: Candidate) -> bool:
    hardware, region = candidate.attributes["hardware"], candidate.attributes.get("region", "")
    return hardware not in decision.not_hardware and region not in decision.not_regions


def may_take(candidate: Candidate, manifest: Manifest, approvals: Collection[Approval]) -> bool:
    """Say whether a device of the audience is free for an image, does not run it, and the version rules permit it."""
    return candidate.is_free and _fits(candidate, manifest, approvals)


def _would_take(candidate: Candidate, manifest: Manifest, approvals: Collection[Approval]) -> bool:
    """Say whether a device may be offered it, now or once its present order has ended."""
    return candidate.is_fresh and _fits(candidate, manifest, approvals)


def _fits(candidate: Candidate, manifest: Manifest, approvals: Collection[Approval]) -> bool:
    if candidate.hash == manifest.image.hash or candidate.running is None:
        return False
    verdict = permits(candidate.running, manifest, approvals=frozenset(approvals))
    # Other bytes of the same version are another variant of it.
    return verdict.is_permitted or verdict.rule is Rule.SAME_VERSION


def _attempt(reads: Reads, stored: StoredRollout, candidate: Candidate, manifest: Manifest, now: datetime) -> Attempt:
    """Return an attempt that has no number yet."""
    plan, hardware = stored.rollout.plan, candidate.attributes["hardware"]
    attempt = Attempt(
        assignment_id=AssignmentId(0),
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
        updated_from="" if candidate.running is None else candidate.running.version,
        windows=plan.windows,
        install_s=install_s(reads, manifest.product, hardware, plan.install_s),
    )
    if plan.security is None:
        return attempt
    return structs.replace(attempt, deadline_at=utc_text(parse_utc(plan.security.deadline)), grace_s=seconds(plan.security.grace))


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
        case Advance(cause="offer" | "retry"):
            return not offered
        case Hold(cause=cause, warnings=warnings, regions=[]):
            last = ledger.rollouts.last_decision(stored.rollout_id)
            return isinstance(last, Hold) and (last.cause, last.warnings) == (cause, warnings)
        case _:
            return False
