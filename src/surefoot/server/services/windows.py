# SPDX-License-Identifier: Apache-2.0
"""Maintenance windows: set at a level, and found for a device.

- What a device's order names are the windows of the nearest level that has any (``schedule.nearest``); finding them is at most
  four reads by primary key beside the device itself.
- A change reaches a device whose order has not started at its next poll; nothing walks the fleet.
- Site and customer of a device are its attributes of these names; its zone is the attribute ``timezone``. Its line is paid by the
  byte when the attribute ``metered`` is ``true`` or ``connectivity`` is ``cellular``.
"""

from collections.abc import Sequence
from datetime import datetime

from surefoot.fleet.attempt import Attempt
from surefoot.fleet.device import Device, attributes
from surefoot.model.assignment import DeviceId
from surefoot.model.attribute import AttributeValue
from surefoot.model.errors import FormatError, InvalidInput, UnknownError
from surefoot.model.record import Record, from_plain, utc_text
from surefoot.model.window import OF_THE_DEVICE, DownloadTime, Window
from surefoot.schedule.flaw import check, flaws
from surefoot.schedule.nearest import FLEET_KEY, Applied, Level, WindowSetting, nearest
from surefoot.schedule.opening import next_opening
from surefoot.schedule.zones import is_zone, zone, zone_flaws, zones_of
from surefoot.server.services.ports import Act, Ledger, Reads, Write

_PLACE = ("site", "customer", "timezone", "metered", "connectivity")


class DeviceWindows(Record, frozen=True, kw_only=True, omit_defaults=False):
    """The windows of one device.

    Attributes:
        level: Whose they are; empty when nobody set any, and installs may start at any time.
        windows: With an IANA zone each.
        zone: The device's zone.
        download: When it fetches images.
        notes: What people should know of how that was found.
        opens_at: When the window that is open opened, or the next one opens, RFC 3339 UTC; empty without windows.
        closes_at: When it closes.
    """

    level: str
    windows: list[Window]
    zone: str
    download: DownloadTime
    notes: list[str]
    opens_at: str = ""
    closes_at: str = ""


async def set_windows(level: Level, key: str, setting: WindowSetting, *, by: str, write: Write, now: datetime) -> None:
    """Set the windows of a device, a site, a customer or the fleet; the same again changes nothing.

    Raises:
        InvalidInput: A window never opens or is too short for an install, a zone does not exist, or the key is none for the level.
        UnknownError: There is no such device.
    """
    _check_key(level, key)
    _check(setting)

    def job(ledger: Ledger) -> None:
        if level is Level.DEVICE and ledger.device(DeviceId(key)) is None:
            raise UnknownError(f"There is no device {key}.", hint="See 'surefoot device list'.")
        if ledger.window_setting(level, key) != setting:
            ledger.put_window_setting(level, key, setting)
            ledger.add_act(Act(at=now, by=by, what="window.set", subject=f"{level} {key}"))

    await write(job)


async def remove_windows(level: Level, key: str, *, by: str, write: Write, now: datetime) -> None:
    """Remove what is set at a level for one key; levels farther away then count.

    Raises:
        UnknownError: Nothing is set there.
    """

    def job(ledger: Ledger) -> None:
        if ledger.window_setting(level, key) is None:
            raise _nothing_set(level, key)
        ledger.put_window_setting(level, key, None)
        ledger.add_act(Act(at=now, by=by, what="window.remove", subject=f"{level} {key}"))

    await write(job)


def show_windows(reads: Reads, level: Level, key: str) -> WindowSetting:
    """Return what is set at a level for one key.

    Raises:
        UnknownError: Nothing is.
    """
    setting = reads.window_setting(level, key)
    if setting is None:
        raise _nothing_set(level, key)
    return setting


def device_windows(reads: Reads, device_id: DeviceId, now: datetime) -> DeviceWindows:
    """Return what applies to a device outside of any rollout, and when it may next start.

    Raises:
        UnknownError: There is no such device.
    """
    device = reads.device(device_id)
    if device is None:
        raise UnknownError(f"There is no device {device_id}.", hint="See 'surefoot device list'.")
    found = applied(reads, device, ())
    opening = next_opening(found.windows, zones_of(found.windows), now)
    return DeviceWindows(
        level="" if found.level is None else found.level.value,
        windows=list(found.windows),
        zone=found.zone,
        download=_download(device, found),
        notes=list(found.notes),
        opens_at="" if opening is None else utc_text(opening.opens_at),
        closes_at="" if opening is None else utc_text(opening.closes_at),
    )


def windows_of(reads: Reads, attempt: Attempt) -> tuple[list[Window], DownloadTime]:
    """Return the windows that an attempt's order names now, and when it is fetched; none where a person ordered it for any time."""
    device = reads.device(attempt.device_id)
    if device is None or attempt.ignores_windows:
        return [], DownloadTime.ANY
    found = applied(reads, device, attempt.windows)
    return list(found.windows), _download(device, found)


def applied(reads: Reads, device: Device, of_rollout: Sequence[Window]) -> Applied:
    """Return the windows that apply to a device in a rollout whose plan has these windows, or none."""
    known = attributes(device)
    keys = {Level.DEVICE: device.device_id, Level.SITE: known.get("site"), Level.CUSTOMER: known.get("customer"), Level.FLEET: FLEET_KEY}
    settings = {level: setting for level, key in keys.items() if key and (setting := reads.window_setting(level, key)) is not None}
    if of_rollout:
        settings[Level.ROLLOUT] = WindowSetting(windows=list(of_rollout))
    return nearest(settings, known.get("timezone", ""), is_zone)


def place(device: Device) -> list[str]:
    """Return what of a device's attributes decides which windows apply to it."""
    known = attributes(device)
    return [known.get(name, "") for name in _PLACE]


def _download(device: Device, found: Applied) -> DownloadTime:
    known = attributes(device)
    is_metered = known.get("metered") == "true" or known.get("connectivity") == "cellular"
    return found.metered_downloads if is_metered else DownloadTime.ANY


def _check(setting: WindowSetting) -> None:
    if setting == WindowSetting():
        raise InvalidInput("Neither windows nor a time zone are given.", hint="To leave it to other levels, use 'surefoot window remove'.")
    check([*flaws(setting.windows), *zone_flaws(setting.windows)])
    if setting.timezone == OF_THE_DEVICE:
        raise InvalidInput("'device' is no time zone for a whole level.", hint="Name one, as in Europe/Berlin.")
    if setting.timezone is not None:
        zone(setting.timezone)


def _check_key(level: Level, key: str) -> None:
    if level is Level.ROLLOUT:
        raise InvalidInput("A rollout's windows are written in its plan.", hint="Set them for device, site, customer or fleet.")
    if (level is Level.FLEET) != (key == FLEET_KEY):
        raise InvalidInput(f"The fleet's key is '{FLEET_KEY}', and nobody else's.", hint=f"Write fleet {FLEET_KEY}, or site NAME.")
    try:
        from_plain(key, AttributeValue, what="key")
    except FormatError as error:
        raise InvalidInput(f"{key[:80]!r} is no value of an attribute.", hint="Use up to 200 characters on one line.") from error


def _nothing_set(level: Level, key: str) -> UnknownError:
    return UnknownError(f"No windows are set for {level} {key}.", hint="See 'surefoot window list'.")
