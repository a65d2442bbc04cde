# SPDX-License-Identifier: Apache-2.0
"""The agent's systemd unit, judged by systemd itself, alone and with every drop-in that widens it."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.interop.programs import SOURCES

UNIT = SOURCES / "packaging" / "systemd" / "surefoot-agent.service"
DROP_INS = sorted((SOURCES / "packaging" / "systemd" / "drop-ins").glob("*.conf"))
MOST = 3.0
"""The exposure that a service of ours may have, by ``systemd-analyze security``."""


def exposure(folder: Path, *parts: Path) -> float:
    """Return what systemd thinks of a unit that is made of these files."""
    unit = folder / UNIT.name
    unit.write_text("\n".join(part.read_text() for part in parts))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)], capture_output=True, text=True, check=True
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    return float(found[1])


def settings(*, of: Path = UNIT) -> dict[str, list[str]]:
    pairs = [line.split("=", 1) for line in of.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return {name: [value for other, value in pairs if other == name] for name, _ in pairs}


def test_the_unit_exposes_little(tmp_path: Path) -> None:
    assert exposure(tmp_path, UNIT) <= MOST


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_a_drop_in_keeps_it_so(tmp_path: Path, drop_in: Path) -> None:
    assert exposure(tmp_path, UNIT, drop_in) <= MOST


def test_all_of_them_together_keep_it_so(tmp_path: Path) -> None:
    assert exposure(tmp_path, UNIT, *DROP_INS) <= MOST


def test_a_unit_without_its_protection_would_be_noticed(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_text("[Service]\nType=notify\nExecStart=/usr/bin/surefoot agent run\n")
    assert exposure(tmp_path, bare) > MOST


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    program = tmp_path / "surefoot"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    text = "\n".join(path.read_text() for path in (UNIT, *DROP_INS))
    unit.write_text(re.sub("^ExecStart=[^ ]+", f"ExecStart={program}", text, flags=re.MULTILINE))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []


def test_the_agent_yields_to_the_devices_own_work_and_is_restarted_when_it_hangs() -> None:
    found = settings()
    assert (found["Nice"], found["IOSchedulingClass"]) == (["10"], ["idle"])
    assert found["MemoryMax"] == ["112M"]
    assert (found["Type"], found["NotifyAccess"], found["WatchdogSec"], found["Restart"]) == (["notify"], ["main"], ["5min"], ["always"])


def test_it_can_open_no_port_and_has_no_capability() -> None:
    found = settings()
    assert found["SocketBindDeny"] == ["any"]
    assert found["CapabilityBoundingSet"] == [""]
    widened = {path.stem: settings(of=path)["CapabilityBoundingSet"] for path in DROP_INS if "CapabilityBoundingSet" in settings(of=path)}
    assert widened == {"clock": ["CAP_SYS_TIME"], "reboot": ["CAP_SYS_BOOT"]}
