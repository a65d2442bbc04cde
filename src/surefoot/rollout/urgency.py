# SPDX-License-Identifier: Apache-2.0
"""Urgency: what the security deadline of a plan means for its rollout; it ends windows, never a pause or a hold."""

from datetime import datetime

from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout.plan import Plan, Rollout, Status


def alarms(rollout: Rollout, now: datetime) -> list[str]:
    """Return what people must hear at once: the deadline has passed, and a pause or a held region keeps devices open to attack."""
    if not is_past_deadline(rollout.plan, now):
        return []
    return _sentences(rollout)


def raised(rollout: Rollout) -> list[str]:
    """Return the alarms that were raised, as of where the rollout stands; needs no clock."""
    return _sentences(rollout) if rollout.is_alarmed else []


def is_past_deadline(plan: Plan, now: datetime) -> bool:
    """Say whether a plan has a security deadline, and it has passed."""
    return plan.security is not None and now >= parse_utc(plan.security.deadline)


def late(plan: Plan, now: datetime) -> list[str]:
    """Return what people should know of a plan, before they start it, whose security deadline has passed already."""
    if plan.security is None or not is_past_deadline(plan, now):
        return []
    grace = plan.security.grace
    return [f"Its security deadline, {_deadline(plan)}, has passed: windows hold no device back for longer than {grace} and as much again."]


def _sentences(rollout: Rollout) -> list[str]:
    said = f"Its security deadline was {_deadline(rollout.plan)}, and"
    if rollout.status is Status.PAUSED:
        return [f"{said} it is paused: nothing starts until a person resumes it."]
    if rollout.status is Status.RUNNING and rollout.held_regions:
        held = ", ".join(region or "(none)" for region in rollout.held_regions)
        return [f"{said} region {held} is held: nothing starts there until it can be reached, or a person releases it."]
    return []


def _deadline(plan: Plan) -> str:
    return "" if plan.security is None else utc_text(parse_utc(plan.security.deadline))
