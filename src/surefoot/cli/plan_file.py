# SPDX-License-Identifier: Apache-2.0
"""Plan files: `plan.yaml` read into a plan, with errors that name file, line and key."""

from pathlib import Path

from surefoot.document import MAX_BYTES, convert, parse
from surefoot.model.errors import InvalidInput
from surefoot.rollout.plan import Plan, PlanFile, check_plan


def read_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises:
        InvalidInput: The file cannot be read, or the plan contradicts itself.
        FormatError: It is not of the form of a plan; names file, line and key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"Cannot read the plan {path}: {error.strerror}.", hint="Name a plan file.") from error
    plan = convert(parse(data, file=str(path)), PlanFile).rollout
    check_plan(plan)
    return plan
