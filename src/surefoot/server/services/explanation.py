# SPDX-License-Identifier: Apache-2.0
"""Why a device did or did not update: ``explain(facts)``, one answer with its evidence; pure.

- What the device did is said first; then what keeps it from ever being meant; then what keeps the release from it now.
- Of several reasons the one that would have to change first is said: a device that no filter means is not told of a pause.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec import structs

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, DeviceState, running
from surefoot.fleet.field import Traits
from surefoot.fleet.filter import Filter, Miss, matches, misses, parse
from surefoot.fleet.path import Path
from surefoot.model.manifest import Manifest
from surefoot.model.record import utc_text
from surefoot.model.rules import Rule, permits
from surefoot.rollout.cohort import RING, origin, place
from surefoot.rollout.decision import Hold
from surefoot.rollout.network import kind_of, name_of, words_of
from surefoot.rollout.plan import WHOLE, Status
from surefoot.server.services.answer import Answer, Code
from surefoot.server.services.attempt_story import Order, explain_order
from surefoot.server.services.catalogue import StoredDecision
from surefoot.server.services.rollout_store import MOST_OFFERS, StoredRollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of one device and one rollout.

    Attributes:
        device: The device.
        traits: What filters see of it.
        stored: The rollout.
        wanted: Its audience.
        manifests: Its release in its variant; none when the release is gone.
        offered: How many devices its open stage has been offered to.
        turn: The decision that paused, halted or ended it; nothing while it runs.
        newest: Its newest decision.
        late: Groups that it joined too late for this rollout.
        orders: The device's attempts in it, newest first.
        open_order: The device's open attempt, of whichever rollout.
        path: Through which releases the device gets to this one; nothing when it may go straight.
        quarantine: Why the device is kept from this release, in words; empty when it is not.
        takes_back: The release that the rollout takes devices back from, in words; empty when it does not.
        is_updated: Whether the rollout comes to this device at all: one that takes devices back comes to those alone that were updated.
        full: The region or site of the device that has no room for it now, and what uses it up, in words; nothing when all have.
        offline_after: Without a call for this long, a device is offline.
        now: Aware.
    """

    device: Device
    traits: Traits
    stored: StoredRollout
    wanted: Filter
    manifests: Sequence[Manifest]
    offered: int
    turn: StoredDecision | None
    newest: StoredDecision | None
    late: Collection[str]
    orders: Sequence[Order]
    open_order: Attempt | None
    path: Path | None
    quarantine: str
    takes_back: str
    is_updated: bool
    full: tuple[str, str] | None
    offline_after: timedelta
    now: datetime

    @property
    def release(self) -> str:
        """The release in words."""
        return self.stored.rollout.plan.release

    @property
    def manifest(self) -> Manifest | None:
        """The image for the device's hardware."""
        return next((one for one in self.manifests if self.device.hardware in one.target_hardware), None)


def explain(facts: Facts) -> Answer:
    """Say why a device did or did not get the release of a rollout."""
    answer, number = _explain(facts), facts.stored.rollout.reverts
    if number is None or not facts.is_updated:
        return answer
    sentence = f"Rollout {number}, which brought {facts.takes_back}, is taken back. {answer.sentence}"
    return structs.replace(answer, sentence=sentence, evidence={**answer.evidence, "reverts": number})


def _explain(facts: Facts) -> Answer:
    if facts.orders:
        told = explain_order(facts.orders[0], facts.device, facts.offline_after, facts.now)
        if told.code is not Code.WITHDRAWN:
            return told
    for reason in _REASONS:
        answer = reason(facts)
        if answer is not None:
            return answer
    return _turn_to_come(facts)


def _state(facts: Facts) -> Answer | None:
    if facts.device.state is not DeviceState.REVOKED:
        return None
    hint = f"surefoot token new {facts.device.device_id} --hardware {facts.device.hardware}"
    return Answer(code=Code.REVOKED, sentence=f"The device is revoked and may not call; it joins again with a token: {hint}.")


def _report(facts: Facts) -> Answer | None:
    if facts.device.report is not None:
        return None
    return Answer(code=Code.NEVER_SAID, sentence="The device has never said what it runs, so nothing is offered to it.")


