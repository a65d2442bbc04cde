# SPDX-License-Identifier: Apache-2.0
"""Sequence: the stages of a plan as they are walked; one that goes region by region becomes a stage for each."""

import re
from collections.abc import Iterator, Sequence

from msgspec import structs

from surefoot.rollout.plan import Plan, Rollout, Stage

OTHERS = "others"
"""The last part of a stage that goes region by region: devices of no region that is named."""


def draft(plan: Plan) -> Rollout:
    """Return a new rollout of a plan, not started; it keeps the stages as people wrote them, if they are walked otherwise."""
    stages = walked(plan.stages)
    written = [] if stages == plan.stages else plan.stages
    return Rollout(plan=structs.replace(plan, stages=stages), written=written)


def walked(stages: Sequence[Stage]) -> list[Stage]:
    """Return stages in the order in which they are walked, each with its audience; doing it twice changes nothing more.

    ``general`` ordered by region (eu, na) becomes ``general-eu``, ``general-na`` and ``general-others``.
    """
    return [part for stage in stages for part in _parts(stage)]


def everybody(plan: Plan) -> str:
    """Return the filter that means every device of a plan's stages; empty when it is every device of the product."""
    stages = [both(f"group=={_quoted(stage.group)}" if stage.group else "", stage.audience) for stage in plan.stages]
    return both(plan.audience, " or ".join(f"({stage})" for stage in stages) if all(stages) else "")


def both(first: str, second: str) -> str:
    """Return the filter that means the devices which two filters mean; one that says nothing means every device."""
    return f"({first}) and ({second})" if first and second else first or second


def _parts(stage: Stage) -> Iterator[Stage]:
    if not stage.order:
        yield stage
    for name, values in stage.order:
        rest = f"{name}=out=({','.join(map(_quoted, values))})"
        for value in values:
            yield _part(stage, value, f"{name}=={_quoted(value)}")
        yield _part(stage, OTHERS, rest)


def _part(stage: Stage, value: str, condition: str) -> Stage:
    slug = re.sub(r"[^a-z0-9._-]+", "-", value.lower())
    name = f"{stage.name}-{slug}"[:64]
    return structs.replace(stage, name=name, audience=both(stage.audience, condition), order_by=[])


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
