# SPDX-License-Identifier: Apache-2.0
"""How a decision is carried out: whom it reaches, what is known, and what changes; what advance and people's acts share.

- Deciding and doing are one transaction, fenced by the rollout's version: of two that read the same, one writes.
- Devices are found by walking the ring along an index, a bounded number of steps at a time.
- A device whose region or site has no room is passed over, and waits in a queue of its network (``rooms``); queues come first.
- An offer is a row; the device's view is signed when it next asks.
- A decision is stored with its evidence, unless it changes nothing and repeats the one before it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
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
from surefoot.rollout.decision import Advance, Decision, Hold, Resume
from surefoot.rollout.evidence import Control, Evidence
from surefoot.rollout.plan import Status
from surefoot.rollout.standing import after
from surefoot.rollout.urgency import raised
from surefoot.server.services.attempts import keep
from surefoot.server.services.ports import SERVER, Act, Ledger, Reads
from surefoot.server.services.rollout_store import Candidate, StoredRollout, Walk
from surefoot.server.services.rooms import Rooms, largest_image, may_overtake, put_off, waiting
from surefoot.server.services.usual import baselines, install_s, learn

_STRIDE = 1_000
_MOST_STEPS = 5
_QUEUE_STRIDE = 20
_PASS_AGAIN_S = 60
_PASS_AGAIN_QUEUED_S = 900
_PASSED_A_SECOND = 250
"""Devices of a pass for each second until the next: a stage that has nobody left costs next to nothing, however large the fleet."""
"""While devices wait for room a rollout stands for long, and the next pass, only for those that came to fit meanwhile, comes later."""
_LOOK_AGAIN_S = 60
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
        rooms = Rooms(ledger, stored, evidence.image_bytes, now)
        if decision.cause == "retry":
            offered = _offer_again(ledger, stored, decision, rooms, now)
        elif decision.quotas:
            walk, offered = _let_in(ledger, stored, decision, rooms, now)
        else:
            walk, offered = _offer(ledger, stored, decision, rooms, now)
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


@dataclass(slots=True, kw_only=True)
class _Search:
    """How far a walk came, whom it found, where on the ring it first passed one over for each full network, and the one that ended it."""

    walk: Walk
    found: list[tuple[Candidate, Manifest]] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)
    ended_by: str | None = None


def _offer(ledger: Ledger, stored: StoredRollout, decision: Advance, rooms: Rooms, now: datetime) -> tuple[Walk, int]:
    at = int(now.timestamp())
    if decision.hardware is None:
        search = _search(ledger, stored, decision, rooms, now, walk=stored.walk)
        walk = search.walk
        rooms.wait(search.passed_over)
        if walk.is_over:
            least = _PASS_AGAIN_QUEUED_S if ledger.networks.count(stored.rollout_id) else _PASS_AGAIN_S
            walk = replace(walk, again_at=at + max(least, walk.passed // _PASSED_A_SECOND))
    else:
        # A walk of its own, so that the walk past all hardware misses nobody.
        known = stored.walk
        begin = Walk(place=known.canaries_place - 1) if known.canaries_of == decision.hardware else Walk()
        search, walk = _search(ledger, stored, decision, rooms, now, walk=begin), replace(known, canaries_of="")
        if search.passed_over and not search.found:
            walk = replace(walk, canaries_at=at + _LOOK_AGAIN_S)
        elif search.walk.is_over and not search.passed_over:
            walk = replace(walk, no_more=(*walk.no_more, decision.hardware))
        elif not search.found:
            # Who fits may be far along the ring: the next look goes on from here.
            walk = replace(walk, canaries_of=decision.hardware, canaries_place=search.walk.place)
    return walk, _order_all(ledger, stored, search, rooms, now)


def _let_in(ledger: Ledger, stored: StoredRollout, decision: Advance, rooms: Rooms, now: datetime) -> tuple[Walk, int]:
    """Offer the release to devices that waited for room; a queue stays for those that it did not come to."""
    walk, offered = stored.walk, 0
    for network in decision.quotas:
        queue, left = ledger.networks.queue(stored.rollout_id, network), decision.offers - offered
        if queue is None or not left:
            continue
        wanted = structs.replace(decision, offers=left)
        search = _search(ledger, stored, wanted, rooms, now, walk=Walk(place=queue.place - 1), network=network)
        offered += _order_all(ledger, stored, search, rooms, now)
        rooms.wait(search.passed_over)
        # Who has another order by now is waited for, as by the walk past all.
        walk = replace(walk, left=max(walk.left, search.walk.left))
        if search.walk.is_over:
            ledger.networks.drop(stored.rollout_id, network)
        else:
            look_at = rooms.look_at(search.ended_by) if search.ended_by else int(now.timestamp())
            ledger.networks.put(stored.rollout_id, replace(queue, place=search.walk.place, look_at=look_at))
    return walk, offered


def _order_all(ledger: Ledger, stored: StoredRollout, search: _Search, rooms: Rooms, now: datetime) -> int:
    for candidate, manifest in search.found:
        attempt = structs.replace(_attempt(ledger, stored, candidate, manifest, now), networks=rooms.limited(candidate))
        _order(ledger, attempt, ledger.last_assignment_id())
    return len(search.found)


def _offer_again(ledger: Ledger, stored: StoredRollout, decision: Advance, rooms: Rooms, now: datetime) -> int:
    """Offer the release again to devices that failed; who has another order now waits, and who may not take it any more is let go."""
    audience = audience_of(ledger, stored, now)
    plan, offered = stored.rollout.plan, 0
    for candidate in ledger.rollouts.to_retry(stored, now, decision.offers):
        known = ledger.rollouts.setback(candidate.device_id, plan.product, plan.version)
        if known is None:
            continue
        is_member = plan.stages[known.stage].group in {None, *candidate.traits.groups}
        manifest = audience.image_for(candidate, known.stage) if is_member else None
        if candidate.is_fresh and candidate.busy_with is not None:
            ledger.rollouts.put_setback(structs.replace(known, retry_at=utc_text(now + _MINUTE)))
        elif manifest is None or not may_take(candidate, manifest, plan.approve):
            ledger.rollouts.put_setback(structs.replace(known, retry_at=""))
        elif full := rooms.full(candidate):
            until = datetime.fromtimestamp(rooms.look_at(full), now.tzinfo)
            ledger.rollouts.put_setback(structs.replace(known, retry_at=utc_text(until)))
        else:
            rooms.take(candidate, manifest.image.size)
            attempt = structs.replace(_attempt(ledger, stored, candidate, manifest, now), networks=rooms.limited(candidate))
            again = structs.replace(attempt, stage=known.stage, region=known.region, retry=max(1, known.failures))
            _order(ledger, again, ledger.last_assignment_id())
            offered += 1
    return offered


def _order(ledger: Ledger, attempt: Attempt, last: int) -> None:
    keep(ledger, None, structs.replace(attempt, assignment_id=next_assignment_id(last)))
    ledger.call_again(attempt.device_id)


def _search(
    ledger: Ledger, stored: StoredRollout, decision: Advance, rooms: Rooms, now: datetime, *, walk: Walk, network: str | None = None
) -> _Search:
    """Walk on from where a walk stands, past all devices, those of one hardware, or those of one network."""
    audience, others = audience_of(ledger, stored, now), _seniors(ledger, stored, now)
    reverts, search = stored.rollout.reverts, _Search(walk=walk)
    for step in range(_MOST_STEPS):
        # Most of those who wait are at the head of their queue; where few of a network are meant they are far between.
        stride = _STRIDE if network is None or step else min(_STRIDE, _QUEUE_STRIDE + decision.quotas[network])
        piece = ledger.rollouts.walk(replace(stored, walk=search.walk), stride, hardware=decision.hardware, network=network)
        for candidate in piece:
            search.walk = replace(search.walk, place=candidate.place, device_id=candidate.device_id, passed=search.walk.passed + 1)
            if reverts is not None and candidate.busy_with == reverts and candidate.is_fresh:
                # It is still at the update that it is to be taken back from.
                search.walk = replace(search.walk, left=search.walk.left + 1)
                continue
            manifest = audience.image_for(candidate, stored.rollout.stage) if _is_meant(decision, candidate) else None
            if manifest is None or not _would_take(candidate, manifest, stored.rollout.plan.approve):
                continue
            is_elsewhere = candidate.busy_with not in {None, 0, stored.rollout_id}
            if is_elsewhere or (candidate.is_free and any(_goes_first(ledger, other, candidate) for other in others)):
                search.walk = replace(search.walk, left=search.walk.left + 1)
            elif candidate.is_free and not _takes_room(search, candidate, manifest, rooms, network):
                return search
            if len(search.found) == decision.offers:
                return search
        if len(piece) < stride:
            search.walk = replace(search.walk, is_over=True)
            return search
    return search


def _takes_room(search: _Search, candidate: Candidate, manifest: Manifest, rooms: Rooms, network: str | None) -> bool:
    """Add a device to those that were found, or let it wait for room; say whether the search goes on."""
    full = rooms.full(candidate)
    if full is None:
        rooms.take(candidate, manifest.image.size)
        search.found.append((candidate, manifest))
        return True
    if network is not None and not may_overtake(full, network):
        search.ended_by = full
        return False
    search.passed_over.setdefault(full, candidate.place)
    return True


def _seniors(ledger: Ledger, stored: StoredRollout, now: datetime) -> list[tuple[StoredRollout, Audience]]:
    found = [ledger.rollouts.rollout(rollout_id) for rollout_id in ledger.rollouts.seniors(stored)]
    return [(senior, audience_of(ledger, senior, now)) for senior in found if senior is not None]


def _goes_first(ledger: Ledger, other: tuple[StoredRollout, Audience], candidate: Candidate) -> bool:
    """Say whether a rollout that has precedence wants a device, at once or later."""
    senior, audience = other
    rollout = senior.rollout
    if candidate.attributes["hardware"] in rollout.excluded:
        return False
    groups = set(candidate.traits.groups)
    if groups:
        groups -= ledger.late_groups(candidate.device_id, senior.created_at)
    to_come = [
        number
        for number, stage in enumerate(rollout.plan.stages)
        if number >= rollout.stage and (stage.group is None or stage.group in groups)
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
        case Advance(cause="offer" | "retry" | "room"):
            return not offered
        case Hold(cause=cause, warnings=warnings, regions=[]):
            last = ledger.rollouts.last_decision(stored.rollout_id)
            return isinstance(last, Hold) and (last.cause, last.warnings) == (cause, warnings)
        case _:
            return False