def _product(facts: Facts) -> Answer | None:
    report, wanted = facts.device.report, facts.stored.rollout.plan.product
    if report is None or report.product == wanted:
        return None
    return Answer(
        code=Code.OTHER_PRODUCT,
        sentence=f"The rollout is for {wanted}; this device runs {report.product}.",
        evidence={"product": report.product},
    )


def _runs_it(facts: Facts) -> Answer | None:
    report, manifest = facts.device.report, facts.manifest
    if report is None or manifest is None or report.hash != manifest.image.hash:
        return None
    return Answer(code=Code.RUNS_IT, sentence=f"It runs {facts.release} already.", evidence={"hash": report.hash})


def _updated(facts: Facts) -> Answer | None:
    number = facts.stored.rollout.reverts
    if number is None or facts.is_updated:
        return None
    sentence = (
        f"The rollout takes back only what rollout {number} updated to {facts.takes_back} from {facts.release}; this device is not of it."
    )
    return Answer(code=Code.NOT_UPDATED, sentence=sentence, evidence={"reverts": number})


def _filter(facts: Facts) -> Answer | None:
    found = misses(facts.wanted, facts.traits, facts.now)
    if not found:
        return None
    said = "; ".join(f"{miss.clause}, and {_has(miss)}" for miss in found)
    sentence = f"The rollout's audience does not take it: it asks for {said}."
    return Answer(code=Code.NOT_MATCHED, sentence=sentence, evidence={"audience": facts.wanted.text, **_values(found)})


def _values(found: Sequence[Miss]) -> dict[str, str | int]:
    return {miss.name: miss.value or "" for miss in found}


def _has(miss: Miss) -> str:
    return f"its {miss.name} is {miss.value}" if miss.value is not None else f"it has no {miss.name}"


def _image(facts: Facts) -> Answer | None:
    if not facts.manifests:
        return Answer(code=Code.NO_RELEASE, sentence=f"Release {facts.release} is not there any more.")
    if facts.manifest is not None:
        return None
    there = sorted({name for one in facts.manifests for name in one.target_hardware})
    sentence = f"Release {facts.release} has no image for {facts.device.hardware}, only for {', '.join(there)}."
    return Answer(code=Code.HARDWARE, sentence=sentence, evidence={"hardware": facts.device.hardware})


def _stages_of(facts: Facts) -> list[int]:
    stages, own = facts.stored.rollout.plan.stages, set(facts.traits.groups) - set(facts.late)
    return [
        number
        for number, stage in enumerate(stages)
        if (stage.group is None or stage.group in own) and matches(parse(stage.audience), facts.traits, facts.now)
    ]


def _group(facts: Facts) -> Answer | None:
    if _stages_of(facts):
        return None
    wanted = ", ".join(dict.fromkeys(stage.group or f"'{stage.audience}'" for stage in facts.stored.rollout.plan.stages))
    late = ", ".join(name for name in sorted(facts.late) if name in {stage.group for stage in facts.stored.rollout.plan.stages})
    if late:
        sentence = f"It joined {late} after the rollout was created; that group takes it along from the next rollout on."
        return Answer(code=Code.JOINED_LATE, sentence=sentence, evidence={"groups": late})
    own = f"in {', '.join(facts.traits.groups)}" if facts.traits.groups else "in no group"
    return Answer(
        code=Code.NOT_IN_GROUP,
        sentence=f"The rollout is for the devices in {wanted}; this one is {own}.",
        evidence={"groups": ", ".join(facts.traits.groups)},
    )


def _rules(facts: Facts) -> Answer | None:
    now, manifest = running(facts.device), facts.manifest
    if now is None or manifest is None:
        return None
    verdict = permits(now, manifest, approvals=frozenset(facts.stored.rollout.plan.approve))
    if verdict.is_permitted or verdict.rule is Rule.SAME_VERSION:
        return None
    rule = "" if verdict.rule is None else verdict.rule.value
    steps = [] if facts.path is None else facts.path.steps
    if len(steps) > 1:
        way = " → ".join(step.version for step in steps)
        sentence = f"It runs {now.version}, and its path to {manifest.version} needs {steps[0].version} first ({now.version} → {way})."
        return Answer(code=Code.PATH, sentence=sentence, evidence={"rule": rule, "path": way})
    return Answer(code=Code.VERSION_RULE, sentence=f"The version rules keep it from it: {verdict.reason}", evidence={"rule": rule})


