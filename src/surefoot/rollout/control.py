# SPDX-License-Identifier: Apache-2.0
"""Control: devices without the release, by region; what happens to them cannot be the release's doing.

- When more of them than usual are unreachable, as many failures and silences of updated devices are tolerated in that region: an
  outage makes its own reports uninformative, and nothing else is needed for it.
- While many are unreachable nothing starts in the region. That ends by itself, but for the third time in one rollout, and when it
  began soon after a batch opened: then the updates themselves may be what takes the region down, and a person decides.
"""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, structs

from surefoot.model.record import Record
from surefoot.rollout.evidence import Control

USUAL = 3
"""Percent of control that is unreachable at any time without anything being wrong."""

HOLD_ABOVE = 10
"""Percent of unreachable control above which nothing starts in a region."""

CALM_BELOW = 5
"""Percent below which it is calm again."""

CALM_S = 30 * 60
"""How long it must be calm before a region goes on, seconds."""

MOST_HOLDS = 3
"""The hold of one region, in one rollout, that only a person ends."""

SOON_S = 30 * 60
"""A hold that begins at most so long after a batch opened only a person ends, seconds."""

_WORST_OVER_S = 6 * 3_600
_FEW = 50
_NO_OUTAGE = 3
"""Fewer unreachable devices than these are devices that somebody switched off."""


class Peak(Record, frozen=True, kw_only=True):
    """A correction, percent, and when it was seen, seconds since 1970."""

    at: int
    correction: Annotated[int, Meta(ge=0, le=100)]


class Region(Record, frozen=True, kw_only=True):
    """What is remembered of one region.

    Attributes:
        peaks: The corrections of the last six hours that no later one exceeds; the first is the worst.
        is_held: Whether nothing starts there.
        calm_since: Since when a held region is calm, seconds since 1970; nothing when it is not.
        holds: How often it was held.
        needs_person: Whether only a person ends the hold.
    """

    region: str = ""
    peaks: list[Peak] = []
    is_held: bool = False
    calm_since: int | None = None
    holds: int = 0
    needs_person: bool = False

    @property
    def correction(self) -> int:
        """Percent of trials there that are as good as not made: the worst excess of unreachable control in the last six hours."""
        return self.peaks[0].correction if self.peaks else 0


def observe(regions: Mapping[str, Region], controls: list[Control], now: int, batch_opened_at: int) -> dict[str, Region]:
    """Return what is remembered after another look; a region without control keeps its hold and forgets its peaks in time.

    Args:
        regions: What was remembered.
        controls: What is seen now.
        now: Seconds since 1970.
        batch_opened_at: When the open batch opened, seconds since 1970.
    """
    seen = {control.region: control for control in controls}
    names = sorted(regions.keys() | seen.keys())
    return {name: _observed(regions.get(name, Region(region=name)), seen.get(name), now, batch_opened_at) for name in names}


def released(region: Region) -> Region:
    """Return a region whose hold a person has ended; it may be held again."""
    return structs.replace(region, is_held=False, calm_since=None, needs_person=False)


def with_hold_of(before: Region | None, after: Region) -> Region:
    """Return a region as it was seen, held or not as it was before."""
    known = before or Region(region=after.region)
    if known.is_held == after.is_held:
        return after
    return structs.replace(after, is_held=known.is_held, calm_since=known.calm_since, holds=known.holds, needs_person=known.needs_person)


def unreachable(control: Control) -> tuple[int, int]:
    """Return how many devices say how the region is, and how many of them are unreachable."""
    if control.devices >= _FEW:
        return control.devices, control.unreachable
    return control.devices + control.settled, control.unreachable + control.settled_unreachable


def _observed(region: Region, control: Control | None, now: int, batch_opened_at: int) -> Region:
    devices, gone = (0, 0) if control is None else unreachable(control)
    # Rounded up, towards tolerating: one of 30 is more than the usual 3 %.
    correction = max(0, min(100, -(-100 * gone // devices) - USUAL)) if devices else 0
    kept = [peak for peak in region.peaks if peak.at > now - _WORST_OVER_S and peak.correction > correction]
    fresh = structs.replace(region, peaks=[*kept, Peak(at=now, correction=correction)] if correction else kept)
    if not devices:
        return fresh
    if not region.is_held:
        return _held(fresh, now, batch_opened_at) if gone >= _NO_OUTAGE and gone * 100 > HOLD_ABOVE * devices else fresh
    is_calm = gone * 100 < CALM_BELOW * devices or gone < _NO_OUTAGE
    calm_since = (now if region.calm_since is None else region.calm_since) if is_calm else None
    if calm_since is not None and now - calm_since >= CALM_S and not region.needs_person:
        return released(fresh)
    return structs.replace(fresh, calm_since=calm_since)


def _held(region: Region, now: int, batch_opened_at: int) -> Region:
    holds = region.holds + 1
    is_own_doing = now - batch_opened_at <= SOON_S
    return structs.replace(region, is_held=True, calm_since=None, holds=holds, needs_person=holds >= MOST_HOLDS or is_own_doing)
