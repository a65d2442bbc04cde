# SPDX-License-Identifier: Apache-2.0
"""Rollouts: created from a plan, then steered by people: started, paused, resumed, halted, and the gate overridden.

- A rollout that cannot end well is refused when it is created: its plan, release, groups and filter are looked at first.
- Every act is a decision with the person's name, stored with the evidence of that moment.
"""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from surefoot.fleet.filter import check_names, parse
from surefoot.model.errors import InvalidInput, UnknownError
from surefoot.model.record import Record
from surefoot.rollout.acts import halt, include, pause, release, resume, start
from surefoot.rollout.decision import Decision
from surefoot.rollout.flaw import check_plan
from surefoot.rollout.plan import Plan, Rollout
from surefoot.rollout.sequence import draft, walked
from surefoot.schedule.flaw import check
from surefoot.schedule.zones import zone_flaws
from surefoot.server.services.conduct import carry_out, evidence_of
from surefoot.server.services.ports import Act, Ledger, Write
from surefoot.server.services.views import require_live


class CreateAnswer(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The id of a new rollout, which has not been started."""

    rollout_id: int


class Verb(StrEnum):
    """What a person may do with a rollout."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    HALT = "halt"
    INCLUDE = "include"
    RELEASE = "release"


class SteerRequest(Record, frozen=True, kw_only=True):
    """What a person says with a verb.

    Attributes:
        why: In the person's words; may be empty unless the gate is overridden.
        of: Which hardware is included again, or which region is released; other verbs are about the whole rollout.
    """

    why: Annotated[str, Meta(max_length=500)] = ""
    of: Annotated[str, Meta(max_length=200)] = ""


_SAYS: dict[Verb, Callable[[Rollout, str, SteerRequest], Decision]] = {
    Verb.START: lambda rollout, by, _said: start(rollout, by),
    Verb.PAUSE: lambda rollout, by, said: pause(rollout, by, said.why),
    Verb.RESUME: lambda rollout, by, said: resume(rollout, by, said.why),
    Verb.HALT: lambda rollout, by, said: halt(rollout, by, said.why),
    Verb.INCLUDE: lambda rollout, by, said: include(rollout, said.of, by, said.why),
    Verb.RELEASE: lambda rollout, by, said: release(rollout, said.of, by, said.why),
}


async def create(plan: Plan, salt: str, *, by: str, write: Write, now: datetime) -> CreateAnswer:
    """Store a new rollout, not started; ``salt`` is random, and draws where on the ring it begins.

    Raises:
        InvalidInput: The plan contradicts itself, or the release has no such variant.
        FilterError: An audience cannot be read, or names an attribute that no device has.
        UnknownError: There is no such release or group.
    """
    check_plan(plan)
    check(zone_flaws(plan.windows))

    def job(ledger: Ledger) -> CreateAnswer:
        _check_names(ledger, plan)
        rollout_id = ledger.rollouts.create(draft(plan), by, salt, now)
        ledger.add_act(Act(at=now, by=by, what="rollout.create", subject=f"{rollout_id} {plan.release}"))
        return CreateAnswer(rollout_id=rollout_id)

    return await write(job)


async def steer(rollout_id: int, verb: Verb, said: SteerRequest, *, by: str, write: Write, now: datetime) -> Decision:
    """Carry out what a person says to a rollout.

    Raises:
        UnknownError: There is no such rollout.
        ConflictError: It is in a state that the verb does not apply to.
        InvalidInput: The gate is overridden without a reason.
    """

    def job(ledger: Ledger) -> Decision:
        stored = ledger.rollouts.rollout(rollout_id)
        if stored is None:
            raise UnknownError(f"There is no rollout {rollout_id}.", hint="See 'surefoot rollout list'.")
        decision = _SAYS[verb](stored.rollout, by, said)
        carry_out(ledger, stored, evidence_of(ledger, stored, now), decision, now)
        ledger.add_act(Act(at=now, by=by, what=f"rollout.{verb}", subject=f"{rollout_id} {said.of}".rstrip()))
        return decision

    return await write(job)


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
