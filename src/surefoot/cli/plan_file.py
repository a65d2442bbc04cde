# SPDX-License-Identifier: Apache-2.0
"""Plan files: a rollout's plan as people write it, in YAML; a mistake names file, line and key."""

from pathlib import Path

from surefoot.document import MAX_BYTES, convert, parse
from surefoot.model.errors import FormatError, InvalidInput
from surefoot.rollout.plan import Plan, PlanFile, flaw


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
    if found := flaw(plan):
        place = document.place(f"$.rollout.{found.key}")
        raise FormatError(f"{place}: 'rollout.{found.key}': {found.message}.", hint=found.hint)
    return plan
