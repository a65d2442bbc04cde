# SPDX-License-Identifier: Apache-2.0
"""Rollouts: created from a plan, then steered by people: approved, started, paused, resumed, halted, reverted, and the gate overridden.

- A rollout that cannot end well is refused when it is created: its plan, release, groups and filter are looked at first; so is one
  whose halt is to take devices back that could not go back.
- A plan with an instant to start at is scheduled as it is created, or as it is approved when it asks for that.
- Of two rollouts of one release only one is under way.
- Every act is a decision with the person's name, stored with the evidence of that moment.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from surefoot.fleet.filter import Filter, check_names, parse
from surefoot.fleet.rsql import MAX_LENGTH
from surefoot.model.errors import ConflictError, DeniedError, InvalidInput, UnknownError
from surefoot.model.record import Record, parse_utc
from surefoot.model.rules import permits
from surefoot.rollout.acts import approve, check_revert, halt, include, pause, release, resume, revert, schedule, start
from surefoot.rollout.decision import Decision, Halt, Revert
from surefoot.rollout.flaw import check_plan
from surefoot.rollout.network import EACH, key_of, words_of
from surefoot.rollout.plan import Plan
from surefoot.rollout.sequence import draft, everybody, walked
from surefoot.schedule.flaw import check
from surefoot.schedule.zones import zone_flaws
from surefoot.server.services.catalogue import Kind, KindList
from surefoot.server.services.conduct import carry_out, evidence_of
from surefoot.server.services.ports import Act, Ledger, Write
from surefoot.server.services.revert import after_halt, decide_revert, hindrance, take_back, ways_back
from surefoot.server.services.rollout_store import StoredRollout
from surefoot.server.services.views import require_live


class CreateAnswer(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The id of a new rollout, which has not been started, and what its plan says that only the fleet shows to be odd."""

    rollout_id: int
    warnings: list[str] = []


class Verb(StrEnum):
    """What a person may do with a rollout."""

    APPROVE = "approve"
    SCHEDULE = "schedule"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    HALT = "halt"
    REVERT = "revert"
    INCLUDE = "include"
    RELEASE = "release"


class SteerRequest(Record, frozen=True, kw_only=True):
    """What a person says with a verb.

    Attributes:
        why: In the person's words; may be empty unless the gate is overridden.
        of: Which hardware is included again, or which region is released; other verbs are about the whole rollout.
        at: When it is scheduled to start, RFC 3339 UTC; other verbs take effect now.
        keeps: Whether devices keep what a halt would take back, since their plan says so.
    """

    why: Annotated[str, Meta(max_length=500)] = ""
    of: Annotated[str, Meta(max_length=200)] = ""
    at: Annotated[str, Meta(max_length=40)] = ""
    keeps: bool = False


Kinds = Callable[[str, Filter, datetime, int], KindList]
"""What kinds of active device run a product, among those that a filter means, and at most how many kinds; may take its time."""

_MOST_KINDS = 5_000

_SAYS: dict[Verb, Callable[[StoredRollout, str, SteerRequest, datetime], Decision]] = {
    Verb.APPROVE: lambda stored, by, said, _now: approve(stored.rollout, by, said.why, stored.created_by),
    Verb.SCHEDULE: lambda stored, by, said, now: schedule(stored.rollout, by, said.why, said.at, now),
    Verb.START: lambda stored, by, _said, _now: start(stored.rollout, by),
    Verb.PAUSE: lambda stored, by, said, _now: pause(stored.rollout, by, said.why),
    Verb.RESUME: lambda stored, by, said, _now: resume(stored.rollout, by, said.why),
    Verb.HALT: lambda stored, by, said, _now: halt(stored.rollout, by, said.why, keeps=said.keeps),
    Verb.INCLUDE: lambda stored, by, said, _now: include(stored.rollout, said.of, by, said.why),
    Verb.RELEASE: lambda stored, by, said, _now: release(stored.rollout, said.of, by, said.why),
}


async def create(plan: Plan, salt: str, *, by: str, write: Write, kinds: Kinds, now: datetime) -> CreateAnswer:
    """Store a new rollout, not started; ``salt`` is random, and draws where on the ring it begins.

    ``kinds`` is asked, in a thread, only when a halt is to take devices back.

    Raises:
        InvalidInput: The plan contradicts itself or starts in the past, the release has no such variant, or a halt is to take devices
            back that could not go back.
        FilterError: An audience cannot be read, or names an attribute that no device has.
        UnknownError: There is no such release or group.
    """
    check_plan(plan)
    check(zone_flaws(plan.windows))
    found = KindList(kinds=[])
    if plan.on_halt == "revert":
        whom = everybody(plan)
        wanted = parse(whom if len(whom) <= MAX_LENGTH else plan.audience)
        found = await asyncio.to_thread(kinds, plan.product, wanted, now, _MOST_KINDS)

    def job(ledger: Ledger) -> CreateAnswer:
        _check_names(ledger, plan)
        _check_ways_back(ledger, plan, found.kinds)
        rollout_id = ledger.rollouts.create(draft(plan), by, salt, now)
        ledger.add_act(Act(at=now, by=by, what="rollout.create", subject=f"{rollout_id} {plan.release}"))
        if plan.start_at and not plan.approval.required:
            stored = _stored(ledger, rollout_id)
            _do(ledger, stored, schedule(stored.rollout, by, "", plan.start_at, now), now)
        return CreateAnswer(rollout_id=rollout_id, warnings=_unknown_networks(ledger, plan))

    return await write(job)


