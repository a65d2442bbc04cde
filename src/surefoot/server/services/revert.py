# SPDX-License-Identifier: Apache-2.0
"""Revert: take the devices that a rollout updated back to what they ran before; what a person says and what follows from a halt share it.

- For each version that devices ran before, a rollout is made that takes them back there (``surefoot.rollout.way_back``). It is started
  with that, or waits for its approval where the reverted plan asks for one.
- What has no way back is named with its reason, and left; a halt is not hindered by it.
- All of it happens in the transaction of the act or decision that it follows from.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import structs

from surefoot.model.errors import ConflictError
from surefoot.model.manifest import Manifest
from surefoot.rollout.acts import start
from surefoot.rollout.decision import Revert, WayBack
from surefoot.rollout.plan import Plan
from surefoot.rollout.way_back import obstacle, revert_of, reverted
from surefoot.server.services.conduct import carry_out, evidence_of
from surefoot.server.services.ports import Act, Ledger, Reads
from surefoot.server.services.rollout_store import StoredRollout

ENGINE = "surefoot"
"""Who takes devices back, and starts what does, when the gate halted their rollout."""


def ways_back(ledger: Ledger, stored: StoredRollout) -> list[WayBack]:
    """Return what would become of the devices that a rollout updated, by what they ran before."""
    plan = stored.rollout.plan
    updated = ledger.rollouts.updated(stored.rollout_id)
    return [WayBack(version=version, devices=devices, obstacle=hindrance(ledger, plan, version)) for version, devices in updated.items()]


def hindrance(reads: Reads, plan: Plan, version: str) -> str:
    """Return why devices that run the release of a plan cannot be taken back to a version, in one sentence; empty when they can."""
    before = _images(reads, plan, version)
    if before is None:
        return f"{plan.product} {version} is not on this server."
    if reads.is_retired(plan.product, version):
        return f"{plan.product} {version} is retired."
    return obstacle(_images(reads, plan, plan.version) or [], before)


def take_back(ledger: Ledger, stored: StoredRollout, ways: Sequence[WayBack], by: str, now: datetime) -> list[WayBack]:
    """Begin the rollouts that take devices back, and return the ways with their numbers."""
    return [way if way.obstacle else _begin(ledger, stored, way, by, now) for way in ways]


def after_halt(ledger: Ledger, rollout_id: int, by: str, now: datetime) -> None:
    """Take devices back after a halt that says so, unless there are none."""
    stored = ledger.rollouts.rollout(rollout_id)
    if stored is None:
        return
    ways = take_back(ledger, stored, ways_back(ledger, stored), by or ENGINE, now)
    if ways:
        decide_revert(ledger, stored, reverted("on_halt", "Taken back, as the plan says.", by or ENGINE, ways), now)


def decide_revert(ledger: Ledger, stored: StoredRollout, decision: Revert, now: datetime) -> None:
    """Carry out and note that devices of a rollout are taken back."""
    carry_out(ledger, stored, evidence_of(ledger, stored, now), decision, now)
    numbers = " ".join(str(way.rollout_id) for way in decision.ways if way.rollout_id is not None)
    ledger.add_act(Act(at=now, by=decision.by, what="rollout.revert", subject=f"{stored.rollout_id} by {numbers or 'none'}"))


def _begin(ledger: Ledger, stored: StoredRollout, way: WayBack, by: str, now: datetime) -> WayBack:
    plan = stored.rollout.plan
    # Another origin than its own, and the same whoever asks.
    salt = f"{stored.salt} {way.version}"
    rollout_id = ledger.rollouts.create(revert_of(plan, stored.rollout_id, way.version), by, salt, now)
    begun = ledger.rollouts.rollout(rollout_id)
    if begun is None:
        raise ConflictError(f"Rollout {rollout_id} was just created, and is not there.", hint="Look at the database.")
    if begun.rollout.may_start:
        carry_out(ledger, begun, evidence_of(ledger, begun, now), start(begun.rollout, by), now)
    return structs.replace(way, rollout_id=rollout_id)


def _images(reads: Reads, plan: Plan, version: str) -> list[Manifest] | None:
    release = reads.release(plan.product, version)
    return None if release is None else [manifest for manifest in release.manifests if manifest.variant == plan.variant]
