# SPDX-License-Identifier: Apache-2.0
"""Urgency: what the security deadline of a plan means for its rollout; it ends windows, never a pause."""

from datetime import datetime

from surefoot.model.record import parse_utc, utc_text
from surefoot.rollout.plan import Plan, Rollout, Status


def alarms(rollout: Rollout, now: datetime) -> list[str]:
    """Return what people must hear at once: the deadline has passed and a pause keeps devices open to attack."""
    security = rollout.plan.security
    if rollout.status is not Status.PAUSED or security is None or now < parse_utc(security.deadline):
        return []
    return [
        f"Its security deadline was {utc_text(parse_utc(security.deadline))}, and it is paused: nothing starts until a person resumes it."
    ]


def late(plan: Plan, now: datetime) -> list[str]:
    """Return what people should know of a plan, before they start it, whose security deadline has passed already."""
    security = plan.security
    if security is None or now < parse_utc(security.deadline):
        return []
    deadline = utc_text(parse_utc(security.deadline))
    return [
        f"Its security deadline, {deadline}, has passed: windows hold no device back for longer than {security.grace} and as much again."
    ]
