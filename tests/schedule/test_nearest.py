# SPDX-License-Identifier: Apache-2.0
"""Whose windows apply, and by which clock."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from surefoot.model.window import DownloadTime, Window
from surefoot.schedule.nearest import Level, WindowSetting, nearest
from surefoot.schedule.zones import is_zone

LEVELS = list(Level)


def setting(hour: int, timezone: str | None = None) -> WindowSetting:
    return WindowSetting(windows=[Window(start=f"{hour:02}:00", length="1h")], timezone=timezone)


def test_of_all_levels_that_have_windows_the_nearest_wins() -> None:
    for size in range(1, len(LEVELS) + 1):
        for some in combinations(LEVELS, size):
            found = nearest({level: setting(LEVELS.index(level)) for level in some}, "UTC", is_zone)
            assert found.level is some[0]
            assert [window.start for window in found.windows] == [f"0{LEVELS.index(some[0])}:00"]


def test_levels_from_the_nearest_to_the_farthest() -> None:
    assert LEVELS == [Level.DEVICE, Level.SITE, Level.CUSTOMER, Level.ROLLOUT, Level.FLEET]


def test_a_level_that_only_says_a_zone_leaves_the_windows_to_others() -> None:
    found = nearest({Level.SITE: WindowSetting(timezone="Asia/Tokyo"), Level.FLEET: setting(2, "Europe/Berlin")}, "", is_zone)
    assert (found.level, found.zone) == (Level.FLEET, "Asia/Tokyo")
    assert found.windows[0].zone == "Asia/Tokyo", "the fleet's window by the site's clock"


def test_the_devices_own_zone_comes_before_its_sites_before_the_fleets() -> None:
    both = {Level.SITE: WindowSetting(timezone="Asia/Tokyo"), Level.FLEET: WindowSetting(timezone="Europe/Berlin")}
    assert nearest(both, "America/New_York", is_zone).zone == "America/New_York"
    assert nearest(both, "", is_zone).zone == "Asia/Tokyo"
    assert nearest({Level.FLEET: both[Level.FLEET]}, "", is_zone).zone == "Europe/Berlin"


def test_without_any_zone_it_is_utc_and_said() -> None:
    found = nearest({}, "", is_zone)
    assert (found.level, found.windows, found.zone) == (None, [], "UTC")
    assert found.notes == ["Nobody says the device's time zone; UTC is used."]


def test_a_zone_that_a_device_makes_up_is_passed_over_and_said() -> None:
    found = nearest({Level.FLEET: WindowSetting(timezone="Europe/Berlin")}, "Mars/Base", is_zone)
    assert found.zone == "Europe/Berlin"
    assert found.notes == ["The device's time zone 'Mars/Base' does not exist."]


@given(st.text(max_size=100))
def test_whatever_a_device_says_its_zone_is_windows_get_one_that_exists(said: str) -> None:
    found = nearest({Level.FLEET: setting(2)}, said, is_zone)
    assert all(is_zone(window.zone) for window in found.windows)


def test_the_nearest_that_says_when_metered_devices_fetch_is_heard() -> None:
    night, day = WindowSetting(metered_downloads=DownloadTime.WINDOW), WindowSetting(metered_downloads=DownloadTime.ANY)
    assert nearest({}, "UTC", is_zone).metered_downloads is DownloadTime.ANY
    assert nearest({Level.FLEET: night}, "UTC", is_zone).metered_downloads is DownloadTime.WINDOW
    assert nearest({Level.SITE: setting(2), Level.FLEET: night}, "UTC", is_zone).metered_downloads is DownloadTime.WINDOW
    assert nearest({Level.SITE: day, Level.FLEET: night}, "UTC", is_zone).metered_downloads is DownloadTime.ANY


def test_a_window_with_a_zone_of_its_own_keeps_it() -> None:
    tokyo = WindowSetting(windows=[Window(start="02:00", length="1h", zone="Asia/Tokyo")])
    assert nearest({Level.FLEET: tokyo}, "Europe/Berlin", is_zone).windows[0].zone == "Asia/Tokyo"
