# SPDX-License-Identifier: Apache-2.0
"""The engine: what a rollout does next, as a pure function of its plan, the evidence and the time.

In this order; the first that applies is the decision:

1. A rollout that does not run holds, and one that is scheduled starts when its time has come; one that the default gate paused looks
   for the culprit after two hours, and excludes it or halts.
2. A gate that cannot be evaluated holds; one that shows harm pauses, whatever else passes.
3. A region that cannot be reached is held, and goes on once it is calm.
4. A stage that was not counted yet, or that no device fits, holds.
5. Devices that failed and have waited are offered it again; then devices of the open batch that may be offered the release are: as
   many as batch, risk and limits allow. Who was passed over, since the network of the region or site was full, comes first once there
   is room; when nobody else is left, that is waited for.
6. A batch that was offered holds until it is heard of: nine of ten that started have resolved, and enough have.
7. It then soaks: nine of ten of its good installs must have run that long.
8. Then the next batch opens, or the next stage. After the last, the rollout ends once no attempt is open and it was watched.
"""

from datetime import datetime

from msgspec import structs

from surefoot.model.errors import InvalidInput
from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout import closing
from surefoot.rollout.ceiling import canaries, ceiling
from surefoot.rollout.decision import Advance, Decision, Exclude, Halt, Hold, Pause, Resume
from surefoot.rollout.default_gate import Reading
from surefoot.rollout.evidence import Counts, Evidence
from surefoot.rollout.judgement import judge
from surefoot.rollout.limits import is_held, quotas_now, tightest, waiting_words
from surefoot.rollout.network import words_of
from surefoot.rollout.plan import Rollout, Status
from surefoot.rollout.standing import look, turned
from surefoot.rollout.urgency import alarms
from surefoot.rollout.verdict import Light, Verdict
from surefoot.rollout.way_back import AS_PLANNED
from surefoot.rollout.words import batch_words, capital, devices

_AT_REST = {
    Status.DRAFT: "The rollout has not been started.",
    Status.APPROVED: "The rollout has been approved and not been started.",
    Status.PAUSED: "The rollout is paused until a person resumes it.",
    Status.HALTED: "The rollout was halted.",
    Status.FINISHED: "The rollout is finished.",
}
_PORTIONS = 10
"""Into how many portions what may be at risk is dealt out, so that a decision stands for a few seconds and not for one device."""


