# SPDX-License-Identifier: Apache-2.0
"""Plan files: a rollout's plan as people write it, in YAML; a mistake names file, line and key."""

from pathlib import Path

from surefoot.document import MAX_BYTES, Document, convert, parse
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.rollout.flaw import flaw
from surefoot.rollout.plan import Plan, PlanFile
from surefoot.schedule.zones import zone_flaws


def read_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises:
        InvalidInput: The file cannot be read.
        FormatError: It is not of the form of a plan, or contradicts itself; names file, line and key.
    """
    return read_plan_document(path)[1]


def read_plan_document(path: Path) -> tuple[Document, Plan]:
    """Read and check a plan, and return it with the file that it was read from; raises as ``read_plan`` does."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"Cannot read the plan {path}: {error.strerror}.", hint="Name a plan file.") from error
    document = parse(data, file=str(path))
    plan = convert(document, PlanFile).rollout
    if found := flaw(plan) or next(zone_flaws(plan.windows), None):
        raise FormatError(f"{at(document, found.key)}: {found.message}.", hint=found.hint)
    return document, plan


def at(document: Document, key: str) -> str:
    """Return file, line and name of a key below ``rollout``, as messages begin."""
    return f"{document.place(f'$.rollout.{key}')}: 'rollout.{key}'"
