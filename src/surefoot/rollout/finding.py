# SPDX-License-Identifier: Apache-2.0
"""Findings: what one segment of what was tried says of a release, as a number and as a sentence."""

import math
from dataclasses import dataclass
from enum import StrEnum

SLOW_AT = 10.0
"""Weighted e-value at which little more is risked until more is known."""

PAUSE_AT = 100.0
"""Weighted e-value at which the release is paused: a healthy release ever gets there with a chance of 1 %."""

_BEYOND_DOUBT = 1_000_000.0


class Stream(StrEnum):
    """A kind of harm."""

    FAILED = "failed"
    SILENT = "silent"
    LATE = "late"


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A part of the fleet; nothing means any hardware, or any region."""

    hardware: str | None = None
    region: str | None = None

    def __str__(self) -> str:
        """Return how to speak of it: ``on hardware rev-C in region eu``."""
        hardware = "" if self.hardware is None else f"on hardware {self.hardware}"
        region = "" if self.region is None else f"in region {self.region or '(none)'}"
        return " ".join(filter(None, (hardware, region))) or "in the whole fleet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one segment says.

    Attributes:
        log_e: Logarithm of the segment's e-value times its weight.
        stream: The stream that speaks loudest.
        bad: Devices that stream counts against the release.
        tried: Of how many devices, or in how many device-hours.
        expected: How many such devices would be normal there now, at most.
    """

    segment: Segment
    log_e: float
    stream: Stream
    bad: int
    tried: float
    expected: float

    @property
    def odds(self) -> float:
        """Once in how many rollouts a healthy release looks as bad as this, at least."""
        return math.exp(min(self.log_e, 700.0))

    def sentence(self) -> str:
        """Return it for people."""
        normal = (
            f"at most {_rounded(self.expected)} would be normal for these devices right now (past releases and devices not yet updated)"
        )
        return (
            f"{self.segment}, {_what(self)}; {normal}. "
            f"A healthy release would look this bad less than once in {_odds(self.odds)} rollouts; the limit is once in {PAUSE_AT:,.0f}"
        )


def _odds(odds: float) -> str:
    # Past that the exact number says nothing more, and runs to dozens of digits.
    return f"{odds:,.0f}" if odds < _BEYOND_DOUBT else "a million"


def _what(finding: Finding) -> str:
    if finding.stream is Stream.LATE:
        return f"{finding.bad} updated devices were harmed later, in {finding.tried:,.0f} device-hours"
    verb = "failed or rolled back" if finding.stream is Stream.FAILED else "went silent past their deadline"
    return f"{finding.bad} of {finding.tried:.0f} updated devices {verb}"


def _rounded(number: float) -> str:
    return f"{number:.1f}" if number < 100 else f"{number:,.0f}"  # noqa: PLR2004  # three digits either way