def _quarantine(facts: Facts) -> Answer | None:
    if not facts.quarantine:
        return None
    return Answer(code=Code.QUARANTINED, sentence=f"The device is in quarantine for this release: {facts.quarantine.rstrip('.')}.")


def _excluded(facts: Facts) -> Answer | None:
    hardware = facts.device.hardware
    if hardware not in facts.stored.rollout.excluded:
        return None
    override = f"surefoot rollout include {facts.stored.rollout_id} {hardware} --why REASON"
    sentence = f"The gate excluded hardware {hardware}, since it took harm; a person includes it again: {override}."
    return Answer(code=Code.EXCLUDED, sentence=sentence, evidence={"hardware": hardware})


def _standing(facts: Facts) -> Answer | None:
    status, turn = facts.stored.rollout.status, facts.turn
    if status is Status.RUNNING:
        return None
    by = "" if turn is None else getattr(turn.decision, "by", "")
    since = "" if turn is None else f" since {turn.at}"
    said = "" if turn is None else f"{f' by {by}' if by else ''}: {turn.decision.reason.rstrip('.')}"
    evidence: dict[str, str | int] = {} if turn is None else {"decision": turn.number, "at": turn.at, "by": by}
    match status:
        case Status.DRAFT:
            sentence = f"The rollout has not been started: surefoot rollout start {facts.stored.rollout_id}."
            return Answer(code=Code.DRAFT, sentence=sentence)
        case Status.APPROVED:
            sentence = f"The rollout is approved and has not been started: surefoot rollout start {facts.stored.rollout_id}."
            return Answer(code=Code.DRAFT, sentence=sentence)
        case Status.SCHEDULED:
            starts_at = facts.stored.rollout.starts_at
            return Answer(code=Code.DRAFT, sentence=f"The rollout starts by itself at {starts_at}.", evidence={"starts_at": starts_at})
        case Status.PAUSED:
            if (localise_at := facts.stored.rollout.localise_at) is not None:
                evidence = {**evidence, "localise_at": utc_text(datetime.fromtimestamp(localise_at, UTC))}
            return Answer(code=Code.PAUSED, sentence=f"The rollout has been paused{since}{said}.", evidence=evidence)
        case Status.HALTED:
            sentence = f"The rollout was halted before it came to this device,{since.replace('since', 'at')}{said}."
            return Answer(code=Code.HALTED, sentence=sentence, evidence={**evidence, "is_final": int(facts.stored.rollout.is_final)})
        case Status.FINISHED:
            sentence = f"The rollout ended{since.replace('since', 'at')} and had offered it nothing: it did not fit then, or was not there."
            return Answer(code=Code.FINISHED, sentence=sentence, evidence=evidence)


def _region(facts: Facts) -> Answer | None:
    region = facts.traits.attributes.get("region", "")
    held = next((one for one in facts.stored.rollout.regions if one.region == region and one.is_held), None)
    if held is None:
        return None
    release = f"surefoot rollout release {facts.stored.rollout_id} {region or repr('')} --why REASON"
    end = f"a person ends that: {release}" if held.needs_person else "it ends by itself after half an hour of calm"
    where = f"region {region}" if region else "devices without a region"
    sentence = f"Nothing starts in {where}: too many devices there cannot be reached that this rollout never touched; {end}."
    return Answer(code=Code.REGION_HELD, sentence=sentence, evidence={"region": region})


def _other_order(facts: Facts) -> Answer | None:
    other = facts.open_order
    if other is None or other.rollout_id == facts.stored.rollout_id:
        return None
    whose = "a person ordered" if other.rollout_id is None else f"rollout {other.rollout_id} offered it"
    sentence = f"It has another order: {whose} {other.product} {other.version} at {other.issued_at}; one at a time."
    return Answer(code=Code.OTHER_ORDER, sentence=sentence, evidence={"assignment_id": other.assignment_id})


