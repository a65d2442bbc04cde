# SPDX-License-Identifier: Apache-2.0
"""Flaws: where a plan contradicts itself, and nothing starts of it; concerns: what people should know of one that does not.

Whether names exist (release, groups, attributes, time zones) is asked where it is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from surefoot.model.duration import seconds
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.model.record import parse_utc
from surefoot.rollout.plan import MOST_STAGES, WHOLE, Plan, SimpleGate, Stage, hundredths, is_instant
from surefoot.rollout.risk import Kind
from surefoot.rollout.sequence import walked
from surefoot.schedule import flaw as schedule_flaw

_LONGEST_S = 30 * 86_400
_SHORTEST_DEADLINE_S = 60
_LONGEST_INSTALL_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Where a plan contradicts itself: the key, below ``rollout``; what is wrong there; what to write instead."""

    key: str
    message: str
    hint: str


def check_plan(plan: Plan) -> None:
    """See that a plan does not contradict itself.

    Raises:
        InvalidInput: It has a flaw; names the key.
    """
    found = flaw(plan)
    if found is not None:
        raise InvalidInput(f"'rollout.{found.key}': {found.message}.", hint=found.hint)


def flaw(plan: Plan) -> Flaw | None:
    """Return the first place where a plan, as people write it, contradicts itself; nothing when it does not.

    Two stages of one name, a stage that can never have a device, batches that do not grow or do not reach 100%, bounds the wrong way
    round or out of reach, a window in which no install fits, or a deadline that no device can keep.
    """
    return next(_flaws(plan), None)


def concerns(plan: Plan) -> Iterator[str]:
    """Yield sentences about a plan without flaws that people should know before they start it."""
    for index, stage in enumerate(plan.stages):
        for earlier in plan.stages[:index]:
            if _may_share(earlier, stage):
                yield f"Stages {earlier.name} and {stage.name} may share devices; one that fits both belongs to {earlier.name}."
    if not plan.has_default_gate:
        yield "Only plain percentages judge it: silent devices and small parts of the fleet are noticed late. 'gate: default' does better."
    for key, networks in (("regions", plan.limits.regions), ("sites", plan.limits.sites)):
        for name, own in networks.items():
            for rate in ("per_minute", "per_hour", "concurrent_downloads"):
                most, here = getattr(plan.limits, rate), getattr(own, rate)
                if most is not None and here is not None and here > most:
                    yield f"'limits.{key}.{name}.{rate}' is {here:,}, and never reached: 'limits.{rate}' is {most:,} for all together."
    if plan.kind is Kind.SECURITY and plan.security is None and plan.windows:
        yield "It has no 'security.deadline': a device whose window never comes stays open to attack."


def _flaws(plan: Plan) -> Iterator[Flaw]:
    names = [stage.name for stage in plan.stages]
    for index, stage in enumerate(plan.stages):
        if stage.name in names[:index]:
            hint = "Give every stage a name of its own."
            yield Flaw(key=f"stages[{index}].name", message=f"there is a stage '{stage.name}' already", hint=hint)
        yield from _of_stage(stage, f"stages[{index}]")
        yield from _of_nobody(plan.stages[:index], stage, f"stages[{index}]")
    yield from _of_sequence(plan)
    if not isinstance(plan.gate, str):
        yield from _of_gate(plan.gate.simple)
    yield from _of_times(plan)
    for found in schedule_flaw.flaws(plan.windows, install_s=plan.install_s):
        yield Flaw(key=found.key, message=found.message, hint=found.hint)
    yield from _of_security(plan)
    if plan.start_at and not is_instant(plan.start_at):
        yield Flaw(key="start_at", message=f"there is no such instant as {plan.start_at}", hint="Write for example 2026-12-01T02:00:00Z.")
    for key, networks in (("regions", plan.limits.regions), ("sites", plan.limits.sites)):
        for name, own in networks.items():
            if own.is_nothing:
                hint = "Write 'per_minute', 'per_hour', 'bytes_per_second', 'concurrent_downloads' or several of them."
                yield Flaw(key=f"limits.{key}.{name}", message="it limits nothing", hint=hint)