def decide(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    """Say what a rollout does next, from what its devices have reported.

    Deciding twice on the same input gives the same answer.

    Args:
        rollout: The plan and where it stands.
        evidence: Counts by stage, hardware and region; the fleet, and what its devices without the release do.
        now: Aware, UTC.

    Returns:
        The decision, with the reason shown to people.

    Raises:
        InvalidInput: The evidence names a stage that the plan does not have.
    """
    decision = _decision(rollout, evidence, now)
    if not isinstance(decision, Hold):
        return decision
    return structs.replace(decision, warnings=[*decision.warnings, *alarms(rollout, now)])


def _decision(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    if rollout.status is Status.PAUSED and rollout.localise_at is not None:
        return _localise(look(rollout, evidence, now), evidence, now)
    if rollout.status is Status.SCHEDULED:
        return _begin(rollout, evidence, now)
    if rollout.status is not Status.RUNNING:
        return Hold(cause=rollout.status.value, reason=_AT_REST[rollout.status])
    _check(rollout, evidence)
    looked = look(rollout, evidence, now)
    verdict = judge(looked, evidence, _to_come(rollout, evidence))
    if verdict.light is Light.HOLD:
        return Hold(cause=verdict.cause, reason=verdict.reason, warnings=verdict.warnings)
    if verdict.light is Light.PAUSE:
        return Pause(cause=verdict.cause, reason=f"Paused: {verdict.reason[:1].lower()}{verdict.reason[1:]}", warnings=verdict.warnings)
    decision = _turn(rollout, evidence, now) or _go_on(looked, evidence, verdict, now)
    return structs.replace(decision, warnings=[*verdict.warnings, *decision.warnings])


def _begin(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    if not rollout.starts_at or now < parse_utc(rollout.starts_at):
        return Hold(cause="scheduled", reason=f"The rollout starts at {rollout.starts_at or 'an instant that a person says'}.")
    if evidence.rival is not None:
        reason = f"Rollout {evidence.rival} brings the same release, and is not over; this one starts when that is finished or halted."
        return Hold(cause="same_release", reason=reason)
    return Resume(cause="started", reason=f"Started: it was scheduled for {rollout.starts_at}.")


def _localise(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision:
    at = rollout.localise_at or 0
    if now.timestamp() < at:
        until = utc_text(datetime.fromtimestamp(at, now.tzinfo))
        return Hold(cause="paused", reason=f"Paused; what is still to be heard is waited for until {until}, to find the culprit.")
    reading = Reading(rollout.ledger, evidence, rollout.excluded)
    found = reading.culprits()
    said = f" {capital(reading.loudest.sentence())}." if reading.loudest else ""
    if not found:
        reverts = rollout.plan.on_halt == "revert"
        reason = f"Halted: no small part of the fleet accounts for the harm.{said}{AS_PLANNED if reverts else ''}"
        return Halt(cause="not_localised", reason=reason, reverts=reverts)
    names = ", ".join(found)
    reason = f"Hardware {names} is excluded until a person includes it; nothing speaks against the rest, which goes on.{said}"
    return Exclude(cause="localised", reason=reason, hardware=found)


def _turn(rollout: Rollout, evidence: Evidence, now: datetime) -> Decision | None:
    """Return the decision to hold regions or to let them go on; nothing when none has turned."""
    held, back = turned(rollout, evidence, now)
    if held:
        names = ", ".join(region.region or "(none)" for region in held)
        person = " Only a person ends this hold." if any(region.needs_person for region in held) else ""
        reason = f"Nothing starts in region {names}: more than 10% of the devices there that were not updated cannot be reached.{person}"
        return Hold(cause="region_unreachable", reason=reason, regions=[region.region for region in held])
    if back:
        names = ", ".join(region.region or "(none)" for region in back)
        return Resume(
            cause="region_back", reason=f"Region {names} has been calm for half an hour and goes on.", regions=[r.region for r in back]
        )
    return None


def _go_on(rollout: Rollout, evidence: Evidence, verdict: Verdict, now: datetime) -> Decision:
    stage = rollout.open_stage
    if evidence.population is None:
        return Hold(cause="counting", reason=f"The devices of stage {stage.name} are being counted.")
    if evidence.population == 0 and (rollout.is_in_part or _nobody_to_take_back(rollout, evidence)):
        return closing.following(rollout, evidence, now)
    if evidence.population == 0 and rollout.reverts is None:
        reason = f"No device fits stage {stage.name}: put devices into it, or halt this rollout and write a plan without it."
        return Hold(cause="empty_stage", reason=reason)
    counts = evidence.of_stage(rollout.stage)
    if evidence.retries_due:
        return _try_again(rollout, evidence, verdict)
    wanted = _wanted(rollout, evidence, counts)
    if wanted:
        return _offer(rollout, evidence, verdict, wanted, now)
    if rollout.held_regions and evidence.is_exhausted:
        where = ", ".join(region or "(none)" for region in rollout.held_regions)
        return Hold(cause="region_held", reason=f"Everybody else in stage {stage.name} has been offered it; region {where} is held.")
    if evidence.left_to_others and evidence.is_exhausted:
        left = f"{devices(evidence.left_to_others)} {'goes' if evidence.left_to_others == 1 else 'go'}"
        reason = f"Everybody else in stage {stage.name} has been offered it; {left} to another rollout first, and to this one after that."
        return Hold(cause="precedence", reason=reason)
    return closing.closed(rollout, evidence, now)


def _nobody_to_take_back(rollout: Rollout, evidence: Evidence) -> bool:
    """Say whether a revert has looked and found nobody: they went back by themselves, or went on, and none is still at the update."""
    is_looked_for = evidence.is_exhausted and not evidence.left_to_others
    return rollout.reverts is not None and is_looked_for and not evidence.of_stage(rollout.stage).offered


def _wanted(rollout: Rollout, evidence: Evidence, counts: Counts) -> int:
    """Return how many more devices the open batch has room for, as far as this decision can use it; 0 when there is none left to offer."""
    if evidence.is_done:
        return 0
    most = ceiling(rollout, evidence)
    if most is None:
        # Devices may have joined since the stage was counted: a pass that finds nobody says when it is done.
        return max(1, (evidence.population or 0) - counts.taken)
    return max(0, most - counts.taken)


def _to_come(rollout: Rollout, evidence: Evidence) -> int:
    if evidence.is_done:
        return 0
    most = ceiling(rollout, evidence)
    counts = evidence.of_stage(rollout.stage)
    return max(0, ((evidence.population or 0) if most is None else most) - counts.taken)


def _try_again(rollout: Rollout, evidence: Evidence, verdict: Verdict) -> Decision:
    room = _room(rollout, evidence, verdict, evidence.retries_due)
    if isinstance(room, Hold):
        return room
    return Advance(
        cause="retry",
        reason=f"Offer it again to up to {devices(room)} that failed.",
        offers=room,
        not_hardware=rollout.excluded,
        not_regions=rollout.held_regions,
        stage=rollout.stage,
        batch=rollout.batch,
    )


def _room(rollout: Rollout, evidence: Evidence, verdict: Verdict, wanted: int) -> int | Hold:
    """Return how many of the wanted offers limits and risk allow now, or why it is to be waited."""
    limit = tightest(rollout.plan.limits, evidence, wanted)
    if is_held(limit, wanted):
        return Hold(cause="limit", reason=limit.reason)
    room = wanted if verdict.most_at_risk is None else verdict.most_at_risk - verdict.at_risk
    if verdict.most_at_risk is not None and room < min(wanted, -(-verdict.most_at_risk // _PORTIONS)):
        why = "while something speaks against it" if verdict.is_slow else "until more is known of it"
        reason = f"{devices(verdict.at_risk)} are at risk; at most {verdict.most_at_risk} may be {why}."
        return Hold(cause="slow" if verdict.is_slow else "risk", reason=reason)
    return min(wanted, limit.offers, room)


def _offer(rollout: Rollout, evidence: Evidence, verdict: Verdict, wanted: int, now: datetime) -> Decision:
    room = _room(rollout, evidence, verdict, wanted)
    if isinstance(room, Hold):
        return room
    hardware, most = _next_hardware(rollout, evidence)
    if hardware and evidence.canaries_wait:
        reason = f"Hardware {hardware} still lacks devices that try it first; those that are left wait for room in their networks."
        return Hold(cause="network_limit", reason=reason)
    quotas = {} if hardware else quotas_now(rollout.plan.limits, evidence, int(now.timestamp()))
    if quotas:
        return _let_in(rollout, quotas, min(room, sum(quotas.values())))
    if not hardware and evidence.is_exhausted:
        waiting = waiting_words(rollout.plan.limits, evidence, now)
        return Hold(cause="network_limit", reason=f"Everybody else in stage {rollout.open_stage.name} has been offered it. {waiting}")
    offers = min(room, most) if hardware else room
    what = f" of hardware {hardware}" if hardware else ""
    return Advance(
        cause="offer",
        reason=f"Offer it to up to {devices(offers, 'more ')}{what} of {batch_words(rollout)}.",
        offers=offers,
        hardware=hardware,
        not_hardware=rollout.excluded,
        not_regions=rollout.held_regions,
        stage=rollout.stage,
        batch=rollout.batch,
    )


def _let_in(rollout: Rollout, quotas: dict[str, int], offers: int) -> Decision:
    where = words_of(next(iter(quotas))) if len(quotas) == 1 else f"{len(quotas)} networks"
    return Advance(
        cause="room",
        reason=f"Offer it to up to {devices(offers, 'more ')} of {batch_words(rollout)} that waited for room in {where}.",
        offers=offers,
        not_hardware=rollout.excluded,
        not_regions=rollout.held_regions,
        quotas=quotas,
        stage=rollout.stage,
        batch=rollout.batch,
    )


def _next_hardware(rollout: Rollout, evidence: Evidence) -> tuple[str | None, int]:
    """Return the hardware that lacks canaries, and how many; nothing when none does, or no device of it is left."""
    taken: dict[str, int] = {}
    for tally in evidence.tallies:
        if tally.stage == rollout.stage:
            taken[tally.hardware] = taken.get(tally.hardware, 0) + tally.counts.taken
    for hardware, least in canaries(rollout, evidence).items():
        lacking = least - taken.get(hardware, 0)
        if lacking > 0 and hardware not in evidence.exhausted_hardware:
            return hardware, lacking
    return None, 0


def _check(rollout: Rollout, evidence: Evidence) -> None:
    unknown = [tally.stage for tally in evidence.tallies if tally.stage >= len(rollout.plan.stages)]
    if unknown:
        raise InvalidInput(
            f"The evidence names stage {unknown[0]}; the plan has {len(rollout.plan.stages)}.", hint="Use the plan it was made for."
        )