async def steer(rollout_id: int, verb: Verb, said: SteerRequest, *, by: str, write: Write, now: datetime) -> Decision:
    """Carry out what a person says to a rollout.

    Raises:
        UnknownError: There is no such rollout.
        ConflictError: It is in a state that the verb does not apply to, or another rollout of its release is under way.
        DeniedError: It is approved by who created it, and its plan asks for a second person.
        InvalidInput: The gate is overridden without a reason, or an instant is none or has passed.
    """

    def job(ledger: Ledger) -> Decision:
        stored = _stored(ledger, rollout_id)
        with _numbered(rollout_id):
            if verb is Verb.REVERT:
                return _revert(ledger, stored, said.why, by, now)
            decision = _SAYS[verb](stored, by, said, now)
        if verb in {Verb.START, Verb.RESUME}:
            _see_that_it_may_run(ledger, stored)
        _do(ledger, stored, decision, now)
        ledger.add_act(Act(at=now, by=by, what=f"rollout.{verb}", subject=f"{rollout_id} {said.of}{said.at}".rstrip()))
        if isinstance(decision, Halt) and decision.reverts:
            after_halt(ledger, rollout_id, by, now)
        start_at = stored.rollout.plan.start_at
        if verb is Verb.APPROVE and start_at and parse_utc(start_at) > now:
            stored = _stored(ledger, rollout_id)
            _do(ledger, stored, schedule(stored.rollout, by, "as the plan says", start_at, now), now)
        return decision

    return await write(job)


@contextmanager
def _numbered(rollout_id: int) -> Iterator[None]:
    """Put the number, which the acts do not know, into their hints: people paste what a hint says."""
    try:
        yield
    except (ConflictError, DeniedError, InvalidInput) as error:
        raise type(error)(error.message, hint=error.hint.replace(" ROLLOUT'", f" {rollout_id}'")) from error


def _revert(ledger: Ledger, stored: StoredRollout, why: str, by: str, now: datetime) -> Revert:
    ways = ways_back(ledger, stored)
    check_revert(stored.rollout, why, ways, ledger.rollouts.reverting(stored.rollout_id))
    decision = revert(by, why, take_back(ledger, stored, ways, by, now))
    decide_revert(ledger, stored, decision, now)
    return decision


def _stored(ledger: Ledger, rollout_id: int) -> StoredRollout:
    stored = ledger.rollouts.rollout(rollout_id)
    if stored is None:
        raise UnknownError(f"There is no rollout {rollout_id}.", hint="See 'surefoot rollout list'.")
    return stored


def _do(ledger: Ledger, stored: StoredRollout, decision: Decision, now: datetime) -> None:
    carry_out(ledger, stored, evidence_of(ledger, stored, now), decision, now)


def _see_that_it_may_run(ledger: Ledger, stored: StoredRollout) -> None:
    plan = stored.rollout.plan
    if not stored.rollout.has_begun:
        require_live(ledger, plan.product, plan.version)
    rival = ledger.rollouts.rival(stored)
    if rival is not None:
        raise ConflictError(
            f"Rollout {rival} brings {plan.release} already, and is not over.",
            hint=f"Wait until it is finished, or end it: 'surefoot rollout halt {rival} --why ...'.",
        )


def _check_ways_back(ledger: Ledger, plan: Plan, kinds: Sequence[Kind]) -> None:
    """See that whoever would be updated could go back to what it runs now."""
    wanted = ledger.release(plan.product, plan.version)
    images = [] if wanted is None else [manifest for manifest in wanted.manifests if manifest.variant == plan.variant]
    approvals = frozenset(plan.approve)
    devices: dict[str, int] = {}
    for kind in kinds:
        if any(permits(kind.running, image, approvals=approvals).is_permitted for image in images):
            devices[kind.running.version] = devices.get(kind.running.version, 0) + kind.devices
    hindered = {version: why for version in devices if (why := hindrance(ledger, plan, version))}
    if hindered:
        said = " ".join(f"{devices[version]} of them run {version}: {why}" for version, why in hindered.items())
        raise InvalidInput(
            f"'rollout.on_halt': not all devices of the audience could be taken back. {said}",
            hint="Write hold, leave them out of 'audience', or release it anew with a 'revert_to' that covers them.",
        )


def _unknown_networks(ledger: Ledger, plan: Plan) -> list[str]:
    """Return a sentence about the regions and sites that the plan limits and no device is in: perhaps they are called otherwise."""
    named = [key_of(kind, name) for kind, networks in plan.limits.by_kind.items() for name in networks if name not in {"", EACH}]
    unknown = [words_of(network) for network in named if not ledger.networks.is_known(network)]
    return [f"No device is in {', '.join(unknown)}, which 'limits' names: is that how it is called?"] if unknown else []


def _check_names(ledger: Ledger, plan: Plan) -> None:
    release = ledger.release(plan.product, plan.version)
    if release is None:
        raise UnknownError(f"There is no release {plan.release}.", hint="See 'surefoot release list'.")
    require_live(ledger, plan.product, plan.version)
    variants = sorted({manifest.variant for manifest in release.manifests})
    if plan.variant not in variants:
        raise InvalidInput(f"Release {plan.release} has no variant '{plan.variant}'.", hint=f"It has: {', '.join(variants)}.")
    known = ledger.attribute_names()
    for audience in (plan.audience, *(stage.audience for stage in walked(plan.stages))):
        check_names(parse(audience), known)
    for stage in plan.stages:
        if stage.group is not None and not ledger.has_group(stage.group):
            raise UnknownError(
                f"There is no group '{stage.group}', which stage {stage.name} is for.",
                hint=f"Put devices into it: 'surefoot group add {stage.group} DEVICE'.",
            )