def _of_stage(stage: Stage, place: str) -> Iterator[Flaw]:
    shares, written = stage.shares, ", ".join(stage.batches)
    if any(later <= earlier for earlier, later in pairwise(shares)) or shares[0] == 0:
        yield Flaw(key=f"{place}.batches", message=f"{written} do not grow", hint="Write growing percentages, as in 1%, 10%, 100%.")
    if shares[-1] != WHOLE:
        hint = "End with 100%: a stage is done when all of it is."
        yield Flaw(key=f"{place}.batches", message=f"they end at {stage.batches[-1]}", hint=hint)
    if any(seconds(stage.soak_of(batch)) > _LONGEST_S for batch in range(len(shares))):
        yield Flaw(key=f"{place}.soak", message="it is longer than 30 days", hint="Write for example 6h.")
    if not isinstance(stage.soak, str) and len(stage.soak) > len(shares):
        hint = "Write one for each batch, or fewer: the last stands for the rest."
        yield Flaw(key=f"{place}.soak", message=f"there are {len(stage.soak)} for {len(shares)} batches", hint=hint)


def _of_nobody(before: list[Stage], stage: Stage, place: str) -> Iterator[Flaw]:
    for earlier in before:
        if earlier.group in {None, stage.group} and earlier.audience in {"", stage.audience}:
            whom = f"group {earlier.group}" if earlier.group else "everybody" if not earlier.audience else "the same audience"
            hint = f"Give it a 'group' or an 'audience' of its own, or put it before stage {earlier.name}."
            message = f"no device is ever left for stage {stage.name}, since stage {earlier.name} is for {whom}"
            yield Flaw(key=place, message=message, hint=hint)


def _may_share(earlier: Stage, later: Stage) -> bool:
    if earlier.group or later.group:
        return earlier.group == later.group
    return bool(earlier.audience and later.audience)


def _of_sequence(plan: Plan) -> Iterator[Flaw]:
    for index, stage in enumerate(plan.stages):
        for name, values in stage.order:
            for value in values:
                if values.count(value) > 1:
                    hint = "Name each once."
                    yield Flaw(key=f"stages[{index}].order_by", message=f"{name} '{value}' is given twice", hint=hint)
    sequence = [stage.name for stage in walked(plan.stages)]
    if len(sequence) > MOST_STAGES:
        hint = f"Name fewer values in 'order_by'; there may be {MOST_STAGES} stages, all in all."
        yield Flaw(key="stages", message=f"they are walked as {len(sequence)} stages", hint=hint)
    for name in sequence:
        if sequence.count(name) > 1:
            hint = "Give stages and values names that differ in letters and digits."
            yield Flaw(key="stages", message=f"two of the stages that are walked are called '{name}'", hint=hint)


def _of_gate(gate: SimpleGate) -> Iterator[Flaw]:
    for rate, bounds in (("rollback_rate", gate.rollback_rate), ("health_failure_rate", gate.health_failure_rate)):
        if hundredths(bounds.warn) > hundredths(bounds.pause):
            message = f"it warns at {bounds.warn}, after it pauses at {bounds.pause}"
            yield Flaw(key=f"gate.simple.{rate}", message=message, hint="Warn at less than that.")
        if hundredths(bounds.pause) == WHOLE:
            message = "no rate is above 100%, so it never pauses"
            yield Flaw(key=f"gate.simple.{rate}.pause", message=message, hint="Write a share that is too many, as in 5%.")


def _of_times(plan: Plan) -> Iterator[Flaw]:
    if seconds(plan.watch) > _LONGEST_S:
        yield Flaw(key="watch", message="it is longer than 30 days", hint="Write for example 1d.")
    for key, value_s in (("deadline", plan.deadline_s), ("start_within", plan.start_within_s)):
        if not _SHORTEST_DEADLINE_S <= value_s <= _LONGEST_S:
            yield Flaw(key=key, message="it is not between a minute and 30 days", hint="Write for example 4h.")
    if plan.install_s > _LONGEST_INSTALL_S:
        yield Flaw(key="install_time", message="it is longer than a day", hint="Write for example 5m.")
    if not _SHORTEST_DEADLINE_S <= plan.retries.backoff_s <= _LONGEST_S:
        yield Flaw(key="retries.backoff", message="it is not between a minute and 30 days", hint="Write for example 1h.")


def _of_security(plan: Plan) -> Iterator[Flaw]:
    if plan.security is None:
        return
    try:
        parse_utc(plan.security.deadline)
    except FormatError as error:
        message, hint = f"{error.message.removesuffix('.')}", "Write a time with its zone, as in 2026-12-01T00:00:00Z."
        yield Flaw(key="security.deadline", message=message, hint=hint)
    for found in schedule_flaw.grace_flaws(seconds(plan.security.grace)):
        yield Flaw(key=f"security.{found.key}", message=found.message, hint=found.hint)
