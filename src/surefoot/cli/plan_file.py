# SPDX-License-Identifier: Apache-2.0
"""Plan files: a rollout's plan as people write it, in YAML; a mistake names file, line and key."""

from pathlib import Path

from surefoot.document import MAX_BYTES, Document, convert, parse
from surefoot.fleet.filter import parse as parse_filter
from surefoot.model.errors import FilterError, FormatError, InvalidInput
from surefoot.rollout.flaw import flaw
from surefoot.rollout.plan import Plan, PlanFile
from surefoot.rollout.sequence import walked
from surefoot.schedule.zones import zone_flaws


def read_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises:
        InvalidInput: The file cannot be read.
        FormatError: It is not of the form of a plan, or contradicts itself; names file, line and key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"Cannot read the plan {path}: {error.strerror}.", hint="Name a plan file.") from error
    document = parse(data, file=str(path))
    plan = convert(document, PlanFile).rollout
    if found := flaw(plan) or next(zone_flaws(plan.windows), None):
        raise FormatError(f"{_at(document, found.key)}: {found.message}.", hint=found.hint)
    _check_filters(document, plan)
    return plan


def _at(document: Document, key: str) -> str:
    """Return file, line and name of a key below ``rollout``, as messages begin."""
    return f"{document.place(f'$.rollout.{key}')}: 'rollout.{key}'"


def _check_filters(document: Document, plan: Plan) -> None:
    written = [("audience", plan.audience)]
    for index, stage in enumerate(plan.stages):
        key = f"stages[{index}].{'audience' if stage.audience else 'order_by'}"
        written += [(f"stages[{index}].audience", stage.audience), *((key, part.audience) for part in walked([stage]))]
    for key, text in written:
        try:
            parse_filter(text)
        except FilterError as error:
            raise FormatError(f"{_at(document, key)}: {error.message}", hint=error.hint) from error