def _not_taken_up(facts: Facts) -> Answer | None:
    if len(facts.orders) < MOST_OFFERS:
        return None
    often, last = len(facts.orders), facts.orders[0].attempt.ended_at
    seen = f"; it was last seen {facts.device.last_seen}" if facts.device.last_seen else ""
    sentence = f"It was offered {facts.release} {often} times and never started, last until {last}{seen}. It is offered no more."
    return Answer(code=Code.NOT_TAKEN_UP, sentence=sentence, evidence={"offers": often, "last_seen": facts.device.last_seen})


def _stage(facts: Facts) -> Answer | None:
    rollout, mine = facts.stored.rollout, _stages_of(facts)
    stages = rollout.plan.stages
    ahead = [number for number in mine if number >= rollout.stage]
    if not ahead:
        last = stages[mine[-1]].name
        sentence = f"Its stage '{last}' is over and had come to everybody who fitted then; '{rollout.open_stage.name}' is open."
        return Answer(code=Code.STAGE_OVER, sentence=sentence, evidence={"stage": last, "open_stage": rollout.open_stage.name})
    if ahead[0] == rollout.stage:
        return None
    name, number = stages[ahead[0]].name, f"{ahead[0] + 1} of {len(stages)}"
    sentence = f"It comes in stage '{name}' ({number}); the rollout stands at '{rollout.open_stage.name}'{_holds(facts)}."
    return Answer(code=Code.STAGE_AHEAD, sentence=sentence, evidence={"stage": name, "open_stage": rollout.open_stage.name})


def _turn_to_come(facts: Facts) -> Answer:
    rollout, stored = facts.stored.rollout, facts.stored
    at = (place(facts.device.device_id) - origin(stored.salt)) % RING
    around = at * 1_000 // RING / 10
    evidence: dict[str, str | int] = {"place_percent": str(around), "offered": facts.offered, "devices": stored.population or 0}
    if at <= stored.walk.place and facts.full is not None:
        return _waits_for_room(facts, *facts.full)
    if at <= stored.walk.place:
        sentence = f"The rollout had passed its place on the ring before it fitted; the next pass takes it along{_holds(facts)}."
        return Answer(code=Code.PASSED, sentence=sentence, evidence=evidence)
    batches = rollout.open_stage.shares
    before = _rank(at, stored.walk.place, facts.offered, stored.population or 0)
    comes = next(number for number, share in enumerate(batches) if share == WHOLE or before < -(-(stored.population or 0) * share // WHOLE))
    comes = max(comes, rollout.batch)
    evidence |= {"batch": comes + 1, "batches": len(batches), "open_batch": rollout.batch + 1}
    if comes == rollout.batch and facts.full is not None:
        return _waits_for_room(facts, *facts.full)
    if comes == rollout.batch:
        sentence = f"It is in the open batch ({comes + 1} of {len(batches)}) and comes as the rollout's limits allow{_holds(facts)}."
        return Answer(code=Code.NEXT, sentence=sentence, evidence=evidence)
    sentence = (
        f"It comes in about batch {comes + 1} of {len(batches)} of stage '{rollout.open_stage.name}'; batch {rollout.batch + 1} is open"
    )
    return Answer(code=Code.BATCH_AHEAD, sentence=f"{sentence}{_holds(facts)}.", evidence=evidence)


def _waits_for_room(facts: Facts, network: str, used: str) -> Answer:
    sentence = f"Its {words_of(network)} is at its limit: {used.rstrip('.')}; it comes as soon as there is room{_holds(facts)}."
    return Answer(code=Code.NETWORK_FULL, sentence=sentence, evidence={kind_of(network): name_of(network)})


def _rank(at: int, walked: int, offered: int, population: int) -> int:
    """Return about how many devices are offered the release before the one at this place: places are drawn evenly, so nobody counts."""
    left = max(0, population - offered)
    return offered + left * (at - walked - 1) // (RING - walked)


def _holds(facts: Facts) -> str:
    decision = None if facts.newest is None else facts.newest.decision
    return f". It holds now: {decision.reason.rstrip('.')}" if isinstance(decision, Hold) else ""


_REASONS: tuple[Callable[[Facts], Answer | None], ...] = (
    _state,
    _report,
    _product,
    _image,
    _updated,
    _runs_it,
    _filter,
    _group,
    _rules,
    _quarantine,
    _excluded,
    _standing,
    _region,
    _other_order,
    _not_taken_up,
    _stage,
)
