# SPDX-License-Identifier: Apache-2.0
"""Audience: which devices a rollout is for, and which of them may take its release; the same for every verb that asks."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from surefoot.fleet.filter import Filter, matches, parse
from surefoot.model.errors import ConflictError
from surefoot.model.manifest import Manifest
from surefoot.model.rules import Approval, Rule, permits
from surefoot.server.services.ports import Reads
from surefoot.server.services.rollout_store import Candidate, StoredRollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Which devices a rollout is for: those that its filters take at this moment, and that an image of its release fits.

    Attributes:
        filter: The plan's.
        stages: Each stage's own.
        now: The moment.
        manifests: The images of the release.
    """

    filter: Filter
    stages: tuple[Filter, ...]
    now: datetime
    manifests: tuple[Manifest, ...]

    def image_for(self, candidate: Candidate, stage: int) -> Manifest | None:
        """Return the image for a device of the audience of a stage; nothing for any other device. Groups are the caller's affair."""
        if not all(matches(wanted, candidate.traits, self.now) for wanted in (self.filter, self.stages[stage])):
            return None
        return next((one for one in self.manifests if candidate.attributes["hardware"] in one.target_hardware), None)


def audience_of(reads: Reads, stored: StoredRollout, now: datetime) -> Audience:
    """Return whom a rollout is for at this moment.

    Raises:
        ConflictError: Its release is not there any more.
        FilterError: A filter of it cannot be read.
    """
    plan = stored.rollout.plan
    release = reads.release(plan.product, plan.version)
    if release is None:
        raise ConflictError(f"Release {plan.release} is not there any more.")
    of_variant = tuple(manifest for manifest in release.manifests if manifest.variant == plan.variant)
    of_stages = tuple(parse(stage.audience) for stage in plan.stages)
    return Audience(filter=parse(plan.audience), stages=of_stages, now=now, manifests=of_variant)


def may_take(candidate: Candidate, manifest: Manifest, approvals: Collection[Approval]) -> bool:
    """Say whether a device of the audience is free for an image, does not run it, and the version rules permit it."""
    return candidate.is_free and fits(candidate, manifest, approvals)


def would_take(candidate: Candidate, manifest: Manifest, approvals: Collection[Approval]) -> bool:
    """Say whether a device may be offered it, now or once its present order has ended."""
    return candidate.is_fresh and fits(candidate, manifest, approvals)


def fits(candidate: Candidate, manifest: Manifest, approvals: Collection[Approval]) -> bool:
    """Say whether a device does not run an image, and the version rules permit it."""
    if candidate.hash == manifest.image.hash or candidate.running is None:
        return False
    verdict = permits(candidate.running, manifest, approvals=frozenset(approvals))
    # Other bytes of the same version are another variant of it.
    return verdict.is_permitted or verdict.rule is Rule.SAME_VERSION
