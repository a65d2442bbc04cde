# SPDX-License-Identifier: Apache-2.0
"""What a gate says of a release; how many devices come next is not a gate's affair, only how many may be at risk."""

from enum import StrEnum

from surefoot.model.record import Record


class Light(StrEnum):
    """What a gate shows."""

    GO = "go"
    HOLD = "hold"
    PAUSE = "pause"


class Verdict(Record, frozen=True, kw_only=True):
    """What a gate says.

    Attributes:
        light: Whether the rollout may go on.
        cause: A stable word for why not; empty for go.
        reason: One sentence for people; empty for go.
        warnings: Sentences about what does not pause yet.
        most_at_risk: How many devices may be at risk at once; nothing when the gate sets no bound.
        at_risk: How many are.
        is_slow: Whether that is few because something speaks against the release.
    """

    light: Light
    cause: str = ""
    reason: str = ""
    warnings: list[str] = []
    most_at_risk: int | None = None
    at_risk: int = 0
    is_slow: bool = False
