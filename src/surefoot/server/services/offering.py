# SPDX-License-Identifier: Apache-2.0
"""Offering: whom a decision's offers reach, found by walking the ring along an index, a bounded number of steps at a time.

- An offer is a row; the device's view is signed when it next asks.
- A device whose region or site has no room is passed over, and waits in a queue of its network (``rooms``); queues come first.
- A walk that came round begins anew after a while: devices come to fit behind its back.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from msgspec import structs

from surefoot.fleet.attempt import Attempt
from surefoot.model.assignment import AssignmentId, next_assignment_id
from surefoot.model.duration import seconds
from surefoot.model.manifest import Manifest, target_path
from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout.decision import Advance
from surefoot.rollout.evidence import Evidence
from surefoot.server.services.attempts import keep
from surefoot.server.services.audience import Audience, audience_of, fits, may_take, would_take
from surefoot.server.services.ports import Ledger, Reads
from surefoot.server.services.rollout_store import Candidate, StoredRollout, Walk
from surefoot.server.services.rooms import Rooms, may_overtake
from surefoot.server.services.usual import install_s

_STRIDE = 1_000
_MOST_STEPS = 5
_QUEUE_STRIDE = 20
_PASS_AGAIN_S = 60
_PASS_AGAIN_QUEUED_S = 900
"""While devices wait for room a rollout stands for long, and the next pass, only for those that came to fit meanwhile, comes later."""
_PASSED_A_SECOND = 250
"""Devices of a pass for each second until the next: a stage that has nobody left costs next to nothing, however large the fleet."""
_LOOK_AGAIN_S = 60
_MINUTE = timedelta(minutes=1)


def offer(ledger: Ledger, stored: StoredRollout, evidence: Evidence, decision: Advance, now: datetime) -> tuple[Walk, int]:
    """Store the offers of a decision.

    Returns:
        How far the rollout has come round the ring with that, and how many devices were offered its release.

    Raises:
        ConflictError: The release is not there any more.
    """
    rooms = Rooms(ledger, stored, evidence.image_bytes, now)
    if decision.cause == "retry":
        return stored.walk, _offer_again(ledger, stored, decision, rooms, now)
    if decision.quotas:
        return _let_in(ledger, stored, decision, rooms, now)
    return _offer_on(ledger, stored, decision, rooms, now)


@dataclass(slots=True, kw_only=True)
class _Search:
    """How far a walk came, whom it found, where on the ring it first passed one over for each full network, and the one that ended it."""

    walk: Walk
    found: list[tuple[Candidate, Manifest]] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)
    ended_by: str | None = None


def _offer_on(ledger: Ledger, stored: StoredRollout, decision: Advance, rooms: Rooms, now: datetime) -> tuple[Walk, int]:
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
            if manifest is None or not would_take(candidate, manifest, stored.rollout.plan.approve):
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
    wants = manifest is not None and fits(candidate, manifest, rollout.plan.approve)
    return wants and ledger.rollouts.takes(senior, candidate.device_id)


def _is_meant(decision: Advance, candidate: Candidate) -> bool:
    hardware, region = candidate.attributes["hardware"], candidate.attributes.get("region", "")
    return hardware not in decision.not_hardware and region not in decision.not_regions


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
