# SPDX-License-Identifier: Apache-2.0
"""Ceilings: how many devices of a stage a batch has room for, and which batch has room for more."""

from msgspec import structs

from surefoot.rollout import default_gate
from surefoot.rollout.evidence import Evidence
from surefoot.rollout.plan import WHOLE, Rollout


def ceiling(rollout: Rollout, evidence: Evidence) -> int | None:
    """Return how many devices of the open stage may have been offered the release in the open batch; nothing means all of them.

    Every batch is at least one device: 1% of 20 is one, not none. Under the default gate the first batch has room for the canaries of
    every hardware.
    """
    share = rollout.share
    if share == WHOLE:
        return None
    plain = max(1, -(-(evidence.population or 0) * share // WHOLE))
    return max(plain, sum(canaries(rollout, evidence).values()))


def canaries(rollout: Rollout, evidence: Evidence) -> dict[str, int]:
    """Return how many devices of each hardware the very first batch tries at least; empty in any other."""
    if not rollout.plan.has_default_gate or rollout.stage or rollout.batch:
        return {}
    hardware = sorted({share.hardware for share in evidence.audience} - set(rollout.excluded))
    return {name: default_gate.canaries(name, evidence) for name in hardware}


def next_batch(rollout: Rollout, evidence: Evidence) -> int | None:
    """Return the next batch of the open stage that adds a device; nothing when the open one is the last.

    In a small stage 5% are no more devices than 1%: a batch of nobody would tell nothing, and its soak would only be time.
    """
    taken, last = evidence.of_stage(rollout.stage).taken, len(rollout.open_stage.batches) - 1
    for batch in range(rollout.batch + 1, last):
        most = ceiling(structs.replace(rollout, batch=batch), evidence)
        if most is None or most > taken:
            return batch
    return last if rollout.batch < last else None
