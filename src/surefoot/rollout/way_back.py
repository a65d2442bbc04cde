# SPDX-License-Identifier: Apache-2.0
"""Ways back: whether devices may go from a release to the one they ran before, and the rollout that takes them there (ADR 0025).

A revert is a rollout like any other, under the gate, windows, limits and retries of the one whose devices it takes back. What differs:
who is meant is what that one updated from one version, and runs its release still; it goes as one stage, at the pace of its kind.
"""

from collections.abc import Sequence

from msgspec import structs

from surefoot.model.manifest import Manifest
from surefoot.model.rules import Running, permits
from surefoot.rollout.decision import Revert, WayBack
from surefoot.rollout.plan import Plan, Rollout

AS_PLANNED = " The devices that it updated are taken back, as its plan says."
"""What a halt adds to its reason when it does that."""


def obstacle(running: Sequence[Manifest], before: Sequence[Manifest]) -> str:
    """Return why no device that runs a release may go back to the one before, in one sentence; empty when one may.

    Args:
        running: The images of the release that runs, in one variant.
        before: The images of the release before, in the same variant.
    """
    pairs = [
        _running(now, wanted, hardware)
        for now in running
        for hardware in now.target_hardware
        for wanted in before
        if hardware in wanted.target_hardware
    ]
    verdicts = [permits(now, wanted) for now, wanted in pairs]
    if any(verdict.is_permitted for verdict in verdicts):
        return ""
    return verdicts[0].reason if verdicts else "It has no image for the hardware of this release."


def revert_of(plan: Plan, rollout_id: int, version: str) -> Rollout:
    """Return the rollout, not started, that takes back what another updated from a version and what runs its release still."""
    back = structs.replace(
        plan,
        release=f"{plan.product} {version}",
        name=f"takes back {plan.version}, rollout {rollout_id}",
        audience=f"version=='{plan.version}'",
        stages=[],
        on_halt="hold",
        start_at="",
    )
    return Rollout(plan=back, reverts=rollout_id)


def reverted(cause: str, said: str, by: str, ways: Sequence[WayBack]) -> Revert:
    """Return the decision that devices are taken back; ``said`` begins its sentence, ``ways`` are as they were gone."""
    reason = " ".join([said, *map(_words, ways)])
    return Revert(cause=cause, reason=reason, by=by, ways=list(ways))


def _running(now: Manifest, wanted: Manifest, hardware: str) -> tuple[Running, Manifest]:
    running = Running(
        hardware=hardware,
        # It ran the release before, so its bootloader is new enough for that.
        bootloader_version=wanted.min_bootloader_version,
        product=now.product,
        version=now.version,
        release_counter=now.release_counter,
        data_format=now.data_format,
        revert_to=now.revert_to,
    )
    return running, wanted


def _words(way: WayBack) -> str:
    devices = f"{way.devices} {'device' if way.devices == 1 else 'devices'}"
    if way.rollout_id is None:
        return f"{devices} from {way.version} cannot go back: {way.obstacle.rstrip('.')}."
    return f"Rollout {way.rollout_id} takes {devices} back to {way.version}."
