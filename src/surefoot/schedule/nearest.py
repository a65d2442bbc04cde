# SPDX-License-Identifier: Apache-2.0
"""Whose windows apply to a device: the nearest level that has any wins, and its zone is the nearest one known.

- Nearest first: the device, its site, its customer, its rollout's plan, the fleet. Levels are not mixed.
- ``device`` as a zone becomes the device's attribute ``timezone``; else its site's, else the fleet's; else UTC, and that is said.
- A zone that a device reports and that does not exist is passed over, and that is said too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec import structs

from surefoot.model.record import Record
from surefoot.model.window import OF_THE_DEVICE, DownloadTime, Window, Windows, ZoneName

FLEET_KEY = "-"
"""Key of the one setting of the level ``fleet``."""


class Level(StrEnum):
    """Whose windows they are, nearest first; ``rollout`` is a plan's and is set nowhere else."""

    DEVICE = "device"
    SITE = "site"
    CUSTOMER = "customer"
    ROLLOUT = "rollout"
    FLEET = "fleet"


class WindowSetting(Record, frozen=True, kw_only=True):
    """What is set at one level for one device, site, customer, or the fleet.

    Attributes:
        windows: When installs may start; none leaves that to the levels farther away.
        timezone: Zone of devices there that report none: of a site or the fleet.
        metered_downloads: When devices there fetch images over a line that is paid by the byte; nothing leaves that to the levels
            farther away, and in the end it is any time.
    """

    windows: Windows = []
    timezone: ZoneName | None = None
    metered_downloads: DownloadTime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The windows of one device.

    Attributes:
        level: Whose they are; nothing when nobody has any, and installs may start at any time.
        windows: With an IANA zone each.
        zone: The device's zone.
        metered_downloads: When it fetches images, if its line is paid by the byte.
        notes: What people should know of how that was found, as sentences.
    """

    level: Level | None
    windows: Sequence[Window]
    zone: str
    metered_downloads: DownloadTime
    notes: Sequence[str]


def nearest(settings: Mapping[Level, WindowSetting], timezone: str, is_zone: Callable[[str], bool]) -> Applied:
    """Return the windows that apply to a device.

    Args:
        settings: What is set at each level for this device; levels without a setting are left out.
        timezone: The device's own attribute; empty when it has none.
        is_zone: Says whether a zone exists.
    """
    zone, notes = _zone(settings, timezone, is_zone)
    level = next((level for level in Level if level in settings and settings[level].windows), None)
    windows = () if level is None else settings[level].windows
    return Applied(
        level=level,
        windows=[_in_zone(window, zone) for window in windows],
        zone=zone,
        metered_downloads=_metered_downloads(settings),
        notes=notes,
    )


def _zone(settings: Mapping[Level, WindowSetting], timezone: str, is_zone: Callable[[str], bool]) -> tuple[str, list[str]]:
    notes: list[str] = []
    if timezone:
        if is_zone(timezone):
            return timezone, notes
        notes.append(f"The device's time zone {timezone[:80]!r} does not exist.")
    for level in (Level.SITE, Level.FLEET):
        setting = settings.get(level)
        if setting is not None and setting.timezone is not None:
            return setting.timezone, notes
    return "UTC", [*notes, "Nobody says the device's time zone; UTC is used."]


def _metered_downloads(settings: Mapping[Level, WindowSetting]) -> DownloadTime:
    said = (settings[level].metered_downloads for level in Level if level in settings)
    return next((when for when in said if when is not None), DownloadTime.ANY)


def _in_zone(window: Window, zone: str) -> Window:
    return structs.replace(window, zone=zone) if window.zone == OF_THE_DEVICE else window
