# SPDX-License-Identifier: Apache-2.0
"""Where a boot came from, as far as a kernel says."""

from pathlib import Path

import pytest

from surefoot.agent.origin import Origin, read_origin
from surefoot.agent.vitals import Reset


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Reset.UNKNOWN),
        ({"bootstatus": "32\n"}, Reset.WATCHDOG),
        ({"bootstatus": "33\n", "options": "0x8180\n"}, Reset.WATCHDOG),
        ({"bootstatus": "0\n", "options": "0x81a0\n"}, Reset.OTHER),
        ({"bootstatus": "0\n", "options": "0x8180\n"}, Reset.UNKNOWN),
        ({"bootstatus": "0\n"}, Reset.UNKNOWN),
        ({"bootstatus": "nonsense"}, Reset.UNKNOWN),
    ],
)
def test_only_a_driver_that_can_tell_is_believed_that_it_was_not_the_watchdog(
    files: dict[str, str], expected: Reset, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert read_origin(tmp_path / "boot_id", tmp_path) == Origin(boot="", reset=expected)


def test_a_boot_has_the_name_that_the_kernel_gives_it(tmp_path: Path) -> None:
    (tmp_path / "boot_id").write_text("0c1b2a\n")
    assert read_origin(tmp_path / "boot_id", tmp_path).boot == "0c1b2a"
    assert read_origin().boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
