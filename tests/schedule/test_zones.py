# SPDX-License-Identifier: Apache-2.0
"""Zones by name: from the system's data, or from the package where a device has none."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from surefoot.model.errors import InvalidInput
from surefoot.model.window import Window
from surefoot.schedule.zones import is_zone, zone, zones_of


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "Did you mean Europe/Berlin or Europe/Dublin?"),
        ("berlin", "Did you mean Europe/Berlin?"),
        ("Mars/Base", "Write an IANA name, as in Europe/Berlin."),
        ("+02:00", "Write an IANA name, as in Europe/Berlin."),
        ("../../etc/passwd", "Write an IANA name, as in Europe/Berlin."),
        ("zone.tab", "Write an IANA name, as in Europe/Berlin."),
        ("Europe/Berlin\0", "Did you mean Europe/Berlin or"),
        ("", "Write an IANA name, as in Europe/Berlin."),
        ("Europe", ""),
        ("device", ""),
    ],
)
def test_a_zone_that_is_none_is_refused_with_the_nearest(name: str, hint: str) -> None:
    assert not is_zone(name)
    with pytest.raises(InvalidInput, match="There is no time zone") as caught:
        zone(name)
    assert caught.value.hint.startswith(hint)


def test_windows_bring_their_zones() -> None:
    tokyo = Window(start="02:00", length="1h", zone="Asia/Tokyo")
    found = zones_of([tokyo, tokyo])
    assert list(found) == ["Asia/Tokyo"]
    assert found["Asia/Tokyo"].utcoffset(datetime(2026, 1, 1, tzinfo=UTC)) == timedelta(hours=9)


def test_a_device_without_zone_data_of_its_own_takes_the_packages() -> None:
    program = "from surefoot.schedule.zones import zone; import zoneinfo; print(zoneinfo.TZPATH, zone('Australia/Lord_Howe'))"
    environment = os.environ | {"PYTHONTZPATH": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "() Australia/Lord_Howe\n"
